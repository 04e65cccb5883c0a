"""From images and labels to a trained classifier."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from qdgs.errors import InputError
from qdgs.training.pixels import to_unit

Schedule = Literal["constant", "cosine"]
Precision = Literal["auto", "float32", "bfloat16"]
Augmentation = Callable[[Tensor, torch.Generator], Tensor]
Weigh = Callable[[Tensor, Tensor], Tensor]

# A batch goes through the network in parts of this many images, whose gradients add up to the batch's. On a
# CPU this is a quarter faster: activations stay below the 32 MiB above which glibc maps fresh pages for each.
PART = 64


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        number: Counts from 1.
        loss: Mean over the epoch's images, each at the weights of its time.
        learning_rate: Of the epoch's last step.
    """

    number: int
    loss: float
    learning_rate: float


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether a network's arithmetic is in bfloat16: with "auto", where the device has instructions for it.

    Where it has none bfloat16 is emulated, and takes five times as long as float32.
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    told: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # not every torch can tell
    return device.type == "cpu" and bool(told.get("amx_bf16") or told.get("avx512_bf16"))


def scheduled_rate(learning_rate: float, schedule: Schedule, step: int, steps: int) -> float:
    """Learning rate of a step: η, or for "cosine" η·(1 + cos(π·step/steps))/2.

    Args:
        learning_rate: η, the rate of step 0.
        schedule: Its course.
        step: From 0 to `steps` − 1.
        steps: In the whole training.
    """
    if schedule == "constant":
        return learning_rate
    return learning_rate * (1 + math.cos(math.pi * step / steps)) / 2


def train_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    generator: torch.Generator,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    schedule: Schedule = "constant",
    augment: Augmentation | None = None,
    precision: Precision = "float32",
    weigh: Weigh | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> None:
    """Train a binary classifier in place: Adam from its initial state, cross-entropy of the logits.

    The same seed gives the same weights, bit for bit, on the same machine with as many threads. Runs where
    the images are; the model must be there too.

    Args:
        model: Images `(batch_size, 3, s, s)` in [0, 1] → logits `(batch_size,)`.
        images: `(n, 3, s, s)`, float in [0, 1], or uint8, which takes a quarter of the memory.
        labels: `(n,)`, 0 or 1.
        epochs: Times that every image is seen.
        generator: Draws the order of the images and the augmentation, on the CPU.
        batch_size: Images a step; the last step of an epoch may have fewer.
        learning_rate: Adam's, at the first step.
        schedule: Course of the learning rate over all steps.
        augment: Applied to each batch anew.
        precision: Of the network's arithmetic; weights, loss and optimizer stay in float32. On processors
            with instructions for it bfloat16 takes about half of the time; "auto" takes it there alone.
        weigh: Losses `(m,)` of some images, without gradients, and those images' rows `(m,)` → their weights
            `(m,)`; 1 each without it.
        on_epoch: Called after each epoch, for instance to evaluate the model.

    Raises:
        InputError: There are no images, or images and labels do not belong together.
    """
    _check(images, labels)
    targets = labels.to(images.device, torch.float32)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    batches = math.ceil(len(images) / batch_size)
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for epoch in range(epochs):
            model.train()
            order = torch.randperm(len(images), generator=generator).to(images.device)
            loss = torch.zeros((), device=images.device)
            for index in range(batches):
                rows = order[index * batch_size : (index + 1) * batch_size]
                rate = scheduled_rate(learning_rate, schedule, epoch * batches + index, epochs * batches)
                optimizer.param_groups[0]["lr"] = rate
                batch = to_unit(images[rows])
                batch = _laid_out(augment(batch, generator) if augment else batch)
                wanted = targets[rows]
                loss += _step(model, optimizer, batch, wanted, precision, rows, weigh) * len(rows)
            if on_epoch is not None:
                on_epoch(Epoch(epoch + 1, loss.item() / len(images), rate))


def predict(model: nn.Module, images: Tensor, *, batch_size: int = PART) -> Tensor:
    """Logits `(n,)` of images `(n, 3, s, s)`, float in [0, 1] or uint8, in evaluation mode, on the CPU."""
    training = model.training
    model.eval()
    with torch.no_grad():
        batches = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
        logits = torch.cat([model(_laid_out(to_unit(batch))) for batch in batches])
    model.train(training)
    return logits.cpu()


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    precision: Precision,
    rows: Tensor,
    weigh: Weigh | None,
) -> Tensor:
    optimizer.zero_grad()
    rounded = torch.autocast(
        images.device.type, torch.bfloat16, enabled=in_bfloat16(precision, images.device)
    )
    total = torch.zeros((), device=images.device)
    for start in range(0, len(images), PART):
        part, wanted = images[start : start + PART], targets[start : start + PART]
        with rounded:
            logits = model(part).float()
        losses = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if weigh is not None:
            losses = losses * weigh(losses.detach(), rows[start : start + PART])
        loss = losses.sum() / len(images)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    optimizer.step()
    return total


def _laid_out(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)  # half of the convolutions' time on a CPU


def _check(images: Tensor, labels: Tensor) -> None:
    if len(images) == 0:
        raise InputError("images: expected at least one to train on, got none")
    if tuple(labels.shape) != (len(images),):
        raise InputError(
            f"labels: expected one for each image, shape ({len(images)},), got {tuple(labels.shape)}"
        )
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise InputError(f"labels: expected 0 or 1, got {sorted(set(labels.tolist()) - {0, 1})[0]:g}")
