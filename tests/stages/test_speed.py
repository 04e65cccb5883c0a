from pathlib import Path
from shutil import which
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from qdgs.config import SpeedConfig, load_config
from qdgs.errors import ConfigError
from qdgs.generators.stylegan2 import StyleGAN2
from qdgs.layout import is_compiled, takes_channels_last, use_layout
from qdgs.pace import Pace
from qdgs.parts import load_generator, load_guide
from qdgs.search.workers import LocalWorkers, Task, micro_batches
from qdgs.stages import speed
from qdgs.stages.identity import identity
from qdgs.stages.scoring import Scorer, scorer_of, scores_of
from qdgs.stages.speed import SpeedWarning, check_bfloat16, check_ranking, compile_networks

COMPILING = pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
"""What torch says to itself as its compiler is imported."""


def painter(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Unflatten(1, (4, 1, 1)), nn.ConvTranspose2d(4, 8, 8), nn.ReLU(), nn.Conv2d(8, 3, 3)]
        return nn.Sequential(*layers, nn.Sigmoid()).eval().requires_grad_(False)


class Flattens(nn.Module):
    """Wants its features one after another in memory."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 6, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        return self.convolution(latents.view(-1, 1, 2, 2)).view(-1, 3, 2, 4)


def test_another_layout_changes_neither_what_a_model_is_nor_what_it_makes():
    network, latents = painter(), torch.rand((16, 4))
    before, images = identity(network), network(latents)
    use_layout(network, torch.channels_last)
    assert identity(network) == before
    torch.testing.assert_close(network(latents), images, rtol=0, atol=1e-5)
    use_layout(network, torch.contiguous_format)
    assert torch.equal(network(latents), images)


def test_a_layout_is_only_taken_where_images_stay_bit_for_bit():
    network, latents = painter(), torch.rand((16, 4))
    images = network(latents)
    takes_channels_last(network, latents)
    assert torch.equal(network(latents).contiguous(), images)


@pytest.mark.parametrize("generator", [Flattens().requires_grad_(False), nn.Linear(4, 4), lambda rows: rows])
def test_a_generator_that_cannot_take_another_layout_keeps_its_own(generator):
    latents = torch.rand((16, 4))
    before = generator(latents)
    if not takes_channels_last(generator, latents):
        assert torch.equal(generator(latents), before)


@pytest.fixture
def scorers(tiny_config):
    config = load_config(tiny_config)

    def make(**speed: object) -> Scorer:
        parts = load_generator(config.generator), load_guide(config.guide)
        return Scorer(*parts, seed=0, speed=SpeedConfig(**speed))

    return make


def scored(scorer: Scorer, n: int = 64) -> np.ndarray:
    latents = scorer.generator.sample_latents(n, np.random.default_rng(0))
    with torch.no_grad():
        objective, measures = scorer(latents)
    return torch.cat([objective[:, None], measures], dim=1).numpy()


def test_the_defaults_change_no_bit(scorers):
    plain = scorers(rows_at_once=64, layout="contiguous")
    quick = scorers()
    expected = scored(plain)
    assert all(np.array_equal(scored(quick), expected) for _ in range(8))


def test_channels_last_changes_the_last_digits_at_most(scorers):
    np.testing.assert_allclose(
        scored(scorers(layout="channels_last")), scored(scorers()), rtol=1e-4, atol=1e-4
    )


def test_bfloat16_is_refused_where_it_would_change_the_ranking(scorers, monkeypatch):
    monkeypatch.setattr(speed, "SAME_RANKING", 0.9999)
    monkeypatch.setattr(speed, "in_bfloat16", lambda precision, device: True)
    with pytest.raises(ConfigError, match=r"search\.speed\.precision: expected .* in bfloat16 as in float32"):
        scorers(precision="bfloat16")  # a guide of random weights: .998 to .9995


def test_bfloat16_without_instructions_for_it_is_warned_of(monkeypatch):
    monkeypatch.setattr(speed, "in_bfloat16", lambda precision, device: False)
    with pytest.warns(SpeedWarning, match="float32 is quicker here"):
        check_bfloat16(torch.device("cpu"))


@COMPILING
def test_a_stylegan2_is_compiled_where_it_is_entered(stylegan2_folder):
    generator = StyleGAN2(str(stylegan2_folder), space="w")
    images = generator(generator.sample_latents(2, np.random.default_rng(0)))
    assert not is_compiled(generator)
    compile_networks(generator, "default")
    assert is_compiled(generator)
    seen: list[object] = []
    generator.network.synthesis._compiled_call_impl = lambda *given, **named: seen.append(given) or images
    generator(generator.sample_latents(2, np.random.default_rng(0)))
    assert len(seen) == 1


@COMPILING
def test_networks_of_a_diffusion_pipeline_are_compiled_and_laid_out():
    generator = load_generator("shapes-ddim")
    unet = generator.networks.modules["unet"]
    use_layout(generator, torch.channels_last)
    assert unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    compile_networks(generator, "default")
    assert unet._compiled_call_impl is not None
    assert is_compiled(generator)


@COMPILING
def test_of_an_autoencoder_the_decoder_is_compiled():
    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = nn.Linear(2, 2)

        def decode(self, rows: Tensor) -> Tensor:
            return self.decoder(rows)

    vae = Autoencoder()
    compile_networks(SimpleNamespace(networks=SimpleNamespace(modules={"vae": vae})), "default")
    assert vae.decoder._compiled_call_impl is not None


@pytest.mark.filterwarnings("ignore")  # what torch says to itself as it compiles
@pytest.mark.skipif(which("g++") is None, reason="torch.compile needs a compiler")
def test_what_is_compiled_scores_and_differentiates_alike(scorers):
    plain, compiled = scorers(), scorers(compile="default")
    np.testing.assert_allclose(scored(compiled, 32), scored(plain, 32), rtol=1e-4, atol=1e-4)
    latents = plain.generator.sample_latents(8, np.random.default_rng(1)).numpy()
    task, batches = Task(len(plain.guide.measure_names), gradients=True), micro_batches(latents, 8)
    one, other = (next(LocalWorkers(scorer).work(task, batches)).jacobian for scorer in (plain, compiled))
    np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4 * np.abs(one).max())


def test_rankings_are_compared_score_by_score():
    exact = np.random.default_rng(0).standard_normal((100, 3))
    found = check_ranking(exact, 2 * exact + 1, ("a", "b"))
    assert found == pytest.approx({"objective": 1, "a": 1, "b": 1})
    swapped = exact.copy()
    swapped[:, 2] = swapped[::-1, 2]
    with pytest.raises(ConfigError, match="for b; take float32"):
        check_ranking(exact, swapped, ("a", "b"))


@pytest.fixture
def shapes():
    config = load_config(Path(__file__).parents[2] / "configs" / "shapes.yaml")
    return lambda: scorer_of(config, device="cpu")


@pytest.mark.usefixtures("two_threads")
def test_what_passes_side_by_side_has_the_scores_of_what_passes_at_once(shapes):
    scorer = shapes()
    assert scorer.thread_safe
    latents = scorer.generator.sample_latents(3 * 64 + 9, np.random.default_rng(1))
    found = scores_of(scorer, latents, 64)
    assert any(way.beside for way in scorer._pace.chosen.values()) == (scorer.at_once() > 1)
    whole = shapes()
    whole._pace = Pace(whole._pass, lambda n: latents[:n], 64)
    pd.testing.assert_frame_equal(found, scores_of(whole, latents, 64), check_exact=True)


@pytest.mark.usefixtures("two_threads")
def test_gradients_of_a_clip_that_are_made_side_by_side_are_those_made_in_turn(shapes):
    scorer = shapes()
    latents = scorer.generator.sample_latents(8, np.random.default_rng(1)).numpy()
    task, batches = Task(len(scorer.guide.measure_names), gradients=True), micro_batches(latents, 8)
    found = [next(LocalWorkers(scorer).work(task, batches)).jacobian for _ in range(5)]
    assert all(np.array_equal(one, found[0]) for one in found)
    scorer.thread_safe = False
    (plain,) = LocalWorkers(scorer).work(task, batches)
    np.testing.assert_allclose(found[0], plain.jacobian, rtol=1e-3, atol=1e-4 * np.abs(plain.jacobian).max())
