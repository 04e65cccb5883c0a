from types import SimpleNamespace

import pytest

from qdgs.comparison.tables import result_frame
from qdgs.report.comparison import balancing, cheapest, cost_lines, draw_costs

CONFIG = SimpleNamespace(images=100)


def cell(method, **metrics):
    rows = {name: {"value": value, "low": value, "high": value, "n": 1} for name, value in metrics.items()}
    return {"method": method, "seed": 0, "generator": "vae", "rows": rows}


def spent(method, *, once, in_all):
    names = ("generator_calls", "judge_labels")
    costs = {name: in_all for name in names} | {f"{name}_once": once for name in names}
    return cell(method, images=100, **costs)


@pytest.fixture
def frame():
    cells = [spent("rejection", once=0, in_all=900), spent("latent-shift", once=5000, in_all=5000)]
    return result_frame([*cells, cell("drawn", seconds=1)])


def test_costs_are_lines_through_what_was_measured(frame):
    assert cost_lines(frame, "generator_calls") == [("rejection", 0, 9), ("latent-shift", 5000, 0)]


def test_the_figure_of_costs_is_drawn(frame, tmp_path):
    assert draw_costs(frame, CONFIG, tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_the_cheapest_changes_where_lines_cross(frame):
    # 9 an image against 5,000 once
    (first, second) = cheapest(cost_lines(frame, "generator_calls"), 1e5)
    assert first == (1, "rejection")
    assert second == (pytest.approx(5000 / 9), "latent-shift")
    assert cheapest([("a", 5, 1), ("b", 9, 2)], 1e5) == [(1, "a")]
    assert cheapest([("a", 1, 3), ("b", 7, 2), ("c", 8, 1)], 1e5) == [(1, "a"), (3.5, "c")]
    assert cheapest([], 1e5) == []


def test_lines_of_sets_that_are_not_balanced_are_left_out():
    frame = result_frame([cell("near", max_share_error=0.4), cell("far", max_share_error=0.6)])
    lines = [("near", 0, 9), ("far", 0, 1), ("untold", 0, 1)]
    assert balancing(lines, frame) == lines[:1]
