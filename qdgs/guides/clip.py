"""CLIP: images and prompts → unit vectors on one sphere."""

import re
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qdgs.compat import import_open_clip
from qdgs.errors import CorruptFileError
from qdgs.guides.clip_sources import FOLDER_PREFIX, ClipFiles, locate
from qdgs.guides.clip_sources import describe as describe
from qdgs.guides.clip_sources import fetch as fetch


class PromptWarning(UserWarning):
    """A prompt may not mean to the model what it means to the reader."""


@dataclass(frozen=True)
class Preprocessing:
    """Images in [0, 1] → the input of an image tower, in tensors all the way, so that gradients flow.

    Resized to the model's own size (antialiased; not at all where the size is right already), clamped to
    [0, 1] as an 8-bit image would be, normalised. Square images, for which open_clip's ways of resizing
    (shortest, longest, squash) are one.

    Attributes:
        size: Height and width in pixels.
        mean: One a channel.
        std: One a channel.
        interpolation: "bicubic" or "bilinear".
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """The preprocessing that an open_clip model was trained with."""
        config = import_open_clip().get_model_preprocess_cfg(model)
        size, mean, std = config["size"], config["mean"], config["std"]
        height, width = (size, size) if isinstance(size, int) else size
        interpolation = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"
        return cls((height, width), tuple(mean), tuple(std), interpolation)

    def __call__(self, images: Tensor) -> Tensor:
        """Preprocess images `(batch_size, 3, height, width)` in [0, 1]."""
        images = images.float()
        if tuple(images.shape[-2:]) != self.size:
            images = F.interpolate(images, self.size, mode=self.interpolation, antialias=True).clamp(0, 1)
        mean, std = (images.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (images - mean) / std


class ClipEncoder:
    """A frozen CLIP in float32, in evaluation mode.

    Attributes:
        name: The model as the user named it.
        preprocessing: Its preprocessing of images.
        card: What the card.json in its folder says; empty where there is none.
        device: Where it works.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
        Ilharco et al., OpenCLIP, doi:10.5281/zenodo.5143773.
    """

    def __init__(self, model: Any, tokenizer: Any, *, name: str, card: dict[str, Any] | None = None) -> None:
        self.model: Any = model.float().eval().requires_grad_(False)
        self.name = name
        self.preprocessing = Preprocessing.of(model)
        self.card = card or {}
        self._tokenizer = tokenizer
        self._vocabulary = _words(self.card.get("vocabulary", []))

    @classmethod
    def load(cls, model: str, pretrained: str | None = None, *, device: torch.device | str) -> Self:
        """Load a CLIP, fetching its weights where they are not on this machine.

        Args:
            model: `qdgs-mini` (embedded), `local-dir:FOLDER`, `hf-hub:ORGANISATION/REPOSITORY`, or an
                open_clip architecture such as `ViT-B-32`.
            pretrained: For an architecture: open_clip's tag of the weights, or a checkpoint file.
            device: Where it is to work.

        Raises:
            ConfigError: The model or its pretrained tag is unknown.
            CorruptFileError: The weights fail their hash or cannot be read.
            InputError: The weights are not on this machine, and there is no network.
            MissingPackageError: The text tower needs a package that is not installed.
        """
        files = locate(model, pretrained)
        open_clip = import_open_clip()
        tower = _create_model(open_clip, files, torch.device(device))
        return cls(tower, open_clip.get_tokenizer(files.tokenizer), name=model, card=files.card)

    @property
    def device(self) -> torch.device:
        """Where the encoder works."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def encode_text(self, prompts: list[str]) -> Tensor:
        """Embed prompts, without gradients.

        Returns:
            Unit vectors `(n, embedding_dim)`.
        """
        # no_grad, as tensors made in inference_mode cannot enter autograd later
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            features = self.model.encode_text(self._tokenizer(prompts).to(self.device))
            return F.normalize(features.float(), dim=-1)

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow to them.

        Args:
            images: `(batch_size, 3, height, width)` in [0, 1], square, of any size and precision, on the
                encoder's device.

        Returns:
            Unit vectors `(batch_size, embedding_dim)`, float32.
        """
        with torch.autocast(self.device.type, enabled=False):
            features = self.model.encode_image(self.preprocessing(images))
            return F.normalize(features, dim=-1)

    def unknown_words(self, prompts: list[str]) -> list[str]:
        """Words of the prompts that the model never saw, where its card lists a `vocabulary`."""
        if not self._vocabulary:
            return []
        return [word for word in _words(prompts) if word not in self._vocabulary]

    def cut_prompts(self, prompts: list[str]) -> list[str]:
        """Prompts of which the model sees the beginning alone, as they are longer than its text tower reads.

        Nothing is known of tokenizers other than open_clip's own.
        """
        if not isinstance(self._tokenizer, import_open_clip().SimpleTokenizer):
            return []
        room = self._tokenizer.context_length - 2  # a token each for start and end
        return [prompt for prompt in prompts if len(self._tokenizer.encode(prompt)) > room]


def _words(texts: list[str]) -> dict[str, None]:
    return dict.fromkeys(word for text in texts for word in re.findall(r"[^\W_]+", text.lower()))


def _create_model(open_clip: Any, files: ClipFiles, device: torch.device) -> nn.Module:
    own_weights = files.model.startswith(FOLDER_PREFIX)
    try:
        model: nn.Module = open_clip.create_model(
            files.model,
            pretrained=None if own_weights else str(files.weights),
            precision="fp32",
            device=device,
            force_quick_gelu=files.quick_gelu,
            force_preprocess_cfg=files.preprocessing,
        )
    except Exception as error:  # open_clip lets through whatever torch, safetensors or the shapes raise
        reason = " ".join(str(error).split())[:200]
        raise CorruptFileError(
            f"{files.weights}: cannot be read as the weights of a CLIP: {reason}"
        ) from error
    return model
