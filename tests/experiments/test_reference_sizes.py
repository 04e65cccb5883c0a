import importlib
from pathlib import Path

import pandas as pd
import pytest
import torch

from qdgs.errors import InputError, MissingModelError
from qdgs.generators.shapes_gan import GanDiscriminator, GanGenerator, save_gan
from qdgs.training.initial import seeded

COMPARISON = Path(__file__).parents[2] / "experiments" / "comparison"


@pytest.fixture
def sizes(monkeypatch):
    monkeypatch.syspath_prepend(str(COMPARISON))
    return importlib.import_module("reference_sizes")


@pytest.fixture
def gan(tmp_path):
    folder = tmp_path / "gan"
    random = torch.Generator().manual_seed(0)
    save_gan(folder, seeded(GanGenerator, random), seeded(GanDiscriminator, random))
    return folder


def quickly(sizes, gan, out, *more):
    options = ["--shares", "0.01", "--steps", "1", "--samples", "100", "--gan", str(gan), "--out", str(out)]
    sizes.main([*options, *more])
    return pd.read_csv(out)


def test_each_method_has_a_row_beside_the_gan_as_it_is(sizes, gan, tmp_path):
    rows = quickly(sizes, gan, tmp_path / "sizes.csv")
    assert list(rows.columns) == sizes.COLUMNS
    assert rows["method"].tolist() == ["none", "fairtl", "fairtl++"]
    assert rows["references"].tolist() == [0, 100, 100]
    assert rows["forwards"].tolist() == [0, 8 * 8, 8 * 9]
    assert rows["distance"].gt(0).all()
    assert (tmp_path / "sizes.png").stat().st_size > 0
    assert "accepted" in (tmp_path / "sizes_differences.csv").read_text()


def test_every_seed_has_every_cell(sizes, tmp_path):
    given = sizes.arguments(["--out", str(tmp_path / "x.csv"), "--seeds", "2", "--shares", "0.1", "0.2"])
    cells = sizes.cells_of(given)
    assert len(cells) == 2 * (1 + 2 * 2)
    assert [cell[:2] for cell in cells[:5]] == [cell[:2] for cell in cells[5:]]


def test_differences_are_told_size_by_size_over_seeds(sizes):
    known = {("none", 0.0): (1, 1), ("fairtl", 0.1): (0.5, 0.7), ("fairtl++", 0.1): (0.4, 0.4)}
    rows = [
        {"method": method, "share": share, "seed": seed, "fairness_discrepancy": value, "accepted": 1.0}
        for (method, share), values in known.items()
        for seed, value in enumerate(values)
    ]
    told = (
        sizes.differences(pd.DataFrame(rows)).set_index(["share", "metric"]).loc[0.1, "fairness_discrepancy"]
    )
    assert told["difference"] == pytest.approx(-0.2)
    # differences of −0.1 and −0.3: a standard error of 0.1, and t(1) is 12.706
    assert told["low"] == pytest.approx(-0.2 - 12.706 * 0.1, abs=1e-3)


def test_a_second_call_does_what_is_missing(sizes, gan, tmp_path, monkeypatch):
    out = tmp_path / "sizes.csv"
    first = quickly(sizes, gan, out)
    monkeypatch.setattr(sizes, "cell", None)
    pd.testing.assert_frame_equal(quickly(sizes, gan, out), first)


def test_each_change_of_fairtl_plus_plus_can_stand_by_itself(sizes, gan, tmp_path):
    out = tmp_path / "sizes.csv"
    quickly(sizes, gan, out)
    rows = quickly(sizes, gan, out, "--methods", "probing alone", "feedback alone")
    assert rows["method"].tolist() == ["none", "fairtl", "fairtl++", "probing alone", "feedback alone"]
    # without the frozen discriminator's feedback there is a forward pass less
    assert rows.set_index("method")["forwards"][["probing alone", "feedback alone"]].tolist() == [64, 72]


def test_drawn_references_are_balanced(sizes):
    drawn = sizes.drawings(40, 0, 1)
    assert drawn.values.value_counts().tolist() == [10, 10, 10, 10]


def test_wrong_files_are_one_sentence(sizes, gan, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("a\n1\n")
    with pytest.raises(InputError, match="expected rows of this study"):
        quickly(sizes, gan, other)
    with pytest.raises(MissingModelError, match="expected a trained GAN"):
        quickly(sizes, tmp_path / "none", tmp_path / "sizes.csv")
