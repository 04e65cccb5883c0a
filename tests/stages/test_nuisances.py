import json

import numpy as np
import pandas as pd
import pytest

from qdgs.cli import INPUT_IS_WRONG, run_command
from qdgs.config import load_config
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import ConfigError
from qdgs.generators.stored import as_stored
from qdgs.parts import load_generator, load_judge
from qdgs.run import Run
from qdgs.stages.flatten import open_bank
from qdgs.stages.judges import check_judges, readers
from qdgs.stages.nuisances import open_nuisances
from qdgs.stages.scoring import load_scorer

MANIFEST = "dataset/manifest.parquet"


@pytest.fixture
def bank(finished):
    return open_bank(finished, load_scorer(finished, device="cpu"), device="cpu")


def balanced(finished, *more):
    changes = ["dataset.balance={quality: {bins: 3}}", "dataset.images=24", *more]
    return Run.open(finished.path, changes)


def test_bins_are_quantiles_of_the_random_samples_that_the_judge_accepts(finished, bank):
    run = balanced(finished)
    nuisances = open_nuisances(run.config, bank, lambda rows: rows, device="cpu")
    judged = bank.judged(load_judge("pixels"))
    expected = np.quantile(judged.loc[judged["accepted"], "quality"], [1 / 3, 2 / 3])
    assert nuisances.each[0].edges == pytest.approx(expected.tolist())
    assert nuisances.each[0].judge == "pixels"
    assert open_nuisances(finished.config, bank, lambda rows: rows, device="cpu") is None


def test_groups_stay_exact_and_their_balance_is_recorded_and_told(finished):
    plain = Run.open(finished.path, ["dataset.images=24"]).complete(until="flatten")
    plain = read_manifest(plain.path / MANIFEST).rows
    run = balanced(finished, "dataset.balance_candidates=50").complete()
    rows = read_manifest(run.path / MANIFEST).rows
    assert rows["group"].value_counts().tolist() == [6, 6, 6, 6]
    told = json.loads((run.path / "dataset/flatten.json").read_text())["balance"]["quality"]
    uneven = 0
    for group, counts in told["groups"].items():
        read = quality(rows[rows["group"] == group])
        bins = np.bincount(np.searchsorted(told["edges"], read, side="right"), minlength=3)
        assert bins.tolist() == counts["images"]
        assert counts["unread"] == 0
        # a bin with fewer images than another has no candidates left
        assert all(
            got >= bins.max() - 1 or got == left for got, left in zip(bins, counts["candidates"], strict=True)
        )
        before = np.searchsorted(told["edges"], quality(plain[plain["group"] == group]), side="right")
        uneven += bins.std() - np.bincount(before, minlength=3).std()
    assert uneven < 0
    sentence = "Every group is balanced over `quality`, as pixels reads it, in 3 bins"
    notes = json.loads((run.path / "audit.json").read_text())["notes"]
    assert any(note.startswith(sentence) for note in notes)
    assert sentence in (run.path / "dataset/README.md").read_text()


def quality(rows):
    images = as_stored(load_generator("patches")(latents_of(rows)).detach())
    return load_judge("pixels").judge(images)["quality"].to_numpy()


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ("brightness", "expected a number that 'pixels' tells of an image, got none; known: color_score, "),
        ("accepted", "expected a number that 'pixels' tells of an image, got a column of other values; "),
        ("qualty", "got none; did you mean 'quality'? known: color_score, quality, shape_score"),
    ],
)
def test_what_the_judge_does_not_tell_is_refused_before_a_search(tiny_config, column, told, capsys):
    change = f"dataset.balance={{{column}: {{}}}}"
    with pytest.raises(ConfigError, match=rf"^dataset\.balance\.{column}: [^\n]*$") as error:
        check_judges(load_config(tiny_config, [change]))
    assert told in str(error.value)
    assert run_command(["check", str(tiny_config), "--set", change]) == INPUT_IS_WRONG
    assert told in capsys.readouterr().err


def test_what_makes_groups_is_refused_under_another_name_too(finished, bank, monkeypatch):
    import standins

    judge = standins.PixelJudge.judge

    def renamed(self, images):
        frame = judge(self, images)
        return frame.assign(blueness=np.exp(-frame["color_score"] / 3))

    monkeypatch.setattr(standins.PixelJudge, "judge", renamed)
    run = Run.open(finished.path, ["dataset.balance={blueness: {}}"])
    monkeypatch.setattr(bank, "_key", [*bank._key, "renamed"])
    with pytest.raises(
        ConfigError, match=r"^dataset\.balance\.blueness: expected something that makes no groups, "
    ):
        open_nuisances(run.config, bank, lambda rows: rows, device="cpu")


def test_each_judge_reads_all_that_it_is_to_read(tiny_config):
    columns = "{quality: {judge: teacher}, darkness: {judge: gate}, size: {judge: teacher}}"
    config = load_config(tiny_config, [f"dataset.balance={columns}", "judges.teacher=red-only"])
    told = [(named.name, columns) for named, columns in readers(config)]
    assert told == [("red-only", ["quality", "size"]), ("pixels", ["darkness"])]
    alone = load_config(tiny_config, [f"dataset.balance={columns}"])
    assert [(named.name, len(columns)) for named, columns in readers(alone)] == [("pixels", 3)]


def test_a_number_may_be_missing_for_some_random_samples(finished, bank, monkeypatch):
    import standins

    judge = standins.PixelJudge.judge

    def with_gaps(self, images):
        frame = judge(self, images)
        return frame.assign(light=frame["quality"].where(frame["shape_score"] > 0))

    monkeypatch.setattr(standins.PixelJudge, "judge", with_gaps)
    monkeypatch.setattr(bank, "_key", [*bank._key, "gaps"])
    run = Run.open(finished.path, ["dataset.balance={light: {bins: 2}}"])
    nuisances = open_nuisances(run.config, bank, lambda rows: rows, device="cpu")
    read = bank.judged(load_judge("pixels"))
    assert nuisances.each[0].edges == (pytest.approx(pd.Series(read["light"]).median()),)
