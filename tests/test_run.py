import os
import signal

import pandas as pd
import pytest

from qdgs.config import load_config
from qdgs.errors import CorruptFileError, InputError
from qdgs.run import STAGES, WRITES, Run, Step, differences
from qdgs.search.state import Progress
from qdgs.stages.search import _Metrics

FILES = [
    "config.yaml",
    "summary.json",
    "search/metrics.csv",
    "search/archive.parquet",
    "search/reservoir.parquet",
    "search/checkpoint.bin",
    "dataset/README.md",
    "dataset/manifest.parquet",
    "dataset/train/metadata.parquet",
    "audit.json",
    "audit.csv",
    "report.html",
    "figures/before_after.png",
    "figures/archive_heatmap.png",
    "figures/image_grid.png",
    "figures/group_shares.png",
    "figures/learning_curves.png",
]

KEYS = [
    "evaluations",
    "search_seconds",
    "evaluations_per_second",
    "qd_score",
    "corrected_qd_score",
    "norm_qd_score",
    "coverage",
    "objective_mean",
    "clipped_fraction",
    "lineages",
    "candidates_guessed",
    "gate_acceptance",
    "images",
    "reference_evaluations",
    "label_agreement",
    "normalized_entropy",
    "smallest_group_share",
    "max_share_error",
    "fairness_discrepancy",
    "group_diversity_ratio",
    "near_duplicates",
    "random_normalized_entropy",
    "random_smallest_group_share",
    "random_max_share_error",
    "random_fairness_discrepancy",
    "random_label_agreement",
    "random_corrected_qd_score",
    "corrected_max_share_error",
    "unreadable_share",
]


def sentence(kind, act):
    with pytest.raises(kind) as error:
        act()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_finished_run_holds_every_file_of_a_run_folder(finished):
    assert [name for name in FILES if not (finished.path / name).is_file()] == []
    assert len(list((finished.path / "dataset/train").glob("*/*.png"))) == 40


def test_the_summary_is_flat_and_has_every_key(finished):
    assert sorted(finished.summary) == sorted(KEYS)
    assert {type(value) for value in finished.summary.values()} <= {int, float, type(None)}


def test_every_stage_of_a_complete_run_is_finished(finished):
    assert all(finished.finished(stage) for stage in STAGES)


def test_the_resolved_configuration_repeats_the_run(finished, tmp_path):
    again = Run.create(finished.path / "config.yaml", tmp_path / "again")
    again.do("search")
    for name in ("archive", "reservoir"):
        file = f"search/{name}.parquet"
        assert (again.path / file).read_bytes() == (finished.path / file).read_bytes()


def test_another_seed_gives_another_archive(finished, tiny_config, tmp_path):
    other = Run.create(load_config(tiny_config, ["seed=1"]), tmp_path / "other")
    other.do("search")
    file = "search/archive.parquet"
    assert (other.path / file).read_bytes() != (finished.path / file).read_bytes()


def test_an_interrupted_search_goes_on_to_what_an_unbroken_one_reaches(finished, tiny_config, tmp_path):
    run = Run.create(tiny_config, tmp_path / "broken")

    def interrupt(step: Step) -> None:
        if step.done == 256:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run.do("search", watch=interrupt)
    assert not run.finished("search")
    assert pd.read_csv(run.path / "search/metrics.csv")["evaluations"].iloc[-1] == 256

    resumed = Run.open(run.path).complete(until="search")
    for name in ("archive", "reservoir"):
        file = f"search/{name}.parquet"
        assert (resumed.path / file).read_bytes() == (finished.path / file).read_bytes()
    kept = [pd.read_csv(path / "search/metrics.csv") for path in (resumed.path, finished.path)]
    pd.testing.assert_frame_equal(*(frame.drop(columns="seconds") for frame in kept))


def test_a_line_of_metrics_that_was_cut_off_is_done_again(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        {name: 1.5 for name in Progress.__dataclass_fields__} | {"evaluations": n, "lineages": 2}
        for n in (256, 512)
    ]
    pd.DataFrame(rows).to_csv(path, index=False)
    whole = path.read_text()
    path.write_text(whole + "76,2.5")
    metrics = _Metrics.until(path, 1024)
    metrics.write()
    assert path.read_text() == whole
    metrics.add(Progress(**{**rows[0], "evaluations": 768}))
    metrics.write()
    metrics.write()
    assert path.read_text() == whole + whole.splitlines()[1].replace("256", "768") + "\n"


def test_an_exception_in_a_watcher_loses_nothing(finished, tiny_config, tmp_path):
    run = Run.create(tiny_config, tmp_path / "broken")

    def fail(step: Step) -> None:
        if step.done == 256:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run.do("search", watch=fail)
    run.do("search")
    file = "search/archive.parquet"
    assert (run.path / file).read_bytes() == (finished.path / file).read_bytes()


def test_finished_stages_are_not_done_again(finished):
    seen = []
    Run.open(finished.path).complete(watch=seen.append)
    assert seen == []


def test_doing_a_stage_again_asks_for_those_after_it(finished):
    finished.do("flatten")
    assert [finished.finished(stage) for stage in STAGES] == [True, True, False, False, False, False]
    assert not set(WRITES["audit"]) & set(finished.summary)


def test_a_stage_asks_for_those_before_it(tiny_config, tmp_path):
    run = Run.create(tiny_config, tmp_path / "run")
    assert "run qdgs search" in sentence(InputError, lambda: run.do("flatten"))


def test_an_unknown_stage_is_answered_with_the_nearest(finished):
    assert sentence(InputError, lambda: finished.do("serch")).startswith(
        "stage: unknown 'serch'; did you mean 'search'? known: audit, export, "
    )


def test_completing_until_an_unknown_stage_does_nothing(tiny_config, tmp_path):
    run = Run.create(tiny_config, tmp_path / "run")
    assert sentence(InputError, lambda: run.complete(until="redner")).startswith(
        "stage: unknown 'redner'; did you mean 'render'?"
    )
    assert not run.searched


def test_what_the_search_does_not_read_may_change_in_a_searched_run(finished):
    run = Run.open(finished.path, ["dataset.images=20"])
    assert [run.finished(stage) for stage in STAGES] == [True] + [False] * 5
    assert run.complete(until="render").summary["images"] == 20
    assert len(list((run.path / "dataset/train").glob("*/*.png"))) == 20
    assert Run.open(run.path).config.dataset.images == 20


def test_what_the_search_reads_may_not_change_in_a_searched_run(finished):
    said = sentence(InputError, lambda: Run.open(finished.path, ["search.sigma0=0.1"]))
    assert "search.sigma0 cannot change in a run that has been searched" in said
    assert Run.open(finished.path).config == finished.config


def test_a_search_goes_on_with_a_larger_budget(finished):
    run = Run.open(finished.path, ["search.evaluations=700"])
    run.complete(until="search")
    assert 640 < run.summary["evaluations"] <= 700


def test_a_search_that_time_ended_goes_on_when_the_limit_is_lifted(tiny_config, tmp_path):
    run = Run.create(load_config(tiny_config, ["search.seconds=0.0001"]), tmp_path / "run")
    run.complete(until="search")
    assert run.summary["evaluations"] == 64
    resumed = Run.open(run.path, ["search.seconds=null"]).complete(until="search")
    assert 608 < resumed.summary["evaluations"] <= 640


def test_a_checkpoint_of_another_configuration_is_refused(finished):
    path = finished.path / "config.yaml"
    path.write_text(path.read_text().replace("latent_norm: 0.5", "latent_norm: 0.25"))
    before = (finished.path / "search/checkpoint.bin").read_bytes()
    said = sentence(InputError, Run.open(finished.path).complete)
    assert said.startswith("guide.weights.latent_norm: expected 0.5 as in the checkpoint")
    assert (finished.path / "search/checkpoint.bin").read_bytes() == before


def test_a_run_is_created_once_and_then_taken_up(tiny_config, tmp_path):
    created = Run.create(tiny_config, tmp_path / "run")
    assert Run.create(str(tiny_config), str(tmp_path / "run")).config == created.config


def test_a_folder_that_holds_another_run_is_refused(finished, tiny_config):
    other = load_config(tiny_config, ["seed=1", "dataset.images=50"])
    said = sentence(InputError, lambda: Run.create(other, finished.path))
    assert "got a run that differs in seed and 1 more keys" in said
    assert Run.open(finished.path).finished("export")


def test_a_folder_with_other_files_is_refused(tiny_config, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "got one with mine.txt" in sentence(InputError, lambda: Run.create(tiny_config, tmp_path))
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_file_is_no_run_folder(tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    assert "got a file" in sentence(InputError, lambda: Run.create(tiny_config, tmp_path / "file"))


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_a_run_is_told(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "none"
    assert "expected the folder of a run" in sentence(InputError, lambda: Run.open(folder))


def test_differences_are_keys_with_dots(tiny_config):
    one = load_config(tiny_config)
    other = load_config(tiny_config, ["guide.measures.1.cells=3", "search.sigma0=0.2"])
    assert differences(one, other) == ["guide.measures.1.cells", "search.sigma0"]
    assert differences(one, one) == []


@pytest.mark.parametrize(
    ("file", "stage"),
    [
        ("search/checkpoint.bin", "search"),
        ("search/reservoir.parquet", "flatten"),
        ("dataset/manifest.parquet", "render"),
        ("search/archive.parquet", "audit"),
        ("dataset/flatten.json", "audit"),
        ("dataset/manifest.parquet", "export"),
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "overwritten"])
def test_a_damaged_file_is_one_sentence_and_stays(finished, file, stage, damage):
    path = finished.path / file
    content = path.read_bytes()
    middle = len(content) // 2
    spoilt = content[:middle] if damage == "truncated" else content[:8] + b"\xff" * 64 + content[72:]
    path.write_bytes(spoilt)
    assert file in sentence(CorruptFileError, lambda: finished.do(stage))
    assert path.read_bytes() == spoilt


def test_a_damaged_image_is_told_by_its_name_and_rendered_again(finished):
    image = next((finished.path / "dataset/train").glob("*/*.png"))
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    assert image.name in sentence(CorruptFileError, lambda: finished.do("audit"))
    finished.do("render")
    assert image.read_bytes() == whole


def test_losing_the_marks_costs_time_and_no_data(finished):
    (finished.path / "stages.json").write_text("{")
    run = Run.open(finished.path).complete(until="render")
    assert run.summary["images"] == 40


def test_warnings_speak_of_what_is_known_so_far(finished):
    assert any("confirms only" in warning for warning in finished.warnings())
    finished.do("flatten")
    assert not any("confirms only" in warning for warning in finished.warnings())
