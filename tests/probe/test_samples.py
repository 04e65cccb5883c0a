import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.errors import ConfigError, InputError
from qdgs.probe.samples import Agreement, draw_probe_set, group_names, open_parts


class Fixed:
    """A judge that says what it was told to."""

    def __init__(self, accepted=True, **columns):
        self.attributes = {name: ("low", "high") for name in columns}
        self._columns, self._accepted = columns, accepted

    def judge(self, images):
        frame = pd.DataFrame({name: list(values) for name, values in self._columns.items()})
        for name in self._columns:
            frame[f"{name}_score"] = 0.0
        return frame.assign(accepted=self._accepted, quality=1.0)


def test_an_attribute_is_told_where_all_who_read_it_tell_the_same():
    judges = [Fixed(a=["low", "high", None, "low"]), Fixed(a=["low", "low", None, "low"], b=["high"] * 4)]
    told = Agreement(judges, {"a": ("low", "high"), "b": ("low", "high")}).judge(torch.zeros(4, 3, 8, 8))
    assert told["a"].tolist() == ["low", None, None, "low"]
    assert told["b"].tolist() == ["high"] * 4
    refused = Agreement([Fixed(a=["low"]), Fixed(accepted=False, a=["low"])], {"a": ("low", "high")})
    assert not refused.judge(torch.zeros(1, 3, 8, 8))["accepted"].any()


def test_every_group_has_as_many_images_and_the_judges_read_them_so(parts, probe_set):
    counts = probe_set.rows["group"].value_counts()
    assert dict(counts) == dict.fromkeys(group_names(parts.attributes), 40)
    read = parts.read(probe_set.latents)
    assert (read[list(parts.attributes)].agg("/".join, axis=1) == probe_set.rows["group"]).all()
    assert read["accepted"].all()
    assert len(np.unique(probe_set.latents.numpy(), axis=0)) == len(probe_set)


def test_halves_are_even_within_groups(probe_set):
    assert (probe_set.rows.groupby("group")["half"].mean() == 0.5).all()
    assert probe_set.rows["id"].is_unique


def test_the_same_seed_draws_the_same_images(parts, pool, probe_set):
    again = draw_probe_set(parts, pool)
    assert torch.equal(again.latents, probe_set.latents)


def test_another_sampler_s_images_are_grouped_by_the_judges(config_of, parts, pool):
    config = config_of("probed:ByShape", "samples.sampler=random", "samples.images=60")
    drawn = draw_probe_set(open_parts(config), pool)
    read = parts.read(drawn.latents)
    assert (read[list(parts.attributes)].agg("/".join, axis=1) == drawn.rows["group"]).all()
    assert len(drawn) <= 60


def test_no_image_of_any_group_is_said(config_of, parts, pool):
    nothing = type(pool)(pool.latents, pool.read.assign(accepted=False))
    config = config_of("probed:ByShape", "samples.draws=64", "run.judges.gate={name: pixels, smallest: 2.0}")
    with pytest.raises(InputError, match="expected images of the groups, got none that the judges accept"):
        draw_probe_set(open_parts(config), nothing)


def test_an_attribute_that_no_judge_tells_is_refused(config_of):
    config = config_of("probed:ByShape", "run.judges={gate: red-only, auditor: red-only, shared: true}")
    with pytest.raises(ConfigError, match="expected a judge that tells 'shape', got judges that tell color"):
        open_parts(config)
