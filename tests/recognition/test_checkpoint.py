import os
import pickle

import pytest
import torch

from qdgs.errors import CorruptFileError, InputError
from qdgs.recognition.backbones import IResNet
from qdgs.recognition.checkpoint import BACKBONE, load_backbone, load_checkpoint, save_backbone
from qdgs.recognition_config import BackboneConfig


@pytest.fixture
def backbone():
    return IResNet(
        BackboneConfig(name="ir18", width=4, embedding=8), 32, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture
def umask():
    """Files for everyone to read."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_a_backbone_is_for_everyone_who_may_read_files(backbone, tmp_path):
    save_backbone(tmp_path / BACKBONE, backbone)
    assert (tmp_path / BACKBONE).stat().st_mode & 0o777 == 0o644
    read = load_backbone(tmp_path).state_dict()
    assert all(torch.equal(value, read[name]) for name, value in backbone.state_dict().items())


def test_weights_that_are_not_finite_are_not_saved(backbone, tmp_path):
    with torch.no_grad():
        next(backbone.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(InputError, match=r"expected finite weights, got others in .*, in a new folder$"):
        save_backbone(tmp_path / BACKBONE, backbone)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"junk", b"\x0a" * 40, b"", pickle.dumps({"a": 1})])
def test_a_checkpoint_that_is_none_is_told_in_words(small_config, tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError) as caught:
        load_checkpoint(path, small_config())
    assert str(caught.value) == (
        f"{path}: expected a checkpoint of this run, got a damaged file or another; delete it to begin again"
    )
