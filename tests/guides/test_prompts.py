import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qdgs.clip.encoder import ClipEncoder, PromptWarning
from qdgs.config import GuideConfig
from qdgs.errors import ConfigError
from qdgs.guides.base import Guide
from qdgs.guides.prompts import PromptGuide

PROMPTS: dict[str, Any] = {
    "objective": {"positive": ["A red square.", "A triangle."], "negative": ["a shape with 4 edges"]},
    "measures": [
        {"name": "color", "low": ["red", "A red shape."], "high": ["blue"]},
        {"name": "edges", "low": "triangle", "high": "square"},
        {"name": "count", "low": "3", "high": "4"},
    ],
}


@pytest.fixture(scope="module")
def encoder(tiny_clip_folder: Path) -> ClipEncoder:
    return ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")


def guide(encoder: ClipEncoder, **changes: Any) -> PromptGuide:
    return PromptGuide(encoder, GuideConfig.model_validate({**PROMPTS, **changes}))


def some_images(n: int = 5, size: int = 40, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((n, 3, size, size), dtype=np.float32))


def independent_scores(
    encoder: ClipEncoder, images: Tensor, text_weight: float = 1
) -> tuple[np.ndarray, np.ndarray]:
    embeddings = encoder.encode_images(images).double().numpy()

    def side(*prompts: str) -> np.ndarray:
        texts = [encoder.encode_text([prompt])[0].double().numpy() for prompt in prompts]
        return np.mean(
            [2 * np.arcsin(np.linalg.norm(embeddings - text, axis=1) / 2) for text in texts], axis=0
        )

    text_loss = side("A red square.", "A triangle.") - side("a shape with 4 edges")
    measures = [
        side("red", "A red shape.") - side("blue"),
        side("triangle") - side("square"),
        side("3") - side("4"),
    ]
    return 100 - 50 * text_weight * text_loss, np.stack(measures, axis=1)


@pytest.mark.parametrize("text_weight", [1.0, 0.3])
def test_scores_equal_an_independent_computation(encoder: ClipEncoder, text_weight: float) -> None:
    images = some_images()
    scores = guide(encoder, weights={"text": text_weight}).score(images)
    objective, measures = independent_scores(encoder, images, text_weight)
    np.testing.assert_allclose(scores.objective, objective, atol=1e-4)
    np.testing.assert_allclose(scores.measures, measures, atol=1e-6)


def test_it_is_a_guide_with_one_name_a_measure(encoder: ClipEncoder) -> None:
    made = guide(encoder)
    assert isinstance(made, Guide)
    assert made.measure_names == ("color", "edges", "count")
    scores = made.score(some_images(2))
    assert (scores.objective.shape, scores.measures.shape) == ((2,), (2, 3))


def test_a_negative_measure_is_closer_to_low(encoder: ClipEncoder) -> None:
    made = guide(encoder)
    low = encoder.encode_text(["triangle"])
    high = encoder.encode_text(["square"])
    assert (
        float(made.score_embeddings(low).measures[0, 1])
        < 0
        < float(made.score_embeddings(high).measures[0, 1])
    )


def test_a_repeated_prompt_does_not_change_the_scale(encoder: ClipEncoder) -> None:
    once = guide(encoder, objective={"positive": ["red"], "negative": ["blue"]})
    thrice = guide(encoder, objective={"positive": ["red"] * 3, "negative": ["blue", "blue"]})
    images = some_images()
    torch.testing.assert_close(once.score(images).objective, thrice.score(images).objective)


def test_negative_prompts_may_be_left_out(encoder: ClipEncoder) -> None:
    images = some_images()
    objective = guide(encoder, objective={"positive": ["red"]}).score(images).objective
    distance = torch.acos(encoder.encode_images(images) @ encoder.encode_text(["red"])[0])
    torch.testing.assert_close(objective, 100 - 50 * distance, atol=1e-3, rtol=0)


def test_text_is_embedded_once(tiny_clip_folder: Path) -> None:
    own = ClipEncoder.load(f"local-dir:{tiny_clip_folder}", device="cpu")
    calls: list[int] = []
    own.model.token_embedding.register_forward_hook(lambda module, inputs, output: calls.append(len(output)))
    made = guide(own, weights={"uniqueness": 0.2})
    for _ in range(3):
        made.score(some_images(2))
    assert calls == [10]


def test_jacobian_agrees_with_finite_differences(encoder: ClipEncoder) -> None:
    made = guide(encoder, weights={"text": 1.0, "uniqueness": 0.2})
    made.remember(made.embed(some_images(3, seed=1)))
    origin, direction = some_images(2), some_images(2, seed=2) - 0.5

    def along(step: Tensor) -> Tensor:
        scores = made.score(0.25 + 0.5 * origin + step * direction)
        return torch.cat([scores.objective[:, None] / 50, scores.measures], dim=1)

    step = torch.zeros((), requires_grad=True)
    values = along(step)
    slopes = [torch.autograd.grad(value, step, retain_graph=True)[0] for value in values.flatten()]
    h = 0.02
    with torch.no_grad():
        expected = (along(torch.tensor(h)) - along(torch.tensor(-h))) / (2 * h)
    torch.testing.assert_close(torch.stack(slopes), expected.flatten(), rtol=0.02, atol=2e-4)
    assert expected.abs().max() > 0.01


def test_gradients_are_finite_where_an_image_is_embedded_exactly_at_a_prompt(encoder: ClipEncoder) -> None:
    made = guide(encoder, weights={"uniqueness": 0.2})
    for sign in (1, -1):
        raw = (3 * sign * encoder.encode_text(["red", "blue", "triangle"])).requires_grad_()
        embeddings = torch.nn.functional.normalize(raw)
        made.remember(embeddings)
        scores = made.score_embeddings(embeddings)
        for output in (scores.objective, *scores.measures.T):
            (gradient,) = torch.autograd.grad(output.sum(), raw, retain_graph=True)
            assert gradient.isfinite().all()


def test_rows_do_not_depend_on_the_batch(encoder: ClipEncoder) -> None:
    made, images = guide(encoder), some_images(64)
    whole = made.score(images)
    for batch in (16, 32):
        parts = [made.score(part) for part in images.split(batch)]
        assert torch.equal(whole.objective, torch.cat([part.objective for part in parts]))
        assert torch.equal(whole.measures, torch.cat([part.measures for part in parts]))


def test_uniqueness_moves_the_objective_by_its_weight_and_the_measures_not_at_all(
    encoder: ClipEncoder,
) -> None:
    images = some_images(4)
    plain, unique = guide(encoder), guide(encoder, weights={"uniqueness": 0.2})
    assert torch.equal(plain.score(images).objective, unique.score(images).objective)
    remembered = unique.embed(some_images(150, seed=3))
    unique.remember(remembered)
    nearest = torch.acos(unique.embed(images) @ remembered[-100:].T).amin(dim=1)
    expected = plain.score(images).objective - 50 * 0.2 * (1 - 100 * nearest / 100)
    torch.testing.assert_close(unique.score(images).objective, expected, atol=5e-3, rtol=0)
    assert torch.equal(plain.score(images).measures, unique.score(images).measures)


def test_scoring_is_pure_and_the_state_restores_what_was_remembered(encoder: ClipEncoder) -> None:
    first, second = (guide(encoder, weights={"uniqueness": 0.2}) for _ in range(2))
    images = some_images(3)
    first.remember(first.embed(images))
    again = first.score(images).objective
    assert torch.equal(first.score(images).objective, again)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.score(images).objective, again)


def test_without_uniqueness_nothing_is_remembered(encoder: ClipEncoder) -> None:
    made, images = guide(encoder), some_images(3)
    before = made.score(images).objective
    made.remember(made.embed(images))
    assert made.state_dict() == {}
    assert torch.equal(made.score(images).objective, before)


def test_words_that_the_model_never_saw_get_a_warning_that_names_them(encoder: ClipEncoder) -> None:
    with pytest.warns(PromptWarning, match="never saw these words of the prompts: purple, cat;"):
        guide(encoder, objective={"positive": ["A purple square.", "a red CAT"]})


def test_prompts_too_long_for_the_model_get_a_warning(encoder: ClipEncoder) -> None:
    fits, longer = " ".join(["red"] * 22), " ".join(["red"] * 23)
    assert encoder.cut_prompts([fits, longer]) == [longer]
    with pytest.warns(PromptWarning, match=f"reads the beginning of '{longer}' alone") as caught:
        guide(encoder, objective={"positive": [fits, longer]})
    assert [Path(warning.filename).name for warning in caught] == ["test_prompts.py"]


def test_known_words_get_none(encoder: ClipEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        guide(encoder)


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("guide.objective", lambda: {"objective": {"positive": ["red"], "negative": ["RED"]}}),
        (
            "guide.measures.1",
            lambda: {
                "measures": [PROMPTS["measures"][0], {"name": "m", "low": ["red", "blue"], "high": "Blue"}]
            },
        ),
    ],
)
def test_prompts_that_are_the_same_to_the_model_are_refused(
    encoder: ClipEncoder, place: str, change: Callable[[], dict[str, Any]]
) -> None:
    with pytest.raises(
        ConfigError, match=rf"^{place}: expected prompts that differ, got '.*' and '.*', which"
    ):
        guide(encoder, **change())
