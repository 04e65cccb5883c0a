import sys

import numpy as np
import pytest

from qdgs.errors import MissingPackageError
from qdgs.judges import faces
from qdgs.judges.face_light import FaceLight
from qdgs.judges.faces_dlib import FacesDlib
from qdgs.judges.remembered import eight_bit


def test_the_frame_repeats_the_border_and_the_box_comes_back():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    framed = faces.framed(image)
    assert framed.shape == (320, 320, 3)
    assert (framed[:32, 32:-32] == framed[32, 32:-32]).all()
    assert (framed[:, -32:] == framed[:, -33:-32]).all()
    assert faces.box_in_image(np.array([1.0, 32, 32, 288, 160]), image) == (0, 0, 64, 32)


@pytest.mark.parametrize("shape", [(512, 512), (40, 80), (80, 40)])
def test_the_longer_side_is_what_the_detector_expects(shape):
    assert max(faces.framed(np.zeros((*shape, 3), np.uint8)).shape) == 320


@pytest.mark.parametrize("judge", [FacesDlib, FaceLight])
def test_without_the_extra_the_command_is_told(monkeypatch, judge):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(
        MissingPackageError, match=r"^face.* needs .*: make faces, or pip install 'qdgs\[faces\]'$"
    ):
        judge()


def test_faces_are_looked_for_once(face_images, monkeypatch):
    pixels = eight_bit(face_images[:8])
    first = faces.find_faces(pixels)
    monkeypatch.setattr(faces, "detect", None)
    np.testing.assert_array_equal(faces.find_faces(pixels), first)


def test_the_found_face_is_that_of_the_detector_itself(face_images):
    dlib = pytest.importorskip("dlib")
    detector = dlib.get_frontal_face_detector()
    pixels = eight_bit(face_images[:16])
    found = faces.detect(pixels)
    for image, row in zip(pixels, found, strict=True):
        boxes = detector(faces.framed(image), 0)
        assert (len(boxes) > 0) == (row[faces.SCORE] >= faces.THRESHOLD)
        sides = [(box.left(), box.top(), box.right(), box.bottom()) for box in boxes]
        assert not sides or tuple(row[1:]) in sides


def test_two_processes_find_the_faces_of_one(face_images, monkeypatch):
    pixels = eight_bit(face_images)
    one = faces.find_faces(pixels[:40])
    monkeypatch.setenv("QDGS_PROCESSES", "2")
    monkeypatch.setenv("QDGS_CACHE", "/dev/null/nowhere")
    np.testing.assert_array_equal(faces.find_faces(pixels[:40]), one)
