import hashlib
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from qdgs.errors import CorruptFileError, InputError
from qdgs.generators.shapes_vae import ShapesVAE
from qdgs.judges.shape_cnn import ShapeCNN
from qdgs.judges.shape_geometry import ShapeGeometry
from qdgs.stages import bank, judged_bank
from qdgs.stages.bank import BANK_SEED, Bank
from qdgs.stages.judged_bank import JudgedBank, group_counts, packed, sample_key

ROWS = 96


@pytest.fixture(scope="module")
def generator():
    return ShapesVAE()


@pytest.fixture(scope="module")
def judged(generator, tmp_path_factory):
    samples = Bank(generator, samples=ROWS, micro_batch=64, folder=tmp_path_factory.mktemp("cache"))
    judges = {"shape-geometry": ShapeGeometry(), "shape-cnn": ShapeCNN()}
    return {name: samples.judged(judge) for name, judge in judges.items()}


@pytest.fixture
def folder(generator, judged, tmp_path):
    table, repeats = packed(judged)
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), tmp_path / "rows.parquet")
    card = {
        "seed": BANK_SEED,
        "rows": ROWS,
        "micro_batch": 64,
        "columns": {name: list(frame) for name, frame in judged.items()},
        "repeats": repeats,
        "keys": {"shape-cnn": sample_key(generator, ShapeCNN())},
        "sha256": hashlib.sha256((tmp_path / "rows.parquet").read_bytes()).hexdigest(),
    }
    (tmp_path / "card.json").write_text(json.dumps(card))
    return tmp_path


def test_a_judges_rows_come_back_but_for_the_rounding_of_scores(folder, judged):
    found = JudgedBank.open(folder)
    for name, frame in judged.items():
        pd.testing.assert_frame_equal(found.judged(name), frame, rtol=1e-3, atol=1e-3)


def test_latents_are_those_of_the_bank_that_a_run_makes(folder, generator):
    found = JudgedBank.open(folder)
    samples = Bank(generator, samples=40, micro_batch=64, folder=folder)
    assert torch.equal(found.latents(generator)[:40], samples.latents)
    assert torch.equal(found.latents(generator, [39, 3]), samples.latents[[39, 3]])


def test_a_run_reads_the_shipped_rows_of_its_own_models_alone(folder, generator, judged, monkeypatch):
    monkeypatch.setattr(judged_bank, "SHIPPED", folder)
    monkeypatch.setattr(JudgedBank.open.__func__, "__defaults__", (folder,))

    def refuse(*_):
        raise AssertionError("the samples were rendered")

    monkeypatch.setattr(bank, "generate_quickly", refuse)
    samples = Bank(generator, samples=50, micro_batch=64, folder=folder / "cache")
    read = samples.judged(ShapeCNN())
    pd.testing.assert_frame_equal(read, judged["shape-cnn"].iloc[:50], rtol=1e-3, atol=1e-3)
    for other in (
        Bank(generator, samples=ROWS + 1, micro_batch=64, folder=folder / "cache"),
        Bank(generator, samples=50, micro_batch=32, folder=folder / "cache"),
    ):
        with pytest.raises(AssertionError, match="rendered"):
            other.judged(ShapeCNN())
    with pytest.raises(AssertionError, match="rendered"):
        samples.judged(ShapeGeometry())


def test_another_table_and_an_unknown_judge_are_refused(folder):
    with pytest.raises(InputError, match="expected a judge that read it"):
        JudgedBank.open(folder).judged("faces-dlib")
    (folder / "rows.parquet").write_bytes(b"")
    with pytest.raises(CorruptFileError, match="expected the sha256 of its card"):
        JudgedBank.open(folder)


def test_columns_that_repeat_another_are_kept_once():
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": [1.0, np.nan], "c": ["x", None]})
    table, repeats = packed({"one": frame, "two": frame[["c"]]})
    assert list(table) == ["one/a", "one/c"]
    assert repeats == {"one/b": "one/a", "two/c": "one/c"}


def test_groups_are_counted_over_accepted_rows_that_are_told():
    rows = pd.DataFrame({"a": ["x", "x", None, "y"], "b": ["u", "u", "u", "v"]})
    assert group_counts([rows["a"], rows["b"]], pd.Series([True, True, True, False])) == {"x/u": 2}
