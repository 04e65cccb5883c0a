from pathlib import Path

import pytest

from qdgs.config import load_config
from qdgs.errors import ConfigError
from qdgs.run import Run
from qdgs.stages.readings import PARTS

SAME = (
    "search/archive.parquet",
    "search/reservoir.parquet",
    "dataset/manifest.parquet",
    "dataset/train/metadata.parquet",
    "audit.json",
    "audit.csv",
)


def contents(folder: Path) -> dict[str, bytes]:
    files = [*(folder / name for name in SAME), *folder.glob("dataset/train/*/*.png")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_a_run_by_two_workers_equals_that_of_one_process(ray_here, tiny_config, finished_folder, tmp_path):
    config = load_config(tiny_config, ["workers.kind=ray", "workers.count=2"])
    run = Run.create(config, tmp_path / "run").complete(until="audit")
    here = contents(finished_folder)
    assert len(here) == 40 + len(SAME)
    assert contents(run.path) == here
    assert list((run.path / PARTS).iterdir())  # the workers have read, not this process


def test_a_score_that_remembers_is_not_spread(tiny_config):
    with pytest.raises(ConfigError, match=r"^workers.kind: expected local where guide.weights.uniqueness is"):
        load_config(tiny_config, ["workers.kind=ray", "guide.weights.uniqueness=0.2"])
