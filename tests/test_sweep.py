import csv

import pytest

from qdgs.errors import ConfigError, InputError
from qdgs.run import Run
from qdgs.sweep import TABLE, parse_seeds, plan, sweep
from qdgs.workers_config import WorkersConfig

LOCAL = WorkersConfig()


@pytest.mark.parametrize(
    ("text", "seeds"), [("0", [0]), ("0-2", [0, 1, 2]), ("4,7", [4, 7]), ("0-1,9", [0, 1, 9])]
)
def test_seeds_are_read(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,", "-1", "1-", "1.5"])
def test_seeds_that_are_none_are_refused(text):
    with pytest.raises(InputError, match=r"^--seeds: expected seeds such as 0-9 or 0,3,7, got "):
        parse_seeds(text)


def test_a_sweep_has_a_run_for_each_combination(tiny_config):
    cells = plan(tiny_config, "0-1", ["search.algorithm=[random, map_elites]"], ["workers.kind=ray"])
    assert [cell.name for cell in cells] == [
        "seed=0-algorithm=random",
        "seed=0-algorithm=map_elites",
        "seed=1-algorithm=random",
        "seed=1-algorithm=map_elites",
    ]
    assert [(cell.config.seed, cell.config.search.algorithm) for cell in cells[1:3]] == [
        (0, "map_elites"),
        (1, "random"),
    ]
    assert {cell.config.workers.kind for cell in cells} == {
        "local"
    }  # the runs, not their evaluations, are spread


@pytest.mark.parametrize(
    ("seeds", "vary", "said"),
    [
        (None, [], "sweep: expected --seeds or --vary, got neither"),
        (None, ["seed"], r"--vary: expected a\.b=\[VALUE, …\], got 'seed'"),
        (None, ["seed=3"], r"--vary: expected a\.b=\[VALUE, …\], got 'seed=3'"),
        (None, ["workers.count=[1, 2]"], "--vary: expected a key that a result depends on"),
        ("0-20000", [], "sweep: expected at most 10000 runs"),
        ("1,1", [], "sweep: expected runs that differ, got seed=1 twice"),
    ],
)
def test_what_is_no_sweep_is_refused(tiny_config, seeds, vary, said):
    with pytest.raises(InputError, match=f"^{said}"):
        plan(tiny_config, seeds, vary)


def test_a_value_that_does_not_hold_is_told_with_its_run(tiny_config):
    with pytest.raises(ConfigError, match=r"^sweep, run algorithm=cma_x: search.algorithm: unknown 'cma_x'"):
        plan(tiny_config, None, ["search.algorithm=[cma_mae, cma_x]"])


def test_a_sweep_completes_its_runs_and_one_that_fails_stops_no_other(tiny_config, tmp_path):
    cells = plan(tiny_config, "0-2", [], ["search.algorithm=random"])
    (tmp_path / cells[1].name).mkdir()
    (tmp_path / cells[1].name / "mine.txt").touch()
    swept = sweep(cells, tmp_path, LOCAL, until="search")
    assert list(swept.failed) == ["seed=1"]
    assert "expected a new or empty folder" in swept.failed["seed=1"]
    with (tmp_path / TABLE).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["run"], row["seed"], row["evaluations"]) for row in rows] == [
        ("seed=0", "0", "640"),
        ("seed=2", "2", "640"),
    ]
    alone = Run.create(cells[0].config, tmp_path / "alone").complete(until="search")
    assert (alone.path / "search/archive.parquet").read_bytes() == (
        tmp_path / "seed=0/search/archive.parquet"
    ).read_bytes()


def test_a_stage_that_is_none_is_refused(tiny_config, tmp_path):
    with pytest.raises(InputError, match=r"^--until: expected one of search, "):
        sweep(plan(tiny_config, "0-1", []), tmp_path, LOCAL, until="serch")
