"""Pipelines of random weights, saved and loaded as users' are, against the pipelines of diffusers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from qdgs.config import Named
from qdgs.errors import ConfigError, GeneratorError
from qdgs.generators import diffusers_files
from qdgs.generators.base import Generator, generate
from qdgs.generators.diffusers import load_diffusers
from qdgs.generators.diffusers_latents import on_shell
from qdgs.parts import load_generator
from qdgs.stages.identity import identity
from qdgs.targets import required_options

OPTIONS = {
    "ddim": {"steps": 3},
    "ddpm": {"steps": 3},
    "consistency": {"class_label": 1},
    "decoder": {},
    "stable-diffusion": {"steps": 3, "prompt": "a red shape"},
    "lcm": {"prompt": "a red shape"},
    "sdxl": {"steps": 3, "prompt": "a red shape"},
    "turbo": {"steps": 1, "prompt": "a red shape", "guidance_scale": 0.0},
}

DDIM = {"scheduler": "DDIMScheduler", "clip_sample": False}  # as the configuration of Stable Diffusion says


@pytest.fixture(params=OPTIONS)
def kind(request):
    return request.param


@pytest.fixture
def make(pipeline_folder):
    def act(kind, **options):
        return load_diffusers(model=str(pipeline_folder(kind)), **{**OPTIONS[kind], **options})

    return act


def drawn(generator, n=3, seed=0):
    return generator.sample_latents(n, np.random.default_rng(seed))


def noise_of(generator, n=3):
    return on_shell(drawn(generator, n)).reshape(n, *generator.networks.shape)


def noises(generator, rows=3):
    """Random numbers as the generator gives them to stochastic schedulers, one for each image."""
    return generator.steps._options(SimpleNamespace(step=lambda generator: None), rows)["generator"]


def published(pipeline_folder, pipelines, kind, **settings):
    """The pipeline of diffusers itself, with the scheduler's settings changed."""
    index = diffusers_files.class_of(pipeline_folder(kind))
    pipeline = getattr(pipelines.diffusers, index).from_pretrained(pipeline_folder(kind))
    pipeline.set_progress_bar_config(disable=True)
    if settings:
        scheduler = getattr(pipelines.diffusers, settings.pop("scheduler"))
        pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **settings)
    return pipeline


def as_images(array):
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def test_every_kind_keeps_the_protocol(make, kind):
    generator = make(kind)
    assert isinstance(generator, Generator)
    images = generator(drawn(generator, 5))
    assert images.shape == (5, 3, 16, 16)
    assert images.min() >= 0
    assert images.max() <= 1
    assert images.std(dim=0).mean() > 1e-3
    norms = drawn(generator, 5000).norm(dim=1)
    assert generator.prior_norm == pytest.approx(norms.mean().item(), rel=0.005)


def test_every_kind_gives_gradients_to_latents_and_none_to_weights(make, kind):
    generator = make(kind)
    latents = drawn(generator).requires_grad_()
    generator(latents).square().mean().backward()
    assert latents.grad.ne(0).float().mean() > 0.9
    for network in generator.networks.modules.values():
        assert not any(weight.requires_grad for weight in network.parameters())


def test_gradients_are_those_of_finite_differences(make):
    generator = make("ddim", subspace=4, scheduler="own")
    for network in generator.networks.modules.values():
        network.double()
    steps = generator.steps

    def mean(latents):
        vectors = generator.space.basis.double() @ latents * (generator.space.dim / 4) ** 0.5
        noise = on_shell(vectors[None]).reshape(1, 3, 16, 16)
        sample = steps(lambda scaled, level: generator.networks.modules["unet"](scaled, level).sample, noise)
        return sample.square().mean()

    assert torch.autograd.gradcheck(mean, drawn(generator, 1)[0].double().requires_grad_(), atol=1e-6)


def test_a_row_depends_on_its_own_latent_alone(make, kind):
    generator = make(kind)
    latents, others = drawn(generator, 4), drawn(generator, 4, seed=1)
    images = generator(torch.cat([latents[:2], others[:2]]))
    assert torch.equal(images[:2], generator(latents)[:2])


def test_the_loop_of_ddim_equals_the_pipeline_of_diffusers(make, pipeline_folder, pipelines):
    generator = make("ddim", steps=5)
    pipeline = published(pipeline_folder, pipelines, "ddim")
    noise = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = pipeline(
        batch_size=3,
        num_inference_steps=5,
        eta=0.0,
        output_type="np",
        generator=torch.Generator().manual_seed(1),
    ).images
    torch.testing.assert_close(generator(noise.flatten(1)), as_images(expected), atol=1e-6, rtol=0)


def test_ddpm_is_sampled_by_ddim_unless_its_own_scheduler_is_asked_for(make, pipeline_folder, pipelines):
    pipeline = published(pipeline_folder, pipelines, "ddpm")
    own = make("ddpm", scheduler="own", steps=4)
    sample = noise_of(own)
    pipeline.scheduler.set_timesteps(4)
    generators = noises(own)
    with torch.no_grad():
        for level in pipeline.scheduler.timesteps:
            predicted = pipeline.unet(sample, level).sample
            sample = pipeline.scheduler.step(predicted, level, sample, generator=generators).prev_sample
    torch.testing.assert_close(own(drawn(own)), (sample / 2 + 0.5).clamp(0, 1), atol=1e-6, rtol=0)
    auto = make("ddpm", steps=4)
    assert auto.steps.kind == "DDIMScheduler"
    assert torch.equal(auto(drawn(auto)), make("ddim", steps=4)(drawn(auto)))


def test_a_consistency_model_equals_the_pipeline_of_diffusers(make, pipeline_folder, pipelines):
    for steps in (1, 3):
        generator = make("consistency", steps=steps)
        pipeline = published(pipeline_folder, pipelines, "consistency")
        expected = pipeline(
            batch_size=3,
            class_labels=[1, 1, 1],
            num_inference_steps=steps,
            latents=noise_of(generator),
            generator=noises(generator),
            output_type="np",
        ).images
        torch.testing.assert_close(generator(drawn(generator)), as_images(expected), atol=1e-5, rtol=0)


def test_a_decoder_decodes_scaled_latents(make, pipeline_folder, pipelines):
    generator = make("decoder")
    vae = pipelines.diffusers.AutoencoderKL.from_pretrained(pipeline_folder("decoder"))
    latents = drawn(generator)
    with torch.no_grad():
        decoded = vae.decode(latents.reshape(3, 4, 8, 8) / vae.config.scaling_factor).sample
    torch.testing.assert_close(generator(latents), (decoded / 2 + 0.5).clamp(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options", "scheduler"),
    [
        (
            "stable-diffusion",
            {"negative_prompt": "blots", "guidance_scale": 4.0},
            DDIM,
        ),
        ("stable-diffusion", {"guidance_scale": 1.0}, DDIM),
        ("stable-diffusion", {"scheduler": "own"}, {}),
        ("stable-diffusion", {"scheduler": "dpm-solver"}, {"scheduler": "DPMSolverMultistepScheduler"}),
        ("stable-diffusion", {"scheduler": "heun"}, {"scheduler": "HeunDiscreteScheduler"}),
        (
            "stable-diffusion",
            {"scheduler": "euler-ancestral"},
            {"scheduler": "EulerAncestralDiscreteScheduler"},
        ),
        ("stable-diffusion", {"scheduler": "lcm", "steps": 4}, {"scheduler": "LCMScheduler"}),
        ("lcm", {"guidance_scale": 3.0}, {}),
        ("sdxl", {}, {}),
        ("sdxl", {"negative_prompt": "blots", "guidance_scale": 3.0, "size": 32}, {}),
        ("turbo", {}, {}),
        ("turbo", {"steps": 3}, {}),
    ],
)
def test_a_pipeline_with_a_prompt_equals_that_of_diffusers(
    make, pipeline_folder, pipelines, kind, options, scheduler
):
    generator = make(kind, **options)
    pipeline = published(pipeline_folder, pipelines, kind, **scheduler)
    options = {"steps": 4, **OPTIONS[kind], **options}
    size = generator.networks.image_size
    expected = pipeline(
        [options["prompt"]] * 3,
        height=size,
        width=size,
        num_inference_steps=options["steps"],
        latents=noise_of(generator),
        generator=noises(generator),
        output_type="np",
        **{key: options[key] for key in ("guidance_scale",) if key in options},
        **({"negative_prompt": ["blots"] * 3} if "negative_prompt" in options else {}),
    ).images
    torch.testing.assert_close(generator(drawn(generator)), as_images(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kind", ["stable-diffusion", "lcm", "sdxl"])
def test_an_offset_moves_the_embedding_of_the_prompt_and_nothing_else(make, pipeline_folder, pipelines, kind):
    generator = make(kind, latent="prompt", offset=0.5, seed=3)
    width = 32 if kind == "sdxl" else 16
    assert generator.latent_dim == 16 * width
    condition = generator.networks.condition
    latents = drawn(generator, 2)
    moved = condition.embedding + 0.5 * condition.embedding.std() * latents.reshape(2, 16, width)
    pipeline = published(pipeline_folder, pipelines, kind)
    if kind == "stable-diffusion":
        pipeline = published(pipeline_folder, pipelines, kind, **DDIM)
    pooled = {}
    if kind == "sdxl":
        added, other = condition.added["text_embeds"], condition.negative_added["text_embeds"]
        pooled = {
            "pooled_prompt_embeds": added.expand(2, -1),
            "negative_pooled_prompt_embeds": other.expand(2, -1),
        }
    if kind != "lcm":
        pooled["negative_prompt_embeds"] = condition.negative.expand(2, -1, -1)
    expected = pipeline(
        prompt_embeds=moved,
        num_inference_steps=4 if kind == "lcm" else 3,
        latents=generator.fixed.expand(2, -1, -1, -1),
        generator=noises(generator, 2),
        output_type="np",
        **pooled,
    ).images
    torch.testing.assert_close(generator(latents), as_images(expected), atol=2e-5, rtol=0)


def test_fixed_noise_comes_from_the_seed_of_the_options(make):
    latents = drawn(make("turbo", steps=2))
    images = [make("turbo", steps=2, seed=seed)(latents) for seed in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


@pytest.mark.parametrize("latent", ["noise", "prompt"])
def test_a_subspace_is_searched_in_its_own_directions(make, latent):
    generator = make("stable-diffusion", latent=latent, subspace=8)
    assert drawn(generator).shape == (3, 8)
    whole = make("stable-diffusion", latent=latent)
    torch.testing.assert_close(
        generator(drawn(generator)), whole(generator.space(drawn(generator))), atol=1e-5, rtol=0
    )


def test_noise_far_from_the_shell_makes_the_same_image_as_noise_on_it(make):
    generator = make("ddim")
    latents = drawn(generator)
    torch.testing.assert_close(generator(10 * latents), generator(3 * latents), atol=1e-5, rtol=0)
    assert not torch.allclose(generator(10 * latents), generator(latents), atol=1e-3)
    assert generator(torch.zeros_like(latents)).isfinite().all()


def test_a_budget_of_memory_changes_no_image_and_no_gradient(make):
    free = make("stable-diffusion")
    latents = drawn(free, 5)
    expected, wanted = with_gradient(free, latents)
    tight = make("stable-diffusion", memory=2e-4)
    assert tight._plan(latents).rows < 5
    found, gradient = with_gradient(tight, latents)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient, wanted, atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(tight(latents), expected, atol=1e-5, rtol=0)


def test_several_backward_passes_go_through_computed_again_steps(make):
    generator = make("ddim", memory=1e-4)
    latents = drawn(generator, 4).requires_grad_()
    images = generator(latents)
    rows = [images[:, channel].sum() for channel in range(3)]
    found = [torch.autograd.grad(row, latents, retain_graph=True)[0] for row in rows]
    whole = make("ddim")(latents)
    for channel, gradient in enumerate(found):
        (wanted,) = torch.autograd.grad(whole[:, channel].sum(), latents, retain_graph=True)
        torch.testing.assert_close(gradient, wanted, atol=1e-5, rtol=1e-3)


def with_gradient(generator, latents):
    latents = latents.clone().requires_grad_()
    images = generator(latents)
    (gradient,) = torch.autograd.grad(images.square().mean(), latents)
    return images.detach(), gradient


def test_without_gradients_or_kept_in_main_memory_nothing_is_kept_for_a_backward_pass(make):
    for options in ({"gradients": False}, {"offload": True}):
        generator = make("stable-diffusion", **options)
        assert not generator.differentiable
        latents = drawn(generator).requires_grad_()
        images = generator(latents)
        assert not images.requires_grad
        assert torch.equal(images, make("stable-diffusion")(latents).detach())


def test_lower_precision_stays_near(make):
    full, low = make("stable-diffusion"), make("stable-diffusion", dtype="bfloat16")
    assert next(low.networks.modules["unet"].parameters()).dtype is torch.bfloat16
    images = low(drawn(low))
    assert images.dtype is torch.float32
    assert (images - full(drawn(full))).abs().mean() < 0.02


@pytest.mark.parametrize("size", [64, 8])
def test_images_are_resized_as_pictures_are(make, size):
    resized, own = make("decoder", output_size=size), make("decoder")
    latents = drawn(own, 1)
    sample = (own.networks.decode(own._samples(latents, False))[0] / 2 + 0.5).numpy()
    channels = [Image.fromarray(channel).resize((size, size), Image.Resampling.BICUBIC) for channel in sample]
    expected = torch.from_numpy(np.stack([np.asarray(channel) for channel in channels])).clamp(0, 1)
    assert resized.image_size == size
    torch.testing.assert_close(resized(latents)[0], expected, atol=1e-5, rtol=0)


def test_identity_tells_generators_apart_and_stays_when_they_work(make):
    generator = make("turbo")
    before = identity(generator)
    generator(drawn(generator))
    assert identity(generator) == before == identity(make("turbo", memory=1.0))
    others = [
        make("turbo", prompt="a blue shape"),
        make("turbo", steps=2),
        make("turbo", seed=1, subspace=8),
        make("turbo", subspace=8),
        make("turbo", scheduler="lcm"),
        make("turbo", guidance_scale=2.0),
        make("sdxl"),
    ]
    assert len({before, *(identity(other) for other in others)}) == 8


def test_rendering_in_small_batches_changes_nothing(make):
    generator = make("turbo")
    latents = drawn(generator, 6)
    parts = torch.cat(list(generate(generator, latents, 4)))
    torch.testing.assert_close(parts, generator(latents), atol=1e-6, rtol=0)


def test_it_is_had_by_name_with_options(pipeline_folder):
    generator = load_generator(
        Named(name="diffusers", model=str(pipeline_folder("ddim")), steps=2, subspace=8)
    )
    assert generator.latent_dim == 8
    with pytest.raises(ConfigError, match="unknown option of 'diffusers'; did you mean 'subspace'"):
        load_generator(Named(name="diffusers", model=str(pipeline_folder("ddim")), subspase=8))
    with pytest.raises(ConfigError, match=r"generator.model: expected a value, got none"):
        load_generator("diffusers")
    assert required_options(load_diffusers) == ["model"]


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("ddim", {"latent": "prompt", "prompt": "x"}, "generator.prompt: expected none, as an uncond"),
        (
            "ddim",
            {"latent": "prompt"},
            "generator.prompt: expected a prompt where latent is prompt, got none",
        ),
        ("ddim", {"latent": "nois"}, "generator.latent: expected 'noise' or 'prompt', got 'nois'"),
        ("ddim", {"subspace": 1}, "generator.subspace: expected an integer of at least 2, got 1"),
        ("ddim", {"subspace": 800}, "generator.subspace: expected at most the 768 there are, got 800"),
        ("ddim", {"steps": 0}, "generator.steps: expected an integer of at least 1, got 0"),
        ("ddim", {"steps": 1001}, "generator.steps: expected a number that DDIMScheduler can take, got 1001"),
        ("ddim", {"scheduler": "dimm"}, "generator.scheduler: unknown 'dimm'; did you mean 'ddim'? known: a"),
        (
            "ddim",
            {"scheduler": "lcm", "steps": 60},
            "generator.steps: expected a number that LCMScheduler ca",
        ),
        ("ddim", {"size": 15}, "generator.size: expected a multiple of 2, got 15"),
        (
            "ddim",
            {"dtype": "float16"},
            "generator.dtype: expected a precision that cpu computes in (float32, bf",
        ),
        ("ddim", {"dtype": "half"}, "generator.dtype: unknown 'half'"),
        ("ddim", {"class_label": 1}, "generator.class_label: expected none, as the network knows no classes"),
        ("ddim", {"memory": 0}, "generator.memory: expected a number above 0, got 0"),
        (
            "ddim",
            {"offload": True, "gradients": True},
            "generator.offload: expected false where gradients is",
        ),
        (
            "ddim",
            {"model": ""},
            "generator.model: expected a folder or ORGANISATION/REPOSITORY, got an empty",
        ),
        ("ddim", {"model": 3}, "generator.model: expected a text, got 3"),
        ("consistency", {"class_label": None}, "generator.class_label: expected 0 to 2, got none"),
        ("consistency", {"class_label": 3}, "generator.class_label: expected 0 to 2, got 3"),
        ("decoder", {"steps": 3}, "generator.steps: expected none for a decoder, got one; leave it out"),
        ("decoder", {"prompt": "x"}, "generator.prompt: expected none, as a decoder takes no text"),
        ("stable-diffusion", {"prompt": None}, "generator.prompt: expected a prompt, as a StableDiffusionPi"),
        ("stable-diffusion", {"class_label": 0}, "generator.class_label: expected none, got 0; leave it out"),
        (
            "lcm",
            {"negative_prompt": "x"},
            "generator.negative_prompt: has no effect, as this pipeline takes t",
        ),
        (
            "turbo",
            {"negative_prompt": "x"},
            "generator.negative_prompt: has no effect, as this pipeline is n",
        ),
    ],
)
def test_a_wrong_option_is_one_sentence(pipeline_folder, kind, options, said):
    with pytest.raises(ConfigError) as error:
        load_diffusers(**{"model": str(pipeline_folder(kind)), **OPTIONS[kind], **options})
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_latents_of_another_length_are_refused(make):
    with pytest.raises(GeneratorError, match=r"latent_dim\) = \(batch_size, 768\), got \(2, 5\)"):
        make("ddim")(torch.zeros(2, 5))
