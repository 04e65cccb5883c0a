import math

import numpy as np
import pytest
import torch

from qdgs.recognition.heads import EDGE, FIRST_MEAN, FIRST_STD, HEADS, RATE, mean_and_std
from qdgs.recognition_config import MARGINS, HeadConfig

SCALE = 64.0


def head_of(name, embedding_dim=2, identities=2, directions=None, **options):
    config = HeadConfig(name=name, **options)
    head = HEADS[name](config, embedding_dim, identities, generator=torch.Generator().manual_seed(0)).double()
    if directions is not None:
        head.directions.data = torch.tensor(directions, dtype=torch.float64)
    return head.eval()


def at_angle(theta, norm=1.0):
    """An embedding at this angle from the first of two directions along the axes."""
    return torch.tensor([[norm * math.cos(theta), norm * math.sin(theta)]], dtype=torch.float64)


AXES = [[1.0, 0.0], [0.0, 1.0]]
FIRST = torch.tensor([0])


def test_cosface_takes_its_margin_off_the_cosine():
    logits = head_of("cosface", directions=AXES)(at_angle(0.7), FIRST)
    assert logits[0].tolist() == pytest.approx([SCALE * (math.cos(0.7) - 0.35), SCALE * math.sin(0.7)])


def test_arcface_adds_its_margin_to_the_angle():
    logits = head_of("arcface", directions=AXES)(at_angle(0.7), FIRST)
    assert logits[0].tolist() == pytest.approx([SCALE * math.cos(0.7 + 0.5), SCALE * math.sin(0.7)])


@pytest.mark.parametrize(
    ("norm", "quality"),
    [(20.0, 0.0), (20.0 - 5 / 0.333, -1.0), (5.1, -0.99234), (20.0 + 7.0, 0.333 * 7 / 5), (99.0, 1.0)],
)
def test_adaface_has_both_margins_by_the_norm(norm, quality):
    head = head_of("adaface", directions=AXES)
    head.mean.fill_(20.0)
    head.std.fill_(5.0)
    logits = head(at_angle(0.7, norm), FIRST)
    wanted = SCALE * (math.cos(0.7 - 0.4 * quality) - (0.4 * quality + 0.4))
    assert logits[0, 0].item() == pytest.approx(wanted, abs=SCALE * 0.4 * 1e-3)
    assert logits[0, 1].item() == pytest.approx(SCALE * math.sin(0.7))


def test_adaface_is_arcface_for_the_poorest_and_cosface_for_the_usual():
    ada = head_of("adaface", directions=AXES)
    ada.mean.fill_(20.0)
    ada.std.fill_(1.0)
    for name, norm in (("arcface", 1.0), ("cosface", 20.0)):
        other = head_of(name, directions=AXES, margin=0.4)
        embedding = at_angle(1.1, norm)
        torch.testing.assert_close(ada(embedding, FIRST), other(embedding, FIRST))


def formula(name, head, embeddings, labels):
    """The logits again, number by number."""
    margin, h, scale = head.config.margin, head.config.h, head.config.scale
    mean, std = (float(getattr(head, key, math.nan)) for key in ("mean", "std"))
    result = np.zeros((len(embeddings), len(head.directions)))
    for i, embedding in enumerate(embeddings.tolist()):
        norm = math.sqrt(sum(x * x for x in embedding))
        z = min(max((norm - mean) / ((std + 1e-3) / h), -1), 1)
        angle, add = {
            "adaface": (-margin * z, margin * z + margin),
            "arcface": (margin, 0.0),
            "cosface": (0.0, margin),
        }[name]
        for j, direction in enumerate(head.directions.tolist()):
            length = math.sqrt(sum(x * x for x in direction))
            cosine = sum(x * y for x, y in zip(embedding, direction, strict=True)) / norm / length
            cosine = min(max(cosine, EDGE - 1), 1 - EDGE)
            if j == labels[i]:
                theta = min(max(math.acos(cosine) + angle, EDGE), math.pi - EDGE)
                cosine = math.cos(theta) - add
            result[i, j] = scale * cosine
    return result


@pytest.mark.parametrize("name", sorted(HEADS))
def test_logits_are_the_formula_on_random_embeddings(name):
    generator = torch.Generator().manual_seed(1)
    head = head_of(name, embedding_dim=5, identities=7)
    if name == "adaface":
        head.mean.fill_(2.2)
        head.std.fill_(0.5)
    embeddings = torch.randn(32, 5, generator=generator, dtype=torch.float64)
    labels = torch.randint(7, (32,), generator=generator)
    np.testing.assert_allclose(
        head(embeddings, labels).detach(), formula(name, head, embeddings, labels.tolist()), atol=1e-9
    )


@pytest.mark.parametrize("name", sorted(HEADS))
def test_gradients_are_those_of_finite_differences_with_the_norm_held(name):
    generator = torch.Generator().manual_seed(2)
    head = head_of(name, embedding_dim=4, identities=3)
    base = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1])
    norms = base.norm(dim=1, keepdim=True)

    def logits(embeddings, directions):
        head.directions.data = directions.detach()
        scaled = embeddings * norms / embeddings.norm(dim=1, keepdim=True)  # g never sees the norm's gradient
        return torch.func.functional_call(head, {"directions": directions}, (scaled, labels))

    directions = head.directions.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(logits, (base.requires_grad_(), directions))


@pytest.mark.parametrize(("name", "angle"), [("cosface", 0.0), ("arcface", 0.5)])
def test_the_true_logit_moves_with_the_cosine_by_the_closed_form(name, angle):
    # d s·cos(θ + g) / d cos θ = s·sin(θ + g) / sin θ, and d cos θ / d θ = −sin θ
    head = head_of(name, directions=AXES)
    theta = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    head(torch.stack([theta.cos(), theta.sin()])[None], FIRST)[0, 0].backward()
    assert theta.grad.item() == pytest.approx(-SCALE * math.sin(0.7 + angle))


def test_no_gradient_comes_through_the_norm_that_sets_adafaces_margins():
    head = head_of("adaface", directions=AXES)
    head.mean.fill_(1.0)
    head.std.fill_(1.0)
    embedding = at_angle(0.7).requires_grad_()
    head(embedding, FIRST)[0, 0].backward()
    along = (embedding.grad * embedding.detach()).sum()
    assert abs(along.item()) < 1e-9  # a longer embedding of the same direction would change nothing


def test_running_norms_follow_each_training_batch_and_rest_in_evaluation():
    head = head_of("adaface", embedding_dim=6, identities=3)
    embeddings = 3 * torch.randn(10, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    labels = torch.zeros(10, dtype=torch.int64)
    head(embeddings, labels)
    assert (head.mean.item(), head.std.item()) == (FIRST_MEAN, FIRST_STD)
    head.train()(embeddings, labels)
    norms = embeddings.norm(dim=1).numpy()
    assert head.mean.item() == pytest.approx((1 - RATE) * FIRST_MEAN + RATE * norms.mean())
    assert head.std.item() == pytest.approx((1 - RATE) * FIRST_STD + RATE * norms.std(ddof=1))


def test_mean_and_deviation_of_one_process_are_those_of_numpy():
    values = torch.tensor([1.0, 4.0, 9.0, 2.5])
    mean, std = mean_and_std(values)
    assert mean.item() == pytest.approx(values.numpy().mean())
    assert std.item() == pytest.approx(values.numpy().std(ddof=1))


@pytest.mark.parametrize("name", sorted(HEADS))
@pytest.mark.parametrize("theta", [0.0, math.pi])
def test_an_embedding_on_or_opposite_to_its_direction_has_a_finite_gradient(name, theta):
    head = head_of(name, directions=AXES)
    embedding = at_angle(theta).requires_grad_()
    logits = head(embedding, FIRST)
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(embedding.grad).all()


def test_the_published_margins_are_taken_where_none_is_given():
    assert {name: HeadConfig(name=name).margin for name in MARGINS} == MARGINS
    assert HeadConfig(name="arcface", margin=0.1).margin == 0.1
