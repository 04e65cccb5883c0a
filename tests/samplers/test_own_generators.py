import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError, MissingModelError
from qdgs.generators.base import generate
from qdgs.generators.shapes_gan import GanDiscriminator, GanGenerator, ShapesGAN, save_gan
from qdgs.parts import load_generator
from qdgs.roles import Named
from qdgs.samplers.autophagy import Autophagy
from qdgs.samplers.base import LabelledImages
from qdgs.samplers.fairtl import FairTL, FairTLPlusPlus
from qdgs.samplers.reference import ReferenceWarning
from qdgs.training.initial import seeded

COLORS, SHAPES = ("red", "blue"), ("tall", "wide")


@pytest.fixture(scope="module")
def gan_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gan")
    random = torch.Generator().manual_seed(0)
    save_gan(folder, seeded(GanGenerator, random), seeded(GanDiscriminator, random))
    return str(folder)


def labelled(n, seed=0, size=64, groups=4):
    codes = np.arange(n) % groups
    values = pd.DataFrame(
        {"color": np.array(COLORS)[codes // 2], "shape": np.array(SHAPES)[codes % 2]}, dtype=object
    )
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=random)
    return LabelledImages(images, values)


def fitted(sampler, problem, seed=0):
    sampler.fit(problem, np.random.default_rng(seed))
    return sampler


def images_of(generator, latents):
    return torch.cat(list(generate(generator, latents)))


METHODS = {
    "fairtl": lambda folder: FairTL(steps=1, batch_size=2, gan=folder),
    "fairtl++": lambda folder: FairTLPlusPlus(steps=4, batch_size=2, gan=folder),
    "autophagy": lambda folder: Autophagy(steps=2, batch_size=3, hidden=(4, 4), image_size=32),
}


@pytest.fixture(params=METHODS)
def method(request, gan_folder):
    return lambda: METHODS[request.param](gan_folder)


@pytest.fixture
def problem(make_problem):
    return make_problem(reference=labelled(8), training=labelled(8, seed=1))


def test_samples_are_random_samples_of_the_methods_generator(method, problem, rng):
    sampler = fitted(method(), problem)
    before = sampler.cost
    rows = sampler.sample(5, rng)
    latents = latents_of(rows)
    assert len(rows) == 5
    assert torch.equal(latents, sampler.own.generator.sample_latents(5, np.random.default_rng(0)))
    read = problem.judge.judge((images_of(sampler.own.generator, latents) * 255).round() / 255)
    assert rows["group_color"].tolist() == read["color"].tolist()
    assert (sampler.cost - before).generator_calls == 5
    assert (sampler.cost - before).judge_labels == 5


def test_a_fit_changes_the_generator_and_keeps_the_one_before(method, problem, rng):
    own = fitted(method(), problem).own
    latents = own.generator.sample_latents(4, rng)
    assert not torch.equal(own.generator(latents), own.before(latents))


def test_the_same_seed_gives_the_same_generator(method, problem, rng):
    first, second = (fitted(method(), problem).own.generator for _ in range(2))
    latents = first.sample_latents(3, rng)
    assert torch.equal(first(latents), second(latents))


def test_before_is_the_gan_as_it_was(gan_folder, problem, rng):
    own = fitted(FairTLPlusPlus(steps=2, batch_size=2, gan=gan_folder), problem).own
    shipped = ShapesGAN(gan_folder)
    latents = shipped.sample_latents(4, rng)
    assert torch.equal(own.before(latents), shipped(latents))


def test_the_adapted_gan_is_kept_as_a_generator_like_any_other(gan_folder, make_problem, tmp_path, rng):
    problem = make_problem(reference=labelled(4), work=tmp_path)
    own = fitted(FairTL(steps=1, batch_size=2, gan=gan_folder), problem).own
    again = load_generator(Named(name="shapes-gan", path=str(tmp_path / "gan")))
    latents = again.sample_latents(4, rng)
    assert torch.equal(again(latents), own.generator(latents))


def test_the_problems_generator_is_adapted_where_it_has_a_discriminator(gan_folder, make_problem, rng):
    given = ShapesGAN(gan_folder)
    with torch.no_grad():
        given.network.linear.bias += 1
    own = fitted(FairTL(steps=1, batch_size=2), make_problem(generator=given, reference=labelled(4))).own
    latents = given.sample_latents(3, rng)
    assert torch.equal(own.before(latents), given(latents))
    assert own.name == "the problem's"


def test_a_gan_is_pre_trained_on_the_source_data_where_it_is_at_hand(problem, rng):
    sampler = fitted(FairTL(steps=1, batch_size=2, pretraining_steps=1), problem)
    assert sampler.own.name == "a GAN of the training images"
    # one step of 2 × 64 images to pre-train, one of 2 × 2 to adapt
    assert sampler.cost.trained_on == 2 * 64 + 2 * 2
    assert sampler.cost.reference_images == 8


def test_the_number_of_images_that_were_generated_in_training_is_counted(gan_folder, problem):
    cost = fitted(FairTLPlusPlus(steps=4, batch_size=2, gan=gan_folder), problem).cost
    assert cost.generator_calls == 4 * 3 * 2
    # discriminator: generator, and twice itself; generator: itself, and both discriminators
    assert cost.forwards == 4 * 2 * (2 * 3 + 3)
    assert cost.backwards == 4 * 2 * (2 * 2 + 3)
    assert cost.seconds > 0


def test_images_of_another_size_are_scaled(gan_folder, make_problem, rng):
    problem = make_problem(reference=labelled(4, size=96), training=labelled(4, size=96))
    assert fitted(FairTL(steps=1, batch_size=2, gan=gan_folder), problem).own.generator.image_size == 64


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        (FairTL(), r"fairtl: expected a reference set of labelled images"),
        (Autophagy(), "autophagy: expected training images of the generator's kind, got none"),
    ],
)
def test_images_that_are_missing_are_asked_for(sampler, sentence, make_problem, rng):
    with pytest.raises(InputError, match=sentence):
        sampler.fit(make_problem(), rng)


def test_source_data_that_are_missing_are_asked_for(make_problem, rng):
    with pytest.raises(InputError, match="fairtl: expected training images"):
        FairTL(pretraining_steps=1).fit(make_problem(reference=labelled(4)), rng)


def test_the_gan_of_shapes_is_not_adapted_to_anything_else(make_problem, rng):
    groups = {f"{age}/{shape}": 0.25 for age in ("young", "old") for shape in SHAPES}
    attributes = {"age": ("young", "old"), "shape": SHAPES}

    class Judge:
        def __init__(self):
            self.attributes = attributes

    known = labelled(8)
    known = LabelledImages(known.images, known.values.assign(age=np.resize(["young", "old"], 8)))
    problem = make_problem(judge=Judge(), attributes=attributes, target=groups, reference=known)
    sentence = "fairtl: expected a generator with a discriminator to adapt, got 'Plane', which has none; give"
    with pytest.raises(InputError, match=sentence):
        fitted(FairTL(steps=1), problem)


def test_an_unbalanced_reference_set_is_warned_of(gan_folder, make_problem, rng):
    with pytest.warns(ReferenceWarning, match="red/tall 0.5 of 0.25"):
        fitted(FairTL(steps=1, batch_size=2, gan=gan_folder), make_problem(reference=labelled(40, groups=2)))


def test_a_gan_that_is_missing_says_how_to_train_one(make_problem, rng, tmp_path):
    with pytest.raises(MissingModelError, match="expected a trained GAN"):
        FairTL(gan=str(tmp_path)).fit(make_problem(reference=labelled(4)), rng)
