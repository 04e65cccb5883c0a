import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.errors import InputError, MissingPackageError
from qdgs.judges import colorimetry, face_light, faces
from qdgs.judges.face_light import COLUMNS, FaceLight, measure, skin_coloured
from qdgs.judges.remembered import eight_bit


@pytest.fixture
def judge():
    try:
        return FaceLight()
    except MissingPackageError as error:
        pytest.skip(str(error))


def measured(image, found):
    return dict(zip(COLUMNS, measure(eight_bit(image[None])[0], found), strict=True))


def lab_of(srgb):
    return colorimetry.lab(colorimetry.linear(np.round(np.array(srgb) * 255) / 255))


def test_a_drawn_face_has_the_color_that_it_was_drawn_with(drawn_face):
    image, found = drawn_face
    read = measured(image, found)
    l_star, a_star, b_star = lab_of([0.8, 0.6, 0.5])
    assert read["apparent_lightness"] == pytest.approx(l_star)
    assert read["ita"] == pytest.approx(np.degrees(np.arctan2(l_star - 50, b_star)))
    assert read["skin_hue"] == pytest.approx(np.degrees(np.arctan2(b_star, a_star)))
    assert read["skin_share"] > 0.85
    background = colorimetry.linear(np.round(0.4 * 255) / 255)
    assert read["background_luminance"] == pytest.approx(float(background), rel=1e-6)


def test_a_stop_is_what_half_and_double_the_light_would_be(drawn_face):
    image, found = drawn_face
    read = measured(image, found)
    light = colorimetry.linear(np.round(np.array([0.8, 0.6, 0.5]) * 255) / 255)
    for stops, column in ((-1, "darker"), (1, "brighter")):
        l_star, _, b_star = colorimetry.lab(np.clip(light * 2.0**stops, 0, 1))
        assert read[f"lightness_{column}"] == pytest.approx(l_star)
        assert read[f"ita_{column}"] == pytest.approx(float(colorimetry.typology_angle(l_star, b_star)))


@pytest.mark.parametrize("color", [(0.8, 0.6, 0.5), (0.25, 0.15, 0.1), (0.95, 0.8, 0.7), (0.5, 0.36, 0.25)])
@pytest.mark.parametrize("stops", [-3, -1, 0])
def test_exposure_does_not_decide_what_is_skin(color, stops):
    assert skin_coloured(colorimetry.linear(np.array(color)) * 2.0**stops)


@pytest.mark.parametrize("color", [(0.2, 0.4, 0.7), (0.3, 0.6, 0.3), (0.5, 0.5, 0.5), (0.6, 0.4, 0.7)])
def test_sky_leaves_grey_and_violet_are_no_skin(color):
    assert not skin_coloured(colorimetry.linear(np.array(color)))


def test_under_coloured_light_nothing_is_told(drawn_face):
    image, found = drawn_face
    read = measured(image * torch.tensor([0.5, 0.7, 1.2])[:, None, None], found)
    assert read["skin_share"] < 0.5
    assert np.isnan(read["apparent_lightness"])
    assert np.isfinite(read["background_luminance"])


def test_without_a_face_nothing_is_told(drawn_face):
    image, found = drawn_face
    read = measured(image, np.array([-0.2, *found[1:]]))
    assert read.pop("face_score") == -0.2
    assert np.isnan(list(read.values())).all()


def test_exposure_changes_are_counted(judge):
    frame = pd.DataFrame(
        {
            "apparent_lightness": [20.0, 40.0, 60.0, np.nan],
            "lightness_darker": [10.0, 29.0, 56.0, np.nan],
            "lightness_brighter": [29.0, 54.0, 90.0, np.nan],
            "ita": [-40.0, 0.0, 42.0, np.nan],
            "ita_darker": [-60.0, -20.0, 0.0, np.nan],
            "ita_brighter": [-29.0, 5.0, 60.0, np.nan],
        }
    )
    changes = judge.exposure_changes(frame)
    assert changes.faces == 3
    assert (changes.darker, changes.brighter) == pytest.approx((1 / 3, 0))
    assert changes.lightness == pytest.approx(1 / 3)
    assert changes.tone == pytest.approx(2 / 3)
    nothing = judge.exposure_changes(frame.iloc[3:])
    assert nothing.faces == 0
    assert np.isnan(nothing.lightness)


def test_faces_are_classed_by_their_lightness(judge, face_images):
    read = judge.judge(face_images)
    light = read["apparent_lightness"]
    assert light.notna().sum() > 20
    expected = np.select([light < 30, light < 55, light >= 55], ["dark", "medium", "light"], default="")
    assert (read["lightness"].fillna("") == expected).all()
    assert (read["accepted"] == light.notna()).all()
    assert read.columns.is_unique


def test_what_was_judged_before_is_not_measured_again(judge, face_images, monkeypatch):
    first = judge.judge(face_images[:8])
    monkeypatch.setattr(face_light, "measure", None)
    monkeypatch.setattr(faces, "detect", None)
    assert judge.judge(face_images[:8]).equals(first)


@pytest.mark.parametrize("cuts", [(50, 30), (30,), (0, 50), (30, 100), (20, 40, 60)])
def test_cuts_that_do_not_grow_are_refused(cuts):
    with pytest.raises(InputError, match=r"face-light\.cuts: expected two growing numbers"):
        FaceLight(cuts=cuts)
