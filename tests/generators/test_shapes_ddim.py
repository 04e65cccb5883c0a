"""The embedded diffusion model."""

import numpy as np
import pytest
import torch

from qdgs import weights
from qdgs.datasets.drawing import COLORS, SHAPES
from qdgs.errors import CorruptFileError, MissingModelError
from qdgs.generators.base import generate
from qdgs.generators.shapes_ddim import shapes_ddim
from qdgs.judges.shape_cnn import ShapeCNN


def test_without_weights_it_says_how_they_are_made(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(MissingModelError, match=r"python experiments/weights/shapes_ddim.py --out"):
        shapes_ddim()


def test_damaged_weights_are_refused_by_their_hash(monkeypatch, tmp_path, pipeline_folder):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    (tmp_path / "shapes-ddim").symlink_to(pipeline_folder("ddim"))
    with pytest.raises(CorruptFileError, match="the weights or their card cannot be read"):
        shapes_ddim()


def test_it_is_small_and_has_a_card():
    folder = weights.FOLDER / "shapes-ddim"
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 8e6
    card = weights.card("shapes-ddim")
    assert {"sha256", "licence", "source", "command", "bias"} <= set(card)
    assert card["command"].startswith("python experiments/weights/shapes_ddim.py")


def test_it_draws_whole_figures_in_biased_colours():
    generator = shapes_ddim()
    latents = generator.sample_latents(256, np.random.default_rng(0))
    images = list(generate(generator, latents))
    read = ShapeCNN().judge(torch.cat(images))
    whole = read[read["accepted"]]
    assert len(whole) > 0.95 * len(read)
    usual = [
        (whole["color"] == color) & (whole["shape"] == shape)
        for color, shape in zip(COLORS, SHAPES, strict=True)
    ]
    assert (usual[0] | usual[1]).mean() > 0.85
    assert min(usual[0].mean(), usual[1].mean()) > 0.3
