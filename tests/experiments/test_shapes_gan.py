import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from qdgs.generators.shapes_gan import LATENT_DIM, ShapesGAN
from qdgs.training.initial import seeded

WEIGHTS = Path(__file__).parents[2] / "experiments" / "weights"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(WEIGHTS))
    return importlib.import_module("shapes_gan")


def trained(script, monkeypatch, folder, steps):
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    sizes = ["--drawings", "16", "--batch-size", "2", "--every", "2", "--judged", "64"]
    told = ["--out", str(folder / "gan"), "--work", str(folder / "work"), "--steps", str(steps), *sizes]
    monkeypatch.setattr(sys, "argv", ["shapes_gan.py", *told])
    script.main()
    return ShapesGAN(str(folder / "gan"))


def test_training_ends_in_a_gan_with_a_card_a_log_and_a_sheet(script, tmp_path, monkeypatch, capsys):
    made = trained(script, monkeypatch, tmp_path, 4)
    assert made(torch.zeros(1, LATENT_DIM)).shape == (1, 3, 64, 64)
    assert list(pd.read_csv(tmp_path / "work" / "log.csv")["step"]) == [2, 4]
    assert (tmp_path / "work" / "samples.png").exists()
    assert "step 4" in capsys.readouterr().out
    again = trained(script, monkeypatch, tmp_path, 4)
    latents = torch.randn(3, LATENT_DIM, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made(latents), again(latents))


def anchored(script, beta):
    return seeded(lambda: script.Reconstruction(1.0, beta), torch.Generator().manual_seed(1))


def test_the_divergence_is_that_of_two_normal_distributions(script):
    random = torch.Generator().manual_seed(0)
    images = torch.rand(5, 3, 64, 64, generator=random)
    with_it, without = (anchored(script, beta) for beta in (2.0, 0.0))
    for anchor in (with_it, without):
        anchor.head.weight.data *= 100  # at first the divergence is next to nothing
    latents = []

    class White(nn.Module):
        def forward(self, z):
            latents.append(z)
            return torch.ones(len(z), 3, 64, 64)

    losses = [anchor(White(), images, torch.Generator().manual_seed(2)) for anchor in (with_it, without)]
    assert losses[1].item() == pytest.approx((1 - images).square().sum().item() / 5, rel=1e-5)
    features = 1 - images
    for stage in with_it.stages:
        features = nn.functional.leaky_relu(stage(features), 0.2)
    mean, spread = with_it.head(features.flatten(1)).chunk(2, dim=1)
    posterior, prior = Normal(mean, spread.sigmoid().sqrt()), Normal(0.0, 1.0)
    expected = kl_divergence(posterior, prior).sum(1).mean()
    assert (losses[0] - losses[1]).item() == pytest.approx(2 * expected.item(), rel=1e-3)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(latents[0], mean + noise * posterior.stddev)
