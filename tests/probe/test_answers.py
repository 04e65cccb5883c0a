import numpy as np
import pytest
import torch

from qdgs.errors import ConfigError, InputError
from qdgs.probe.answers import Answers, Reader
from qdgs.probe.models import Probed, load_probed
from qdgs.probe_config import ProbedConfig

VALUES = ("tall", "wide")
IMAGES = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def reader(call, values=VALUES, own=None, **settings):
    config = ProbedConfig(target="probed:ByShape", **settings)
    return Reader(Probed(call, config, key="", values=own), config, values)


def test_one_logit_is_for_the_second_answer():
    answers = reader(lambda images: torch.arange(6.0) - 2).read([IMAGES])
    np.testing.assert_allclose(answers.probabilities[:, 1], 1 / (1 + np.exp(2 - np.arange(6.0))), rtol=1e-6)
    assert answers.given.tolist() == [0, 0, 0, 1, 1, 1]


def test_columns_are_gathered_into_answers():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]])).expand(6, -1)
    config = ProbedConfig(target="probed:ByShape", values={"wide": [0, 3], "tall": 1})
    answers = Reader(Probed(lambda images: logits, config, key=""), config, VALUES).read([IMAGES])
    np.testing.assert_allclose(answers.probabilities[0], [0.2 / 0.7, 0.5 / 0.7], rtol=1e-6)


def test_a_model_s_own_names_put_its_columns_in_order():
    scores = torch.tensor([[0.9, 0.1]]).expand(6, -1)
    answers = reader(lambda images: scores, own=("wide", "tall"), outputs="probabilities").read([IMAGES])
    np.testing.assert_allclose(answers.probabilities[0], [0.1, 0.9], rtol=1e-6)


@pytest.mark.parametrize(
    ("outputs", "got"),
    [
        (torch.zeros(6, 7), r"\(6, 7\)"),
        (torch.zeros(3), r"\(3,\)"),
        (torch.zeros(6, 3, 8, 8), r"\(6, 3, 8, 8\)"),
        ("a text", "a str"),
    ],
)
def test_outputs_that_do_not_fit_are_told_with_their_shape(outputs, got):
    with pytest.raises(
        InputError, match=rf"model: expected outputs \(6,\), .* and the answers tall, wide, got {got}"
    ):
        reader(lambda images: outputs).read([IMAGES])


def test_logits_that_are_said_to_be_probabilities_are_refused():
    with pytest.raises(InputError, match=r"model.outputs: expected probabilities in \[0, 1\], got -3 to 4"):
        reader(lambda images: torch.tensor([[-3.0, 4.0]]).expand(6, -1), outputs="probabilities").read(
            [IMAGES]
        )


def test_images_that_a_model_raises_at_are_found_counted_and_named():
    def call(images):
        if (images == 7).any():
            raise ValueError("sevens are not supported")
        return torch.where(images[:, 0, 0, 0] == 5, torch.nan, 1.0)

    images = IMAGES.clone()
    images[2], images[4] = 7, 5
    answers = reader(call).read([images])
    assert answers.failed.tolist() == [False, False, True, False, True, False]
    assert answers.given.tolist() == [1, 1, -1, 1, -1, 1]
    reasons = list(answers.failures)
    assert reasons[1] == "gave no finite output" or reasons[0] == "gave no finite output"
    assert any(reason.startswith("ValueError: sevens are not supported") for reason in reasons)


def test_a_detector_gives_scores_or_what_it_found():
    scores = torch.tensor([0.1, 0.6, 0.5, 0.4, 0.9, 0.0])
    assert reader(lambda images: scores, task="detector").read([IMAGES]).given.tolist() == [0, 1, 1, 0, 1, 0]
    boxes = [{"boxes": torch.zeros(n, 4)} for n in (0, 1, 2, 0, 0, 3)]
    answers = reader(lambda images: boxes, task="detector").read([IMAGES])
    assert (answers.values, answers.given.tolist()) == (("missed", "found"), [0, 1, 1, 0, 0, 1])
    with pytest.raises(InputError, match="expected of a detector scores"):
        reader(lambda images: torch.zeros(6, 2, 4), task="detector").read([IMAGES])


def test_values_that_no_group_has_are_refused(probed):
    config = ProbedConfig(target="probed:ByShape", values=["tall", "round"])
    with pytest.raises(ConfigError, match="unknown 'round'; known: tall, wide"):
        Reader(load_probed(config), config, VALUES)
    config = ProbedConfig(target="probed:ByShape", values=["tall", "wide"])
    with pytest.raises(ConfigError, match="got none for 'flat'"):
        Reader(load_probed(config), config, ("tall", "wide", "flat"))
    config = ProbedConfig(target="probed:ByShape")
    with pytest.raises(
        ConfigError, match="expected a model that answers tall, wide, got one that answers cat, dog"
    ):
        Reader(Probed(lambda images: images, config, key="", values=("cat", "dog")), config, VALUES)


def test_a_constant_model_is_known_as_one():
    told = np.tile([0.3, 0.7], (4, 1))
    assert Answers(VALUES, told, np.full(4, None, dtype=object)).constant
    told[0] = [0.2, 0.8]
    assert not Answers(VALUES, told, np.full(4, None, dtype=object)).constant


def test_the_loss_is_that_of_the_right_answer():
    told = np.array([[0.25, 0.75], [1.0, 0.0], [np.nan, np.nan]])
    answers = Answers(VALUES, told, np.array([None, None, "raised"], dtype=object))
    np.testing.assert_allclose(answers.loss(np.array([0, 1, 1])), [-np.log(0.25), -np.log(1e-6), np.nan])
