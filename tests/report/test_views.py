import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

import qdgs
from qdgs.config import dump_config, load_config
from qdgs.errors import InputError
from qdgs.report.views import EACH, archive_of, dataset_of

SMALL = 200_000
"""Characters: what a cell of a notebook may hold without making the notebook slow."""


class Parsed(HTMLParser):
    """Tags and text of what a notebook shows."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(view: qdgs.Archive | qdgs.Dataset) -> Parsed:
    text = view._repr_html_()
    assert len(text) < SMALL
    parsed = Parsed(text)
    assert parsed.open == []
    return parsed


def test_an_archive_tells_its_elites_and_cells_and_shows_a_map(finished: Path) -> None:
    archive = qdgs.Run.open(finished).archive
    elites = pd.read_parquet(finished / "search" / "archive.parquet")
    assert len(archive) == len(elites)
    assert archive.cells == 40 * 40
    assert archive.coverage == len(elites) / 1600
    assert repr(archive) == "Archive of 300 elites in 1,600 cells (19 %): color × edges"
    cell = shown(archive)
    assert "300 elites in 1,600 cells" in cell.text
    assert "A red shape." in cell.text
    assert str(cell.images[0]["src"]).startswith("data:image/png;base64,")


def test_a_map_of_an_archive_may_be_of_any_two_measures(finished: Path) -> None:
    archive = qdgs.Run.open(finished).archive
    assert len(archive.heatmap("edges", "color").axes) == 2
    with pytest.raises(InputError, match="unknown measure 'colour'; known: color, edges"):
        archive.heatmap("colour")


def test_a_dataset_tells_its_groups_and_shows_images_of_each(finished: Path) -> None:
    dataset = qdgs.Run.open(finished).dataset
    manifest = pd.read_parquet(finished / "dataset" / "manifest.parquet")
    assert len(dataset) == len(manifest)
    assert all(file.is_file() for file in dataset.files)
    assert dict(zip(dataset.groups["name"], dataset.groups["count"], strict=True)) == dict(
        manifest["group"].value_counts()
    )
    assert dataset.groups["random"].is_monotonic_increasing
    assert repr(dataset).splitlines()[:2] == [
        "Dataset: 20 images; groups as shape-cnn reads them",
        "  red/square: 6 (30 %, asked for 25 %)",
    ]
    cell = shown(dataset)
    assert "red · square" in cell.text
    assert [image["alt"] for image in cell.images] == [
        f"The first {min(EACH, count)} images of the group {name.replace('/', ' · ')}"
        for name, count in manifest["group"].value_counts(sort=False).items()
    ]


def test_what_users_write_is_text_and_never_markup(hostile: Path) -> None:
    run = qdgs.Run.open(hostile)
    for view in (run.archive, run.dataset):
        cell = shown(view)
        assert "script" not in cell.tags
        assert all(str(image["src"]).startswith("data:image/") for image in cell.images)
        assert cell.tags.count("b") == 1
    assert "</script><b class=injected>'\"" in shown(run.archive).text
    assert "<img src=x onerror=injected=1>" in shown(run.dataset).text


def test_an_empty_archive_and_one_of_a_single_measure_have_no_map(run: Path) -> None:
    path = run / "search" / "archive.parquet"
    pd.read_parquet(path).head(0).to_parquet(path)
    config = load_config(run / "config.yaml")
    empty = archive_of(run, config)
    assert shown(empty).images == []
    assert "found nothing" in shown(empty).text
    with pytest.raises(InputError, match="expected elites over two measures, got Archive of 0 elites"):
        empty.heatmap()
    guide = config.guide.model_copy(update={"measures": config.guide.measures[:1]})
    assert shown(archive_of(run, config.model_copy(update={"guide": guide}))).images == []


def test_what_is_not_there_yet_is_told_with_the_command_that_makes_it(run: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    half.mkdir()
    (half / "config.yaml").write_text(dump_config(load_config(run / "config.yaml")))
    there = qdgs.Run.open(half)
    assert repr(there) == f"Run({str(half)!r}, through with nothing yet)"
    with pytest.raises(InputError, match="run qdgs search"):
        _ = there.archive
    with pytest.raises(InputError, match="run qdgs flatten"):
        _ = there.dataset


def test_a_dataset_that_is_not_rendered_or_audited_shows_what_was_chosen(run: Path) -> None:
    shutil.rmtree(run / "dataset" / "train")
    (run / "audit.csv").unlink()
    dataset = dataset_of(run, load_config(run / "config.yaml"))
    assert dataset.told == "20 images, 0 of them rendered; groups as they were made"
    cell = shown(dataset)
    assert cell.images == []
    assert "random samples" not in cell.text


def test_images_that_the_auditor_cannot_read_are_told(run: Path) -> None:
    shares = pd.read_csv(run / "audit.csv")
    shares.assign(count=shares["count"] - 1).to_csv(run / "audit.csv", index=False)
    assert dataset_of(run, load_config(run / "config.yaml")).told.endswith("; it cannot read 4")
