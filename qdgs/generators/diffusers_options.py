"""What can be said of a diffusers generator in a configuration, declared once."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, ValidationError, model_validator

from qdgs.errors import ConfigError
from qdgs.mistakes import Mistake, sentence
from qdgs.values import Integer, Model, Real

Scheduler = Literal[
    "auto",
    "own",
    "consistency",
    "ddim",
    "ddpm",
    "deis",
    "dpm-solver",
    "euler",
    "euler-ancestral",
    "heun",
    "lcm",
    "tcd",
    "unipc",
]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class DiffusersOptions(Model):
    """Options of the generator `diffusers`.

    Attributes:
        model: A folder as `save_pretrained` writes it, or ORGANISATION/REPOSITORY on the Hugging Face Hub.
        revision: Branch, tag or commit of the repository.
        variant: Of the weights' files, such as "fp16".
        subfolder: Of the folder or repository, for a decoder within a pipeline: "vae".
        latent: "noise", the initial noise, or "prompt", an offset of the prompt's embedding.
        subspace: Search this many random directions instead of all.
        offset: Root mean square of a random offset of the embedding, in units of the embedding's own.
        prompt: What the images show.
        negative_prompt: What they do not.
        guidance_scale: Weight of the prompt against the negative one; the pipeline's own default if None.
        class_label: Of a pipeline that was trained with classes.
        steps: Of the scheduler; 50, few for the kinds made for few, if None.
        scheduler: "own", the pipeline's; "auto", the same, but DDIM instead of DDPM and PNDM; or another.
        size: Pixels that the pipeline makes; its own default if None.
        output_size: Pixels that images are resized to; as they are made if None.
        seed: Of everything random that is not the latent: fixed noise and directions.
        dtype: Precision of the networks.
        gradients: Whether gradients are offered.
        memory: GiB that activations may take: batches are split, steps computed again in the backward pass.
        offload: Keep the networks in main memory, and on the device only while they work.
    """

    model: str
    revision: str | None = None
    variant: str | None = None
    subfolder: str | None = None
    latent: Literal["noise", "prompt"] = "noise"
    subspace: Annotated[Integer, Field(ge=2)] | None = None
    offset: Annotated[Real, Field(gt=0.0)] = 0.3
    prompt: str | None = None
    negative_prompt: str | None = None
    guidance_scale: Annotated[Real, Field(ge=0.0)] | None = None
    class_label: Annotated[Integer, Field(ge=0)] | None = None
    steps: Annotated[Integer, Field(ge=1)] | None = None
    scheduler: Scheduler = "auto"
    size: Annotated[Integer, Field(ge=8)] | None = None
    output_size: Annotated[Integer, Field(ge=8)] | None = None
    seed: Annotated[Integer, Field(ge=0)] = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    gradients: bool = True
    memory: Annotated[Real, Field(gt=0.0)] | None = None
    offload: bool = False

    @classmethod
    def of(cls, **options: Any) -> Self:
        """The options of a configuration.

        Raises:
            ConfigError: One of them does not hold.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            raise ConfigError(f"generator.{sentence(error, options, cls)}") from None

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.model.strip():
            raise Mistake("model", "expected a folder or ORGANISATION/REPOSITORY, got an empty text")
        if self.offload and "gradients" in self.model_fields_set and self.gradients:
            raise Mistake("offload", "expected false where gradients is true, got true; take one of the two")
        if self.latent == "prompt" and self.prompt is None:
            raise Mistake("prompt", "expected a prompt where latent is prompt, got none")
        return self

    @property
    def differentiable(self) -> bool:
        """Gradients are offered, and networks stay where a backward pass needs them."""
        return self.gradients and not self.offload


def signature() -> inspect.Signature:
    """Of a function that makes a generator of these options, each by its name, and a device."""
    device = inspect.Parameter("device", inspect.Parameter.KEYWORD_ONLY, default="cpu")
    return inspect.Signature([*inspect.signature(DiffusersOptions).parameters.values(), device])


def check_dtype(name: str, device: torch.device) -> torch.dtype:
    """The precision, where the device computes in it.

    Raises:
        ConfigError: It does not.
    """
    dtype = DTYPES[name]
    known = [other for other in DTYPES if _computes(DTYPES[other], device)]
    if name not in known:
        raise ConfigError(
            f"generator.dtype: expected a precision that {device} computes in ({', '.join(known)}), got "
            f"{name}"
        )
    return dtype


def _computes(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a convolution can be computed, and in hardware: on CPUs float16 is for storing."""
    if device.type == "cpu" and dtype is torch.float16:
        return False
    if device.type == "cuda" and dtype is torch.bfloat16:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        ones = torch.ones(1, 1, 3, 3, dtype=dtype, device=device)
        torch.nn.functional.conv2d(ones, ones)
    except (RuntimeError, TypeError):
        return False
    return True
