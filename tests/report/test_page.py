import base64
import json
import re
import shutil
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from qdgs.config import dump_config, load_config
from qdgs.errors import CorruptFileError, InputError
from qdgs.report.page import report
from qdgs.report.pictures import drawings
from qdgs.report.run_files import Renderer, RunFiles, measure_axes
from tests.report.conftest import CONFIG, Swatches

EVERYTHING = {
    "before_after.png",
    "group_shares.png",
    "contact_sheet.png",
    "image_grid.png",
    "archive_heatmap.png",
    "learning_curves.png",
    "random_sheet.png",
    "balanced_sheet.png",
}


class Tags(HTMLParser):
    """Collects the tags of a page with their attributes, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data.replace("\N{NO-BREAK SPACE}", " ")


def test_a_whole_run_gives_every_picture(finished: Path) -> None:
    assert {path.name for path in (finished / "figures").iterdir()} == EVERYTHING
    for path in (finished / "figures").iterdir():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert np.asarray(image.convert("L")).std() > 1


def test_the_page_asks_the_network_for_nothing(finished: Path) -> None:
    page = finished / "report.html"
    assert not re.search(
        r"https?://|//[a-z]", re.sub(r"(?:base64,|>)[A-Za-z0-9+/=]{40,}", "", page.read_text())
    )
    for _, attributes in Tags(page).tags:
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))


def test_every_picture_has_an_alternative_text_with_its_numbers(finished: Path) -> None:
    tags = Tags(finished / "report.html").tags
    alternatives = [attributes["alt"] for tag, attributes in tags if tag == "img"]
    alternatives += [attributes["aria-label"] for tag, attributes in tags if tag == "svg"]
    assert len(alternatives) == 1 + 4 + 4
    assert all(text and len(text) > 30 for text in alternatives)
    assert any(
        "blue/triangle: 20 % of the dataset, 1.6 % of random samples, target 25 %" in (text or "")
        for text in alternatives
    )


@pytest.fixture
def bare(run: Path) -> Path:
    """A run of which little can be drawn, for what is said in words alone."""
    for folder in ("dataset", "search"):
        shutil.rmtree(run / folder)
    return run


def test_without_a_generator_numbers_groups_and_the_dataset_itself_are_shown(run: Path) -> None:
    text = Tags(report(run)).text
    for expected in ("97 %", "random samples: 55 %", "123,457", "shape-cnn", "red/square", "Chang, Fontaine"):
        assert expected in text
    assert {path.name for path in (run / "figures").iterdir()} == EVERYTHING - {
        "before_after.png",
        "random_sheet.png",
    }


def test_after_the_search_alone_the_page_shows_the_search(run: Path) -> None:
    shutil.rmtree(run / "dataset")
    (run / "audit.csv").unlink()
    (run / "summary.json").unlink()
    report(run)
    assert {path.name for path in (run / "figures").iterdir()} == {
        "archive_heatmap.png",
        "learning_curves.png",
    }


def test_a_run_that_has_only_a_configuration_still_gives_a_page(bare: Path) -> None:
    (bare / "audit.csv").unlink()
    assert report(bare).exists()
    assert not (bare / "figures").exists()


def test_the_same_run_gives_the_same_page(run: Path, finished: Path) -> None:
    assert report(run, Swatches()).read_bytes() == (finished / "report.html").read_bytes()


def test_markup_in_a_users_words_stays_words(run: Path) -> None:
    prompt = "<script>alert(1)</script> & $x$"
    config = load_config(run / "config.yaml", [f"guide.measures.0.high=[{prompt!r}]"])
    (run / "config.yaml").write_text(dump_config(config))
    page = report(run)
    assert prompt in Tags(page).text
    assert "<script>alert" not in page.read_text()


def test_three_measures_give_a_map_of_every_pair(run: Path, archive: pd.DataFrame) -> None:
    (run / "config.yaml").write_text(dump_config(load_config(CONFIG)))
    archive.assign(size=np.linspace(0, 1, len(archive))).to_parquet(run / "search" / "archive.parquet")
    manifest = pd.read_parquet(run / "dataset" / "manifest.parquet")
    manifest.assign(size=0.5).to_parquet(run / "dataset" / "manifest.parquet")
    report(run)
    maps = {path.name for path in (run / "figures").glob("archive_heatmap*")}
    assert maps == {"archive_heatmap.png", "archive_heatmap_color_size.png", "archive_heatmap_edges_size.png"}


def test_a_folder_that_holds_no_run_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a run folder with a config\.yaml"):
        report(tmp_path)


def test_what_is_not_there_yet_stands_on_the_page(run: Path) -> None:
    next((run / "dataset" / "train").rglob("*.png")).unlink()
    assert f"19 of 20 images are rendered. Go on with qdgs render {run}" in Tags(report(run)).text


def test_only_the_pages_own_script_may_run(finished: Path) -> None:
    text = (finished / "report.html").read_text()
    allowed = re.search(r"script-src 'sha256-([^']+)'", text)
    script = text.rpartition("<script>")[2].partition("</script>")[0]
    assert allowed is not None
    assert base64.b64decode(allowed[1]) == sha256(script.encode()).digest()
    assert "default-src 'none'" in text


def test_missing_groups_are_named_first(finished: Path) -> None:
    text = " ".join(Tags(finished / "report.html").text.split())
    assert "Too rare among random samples of the generator: red · square (0.4 % where 25 % were" in text
    assert "In the dataset: 6 images of red · square (30 %), 4 images of blue · triangle (20 %)" in text


def test_a_damaged_table_is_said_in_one_sentence(run: Path) -> None:
    (run / "search" / "archive.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(CorruptFileError, match=r"archive\.parquet: is damaged"):
        report(run)


def test_a_corrupt_summary_is_said_in_one_sentence(run: Path) -> None:
    (run / "summary.json").write_text("{")
    with pytest.raises(CorruptFileError, match=r"summary\.json: is not JSON"):
        report(run)


def test_axes_have_the_ranges_that_the_search_settled(run: Path) -> None:
    settled = {"search": {}, "calibration": {"ranges": [[-0.3, 0.4], [-1.0, 2.0]]}}
    (run / "search" / "settled.json").write_text(json.dumps(settled))
    files = RunFiles.read(run, load_config(run / "config.yaml"))
    assert files.archive is not None
    assert [(axis.low, axis.high) for axis in measure_axes(files, files.archive)] == [
        (-0.3, 0.4),
        (-1.0, 2.0),
    ]


def test_where_one_measure_is_not_audited_the_sheet_keeps_all_groups_and_the_bars_the_audited(
    run: Path,
) -> None:
    shares = pd.DataFrame({"group": ["red", "blue"], "target": 0.5, "count": [11, 9], "share": [0.55, 0.45]})
    shares.to_csv(run / "audit.csv", index=False)
    files = RunFiles.read(run, load_config(run / "config.yaml"))
    first = drawings(files, Renderer(Swatches()))[0]()
    _, after, bars = first.figure.axes
    assert len(after.get_yticklabels()) == 4
    assert [label.get_text() for label in bars.get_yticklabels()] == ["red", "blue"]


def test_what_the_audit_notes_stands_on_the_page(bare: Path) -> None:
    note = "None of 2000 random samples is read as red/square: at most 0.0015 of all are (95 %)."
    (bare / "audit.json").write_text(json.dumps({"notes": [note]}))
    assert note in Tags(report(bare)).text


def test_permission_to_share_a_judge_is_no_warning_while_none_is_shared(bare: Path) -> None:
    (bare / "config.yaml").write_text(dump_config(load_config(bare / "config.yaml", ["judges.shared=true"])))
    text = Tags(report(bare)).text
    assert "held no other role" in text
    assert "holds another role" not in text


def test_progress_is_told_of_every_figure_and_picture(run: Path) -> None:
    told: list[tuple[str, int, int]] = []
    report(run, Swatches(), progress=lambda kind, done, total: told.append((kind, done, total)))
    drawn = len(list((run / "figures").iterdir()))
    assert [step for step in told if step[0] == "figures"] == [
        ("figures", done, drawn) for done in range(1, drawn + 1)
    ]
    counts = [done for kind, done, _ in told if kind == "pictures"]
    assert counts == sorted(counts)
    assert counts[-1] == 300 + 20 + 20  # elites, images for opinions, images to label
    assert {total for kind, _, total in told if kind == "pictures"} == {counts[-1]}


def test_an_audit_of_an_earlier_dataset_is_none(run: Path) -> None:
    marks = {"search": {}, "flatten": {}, "render": {}, "audit": {}}
    (run / "stages.json").write_text(json.dumps(marks))
    config = load_config(run / "config.yaml")
    assert RunFiles.read(run, config).shares is not None
    del marks["audit"]  # as flattening again does
    (run / "stages.json").write_text(json.dumps(marks))
    text = Tags(report(run)).text
    assert f"The auditor has not graded the dataset. Go on with qdgs audit {run}." in text
    assert "where 25 % were asked for" not in text
    assert "it has not graded anything yet" in text
    files = RunFiles.read(run, config)
    assert (files.shares, files.image_readings, files.elite_readings, files.audit) == (None, None, None, {})


def test_of_very_many_images_some_are_shown_and_that_is_said(run: Path) -> None:
    path = run / "dataset" / "manifest.parquet"
    few, readings = pd.read_parquet(path), pd.read_parquet(run / "audit_images.parquet")
    many = pd.concat([few] * 5000, ignore_index=True)  # of 20 pictures
    many["id"] = [f"{number:06d}" for number in range(len(many))]
    many.to_parquet(path)
    read = pd.concat([readings] * 5000, ignore_index=True).assign(id=many["id"])
    read.to_parquet(run / "audit_images.parquet")
    page = report(run, Swatches())
    assert page.stat().st_size < 15_000_000
    text = Tags(page).text
    assert "30,000 of the dataset's 100,000 images" in text  # where guide and judge differ
    data = json.loads(
        re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text(), re.S)[1]
    )
    assert len(data["images"]["id"]) <= 1200
    assert data["images"]["total"] == data["labelling"]["total"] == 100_000
    assert len(data["labelling"]["id"]) == 600
