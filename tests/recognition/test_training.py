import math

import pytest
import torch
from torch.nn import functional

from qdgs.recognition.images import Batch
from qdgs.recognition.processes import Processes
from qdgs.recognition.training import Training, learning_rate

ALONE = Processes(0, 1, "cpu")


def batch_of(n=8, identities=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(images, torch.arange(n) % identities, [])


def test_the_rate_falls_at_the_milestones(small_config):
    schedule = small_config(
        training={"learning_rate": 0.01, "milestones": [12, 20, 24], "epochs": 26}
    ).training
    rates = [learning_rate(schedule, epoch) for epoch in (0, 11, 12, 19, 20, 23, 24, 25)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_a_step_is_momentum_descent_on_the_clipped_gradient_of_the_cross_entropy(small_config):
    config = small_config(
        backbone={"dropout": 0.0}, training={"clip_norm": 0.5, "weight_decay": 0.01, "learning_rate": 0.1}
    )
    training, again = (Training(config, 4, 10, ALONE) for _ in range(2))
    batch = batch_of()
    progress = training.update(batch)

    model = again.recogniser.train()
    loss = functional.cross_entropy(model(batch.images.float() / 255, batch.labels), batch.labels)
    parameters = dict(model.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    assert progress.loss == pytest.approx(loss.item(), rel=1e-5)
    assert progress.gradient_norm == pytest.approx(norm, rel=1e-4)
    still = {
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d)
        for key in ("weight", "bias")
    }
    assert len(still) > 10
    moved = dict(training.recogniser.named_parameters())
    for (name, old), gradient in zip(parameters.items(), gradients, strict=True):
        decay = 0.0 if name in still else 0.01
        wanted = old - 0.1 * (gradient * min(1, 0.5 / norm) + decay * old)
        torch.testing.assert_close(moved[name], wanted, rtol=1e-4, atol=1e-6)


def test_a_training_that_was_saved_goes_on_as_if_it_had_not_been(small_config):
    config = small_config(backbone={"dropout": 0.3})
    whole, first, second = (Training(config, 4, 2, ALONE) for _ in range(3))
    batches = [batch_of(seed=seed) for seed in range(4)]
    for batch in batches:
        whole.update(batch)
    for batch in batches[:2]:
        first.update(batch)
    second.load_state_dict(first.state_dict())
    for batch in batches[2:]:
        second.update(batch)
    for name, value in whole.recogniser.state_dict().items():
        assert torch.equal(value, second.recogniser.state_dict()[name]), name


@pytest.mark.parametrize("head", ["adaface", "arcface", "cosface"])
def test_every_head_learns_a_batch_by_heart(small_config, head):
    config = small_config(head={"name": head, "scale": 16.0}, training={"milestones": []})
    training = Training(config, 4, 10_000, ALONE)
    losses = [training.update(batch_of()).loss for _ in range(25)]
    assert losses[-1] < losses[0] / 4


def test_bfloat16_rounds_the_backbone_alone(small_config):
    exact, rounded = (
        Training(small_config(training={"precision": kind}), 4, 10, ALONE) for kind in ("float32", "bfloat16")
    )
    losses = [training.update(batch_of()).loss for training in (exact, rounded)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert {value.dtype for value in rounded.recogniser.parameters()} == {torch.float32}


@pytest.mark.parametrize(("supported", "kind"), [(True, "bfloat16"), (False, "float32")])
def test_auto_rounds_where_the_processor_has_instructions_for_it(small_config, monkeypatch, supported, kind):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": supported}, raising=False)
    one, other = (Training(small_config(training={"precision": p}), 4, 10, ALONE) for p in ("auto", kind))
    assert one.update(batch_of()).loss == other.update(batch_of()).loss
