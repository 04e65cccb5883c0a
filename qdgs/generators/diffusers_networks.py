"""The networks of the supported pipelines: one step of denoising, and from samples to images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from qdgs.errors import ConfigError
from qdgs.generators.diffusers_options import DiffusersOptions
from qdgs.generators.diffusers_text import encode


class Networks(Protocol):
    """What a pipeline is made of.

    Attributes:
        modules: By their names.
        shape: Of the noise, or of what a decoder decodes: (channels, height, width).
        image_size: Pixels of an image.
        embedding_dim: Length of the prompt's embedding, 0 where there is none.
    """

    modules: Mapping[str, nn.Module]
    shape: tuple[int, int, int]
    image_size: int
    embedding_dim: int

    def predict(self, sample: Tensor, level: Tensor, offset: Tensor | None) -> Tensor:
        """One step, float32 to float32."""
        ...

    def decode(self, sample: Tensor) -> Tensor:
        """Images in [-1, 1], float32."""
        ...


class PixelNetworks:
    """A U-Net over images: DDPM, DDIM and consistency models.

    Args:
        pipeline: Of diffusers.
        options: Size and class.
        device: Where it works.
    """

    embedding_dim = 0

    def __init__(self, pipeline: Any, options: DiffusersOptions, device: torch.device) -> None:
        unet = pipeline.unet
        if unet.config.out_channels != 3 or unet.config.in_channels != 3:
            channels = f"{unet.config.in_channels} to {unet.config.out_channels}"
            raise ConfigError(f"generator.model: expected a network of 3 channels to 3, got {channels}")
        _refuse_prompts(options, "an unconditional pipeline")
        self.image_size = _size(options.size, unet.config.sample_size, 1, unet)
        self.shape = (3, self.image_size, self.image_size)
        self.label = _label(options.class_label, unet)
        self.modules: Mapping[str, nn.Module] = {"unet": unet.to(device)}

    def predict(self, sample: Tensor, level: Tensor, offset: Tensor | None) -> Tensor:
        """One step."""
        unet: Any = self.modules["unet"]
        labels = None if self.label is None else torch.full((len(sample),), self.label, device=sample.device)
        predicted: Tensor = unet(sample.to(unet.dtype), level, class_labels=labels).sample
        return predicted.float()

    def decode(self, sample: Tensor) -> Tensor:
        """The sample is the image."""
        return sample


class LatentNetworks:
    """A U-Net over the latents of an autoencoder, conditioned on a prompt: Stable Diffusion, SDXL, LCM.

    Args:
        pipeline: Of diffusers.
        options: Size and prompts.
        place: Where its networks are kept.
        device: Where images are made.
    """

    def __init__(
        self, pipeline: Any, options: DiffusersOptions, place: torch.device, device: torch.device
    ) -> None:
        unet, vae = pipeline.unet, pipeline.vae
        if unet.config.in_channels != vae.config.latent_channels:
            channels = f"{unet.config.in_channels} of {vae.config.latent_channels}"
            raise ConfigError(
                f"generator.model: expected a network of the decoder's channels, got {channels}"
            )
        _refuse_label(options)
        factor = _factor(vae)
        self.image_size = _size(options.size, unet.config.sample_size * factor, factor, unet)
        self.shape = (unet.config.in_channels, self.image_size // factor, self.image_size // factor)
        self.condition = encode(pipeline, options, self.image_size, device).to(device)
        self.embedding_dim = self.condition.embedding[0].numel()
        self.modules: Mapping[str, nn.Module] = {"unet": unet.to(place), "vae": _decoder(vae).to(place)}

    def predict(self, sample: Tensor, level: Tensor, offset: Tensor | None) -> Tensor:
        """One step, guided where the prompt is."""
        unet: Any = self.modules["unet"]
        return self.condition.predict(unet, sample.to(unet.dtype), level, offset).float()

    def decode(self, sample: Tensor) -> Tensor:
        """Decoded by the autoencoder."""
        return _decoded(self.modules["vae"], sample)


class DecoderNetworks:
    """The decoder of an autoencoder alone: its latents, standard normal once scaled, are searched.

    Args:
        vae: An AutoencoderKL.
        options: Size.
        device: Where it works.
    """

    embedding_dim = 0

    def __init__(self, vae: Any, options: DiffusersOptions, device: torch.device) -> None:
        _refuse_prompts(options, "a decoder")
        _refuse_label(options)
        for name in ("steps", "scheduler"):
            if name in options.model_fields_set:
                raise ConfigError(f"generator.{name}: expected none for a decoder, got one; leave it out")
        factor = _factor(vae)
        self.image_size = _size(options.size, vae.config.sample_size, factor, None)
        self.shape = (vae.config.latent_channels, self.image_size // factor, self.image_size // factor)
        self.modules: Mapping[str, nn.Module] = {"vae": _decoder(vae).to(device)}

    def predict(self, sample: Tensor, level: Tensor, offset: Tensor | None) -> Tensor:
        """Never called: a decoder takes no steps."""
        raise AssertionError("a decoder takes no steps")

    def decode(self, sample: Tensor) -> Tensor:
        """Decoded."""
        return _decoded(self.modules["vae"], sample)


def _decoder(vae: Any) -> Any:
    """The autoencoder without its encoder, in float32 where float16 overflows."""
    vae.encoder, vae.quant_conv = None, None
    return vae.float() if vae.dtype is torch.float16 and vae.config.force_upcast else vae


def _decoded(vae: Any, sample: Tensor) -> Tensor:
    """Latents scaled back as they were for training: s / scaling_factor + shift, or by channel."""
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    if mean is not None and std is not None:
        sample = sample * sample.new_tensor(std)[:, None, None]
        sample = sample / config.scaling_factor + sample.new_tensor(mean)[:, None, None]
    else:
        sample = sample / config.scaling_factor + (config.get("shift_factor") or 0.0)
    decoded: Tensor = vae.decode(sample.to(vae.dtype)).sample
    return decoded.float()


def _factor(vae: Any) -> int:
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def _size(wanted: int | None, own: Any, factor: int, unet: Any) -> int:
    """Pixels of a square image, a multiple of what the networks can halve."""
    multiple = factor * (2 ** (len(unet.config.block_out_channels) - 1) if unet is not None else 1)
    if wanted is None and not isinstance(own, int):
        raise ConfigError(f"generator.size: expected a number, as the pipeline's own is {own}, got none")
    size = own if wanted is None else wanted
    if size % multiple:
        raise ConfigError(f"generator.size: expected a multiple of {multiple}, got {size}")
    return int(size)


def _label(label: int | None, unet: Any) -> int | None:
    classes = unet.config.get("num_class_embeds")
    if classes is None and label is not None:
        raise ConfigError(
            f"generator.class_label: expected none, as the network knows no classes, got {label}"
        )
    if classes is not None and (label is None or label >= classes):
        got = "none" if label is None else label
        raise ConfigError(f"generator.class_label: expected 0 to {classes - 1}, got {got}")
    return label


def _refuse_label(options: DiffusersOptions) -> None:
    if options.class_label is not None:
        raise ConfigError(f"generator.class_label: expected none, got {options.class_label}; leave it out")


def _refuse_prompts(options: DiffusersOptions, what: str) -> None:
    given = [
        name for name in ("prompt", "negative_prompt", "guidance_scale") if getattr(options, name) is not None
    ]
    if given:
        raise ConfigError(f"generator.{given[0]}: expected none, as {what} takes no text; leave it out")
