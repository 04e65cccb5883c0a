import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qdgs.config import Named
from qdgs.errors import ConfigError, CorruptFileError, GeneratorError, InputError, MissingModelError
from qdgs.generators.base import Generator, generate
from qdgs.generators.stylegan2 import SPACES, StyleGAN2
from qdgs.parts import load_generator
from qdgs.stages.identity import identity


@pytest.fixture
def make(stylegan2_folder):
    def act(**options):
        return StyleGAN2(str(stylegan2_folder), **options)

    return act


@pytest.fixture
def network(stylegans):
    return stylegans.network_of(stylegans.TINY)


def drawn(generator, n=4, seed=0):
    return generator.sample_latents(n, np.random.default_rng(seed))


def z_of(n=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, 16), dtype=np.float32))


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("truncation", [1.0, 0.5])
@pytest.mark.parametrize("noise", ["constant", "none"])
def test_a_random_sample_is_the_image_of_its_z_in_every_space(make, network, space, truncation, noise):
    generator = make(space=space, truncation=truncation, noise=noise)
    w_avg = network.mapping.w_avg
    w = w_avg + truncation * (network.mapping(z_of()) - w_avg)
    expected = network.synthesis(w[:, None].expand(-1, 8, -1), noise=noise == "constant")
    found = generator(drawn(generator))
    torch.testing.assert_close(found, (expected.clamp(-1, 1) + 1) / 2, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("space", "latent_dim"), [("z", 16), ("w", 24), ("w+", 192)])
def test_a_latent_is_as_long_as_its_space(make, space, latent_dim):
    generator = make(space=space)
    assert isinstance(generator, Generator)
    assert generator.latent_dim == latent_dim
    assert drawn(generator).shape == (4, latent_dim)
    assert drawn(generator).dtype == torch.float32
    assert generator.image_size == 32


def test_a_whitened_latent_is_w_less_its_mean_over_its_deviation(make, network):
    w = network.mapping(z_of(10_000))
    q = drawn(make(space="w"), 10_000)
    torch.testing.assert_close(q, (w - network.mapping.w_avg) / w.std(dim=0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(q.std(dim=0), torch.ones(24), atol=1e-4, rtol=0)
    torch.testing.assert_close(make(space="w").styles(q)[:, 3], w, atol=1e-5, rtol=1e-5)
    assert torch.equal(drawn(make(space="w+"), 10_000), q.repeat(1, 8))


def test_every_layer_of_the_wide_space_has_a_style_of_its_own(make, network):
    generator = make(space="w+")
    latents = torch.randn(3, 192, generator=torch.Generator().manual_seed(0))
    ws = network.mapping.w_avg + generator.w_std * latents.unflatten(1, (8, 24))
    torch.testing.assert_close(generator.styles(latents), ws)
    images = generator(latents)
    for layer in range(8):
        changed = latents.clone()
        changed[:, 24 * layer : 24 * (layer + 1)] += 1
        assert not torch.equal(generator(changed), images), layer


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("truncation", [1.0, 0.5])
def test_the_prior_norm_is_that_of_samples(make, space, truncation):
    generator = make(space=space, truncation=truncation)
    norms = drawn(generator, 20_000).norm(dim=1)
    assert generator.prior_norm == pytest.approx(norms.mean().item(), rel=0.01)


@pytest.mark.parametrize("space", SPACES)
def test_gradients_reach_every_latent_and_no_weight(make, space):
    generator = make(space=space)
    latents = drawn(generator).requires_grad_()
    generator(latents).square().mean().backward()
    assert latents.grad.ne(0).float().mean() > 0.9
    assert all(value.grad is None for value in generator.network.parameters())


@pytest.mark.parametrize("space", SPACES)
def test_an_image_does_not_depend_on_how_many_others_are_rendered_with_it(make, space):
    generator = make(space=space)
    latents = drawn(generator, 20)
    together = torch.cat(list(generate(generator, latents, 16)))
    for row in (0, 1, 7, 15, 19):
        (alone,) = generate(generator, latents[row : row + 1], 16)
        assert torch.equal(together[row : row + 1], alone), row


def test_latents_of_another_space_are_refused(make):
    for space, other in (("w", "w+"), ("w+", "w"), ("z", "w")):
        with pytest.raises(
            GeneratorError, match=r"^stylegan2: expected latents \(batch_size, latent_dim\) = "
        ):
            make(space=space)(drawn(make(space=other)))


def test_cudnn_is_left_as_it_was(make, monkeypatch):
    generator = make()
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        generator(drawn(generator))
        assert torch.backends.cudnn.allow_tf32 is allowed


def test_the_identity_is_that_of_weights_and_options_and_not_of_the_folder(make, stylegan2_folder, tmp_path):
    shutil.copytree(stylegan2_folder, tmp_path / "copy")
    assert identity(make()) == identity(StyleGAN2(str(tmp_path / "copy")))
    others = [make(space="z"), make(space="w+"), make(truncation=0.7), make(noise="none")]
    assert len({identity(generator) for generator in [make(), *others]}) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"space": "ww"}, "generator.space: unknown 'ww'; did you mean 'w'? known: w, w+, z"),
        ({"space": None}, "generator.space: unknown None; known: w, w+, z"),
        ({"noise": "random"}, "generator.noise: unknown 'random'; known: constant, none"),
        ({"truncation": 0}, "generator.truncation: expected a number above 0 and up to 1, got 0"),
        ({"truncation": 1.5}, "generator.truncation: expected a number above 0 and up to 1, got 1.5"),
        ({"truncation": True}, "generator.truncation: expected a number above 0 and up to 1, got True"),
        ({"truncation": "a"}, "generator.truncation: expected a number above 0 and up to 1, got 'a'"),
        ({"path": 3}, "generator.path: expected the name of a folder, got 3"),
        ({"pth": "x"}, "generator.pth: unknown option of 'stylegan2'; did you mean 'path'?"),
    ],
)
def test_a_wrong_option_is_one_sentence(stylegan2_folder, options, said):
    with pytest.raises(ConfigError) as error:
        load_generator(Named(name="stylegan2", **{"path": str(stylegan2_folder), **options}))
    assert str(error.value).startswith(said)


def test_an_option_without_a_default_is_asked_for():
    with pytest.raises(ConfigError) as error:
        load_generator("stylegan2")
    assert str(error.value) == "generator.path: expected a value, got none; 'stylegan2' needs one"


def test_a_folder_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(MissingModelError) as error:
        StyleGAN2(str(tmp_path / "none"))
    assert str(error.value) == (
        f"generator.path: the folder {tmp_path / 'none'} is not here; make it with qdgs convert stylegan2 "
        f"FILE.pkl {tmp_path / 'none'}"
    )
    with pytest.raises(InputError, match=r"expected a folder made with qdgs convert .* without card\.json"):
        StyleGAN2(str(tmp_path))


def test_a_pickle_in_place_of_its_folder_is_told_with_the_command_that_makes_one(stylegan2_pickle):
    with pytest.raises(InputError) as error:
        StyleGAN2(str(stylegan2_pickle))
    assert str(error.value) == (
        f"generator.path: expected a folder, got the file {stylegan2_pickle}; make one of it with "
        f"qdgs convert stylegan2 {stylegan2_pickle} FOLDER"
    )


def resaved(folder, change):
    """Other tensors under a card that fits their file."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    re_hash(folder)


def re_hash(folder):
    card = json.loads((folder / "card.json").read_text())
    card["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))


def edited(folder, *place, value):
    card = json.loads((folder / "card.json").read_text())
    *way, last = place
    part = card
    for key in way:
        part = part[key]
    part[last] = value
    (folder / "card.json").write_text(json.dumps(card))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "expected the sha256 of its card"),
        (
            lambda folder: ((folder / "model.safetensors").write_bytes(b"x"), re_hash(folder)),
            "is no safetensors file",
        ),
        (lambda folder: (folder / "card.json").write_text("{"), "card.json: cannot be read as JSON"),
        (lambda folder: edited(folder, "format", value="x"), "card.json: format: Input should be"),
        (
            lambda folder: edited(folder, "architecture", "clamp", value="x"),
            "card.json: architecture.clamp: ",
        ),
        (
            lambda folder: edited(folder, "architecture", "resolution", value=48),
            "expected a resolution that is",
        ),
        (
            lambda folder: edited(folder, "architecture", "channels", 0, value=13),
            "expected the tensors that its",
        ),
        (
            lambda folder: resaved(folder, lambda tensors: tensors.pop("w_std")),
            "expected the tensors that its",
        ),
    ],
)
def test_a_damaged_folder_is_one_sentence(stylegan2_folder, tmp_path, damage, said):
    shutil.copytree(stylegan2_folder, tmp_path / "spoilt")
    damage(tmp_path / "spoilt")
    with pytest.raises(CorruptFileError) as error:
        StyleGAN2(str(tmp_path / "spoilt"))
    assert said in str(error.value)
    assert "\n" not in str(error.value)
