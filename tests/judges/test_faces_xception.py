import numpy as np
import pytest
import torch

from qdgs.judges import faces_xception
from qdgs.judges.face_networks import FaceDetector
from qdgs.judges.faces_xception import FacesXception
from qdgs.stages.identity import identity


@pytest.fixture(scope="module")
def judge():
    return FacesXception()


def pattern(size):
    """An image that the authors' own library was given too."""
    y, x, channel = np.mgrid[:size, :size, :3]
    values = (3 * x + 5 * y + 40 * channel + x * y // 7) % 256
    return torch.tensor(values / 255, dtype=torch.float32).permute(2, 0, 1)[None]


def test_the_networks_give_what_their_authors_library_gives(judge):
    # @vladmandic/face-api 1.7.15 with its own tensors, on the same two patterns
    (age, odds), (score, *box) = judge.network(pattern(112))[0], judge.detector(pattern(96))[0]
    assert age == pytest.approx(40.311, abs=0.02)
    assert odds.sigmoid() == pytest.approx(0.01205, abs=2e-4)
    assert score == pytest.approx(0.0397, abs=5e-4)
    left, top, width, height = 6.647, 56.965, 39.407, 32.811
    expected = torch.tensor([left, top, left + width, top + height]) / 96
    torch.testing.assert_close(torch.stack(box), expected, atol=3e-4, rtol=0)


def test_the_face_is_cut_out_where_it_was_found():
    images = torch.zeros(2, 3, 64, 64)
    images[:, :, 24:40, 20:44] = 1
    # the frame is twice the image: the box of 24 × 16 pixels around (32, 32)
    boxes = torch.tensor([[52.0, 56, 76, 72]]).expand(2, 4) / 128
    faces = faces_xception._cut_out(images, boxes)
    side = 0.85 * 24
    inside = (faces[0, 0] > 0.5).float()
    assert inside.mean(dim=1).max() == 1
    assert inside.mean(dim=0).max() == pytest.approx(16 / side, abs=0.02)


@pytest.mark.parametrize("shape", [(64, 64), (50, 100), (100, 50), (512, 512)])
def test_the_image_is_in_the_middle_of_what_the_detector_sees(shape):
    images = torch.ones(1, 3, *shape)
    framed = faces_xception._framed(images)
    assert framed.shape == (1, 3, 96, 96)
    torch.testing.assert_close(framed, torch.ones(1, 3, 96, 96))


def test_the_likeliest_box_is_told():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = FaceDetector().eval()
    outputs = detector(torch.rand(4, 3, 96, 96))
    assert outputs.shape == (4, 5)
    assert ((outputs[:, 0] >= 0) & (outputs[:, 0] <= 1)).all()
    assert (outputs[:, 3:] > outputs[:, 1:3]).all()


def test_no_face_gives_no_value(judge):
    read = judge.judge(torch.full((3, 3, 64, 64), 0.5))
    assert not read["accepted"].any()
    assert read[["age", "age_score", "presentation", "presentation_score"]].isna().all(axis=None)


def test_what_was_judged_before_calls_no_network_again(judge, monkeypatch):
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first = judge.judge(images)
    monkeypatch.setattr(FacesXception, "_read", None)
    assert judge.judge(images).equals(first)


def test_an_image_is_judged_alone(judge):
    images = torch.rand(70, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    pixels = (images.permute(0, 2, 3, 1) * 255).byte().numpy()
    np.testing.assert_allclose(judge.read(pixels)[66:], judge.read(pixels[66:]), rtol=1e-4, atol=1e-5)


def test_faces_of_the_generator_are_found(judge, face_images):
    read = judge.judge(face_images)
    assert read["face_found"].mean() > 0.4
    assert read["age_score"].between(5, 80).sum() == read["face_found"].sum()


def test_judging_changes_nothing_that_identifies_the_judge(judge):
    before = identity(judge)
    judge.judge(torch.rand(2, 3, 64, 64))
    assert identity(judge) == before
    assert identity(FacesXception(age_cut=30)) != before
