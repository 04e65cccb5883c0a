from pathlib import Path

import pandas as pd
import pytest

from qdgs.config import load_config
from qdgs.report.run_files import RunFiles
from qdgs.report.story import absences, facts, group_stories


def read(run: Path) -> RunFiles:
    return RunFiles.read(run, load_config(run / "config.yaml"))


def test_what_a_run_lacks_is_said_with_the_command_that_makes_it(run: Path) -> None:
    assert absences(read(run)) == []
    (run / "audit_images.parquet").unlink()
    assert "pictures stand without its opinion" in absences(read(run))[0]
    (run / "audit.csv").unlink()
    assert f"Go on with qdgs audit {run}" in absences(read(run))[0]
    next((run / "dataset" / "train").rglob("*.png")).unlink()
    assert f"19 of 20 images are rendered. Go on with qdgs render {run}" in absences(read(run))[0]
    (run / "dataset" / "manifest.parquet").unlink()
    assert "There is no dataset yet" in absences(read(run))[0]
    archive = run / "search" / "archive.parquet"
    pd.read_parquet(archive).head(0).to_parquet(archive)
    assert "the archive is empty" in absences(read(run))[0]
    archive.unlink()
    assert "The search is not through" in absences(read(run))[0]


def test_groups_below_half_of_their_target_were_missing_and_come_first(run: Path) -> None:
    stories = group_stories(read(run))
    assert [(story.name, story.missing) for story in stories] == [
        ("red/square", True),
        ("blue/triangle", True),
        ("blue/square", False),
        ("red/triangle", False),
    ]


def test_without_an_auditor_the_groups_are_the_guides_own(run: Path) -> None:
    (run / "audit.csv").unlink()
    stories = {story.name: story for story in group_stories(read(run))}
    assert stories["red/triangle"].share == pytest.approx(5 / 20)
    assert stories["red/triangle"].random is None
    assert not any(story.missing for story in stories.values())


def test_headlines_leave_out_what_is_not_known() -> None:
    told = facts(
        {"smallest_group_share": 0.24, "random_smallest_group_share": 0.053, "label_agreement": None}
    )
    assert [(fact.label, fact.value, fact.before) for fact in told] == [("smallest group", "24 %", "5.3 %")]
