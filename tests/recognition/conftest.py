"""Small faces: an identity is a smooth pattern of colours, its images that pattern with noise."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from qdgs.recognition_config import parse_recognition

SIZE = 32


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """For trainings that other fixtures begin, too: bits depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pattern(rng):
    return cv2.resize(rng.uniform(0, 255, (4, 4, 3)).astype(np.float32), (SIZE, SIZE))


def noisy(face, rng):
    return np.clip(face + rng.normal(0, 12, face.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def face_pixels():
    """Identities × images of each × pixels."""

    def make(identities, images, seed=0):
        rng = np.random.default_rng(seed)
        return [
            [noisy(face, rng) for _ in range(images)] for face in [pattern(rng) for _ in range(identities)]
        ]

    return make


@pytest.fixture(scope="session")
def faces_folder(face_pixels, tmp_path_factory) -> Path:
    """Eight identities with six images each, a folder an identity. Do not write into it: copy it."""
    folder = tmp_path_factory.mktemp("faces") / "faces"
    for name, images in enumerate(face_pixels(8, 6)):
        (folder / f"id{name}").mkdir(parents=True)
        for number, pixels in enumerate(images):
            Image.fromarray(pixels).save(folder / f"id{name}" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def small_config(faces_folder):
    """A configuration that trains in seconds, with changes by section."""

    def make(**changes):
        data = {
            "kind": "recognition",
            "data": {"folder": str(faces_folder)},
            "image_size": SIZE,
            "backbone": {"name": "ir18", "width": 4, "embedding": 16, "dropout": 0.2},
            "head": {"name": "adaface"},
            "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.05, "milestones": [1]},
        }
        for key, value in changes.items():
            data[key] = {**data[key], **value} if isinstance(value, dict) and key in data else value
        return parse_recognition(data)

    return make
