from dataclasses import replace

import pandas as pd
import pytest
import torch

from qdgs.errors import InputError
from qdgs.probe.carry_out import probe_model
from qdgs.probe.models import load_probed
from qdgs.probe.restoration import UNREADABLE, Restorer, changes_table

RESTORER = ("model.task=restorer", "failures=null")


@pytest.fixture(scope="module")
def reddened(config_of, tmp_path_factory):
    out = tmp_path_factory.mktemp("restorer") / "run"
    return probe_model(config_of("probed:Reddener", *RESTORER), out)


def test_the_attribute_that_gets_lost_is_found_and_whose_it_was(reddened):
    errors = {told.group: told.error.value for told in reddened.examined.groups}
    assert errors["red/tall"] == errors["red/wide"] == 0.0
    assert errors["blue/tall"] == errors["blue/wide"] == 1.0
    assert reddened.examined.cause.effect.attribute == "color"
    assert reddened.examined.cause.effect.change.value == pytest.approx(-1.0)


def test_what_every_value_becomes_is_counted(reddened):
    table = pd.read_csv(reddened.path / "changes.csv").set_index(["attribute", "from", "to"])
    assert table.loc[("color", "blue", "red"), "share"] == 1.0
    assert table.loc[("color", "red", "red"), "share"] == 1.0
    assert table.loc[("shape", "tall", "tall"), "share"] == 1.0
    assert table.groupby(["attribute", "from"])["share"].sum().tolist() == pytest.approx([1.0] * 4)
    page = (reddened.path / "report.html").read_text()
    assert "an image of the same group changes by -1.00" in page


def test_a_model_that_gives_images_back_as_they_were_changes_nothing(parts, probe_set, config_of):
    config = config_of("probed:Reddener", *RESTORER, "model.options={strong: 0.0}")
    restorer = Restorer(load_probed(config.model), config.model, parts)
    images = torch.cat(list(parts.images(probe_set.latents[:32])))
    torch.testing.assert_close(restorer.restored(images), images, atol=0.06, rtol=0)
    answers = restorer.reader.read([images])
    told = [answers.values[place] for place in answers.given]
    assert told == probe_set.rows["group"].tolist()[:32]


def test_what_nobody_can_read_any_more_is_unreadable(parts, probe_set, config_of):
    config = config_of("probed:Reddener", *RESTORER)
    blank = load_probed(config.model)
    blank._call = torch.ones_like
    restorer = Restorer(blank, config.model, parts)
    answers = restorer.reader.read(parts.images(probe_set.latents[:4]))
    assert [answers.values[place] for place in answers.given] == [f"{UNREADABLE}/{UNREADABLE}"] * 4


def test_an_attribute_that_is_lost_takes_no_other_with_it(parts, probe_set, config_of):
    config = config_of("probed:Reddener", *RESTORER, "model.options={strong: 0.0}")

    class Colour:
        """It reads colour alone."""

        def __init__(self, judge):
            self.judged, self.attributes = judge, judge.attributes

        def judge(self, images):
            return self.judged.judge(images).assign(shape=None)

    restorer = Restorer(load_probed(config.model), config.model, replace(parts, judge=Colour(parts.judge)))
    answers = restorer.reader.read(parts.images(probe_set.latents))
    told = [answers.values[place] for place in answers.given]
    assert told == [f"{color}/{UNREADABLE}" for color in probe_set.rows["group_color"]]
    table = changes_table(answers, probe_set).set_index(["attribute", "from", "to"])["share"]
    assert table[("color", "red", "red")] == table[("shape", "tall", UNREADABLE)] == 1.0


def test_an_output_that_is_no_number_counts_as_a_failure(parts, probe_set, config_of, probed):
    config = config_of("probed:Reddener", *RESTORER)
    model = load_probed(config.model)
    model._call = lambda images: torch.where(
        probed.blueness(images)[:, None, None, None] > 0, torch.nan, images
    )
    answers = Restorer(model, config.model, parts).reader.read(parts.images(probe_set.latents[:64]))
    blue = (probe_set.rows["group_color"] == "blue").to_numpy()[:64]
    assert answers.failures == {"gave no finite output": int(blue.sum())}
    assert (answers.failed == blue).all()


def test_what_gives_no_images_is_refused(tmp_path, config_of):
    with pytest.raises(InputError, match=r"of a restorer images \(4, 3, height, width\), got \(4,\)"):
        probe_model(config_of("probed:ByShape", *RESTORER), tmp_path / "run")
