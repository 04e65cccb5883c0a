import copy
import math

import pytest
import torch
from torch import nn

from qdgs.errors import InputError
from qdgs.training.augmentation import rotate_randomly
from qdgs.training.classifier import ShapeClassifier
from qdgs.training.loop import Epoch, in_bfloat16, predict, scheduled_rate, train_classifier
from qdgs.training.pixels import to_unit

SIZE = 16


def model(seed: int = 0) -> ShapeClassifier:
    return ShapeClassifier(SIZE, generator=torch.Generator().manual_seed(seed))


def task(n: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright or dark images: learnt in a few steps."""
    labels = torch.arange(n) % 2
    noise = torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    return (0.5 * noise + 0.5 * labels[:, None, None, None]) * 255, labels


@pytest.fixture
def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = task()
    return images.to(torch.uint8), labels


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_learns_what_is_easy(pixels):
    images, labels = pixels
    trained, losses = model(), []
    train_classifier(
        trained,
        images,
        labels,
        epochs=5,
        generator=seeded(),
        batch_size=32,
        on_epoch=lambda e: losses.append(e.loss),
    )
    assert ((predict(trained, images) > 0) == labels.bool()).float().mean() == 1
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_weights_bit_for_bit(pixels):
    runs = []
    for _ in range(2):
        trained = model()
        train_classifier(trained, *pixels, epochs=2, generator=seeded(), augment=rotate_randomly)
        runs.append(torch.cat([p.flatten() for p in trained.parameters()]))
    assert torch.equal(*runs)


def test_neither_reads_nor_moves_the_global_random_state(pixels):
    before = torch.get_rng_state()
    train_classifier(model(), *pixels, epochs=1, generator=seeded(), augment=rotate_randomly)
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_equal_a_plain_loop_with_adam(pixels):
    images, labels = pixels
    trained = model()
    reference = copy.deepcopy(trained)
    train_classifier(
        trained, images, labels, epochs=2, generator=seeded(), batch_size=150, learning_rate=1e-4
    )
    optimizer, generator = torch.optim.Adam(reference.parameters(), 1e-4), seeded()
    for _ in range(2):
        for rows in torch.randperm(200, generator=generator).split(150):
            logits = reference(to_unit(images[rows]))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, labels[rows].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(predict(trained, images), predict(reference, images), atol=1e-3, rtol=0)


def test_cosine_schedule_equals_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    for step in range(12):
        assert scheduled_rate(0.1, "cosine", step, 12) == pytest.approx(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()


def test_constant_schedule_is_constant():
    assert {scheduled_rate(0.1, "constant", step, 7) for step in range(7)} == {0.1}


def test_epochs_tell_number_and_learning_rate(pixels):
    epochs: list[Epoch] = []
    train_classifier(
        model(),
        *pixels,
        epochs=3,
        generator=seeded(),
        batch_size=100,
        schedule="cosine",
        on_epoch=epochs.append,
    )
    assert [epoch.number for epoch in epochs] == [1, 2, 3]
    assert epochs[-1].learning_rate == pytest.approx(1e-3 * (1 + math.cos(math.pi * 5 / 6)) / 2)


def test_bytes_and_floats_train_alike(pixels):
    images, labels = pixels
    one, two = model(), model()
    train_classifier(one, images, labels, epochs=1, generator=seeded())
    train_classifier(two, to_unit(images), labels, epochs=1, generator=seeded())
    assert torch.equal(predict(one, images), predict(two, images))


def test_predict_does_not_depend_on_the_batch_size_and_leaves_the_mode(pixels):
    images, _ = pixels
    trained = model().train()
    torch.testing.assert_close(predict(trained, images, batch_size=7), predict(trained, images))
    assert trained.training


def test_a_label_too_few_is_refused(pixels):
    images, labels = pixels
    with pytest.raises(
        InputError, match=r"labels: expected one for each image, shape \(200,\), got \(199,\)"
    ):
        train_classifier(model(), images, labels[:-1], epochs=1, generator=seeded())


def test_labels_other_than_0_and_1_are_refused(pixels):
    images, labels = pixels
    with pytest.raises(InputError, match="labels: expected 0 or 1, got 2"):
        train_classifier(model(), images, labels * 2, epochs=1, generator=seeded())


def test_no_images_are_refused():
    with pytest.raises(InputError, match="images: expected at least one"):
        train_classifier(model(), torch.empty(0, 3, SIZE, SIZE), torch.empty(0), epochs=1, generator=seeded())


@pytest.mark.parametrize(
    ("told", "expected"),
    [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx2": True, "amx_bf16": False}, False)],
)
def test_auto_takes_bfloat16_where_the_processor_has_instructions_for_it(told, expected, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told, raising=False)
    assert in_bfloat16("auto", cpu) is expected
    assert in_bfloat16("bfloat16", cpu)
    assert not in_bfloat16("float32", cpu)
    assert not in_bfloat16("auto", torch.device("meta"))
