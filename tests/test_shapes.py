"""The ready-made shapes task with the embedded generator, guide and judges, at a small budget."""

from pathlib import Path

import pytest

from qdgs.cli import run_command
from qdgs.config import load_config
from qdgs.run import Run

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "shapes.yaml"
SMALL = ["search.evaluations=6000", "dataset.images=80", "dataset.quality_floor=15", "audit.samples=512"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QDGS_CACHE", str(folder / "cache"))
        yield Run.create(load_config(CONFIG, SMALL), folder / "run").complete(until="audit")


def test_the_set_is_nearer_to_its_target_than_random_samples_are(run):
    summary = run.summary
    assert summary["images"] == 80
    assert summary["max_share_error"] < summary["random_max_share_error"]
    assert summary["normalized_entropy"] > summary["random_normalized_entropy"]
    assert summary["label_agreement"] > 0.8


def test_the_search_reaches_more_than_random_samples_do(run):
    assert run.summary["corrected_qd_score"] > run.summary["random_corrected_qd_score"]


def test_the_ready_made_configuration_needs_nothing_more(capsys):
    assert run_command(["check", str(CONFIG)]) == 0
    assert "valid; nothing to fetch" in capsys.readouterr().out


def test_the_doctor_finds_nothing(capsys):
    assert run_command(["doctor"]) == 0
    assert "BAD" not in capsys.readouterr().out
