import io
import re
import time

import pytest

from qdgs.display import Bar
from qdgs.run import Step


class Terminal(io.StringIO):
    def isatty(self):
        return True


def step(done, stage="search"):
    return Step(stage, done, 100, "evaluations", {"qd_score": 1234.5, "coverage": 0.257})


def test_a_terminal_sees_a_bar_with_score_and_coverage():
    stream = Terminal()
    with Bar(stream) as bar:
        bar.watch(step(50))
        bar.watch(step(100))
    assert "100/100" in stream.getvalue()
    assert "QD score 1,234, coverage 25.7%" in stream.getvalue()


def test_what_was_done_before_an_interruption_is_not_taken_for_pace():
    stream = Terminal()
    with Bar(stream) as bar:
        bar.watch(step(50))
        time.sleep(0.3)
        bar.watch(step(51))
    paces = re.findall(r"51/100 \[.*?([\d.]+) ?(evaluations/s|s/ evaluations)", stream.getvalue())
    rate, unit = paces[-1]
    assert (float(rate) if unit == "evaluations/s" else 1 / float(rate)) < 20


def test_elsewhere_a_stage_is_told_at_its_beginning_its_end_and_now_and_then():
    stream = io.StringIO()
    with Bar(stream) as bar:
        for done in (10, 20, 30, 100):
            bar.watch(step(done))
        bar.watch(step(1, "render"))
    lines = stream.getvalue().splitlines()
    assert [line.split(" of")[0] for line in lines] == ["search: 10", "search: 100", "render: 1"]
    assert lines[0] == "search: 10 of 100 evaluations, QD score 1,234, coverage 25.7%"


def test_what_has_not_begun_is_seen_on_a_terminal_alone():
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Bar(stream) as bar:
            bar.watch(step(0))
    assert "0/100" in terminal.getvalue()
    assert file.getvalue() == ""


def test_ten_seconds_of_silence_are_enough(monkeypatch):
    stream, now = io.StringIO(), [0.0]
    monkeypatch.setattr("qdgs.display.time.monotonic", lambda: now[0])
    with Bar(stream) as bar:
        for done, now[0] in ((10, 0.0), (20, 5.0), (30, 11.0), (40, 12.0)):
            bar.watch(step(done))
    assert [line.split(" of")[0] for line in stream.getvalue().splitlines()] == ["search: 10", "search: 30"]


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_nothing_watched_is_nothing_shown(stream):
    with Bar(stream):
        pass
    assert stream.getvalue() == ""


def test_the_same_line_is_not_written_twice():
    stream = io.StringIO()
    with Bar(stream) as bar:
        for _ in range(3):  # the gate goes on accepting what a group no longer needs
            bar.watch(Step("flatten", 40, 40, "images"))
    assert stream.getvalue() == "flatten: 40 of 40 images\n"
