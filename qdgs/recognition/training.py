"""Training a recogniser, step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from qdgs.randomness import Stream, integer_seed
from qdgs.recognition.backbones import IResNet
from qdgs.recognition.heads import HEADS, MarginHead
from qdgs.recognition.images import DROPOUT, WEIGHTS, Batch, numbered
from qdgs.recognition.processes import Processes
from qdgs.recognition_config import RecognitionConfig, ScheduleConfig
from qdgs.training.loop import in_bfloat16
from qdgs.training.pixels import to_unit

BACKBONE, HEAD = range(2)


class Recogniser(nn.Module):
    """A backbone, and the head that it is trained with.

    Args:
        backbone: Images → embeddings.
        head: Embeddings and labels → logits.
        precision: Of the backbone's arithmetic.
    """

    def __init__(self, backbone: IResNet, head: MarginHead, precision: torch.dtype) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._precision = precision

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Logits `(batch_size, identities)` of images `(batch_size, 3, s, s)` in [0, 1]."""
        with self._rounded(images.device.type):
            embeddings = self.backbone(images)
        logits: Tensor = self.head(embeddings.float(), labels)
        return logits

    def _rounded(self, kind: str) -> AbstractContextManager[Any]:
        return torch.autocast(kind, self._precision, enabled=self._precision is not torch.float32)


@dataclass(frozen=True)
class Progress:
    """What is known after a step.

    Attributes:
        step: Counts from 1, over all epochs.
        epoch: Counts from 1.
        loss: Of the step's images in this process.
        gradient_norm: Before clipping.
        learning_rate: Of the step.
    """

    step: int
    epoch: int
    loss: float
    gradient_norm: float
    learning_rate: float


def learning_rate(schedule: ScheduleConfig, epoch: int) -> float:
    """Rate of an epoch, from 0: η·γ^(milestones passed)."""
    passed = sum(epoch >= milestone for milestone in schedule.milestones)
    return schedule.learning_rate * schedule.gamma**passed


class Training:
    """A training between two steps.

    Args:
        config: What is trained, and how.
        identities: Number of identities.
        steps: Steps an epoch.
        processes: Which of how many this is.

    Attributes:
        step: Steps done.
        recogniser: What is trained.
    """

    def __init__(self, config: RecognitionConfig, identities: int, steps: int, processes: Processes) -> None:
        self.config = config
        self.step = 0
        self.steps = steps
        self._processes = processes
        backbone = IResNet(config.backbone, config.image_size, generator=_drawing(config.seed, BACKBONE))
        head = HEADS[config.head.name](
            config.head, config.backbone.embedding, identities, generator=_drawing(config.seed, HEAD)
        )
        self.recogniser = Recogniser(backbone, head, _dtype(config.training.precision, processes.device))
        self._layout = _layout(config)
        self.recogniser.to(processes.device, memory_format=self._layout)  # type: ignore[call-overload]
        self._model: nn.Module = self.recogniser
        if processes.world > 1:
            self._model = DistributedDataParallel(self.recogniser)
        schedule = config.training
        self._optimizer = torch.optim.SGD(
            _weights(self.recogniser, schedule.weight_decay),
            lr=schedule.learning_rate,
            momentum=schedule.momentum,
        )
        kind = torch.device(processes.device).type
        self._scaler = torch.amp.GradScaler(kind, enabled=schedule.precision == "float16")

    @property
    def backbone(self) -> IResNet:
        """What turns images into embeddings."""
        return self.recogniser.backbone

    @property
    def head(self) -> MarginHead:
        """What turns embeddings into logits."""
        return self.recogniser.head

    def update(self, batch: Batch) -> Progress:
        """One step: loss, gradients, clipped, and the weights moved against them."""
        schedule, epoch = self.config.training, self.step // self.steps
        rate = learning_rate(schedule, epoch)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._model.train()
        self._draw_dropout(epoch)
        images = to_unit(batch.images.to(self._processes.device, non_blocking=True))
        labels = batch.labels.to(self._processes.device, non_blocking=True)
        self._optimizer.zero_grad()
        logits = self._model(images.contiguous(memory_format=self._layout), labels)
        loss = functional.cross_entropy(logits, labels)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.recogniser.parameters(), schedule.clip_norm or math.inf)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.step += 1
        return Progress(self.step, epoch + 1, loss.item(), norm.item(), rate)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {
            "step": self.step,
            "backbone": self.recogniser.backbone.state_dict(),
            "head": self.recogniser.head.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.recogniser.backbone.load_state_dict(state["backbone"])
        self.recogniser.head.load_state_dict(state["head"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])
        self.step = state["step"]

    def _draw_dropout(self, epoch: int) -> None:
        part = (self.step % self.steps) * self._processes.world + self._processes.rank
        seed = integer_seed(self.config.seed, Stream.TRAINING, numbered(DROPOUT, epoch, part))
        generator = torch.Generator(self._processes.device)
        self.recogniser.backbone.dropout.generator = generator.manual_seed(seed)


def fit(training: Training, batches: Iterable[Batch]) -> Iterator[tuple[Progress, Batch]]:
    """Train on batch after batch. Yields what is known after each step, and its batch.

    Between two steps the training is whole: it can be saved, and goes on from there bit for bit.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for batch in batches:
            yield training.update(batch), batch


def _weights(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """All parameters; those of batch normalisation do not decay."""
    still = [
        parameter
        for module in model.modules()
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
        for parameter in module.parameters()
    ]
    kept = {id(parameter) for parameter in still}
    decaying = [parameter for parameter in model.parameters() if id(parameter) not in kept]
    return [{"params": decaying, "weight_decay": decay}, {"params": still, "weight_decay": 0.0}]


def _drawing(seed: int, part: int) -> torch.Generator:
    return torch.Generator().manual_seed(integer_seed(seed, Stream.TRAINING, numbered(WEIGHTS, 0, part)))


def _layout(config: RecognitionConfig) -> torch.memory_format:
    """Of weights and images in memory; for convolutions channels last is quicker.

    On processors without AVX-512 oneDNN's gradient of a 1×1 convolution of stride 2 writes outside of its
    memory if the channels are last and fewer than eight.
    """
    return torch.channels_last if config.backbone.width >= 8 else torch.contiguous_format


def _dtype(precision: str, device: str) -> torch.dtype:
    if precision == "float16":
        return torch.float16
    return torch.bfloat16 if in_bfloat16(precision, torch.device(device)) else torch.float32
