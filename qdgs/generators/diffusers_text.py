"""The condition of text pipelines: what a prompt is to the network, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from qdgs.errors import ConfigError
from qdgs.generators.diffusers_options import DiffusersOptions

DEFAULT_GUIDANCE = {"LatentConsistencyModelPipeline": 8.5, "StableDiffusionXLPipeline": 5.0}
OTHER_GUIDANCE = 7.5


@dataclass(frozen=True)
class Condition:
    """One prompt, as one row of each tensor.

    Attributes:
        embedding: Of the prompt, `(1, tokens, width)`.
        negative: Of the negative prompt, or None where images are not guided by a second pass.
        added: Other inputs of the network by their names (SDXL: pooled embedding, sizes).
        negative_added: The same of the negative prompt.
        guidance: Weight of the prompt against the negative one.
        guidance_embedding: Of a network that takes the weight as an input, instead of two passes.
        offset_unit: What an offset of one means: a fraction of the embedding's standard deviation.
    """

    embedding: Tensor
    negative: Tensor | None
    added: Mapping[str, Tensor]
    negative_added: Mapping[str, Tensor]
    guidance: float
    guidance_embedding: Tensor | None = None
    offset_unit: float = field(default=0.0)

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            embedding=self.embedding.to(device),
            negative=moved(self.negative),
            added={name: tensor.to(device) for name, tensor in self.added.items()},
            negative_added={name: tensor.to(device) for name, tensor in self.negative_added.items()},
            guidance_embedding=moved(self.guidance_embedding),
        )

    def predict(self, unet: nn.Module, sample: Tensor, level: Tensor, offset: Tensor | None) -> Tensor:
        """What the network says of scaled samples `(n, channels, height, width)`.

        With classifier-free guidance: negative + guidance·(positive − negative), both in one batch.

        Args:
            unet: The network.
            sample: In its precision.
            level: The noise level.
            offset: Of the embedding, `(n, tokens·width)` in units of `offset_unit`, or None.

        References:
            Ho and Salimans 2022, "Classifier-Free Diffusion Guidance".
        """
        rows = len(sample)
        embedding = self.embedding.expand(rows, -1, -1)
        if offset is not None:
            moved = self.offset_unit * offset.reshape(rows, *self.embedding.shape[1:])
            embedding = embedding + moved.to(embedding.dtype)
        if self.negative is None:
            return self._call(unet, sample, level, embedding, _rows(self.added, rows))
        both = {
            name: torch.cat([_row(self.negative_added[name], rows), _row(tensor, rows)])
            for name, tensor in self.added.items()
        }
        embeddings = torch.cat([self.negative.expand(rows, -1, -1), embedding])
        negative, positive = self._call(unet, torch.cat([sample, sample]), level, embeddings, both).chunk(2)
        return negative + self.guidance * (positive - negative)

    def _call(
        self, unet: nn.Module, sample: Tensor, level: Tensor, embedding: Tensor, added: Mapping[str, Tensor]
    ) -> Tensor:
        options: dict[str, Any] = {"added_cond_kwargs": dict(added)} if added else {}
        if self.guidance_embedding is not None:
            options["timestep_cond"] = self.guidance_embedding.expand(len(sample), -1)
        predicted: Tensor = unet(sample, level, encoder_hidden_states=embedding, **options).sample
        return predicted


def encode(pipeline: Any, options: DiffusersOptions, size: int, device: torch.device) -> Condition:
    """The condition of a text pipeline; its text encoders work here, and no more.

    Args:
        pipeline: Of diffusers.
        options: Prompts and guidance.
        size: Pixels of an image.
        device: Where the text encoders work.

    Raises:
        ConfigError: There is no prompt, or a negative one that would have no effect.
    """
    if options.prompt is None:
        raise ConfigError(
            f"generator.prompt: expected a prompt, as a {type(pipeline).__name__} needs one, got none"
        )
    name = type(pipeline).__name__
    guidance = options.guidance_scale
    guidance = DEFAULT_GUIDANCE.get(name, OTHER_GUIDANCE) if guidance is None else guidance
    distilled = pipeline.unet.config.time_cond_proj_dim is not None
    guided = guidance > 1 and not distilled
    if options.negative_prompt is not None and not guided:
        why = "takes the weight as an input" if distilled else f"is not guided at {guidance:g}"
        raise ConfigError(f"generator.negative_prompt: has no effect, as this pipeline {why}; leave it out")
    for encoder in _encoders(pipeline):
        encoder.to(device)
    with torch.no_grad():
        condition = _encoded(pipeline, options, size, device, guided)
    for encoder in _encoders(pipeline):
        encoder.to("cpu")
    unit = options.offset * float(condition.embedding.float().std())
    embedded = _guidance_embedding(pipeline, guidance) if distilled else None
    return replace(condition, guidance=guidance, guidance_embedding=embedded, offset_unit=unit)


def _encoders(pipeline: Any) -> list[nn.Module]:
    found = (getattr(pipeline, name, None) for name in ("text_encoder", "text_encoder_2"))
    return [encoder for encoder in found if encoder is not None]


def _encoded(
    pipeline: Any, options: DiffusersOptions, size: int, device: torch.device, guided: bool
) -> Condition:
    encoded = pipeline.encode_prompt(
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
    )
    if len(encoded) == 2:
        return Condition(encoded[0], encoded[1] if guided else None, {}, {}, 1.0)
    embedding, negative, pooled, negative_pooled = encoded
    # original size, corner of the crop, target size (Podell et al. 2023, section 2.2)
    sizes = embedding.new_tensor([[size, size, 0, 0, size, size]])
    added = {"text_embeds": pooled, "time_ids": sizes}
    other = {"text_embeds": negative_pooled, "time_ids": sizes} if guided else {}
    return Condition(embedding, negative if guided else None, added, other, 1.0)


def _guidance_embedding(pipeline: Any, guidance: float) -> Tensor:
    weight = torch.tensor([guidance - 1])
    embedded: Tensor = pipeline.get_guidance_scale_embedding(
        weight, embedding_dim=pipeline.unet.config.time_cond_proj_dim
    )
    return embedded.to(pipeline.unet.dtype)


def _row(tensor: Tensor, rows: int) -> Tensor:
    return tensor.expand(rows, -1)


def _rows(tensors: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    return {name: _row(tensor, rows) for name, tensor in tensors.items()}
