from dataclasses import replace

import numpy as np
import pytest
import torch

from qdgs.compare_config import DownstreamConfig
from qdgs.comparison import downstream
from qdgs.comparison.data import TaskData, drawn_shapes
from qdgs.comparison.downstream import Task
from qdgs.errors import InputError
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.samplers.base import Problem
from qdgs.samplers.costs import Cost
from qdgs.training.deployed import load_classifier

ATTRIBUTES = {"color": ("red", "blue"), "shape": ("triangle", "square")}
GROUPS = [f"{color}/{shape}" for color in ("red", "blue") for shape in ("triangle", "square")]
SIZES = DownstreamConfig(image_size=16, biased_epochs=1, epochs=2, last=2, precision="float32")


@pytest.fixture
def task(tmp_path):
    rng = np.random.default_rng(0)
    sets = [drawn_shapes(40, bias, rng, 16) for bias in (0.9, 0.5, 0.5, 0.8, 0.5)]
    problem = Problem(None, ShapeGeometry(), ATTRIBUTES, "shape", dict.fromkeys(GROUPS, 0.25), 40)
    return Task(problem, TaskData(*sets), SIZES, 0, tmp_path / "biased.pt", True, 50)


def test_a_perfect_classifier_has_perfect_numbers(task, rng):
    logits = [
        np.where(task.labels(images) == 1, 2.0, -2.0)[None] for images in (task.data.test, task.data.usual)
    ]
    told = {name: number.estimate.value for name, number in task.told(tuple(logits), rng).items()}
    assert told["mean_accuracy"] == told["worst_group_accuracy"] == told["average_precision"] == 1
    assert told["equal_opportunity_difference"] == told["bias_amplification"] == 0


def test_a_classifier_of_colour_is_wrong_on_two_groups_and_amplifies(task, rng):
    sets = (task.data.test, task.data.usual)
    logits = tuple(np.where(images.values["color"] == "blue", 1.0, -1.0)[None] for images in sets)
    told = {name: number.estimate.value for name, number in task.told(logits, rng).items()}
    assert told["mean_accuracy"] == pytest.approx(0.5)
    assert told["worst_group_accuracy"] == 0
    assert [told[f"accuracy of {group}"] for group in GROUPS] == [1, 0, 0, 1]
    assert told["equal_opportunity_difference"] == 1
    # P(pred = t | a) is 1 where P(true = t | a) is 0.8
    assert told["bias_amplification"] == pytest.approx(0.2)


def test_accuracy_is_the_mean_over_the_last_epochs(task, rng):
    right = np.where(task.labels(task.data.test) == 1, 1.0, -1.0)
    usual = np.zeros((1, 40))
    told = task.told((np.stack([right, -right]), usual), rng)
    assert told["mean_accuracy"].estimate.value == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["biased", "reweighting", "group-dro", "color-jitter", "greyscale", "drawn"])
def test_every_arm_trains_and_the_biased_classifier_is_made_once(task, name, rng):
    told = task.arm(name, lambda: None, rng)
    assert 0 <= told["worst_group_accuracy"].estimate.value <= told["mean_accuracy"].estimate.value <= 1
    stamp = task.biased.stat().st_mtime_ns
    again = task.arm(name, lambda: None, np.random.default_rng(0))
    assert task.biased.stat().st_mtime_ns == stamp
    assert again["average_precision"].estimate.value == told["average_precision"].estimate.value


def test_images_without_a_label_are_left_out(task, rng):
    images = task.data.training.images
    labels = task.labels(task.data.training)
    some = np.where(np.arange(40) < 30, labels, -1)
    one = task.tuned_on(images, some, np.random.default_rng(0))
    other = task.tuned_on(images[:30], labels[:30], np.random.default_rng(0))
    assert one["average_precision"].estimate == other["average_precision"].estimate
    with pytest.raises(InputError, match="expected images with a label"):
        task.tuned_on(images, np.full(40, -1), rng)


def test_a_label_of_three_values_is_refused(task):
    attributes = {**ATTRIBUTES, "shape": ("triangle", "square", "disc")}
    problem = Problem(None, ShapeGeometry(), attributes, "shape", {"red/square": 1.0}, 4)
    with pytest.raises(InputError, match="expected a label of two values, got 'shape' with 3"):
        Task(problem, task.data, SIZES, 0, task.biased, True, 50)


def test_arms_that_bring_images_cost_them(task):
    assert task.arm_cost("drawn").reference_images == 40
    assert task.arm_cost("group-dro").reference_images == 40  # their groups
    assert task.arm_cost("greyscale") == task.arm_cost("biased") == Cost()
    assert task.arm_cost("zero-shot") == Cost(guide_scores=80, forwards=80)
    assert torch.is_tensor(task.data.test.images)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_a_dead_biased_classifier_is_trained_again_from_other_weights(task, monkeypatch, tmp_path):
    shares = iter([0.1, 0.2, 0.25, 1.0])
    monkeypatch.setattr(downstream, "responding_share", lambda classifier, images: next(shares))
    task.prepare()
    third = load_classifier(task.biased)
    assert next(shares) == 1.0  # it stopped at the third
    monkeypatch.setattr(downstream, "responding_share", lambda classifier, images: 1.0)
    first = replace(task, biased=tmp_path / "first.pt")
    first.prepare()
    assert not torch.equal(third.head.weight, load_classifier(first.biased).head.weight)


def test_a_classifier_that_died_in_tuning_is_tuned_in_another_order(task, monkeypatch, rng):
    train, seeds = downstream.train_classifier, []
    dying = 2

    def killing(model, *given, generator, on_epoch=None, **options):
        seeds.append(generator.initial_seed())

        def ended(epoch):
            if len(seeds) <= dying:
                with torch.no_grad():
                    model.features[-2].weight.zero_()
                    model.features[-2].bias.fill_(-1.0)
            on_epoch(epoch)

        return train(model, *given, generator=generator, on_epoch=on_epoch and ended, **options)

    task.prepare()
    monkeypatch.setattr(downstream, "train_classifier", killing)
    images, labels = task.data.training.images, task.labels(task.data.training)
    third = task.tuned_on(images, labels, rng)
    assert len(set(seeds)) == len(seeds) == 3
    assert third["score_divergence"].estimate.value > 0
    seeds.clear()
    dying = 100
    assert task.tuned_on(images, labels, rng)["worst_group_accuracy"].estimate.value == 0
    assert len(seeds) == downstream.STARTS


def test_fewer_images_give_as_many_steps(task):
    assert [task.epochs_for(n) for n in (10, 20, 40, 80)] == [8, 4, 2, 2]
