import pytest
import torch

from qdgs.errors import InputError
from qdgs.stages.render import render_manifest


def test_a_generator_with_other_weights_is_refused(finished, monkeypatch):
    import standins

    class Other(standins.Patches):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            self.axis += torch.ones_like(self.axis)

    monkeypatch.setattr(standins, "Patches", Other)
    with pytest.raises(InputError, match="expected the generator 'patches' that it was made with"):
        render_manifest(finished.path, device="cpu")


def test_a_folder_without_a_manifest_is_told(tmp_path):
    with pytest.raises(InputError, match="expected a manifest, got no file"):
        render_manifest(tmp_path, device="cpu")
