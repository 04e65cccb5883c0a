"""CLIP: images and prompts → unit vectors on one sphere."""

import json
import pickle
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qdgs.clip.frozen import quicken
from qdgs.clip.preprocessing import Preprocessing
from qdgs.clip.sources import FOLDER_PREFIX, ClipFiles, ClipSource
from qdgs.compat import import_open_clip
from qdgs.errors import CorruptFileError, reason_of

SAME_MODEL = 1 - 1e-4
"""Cosine from which on two embeddings are one model's; weights stored in half precision stay above it."""

NO_WEIGHTS = "it is damaged, or asks for more than numbers, which was not run"
"""In place of torch's own words, which tell how to run it."""


class ClipWarning(UserWarning):
    """A CLIP may not see what its user thinks it does."""


class PromptWarning(ClipWarning):
    """A prompt may not mean to the model what it means to the reader."""


class ClipEncoder:
    """A frozen CLIP in float32, in evaluation mode.

    Attributes:
        name: The model as the user named it.
        preprocessing: Its preprocessing of images.
        card: What the card.json in its folder says; empty where there is none.
        device: Where it works.
        precision: Of the image tower's arithmetic; embeddings are float32 in any case.

    References:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
        Ilharco et al., OpenCLIP, doi:10.5281/zenodo.5143773.
    """

    thread_safe = True
    precision = torch.float32  # of the class: an encoder with another one is another encoder

    def __init__(self, model: Any, tokenizer: Any, *, name: str, card: dict[str, Any] | None = None) -> None:
        self.model: Any = model.float().eval().requires_grad_(False)
        if isinstance(self.model, nn.Module):
            quicken(self.model)
        self.name = name
        self.preprocessing = Preprocessing.of(model)
        self.card = card or {}
        self._tokenizer = tokenizer
        self._vocabulary = _words(self.card.get("vocabulary", []))

    @classmethod
    def load(
        cls,
        model: str,
        pretrained: str | None = None,
        *,
        device: torch.device | str,
        place: str = "guide.clip",
    ) -> Self:
        """Load a CLIP, fetching its weights where they are not on this machine.

        Args:
            model: `qdgs-mini` (embedded), `local-dir:FOLDER`, `hf-hub:ORGANISATION/REPOSITORY`, or an
                open_clip architecture such as `ViT-B-32`.
            pretrained: For an architecture: open_clip's tag of the weights, or a checkpoint file.
            device: Where it is to work.
            place: The key of the configuration that names it, for errors.

        Raises:
            ConfigError: The model or its pretrained tag is unknown.
            CorruptFileError: The weights fail their hash or cannot be read.
            MissingModelError: The weights are not on this machine, and there is no network.
            MissingPackageError: The text tower needs a package that is not installed.
        """
        files = ClipSource(model, pretrained, place).locate()
        if files.doubt:
            warnings.warn(f"{place}.pretrained: {files.doubt}", ClipWarning, stacklevel=2)
        open_clip = import_open_clip()
        tower = _create_model(open_clip, files, torch.device(device))
        return cls(tower, _tokenizer(open_clip, files), name=model, card=files.card)

    @property
    def device(self) -> torch.device:
        """Where the encoder works."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def identified_by(self) -> dict[str, Any]:
        """What tells it from another encoder; of open_clip's own tokenizer its options, not all its words."""
        tokenizer = self._tokenizer
        if isinstance(tokenizer, import_open_clip().SimpleTokenizer):
            functions = [
                getattr(one, "__name__", None) for one in (tokenizer.clean_fn, tokenizer.reduction_fn)
            ]
            tokenizer = [tokenizer.context_length, tokenizer.vocab_size, tokenizer.pat.pattern, *functions]
        return {**vars(self), "_tokenizer": tokenizer}

    @property
    def logit_scale(self) -> float:
        """By what it multiplies cosines before a softmax over prompts: its inverse temperature."""
        return float(self.model.logit_scale.exp())

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
            images: `(batch_size, 3, height, width)` in [0, 1], of any size and precision, on the encoder's
                device.

        Returns:
            Unit vectors `(batch_size, embedding_dim)`, float32.
        """
        exact = self.precision is torch.float32
        with torch.autocast(self.device.type, enabled=False):
            pixels = self.preprocessing(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=not exact):
            features = self.model.encode_image(pixels)
        with torch.autocast(self.device.type, enabled=False):
            return F.normalize(features if exact else features.float(), dim=-1)

    def sees_as(self, other: Self) -> bool:
        """Whether another encoder is this very model, whatever its name and the file that it comes from.

        Both embed a ramp of grey, and two words, to the same place.
        """
        ramp = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
        pairs = [
            (one.encode_images(ramp.to(one.device)), one.encode_text(["red", "a person"]))
            for one in (self, other)
        ]
        (image, text), (other_image, other_text) = pairs
        if image.shape != other_image.shape:
            return False
        cosines = [(image.cpu() * other_image.cpu()).sum(-1), (text.cpu() * other_text.cpu()).sum(-1)]
        return bool(torch.cat(cosines).amin() > SAME_MODEL)

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
            text_cfg=files.text,
        )
    except Exception as error:  # open_clip lets through whatever torch, safetensors or the shapes raise
        raise _unreadable(files.weights, "the weights of a CLIP", error) from error
    return model


def _tokenizer(open_clip: Any, files: ClipFiles) -> Any:
    """As `open_clip.get_tokenizer` makes it, of files that are here: transformers would ask the network."""
    length = files.text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    options = dict(files.text.get("tokenizer_kwargs", {}))
    if files.tokenizer is None:
        return _own_tokenizer(json.dumps({"context_length": length, **options}))
    mode = files.text.get("tokenizer_mode")
    try:
        return open_clip.tokenizer.HFTokenizer(
            str(files.tokenizer), context_length=length, tokenizer_mode=mode, **options
        )
    except Exception as error:  # transformers lets through whatever its many kinds raise
        raise _unreadable(files.tokenizer, "a tokenizer of transformers", error) from error


@lru_cache(maxsize=4)
def _own_tokenizer(options: str) -> Any:
    """open_clip's own, which takes a fifth of a second to read."""
    return import_open_clip().SimpleTokenizer(**json.loads(options))


def _unreadable(path: Path, what: str, error: Exception) -> CorruptFileError:
    reason = NO_WEIGHTS if isinstance(error, pickle.UnpicklingError) else reason_of(error)
    return CorruptFileError(f"{path}: cannot be read as {what}: {reason}; fetch or copy it again")
