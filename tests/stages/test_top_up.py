import json
import shutil

import pandas as pd
import pytest

from qdgs.config import load_config
from qdgs.errors import ConfigError, InputError
from qdgs.run import Run
from qdgs.stages.top_up import begin_top_up, measure_folder, top_up_config

GROUPS = ["red/tall", "red/wide", "blue/tall", "blue/wide"]


@pytest.fixture
def thin(finished, tmp_path):
    """A folder of images as the gate of the run reads them, one group of which is thin."""
    folder = tmp_path / "mine"
    rows = pd.read_parquet(finished.path / "audit_images.parquet")  # both judges read alike
    files = pd.read_parquet(finished.path / "dataset" / "manifest.parquet").set_index("id")["file"]
    read = rows[rows["accepted"]].assign(group=rows["color"] + "/" + rows["shape"])
    few = read[read["group"] == "blue/wide"].head(2)
    kept = pd.concat([read[read["group"] != "blue/wide"], few])
    for number, name in enumerate(kept["id"]):
        target = folder / ("x" if number % 2 else "y/z") / f"{name}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(finished.path / "dataset" / files[name], target)
    return folder, kept["group"].value_counts().to_dict()


def small(tiny_config, *overrides):
    return load_config(tiny_config, ["dataset.on_shortage=accept", *overrides])


def test_groups_are_counted_as_the_judge_reads_them_and_the_thin_one_lacks_most(thin, tiny_config):
    folder, counts = thin
    found = measure_folder(folder, small(tiny_config))
    assert {gap.group: gap.there for gap in found.gaps} == counts
    assert found.judge == "pixels"
    fullest = max(counts.values())
    assert {gap.group: gap.missing for gap in found.gaps} == {
        group: fullest - count for group, count in counts.items()
    }
    assert found.readable == found.images
    assert found.unreadable == 0


def test_the_run_makes_what_is_missing_and_report_and_card_tell_of_it(thin, tiny_config, tmp_path):
    folder, counts = thin
    (folder / "broken <b>.png").write_bytes(b"no image")
    config = small(tiny_config)
    found = measure_folder(folder, config, images=8)
    assert found.missing == 8
    run = begin_top_up(config, found, tmp_path / "topped").complete()
    manifest = pd.read_parquet(run.path / "dataset" / "manifest.parquet")
    assert manifest["group"].value_counts().to_dict() == {
        gap.group: gap.missing for gap in found.gaps if gap.missing
    }
    page = (run.path / "report.html").read_text()
    assert "What your images lacked" in page
    assert "broken &lt;b&gt;.png" in page
    card = (run.path / "dataset" / "README.md").read_text()
    assert f"| blue/wide | 25.0% | {counts['blue/wide']} |" in card
    told = json.loads((run.path / "top-up.json").read_text())
    assert told["damaged"] == ["broken <b>.png"]
    again = begin_top_up(config, measure_folder(folder, config, images=8), run.path)
    assert again.finished("export")


def test_images_that_the_judge_cannot_read_count_for_no_group(thin, tiny_config):
    folder, _ = thin
    config = small(tiny_config, "judges.gate={name: pixels, smallest: 0.35}")
    found = measure_folder(folder, config)
    assert found.unreadable > 0.2 * found.images
    assert found.readable + found.unreadable == found.images
    assert any("could not read" in sentence for sentence in found.sentences())


def test_nothing_is_made_where_nothing_is_missing(finished, tiny_config):
    config = small(tiny_config)
    found = measure_folder(finished.path / "dataset", config)
    level = {gap.group: gap.there / found.readable for gap in found.gaps}
    config = small(tiny_config, f"dataset.target={json.dumps(level)}")
    found = measure_folder(finished.path / "dataset", config)
    assert found.missing == 0
    with pytest.raises(InputError, match="nothing to make"):
        top_up_config(config, found)


def test_a_group_that_was_to_have_no_images_is_told(thin, tiny_config):
    shares = json.dumps(dict(zip(GROUPS, [0, 0.5, 0.25, 0.25], strict=True)))
    found = measure_folder(thin[0], small(tiny_config, f"dataset.target={shares}"))
    assert any("are red/tall, which was to have none" in sentence for sentence in found.sentences())


def test_a_measure_that_nobody_audits_shares_what_is_missing(thin, tiny_config):
    config = small(tiny_config, "dataset.groups.edges.audit=null", "dataset.images=4")
    found = measure_folder(thin[0], config)
    assert [gap.group for gap in found.gaps] == ["red", "blue"]
    target = top_up_config(config, found).dataset.target
    assert target["red/tall"] == target["red/wide"]
    assert target["blue/tall"] == target["blue/wide"]
    assert sum(target.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("pixel", r"--judge: unknown 'pixel'; did you mean 'pixels'\? known: .*auditor.*gate"),
        ("red-only", r"dataset\.groups\.edges\.audit: expected an attribute of 'red-only' \(color\)"),
    ],
)
def test_a_judge_that_is_unknown_or_knows_too_little_is_one_sentence(thin, tiny_config, judge, said):
    with pytest.raises(ConfigError, match=said):
        measure_folder(thin[0], small(tiny_config), judge=judge)


def test_any_judge_may_count(thin, tiny_config):
    assert measure_folder(thin[0], small(tiny_config), judge="auditor").judge == "other-pixels"
    assert measure_folder(thin[0], small(tiny_config), judge="other-pixels").judge == "other-pixels"
    bare = small(tiny_config, "judges={}")
    with pytest.raises(InputError, match="name one with --judge"):
        measure_folder(thin[0], bare)
    assert measure_folder(thin[0], bare, judge="pixels").readable > 0


def test_folders_of_nothing_to_count_are_one_sentence(tmp_path, tiny_config):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="got 1 damaged files"):
        measure_folder(tmp_path, small(tiny_config))
    from PIL import Image

    Image.new("RGB", (8, 8), "white").save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"got none that pixels reads as one \(1 unreadable\)"):
        measure_folder(tmp_path, small(tiny_config))


def test_another_run_in_the_folder_is_refused(thin, tiny_config, finished):
    config = small(tiny_config)
    before = Run.open(finished.path).config
    with pytest.raises(InputError, match="choose another --out"):
        begin_top_up(config, measure_folder(thin[0], config), finished.path)
    assert Run.open(finished.path).config == before
    assert not (finished.path / "top-up.json").exists()
