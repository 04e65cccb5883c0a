"""The tutorial notebook does what its text says."""

import re
from pathlib import Path

import pandas as pd
import pytest

import qdgs

NEEDED = {
    name: pytest.importorskip(name, reason=f"{name} is not installed: pip install 'qdgs[dev]'")
    for name in ("nbformat", "nbclient", "ipykernel")
}
pytestmark = pytest.mark.xdist_group("tutorial")  # executed once

SMALLER = {
    '"search.evaluations=3072"': '"search.evaluations=1024"',
    '"dataset.images=48"': '"dataset.images=16", "dataset.on_shortage=accept"',
    '"dataset.images=24"': '"dataset.images=8"',
}
"""What makes the same notebook quick; few evaluations may not fill every group."""

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"


def stored():
    return NEEDED["nbformat"].read(NOTEBOOK, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def quick():
    notebook = stored()
    for size, smaller in SMALLER.items():
        (cell,) = (cell for cell in notebook.cells if size in cell.source)
        cell.source = cell.source.replace(size, smaller)
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook with its outputs, and the folder that it wrote."""
    root = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "QDGS_CACHE", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
            (root / name).mkdir()
            patch.setenv(name, str(root / name))
        resources = {"metadata": {"path": str(NOTEBOOK.parent)}}
        patience = {"timeout": 600, "startup_timeout": 600, "iopub_timeout": 120}
        notebook = NEEDED["nbclient"].NotebookClient(quick(), resources=resources, **patience).execute()
    (folder,) = (root / "TMPDIR").glob("qdgs-*")
    return notebook, folder


def test_it_is_kept_without_outputs():
    assert outputs(stored()) == []
    assert {cell.execution_count for cell in stored().cells if cell.cell_type == "code"} == {None}


def test_its_links_lead_somewhere():
    text = "\n".join(cell.source for cell in stored().cells if cell.cell_type == "markdown")
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert targets
    assert [target for target in targets if not (NOTEBOOK.parent / target).is_file()] == []


def test_it_runs_without_a_complaint_and_shows_archive_datasets_and_pictures(executed):
    notebook, _ = executed
    shown = outputs(notebook)
    assert [
        output.text for output in shown if output.output_type == "stream" and output.name == "stderr"
    ] == []
    pages = [output.data["text/html"] for output in shown if "text/html" in output.get("data", {})]
    assert sum("<b>Archive</b>" in page for page in pages) == 1
    made, audited, other = (page for page in pages if "<b>Dataset</b>" in page)
    assert "as they were made" in made
    assert "as shape-cnn reads them" in audited
    assert "as they were made" in other  # the audit is of the dataset before
    assert sum("image/png" in output.get("data", {}) for output in shown) >= 5


def test_its_set_has_what_random_samples_lack_and_another_target_takes_no_search(executed):
    _, folder = executed
    kept = pd.concat(map(pd.read_parquet, sorted((folder / "parquet" / "data").glob("*.parquet"))))
    counts = kept["group"].value_counts()
    assert set(counts.index) == {"red/triangle", "red/square", "blue/triangle", "blue/square"}
    assert counts.max() == 4
    shares = pd.read_csv(folder / "run" / "audit.csv").set_index("group")
    rare = shares.loc[["red/square", "blue/triangle"]].sum()
    assert rare["share"] > 2 * rare["random_share"]
    other = qdgs.Run.open(folder / "run")
    squares = other.dataset.rows["label"].value_counts()
    assert squares["square"] > 2 * squares["triangle"]
    assert other.finished("render")
    assert not other.finished("audit")
