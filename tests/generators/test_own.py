import math
from pathlib import Path

import numpy as np
import pytest
import torch

import qdgs
from qdgs.config import Named
from qdgs.errors import ConfigError, CorruptFileError, MissingModelError
from qdgs.stages.identity import identity

pytestmark = pytest.mark.usefixtures("brought")


def load(**options):
    return qdgs.load_generator(Named(**options))


def test_a_factory_gets_its_options_and_the_device():
    generator = load(name="python", target="brought:Stripes", contrast=0.5)
    assert generator.contrast == 0.5
    assert load(name="python", target="brought:Stripes").columns.device == torch.device("cpu")


def test_an_object_that_is_made_already_is_taken_as_it_is(brought):
    assert load(name="python", target="brought:STRIPES") is brought.STRIPES


def test_an_object_or_a_class_may_be_registered(brought, monkeypatch):
    monkeypatch.setitem(qdgs.GENERATORS, "mine", brought.STRIPES)
    assert load(name="mine") is brought.STRIPES
    monkeypatch.setitem(qdgs.GENERATORS, "mine", brought.Stripes)
    assert load(name="mine", contrast=0.25).contrast == 0.25
    with pytest.raises(ConfigError, match=r"^generator\.contrats: unknown option of 'mine'; did you"):
        load(name="mine", contrats=0.25)


def test_a_script_makes_the_images_of_its_module(brought, scripts):
    generator = load(name="torchscript", path=scripts["generator"], latent_shape=[6, 1, 1], range=[-1, 1])
    assert (generator.latent_dim, generator.image_size) == (6, 16)
    assert generator.prior_norm == pytest.approx(math.sqrt(6) * (1 - 1 / (4 * 6)), rel=2e-3)
    latents = generator.sample_latents(4, np.random.default_rng(0))
    expected = (brought.Painter()(latents) + 1) / 2
    torch.testing.assert_close(generator(latents), expected.detach())


def test_scripts_are_told_apart_by_their_files(brought, scripts, tmp_path):
    class Grey(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(latents), 3, 8, 8) + latents.mean().sigmoid() * 0 + 0.5

    class Black(torch.nn.Module):
        def forward(self, latents: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(latents), 3, 8, 8)

    paths = [str(brought.scripted(kind(), tmp_path / f"{kind.__name__}.pt")) for kind in (Grey, Black)]
    one, other = (load(name="torchscript", path=path, latent_shape=6) for path in paths)
    assert identity(one) == identity(load(name="torchscript", path=paths[0], latent_shape=6))
    assert identity(one) != identity(other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "brought"}, "generator.target: expected 'package.module:factory', got 'brought'"),
        ({"target": 3}, "generator.target: expected 'package.module:factory', got 3"),
        ({}, "generator.target: expected a value, got none; 'python' needs one"),
        (
            {"target": "no_such_module:make"},
            "generator.target: 'no_such_module' cannot be imported from the working directory or an "
            "installed package: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ({"target": "brought:Stipes"}, "generator.target: unknown 'Stipes' in 'brought'; did you mean 'Str"),
        (
            {"target": "brought:Stripes", "contrst": 1},
            "generator.contrst: unknown option of 'brought:Stripes'; did you mean 'contrast'?",
        ),
        ({"target": "brought:Stripes", "device": "cpu"}, "generator.device: unknown option of 'python'"),
        (
            {"target": "brought:failing"},
            "generator.target: 'brought:failing' failed: KeyError: 'no such",
        ),
        (
            {"target": "brought:Half"},
            "generator.target (brought:Half): expected a generator, got a Half that lacks prior_norm (a "
            "number, or None), sample_latents (a method of n and rng), __call__ (a method of latents)",
        ),
        (
            {"target": "brought:Warmth"},
            "generator.target (brought:Warmth): expected a generator, got a W",
        ),
    ],
)
def test_a_target_that_is_none_is_one_sentence_that_names_what_is_missing(options, said):
    with pytest.raises(ConfigError) as error:
        load(name="python", **options)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_the_line_of_a_users_mistake_is_told(brought, tmp_path, monkeypatch):
    (tmp_path / "spoilt_module.py").write_text("import math\n\nsize = math.sqrt('x')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"TypeError: must be real number.* \(.*spoilt_module\.py:3\)$"):
        load(name="python", target="spoilt_module:make")


@pytest.mark.parametrize(
    ("member", "value", "said"),
    [
        ("image_size", 32.0, "whose image_size is an integer of at least 1, got 32.0"),
        ("latent_dim", 0, "whose latent_dim is an integer of at least 1, got 0"),
        ("latent_dim", True, "whose latent_dim is an integer of at least 1, got True"),
        ("differentiable", "yes", "whose differentiable is true or false, got 'yes'"),
        ("prior_norm", "2", "whose prior_norm is a number, or None, got '2'"),
        ("sample_latents", 5, "whose sample_latents is a method of n and rng, got 5"),
    ],
)
def test_a_member_that_is_something_else_is_told(brought, monkeypatch, member, value, said):
    monkeypatch.setattr(brought.Stripes, member, value)
    with pytest.raises(ConfigError, match=f"expected a generator {said}"):
        load(name="python", target="brought:Stripes")


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda self, n, rng: rng.standard_normal((n, 4)), "got a ndarray"),
        (lambda self, n, rng: torch.zeros(n, 3), r"got torch.float32 \(2, 3\)"),
        (lambda self, n, rng: torch.zeros(n, 4, dtype=torch.float64), r"got torch.float64 \(2, 4\)"),
    ],
)
def test_latents_that_are_none_are_told(brought, monkeypatch, draw, said):
    monkeypatch.setattr(brought.Stripes, "sample_latents", draw)
    with pytest.raises(ConfigError, match=rf"to give torch.float32 \(2, 4\), {said}"):
        load(name="python", target="brought:Stripes")


def test_code_that_fails_is_one_sentence_with_its_line(brought, monkeypatch):
    def failing(self, *_):
        raise ValueError("no\nsuch thing")

    for member, said in (
        ("sample_latents", f"sample_latents(2, rng) fails: ValueError: no such thing ({__file__}:"),
        ("__call__", f"Stripes fails on latents (2, 4): ValueError: no such thing ({__file__}:"),
        ("prior_norm", "expected a generator with prior_norm, which fails: ValueError: no such thing ("),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(brought.Stripes, member, property(failing) if member == "prior_norm" else failing)
            with pytest.raises(ConfigError) as error:
                load(name="python", target="brought:Stripes")
        assert str(error.value).startswith(f"generator.target (brought:Stripes): {said}")
        assert "\n" not in str(error.value)


def test_a_module_that_exits_does_not_end_the_program(brought, tmp_path, monkeypatch):
    (tmp_path / "exits.py").write_text("import sys\n\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"'exits' cannot be imported .*: SystemExit: 3 \(.*exits\.py:3\)$"):
        load(name="python", target="exits:make")

    def failing():
        raise SystemExit(4)

    monkeypatch.setattr(brought, "failing", failing)
    with pytest.raises(ConfigError, match="'brought:failing' failed: SystemExit: 4"):
        load(name="python", target="brought:failing")


class Drawn(torch.nn.Module):
    """A network as one might forget to put it into evaluation mode."""

    latent_dim, image_size, differentiable, prior_norm = 4, 8, True, None

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, 192), torch.nn.BatchNorm1d(192))

    def sample_latents(self, n, rng):
        return torch.from_numpy(rng.standard_normal((n, 4), dtype="float32"))

    def forward(self, latents):
        return self.layers(latents).sigmoid().view(-1, 3, 8, 8)


class Noisy(torch.nn.Module):
    """One that draws noise at every call."""

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.rand(len(latents), 3, 8, 8)


def test_an_image_that_depends_on_its_batch_or_on_chance_is_told(brought, monkeypatch, tmp_path):
    said = r"expected a latent's image to depend on that latent alone, .* call \.eval\(\)"
    monkeypatch.setattr(brought, "DRAWN", Drawn(), raising=False)
    with pytest.raises(ConfigError, match=rf"^generator\.target \(brought:DRAWN\): {said}"):
        load(name="python", target="brought:DRAWN")
    brought.DRAWN.eval()
    assert load(name="python", target="brought:DRAWN") is brought.DRAWN
    path = str(brought.scripted(Noisy(), tmp_path / "noisy.pt"))
    with pytest.raises(ConfigError, match=rf"^generator\.path: {said}"):
        load(name="torchscript", path=path, latent_shape=4)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (lambda n: None, "(2, 3, 32, 32), got a NoneType"),
        (lambda n: np.zeros((n, 3, 32, 32)), "(2, 3, 32, 32), got a ndarray"),
        (lambda n: torch.zeros(n, 3, 16, 16), "(2, 3, 32, 32), got (2, 3, 16, 16)"),
        (lambda n: torch.full((n, 3, 32, 32), -1.0), "expected pixel values in [0, 1], got [-1, -1]"),
        (lambda n: torch.full((n, 3, 32, 32), torch.nan), "expected finite pixel values, got NaN or inf"),
    ],
)
def test_images_that_are_none_are_told_before_a_run(brought, monkeypatch, images, said):
    monkeypatch.setattr(brought.Stripes, "__call__", lambda self, latents: images(len(latents)))
    with pytest.raises(ConfigError) as error:
        load(name="python", target="brought:Stripes")
    assert str(error.value).startswith("generator.target (brought:Stripes): ")
    assert said in str(error.value)


def test_a_script_of_other_pixels_is_told_before_a_run(scripts):
    with pytest.raises(ConfigError, match=r"^generator\.path: expected pixel values in \[0, 1\], got \[-"):
        load(name="torchscript", path=scripts["generator"], latent_shape=6)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"path": "/none.pt"}, MissingModelError, "generator.path: expected a TorchScript file at /none.pt"),
        ({"path": 5}, ConfigError, "generator.path: expected the name of a TorchScript file, got 5"),
        (
            {"latent_shape": None},
            ConfigError,
            "generator.latent_shape: expected the shape of a latent",
        ),
        ({"latent_shape": [6, 0]}, ConfigError, "generator.latent_shape: expected the shape of a latent"),
        ({"latent_shape": "6"}, ConfigError, "generator.latent_shape: expected the shape of a latent"),
        ({"latent_shape": 5}, ConfigError, "generator.path: the script fails on (2, 5): "),
        ({"range": [0, 255]}, ConfigError, "generator.range: expected [0, 1] or [-1, 1], got [0, 255]"),
    ],
)
def test_a_script_that_does_not_fit_is_one_sentence(scripts, options, kind, said):
    with pytest.raises(kind) as error:
        load(**{"name": "torchscript", "path": scripts["generator"], "latent_shape": 6, **options})
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_script_of_something_else_is_refused(scripts):
    with pytest.raises(ConfigError, match="expected a script that makes images"):
        load(name="torchscript", path=scripts["judge"], latent_shape=[3, 8, 8])


@pytest.mark.parametrize("kept", [0, 100, -200])
def test_a_damaged_script_is_one_sentence(scripts, tmp_path, kept):
    whole = Path(scripts["generator"]).read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:kept])
    with pytest.raises(CorruptFileError, match=r"cut\.pt: cannot be read as TorchScript"):
        load(name="torchscript", path=str(tmp_path / "cut.pt"), latent_shape=6)
