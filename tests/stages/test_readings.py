import shutil

import pandas as pd
import pytest

from qdgs.errors import CorruptFileError, InputError
from qdgs.run import Run
from qdgs.stages.audit import AUDIT, READINGS
from qdgs.stages.readings import PARTS


@pytest.fixture
def sharded(finished, monkeypatch):
    """A finished run whose 40 images are read in batches of 8, in three shards."""
    monkeypatch.setattr("qdgs.stages.readings.BATCH", 8)
    finished.do("audit")  # in such batches, too: elsewhere a row has other last bits among more rows
    for index in (2, 0, 1):
        finished.do("audit", shard=(index, 3))
    return finished


def parts(run: Run) -> dict[str, float]:
    return {path.name: path.stat().st_mtime_ns for path in (run.path / PARTS).iterdir()}


def test_an_audit_of_shards_equals_that_of_the_whole(sharded):
    before = (sharded.path / AUDIT).read_bytes()
    read = pd.read_parquet(sharded.path / READINGS)
    assert sorted(parts(sharded)) == [
        f"{start:010d}-{stop:010d}.parquet" for start, stop in ((0, 8), (8, 24), (24, 40))
    ]
    (sharded.path / AUDIT).unlink()
    sharded.do("audit")
    assert (sharded.path / AUDIT).read_bytes() == before
    pd.testing.assert_frame_equal(pd.read_parquet(sharded.path / READINGS), read)


def test_a_shard_is_not_read_twice_unless_an_image_has_changed(sharded):
    before = parts(sharded)
    files = pd.read_parquet(sharded.path / "dataset/manifest.parquet")["file"]
    shutil.copy(sharded.path / "dataset" / files[30], sharded.path / "dataset" / files[10])
    for index in range(3):
        sharded.do("audit", shard=(index, 3))
    assert [name for name, time in parts(sharded).items() if time != before[name]] == [
        "0000000008-0000000024.parquet"
    ]


def test_a_damaged_part_is_read_again(sharded):
    path = sharded.path / PARTS / "0000000000-0000000008.parquet"
    before, content = pd.read_parquet(path), path.read_bytes()
    path.write_bytes(content[:-20])
    sharded.do("audit", shard=(0, 3))
    pd.testing.assert_frame_equal(pd.read_parquet(path), before, check_exact=True)


def test_a_shard_outside_is_refused_and_a_missing_image_told(sharded):
    with pytest.raises(InputError, match=r"^shard: expected i/N with i from 0 to N - 1, got 3/3"):
        sharded.do("audit", shard=(3, 3))
    files = pd.read_parquet(sharded.path / "dataset/manifest.parquet")["file"]
    (sharded.path / "dataset" / files[0]).unlink()
    with pytest.raises(CorruptFileError, match="is missing or damaged; run qdgs render again"):
        sharded.do("audit", shard=(0, 3))
