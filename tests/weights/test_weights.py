import shutil

import pytest

from qdgs import weights
from qdgs.errors import CorruptFileError

NAMES = ("shapes-vae", "shape-cnn", "faces-xception", "faces-bank", "qdgs-mini", "qdgs-faces")


@pytest.mark.parametrize("name", NAMES)
def test_embedded_weights_have_a_card(name):
    card = weights.card(name)
    assert {"sha256", "licence", "source", "command"} <= set(card)
    assert "experiments/weights/" in card["command"]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    shutil.copytree(weights.FOLDER / "shape-cnn", tmp_path / "shape-cnn")
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    return tmp_path / "shape-cnn"


def test_damaged_weights_are_refused_by_their_hash(copied):
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptFileError, match="expected the sha256 of its card"):
        weights.load_weights("shape-cnn")


def test_missing_weights_are_one_sentence(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(CorruptFileError, match="cannot be read; install qdgs again"):
        weights.load_weights("shape-cnn")


def test_the_guide_is_small():
    folder = weights.FOLDER / "qdgs-mini"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 12e6
