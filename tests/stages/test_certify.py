import json
from pathlib import Path

import pytest

from qdgs.cli import run_command
from qdgs.datasets.manifest import read_manifest
from qdgs.errors import CorruptFileError, InputError
from qdgs.report.labelling import dataset_key, offered
from qdgs.run import Run
from qdgs.stages.certify import certify_run


def labels_of(run: Run, n: int = 30, **changed: object) -> Path:
    """A person who sees what the manifest says, and cannot tell every tenth image."""
    manifest = read_manifest(run.path / "dataset/manifest.parquet").rows
    labels = []
    for place, row in enumerate(offered(manifest, run.config.seed)[:n]):
        color, edges = manifest["group"].iloc[row].split("/")
        values = {"color": None if place % 10 == 9 else color, "edges": edges}
        labels.append({"id": manifest["id"].iloc[row], "values": values})
    content = {"kind": "qdgs-labels", "version": 1, "dataset": dataset_key(manifest), "labels": labels}
    file = run.path.parent / "labels.json"
    file.write_text(json.dumps({**content, **changed}))
    return file


def test_the_command_tells_shares_with_intervals_and_puts_them_into_report_and_card(
    finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["certify", str(finished.path), str(labels_of(finished)), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert "red/tall" in told
    assert "further labels" in told
    assert (
        "30 images, drawn evenly from all groups, were labelled by a person,"
        in (finished.path / "dataset/README.md").read_text()
    )
    page = (finished.path / "report.html").read_text()
    assert "What labels certify" in page
    assert Run.open(finished.path).finished("export")


def test_the_certificate_holds_what_the_labels_say(finished: Run) -> None:
    certificate = certify_run(finished, labels_of(finished))
    written = json.loads((finished.path / "certificate.json").read_text())
    assert [row["group"] for row in written["groups"]] == ["red/tall", "red/wide", "blue/tall", "blue/wide"]
    assert (written["labelled"], written["images"]) == (30, 40)
    assert certificate.unreadable_share.value == pytest.approx(0.1, abs=0.06)
    assert sum(share.value for share in certificate.shares) == pytest.approx(1)


def test_who_labelled_is_told_where_the_file_says_it(finished: Run) -> None:
    certify_run(finished, labels_of(finished, labelled_by="an AI model <b>"))
    assert json.loads((finished.path / "certificate.json").read_text())["labelled_by"] == "an AI model <b>"
    finished.do("report")
    assert "were labelled by an AI model <b>, who saw" in (finished.path / "dataset/README.md").read_text()
    assert (
        "were labelled by <bdi>an AI model &lt;b&gt;</bdi>, who saw"
        in (finished.path / "report.html").read_text()
    )


def test_a_certificate_that_names_nobody_is_a_persons(finished: Run) -> None:
    certify_run(finished, labels_of(finished))
    told = json.loads((finished.path / "certificate.json").read_text())
    (finished.path / "certificate.json").write_text(
        json.dumps({key: value for key, value in told.items() if key != "labelled_by"})
    )
    finished.do("report")
    assert "were labelled by <bdi>a person</bdi>" in (finished.path / "report.html").read_text()


def test_without_an_audit_the_labels_stand_alone(finished: Run) -> None:
    (finished.path / "audit_images.parquet").unlink()
    assert certify_run(finished, labels_of(finished)).read is None


def test_a_certificate_of_an_earlier_dataset_is_not_shown(finished: Run) -> None:
    certify_run(finished, labels_of(finished))
    certificate = json.loads((finished.path / "certificate.json").read_text())
    (finished.path / "certificate.json").write_text(json.dumps({**certificate, "dataset": "another"}))
    finished.do("report")
    finished.do("export")
    assert "What labels certify" not in (finished.path / "report.html").read_text()
    assert "were labelled by" not in (finished.path / "dataset/README.md").read_text()


def test_a_value_that_no_group_has_names_the_nearest(finished: Run) -> None:
    file = labels_of(finished)
    file.write_text(file.read_text().replace('"tall"', '"tal"'))
    with pytest.raises(InputError, match=r"labels: unknown edges 'tal'; did you mean 'tall'"):
        certify_run(finished, file)


def test_labels_of_another_dataset_are_refused_by_the_file_that_holds_them(finished: Run) -> None:
    with pytest.raises(InputError, match=r"labels\.json: expected labels of this run's dataset"):
        certify_run(finished, labels_of(finished, dataset="0" * 64))


def test_a_file_that_is_missing_or_not_json_is_one_sentence(finished: Run, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a file of labels, got none"):
        certify_run(finished, tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(CorruptFileError, match="cannot be read as JSON"):
        certify_run(finished, tmp_path / "bad.json")
