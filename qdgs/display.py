"""How far a stage is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from typing import Any, Self, TextIO

from tqdm import tqdm

from qdgs.run import Step

LINE_SECONDS = 10.0
SHOWN = ("qd_score", "coverage", "loss")
"""Numbers of a step that stand beside its bar."""


class Bar:
    """Shows steps on a stream.

    Args:
        stream: Usually stderr; where it is no terminal, one line every ten seconds takes the bar's place.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._bar: Any = None
        self._stage = ""
        self._told = 0.0
        self._line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def watch(self, step: Step) -> None:
        """Show a step; that a stage is through is seen anyway, and plain lines tell of what is done alone."""
        if step.through or not (step.done or self._terminal):
            return
        if self._terminal:
            self._draw(step)
        elif self._is_due(step):
            self._write_line(step)
        self._stage = step.stage

    def _is_due(self, step: Step) -> bool:
        late = time.monotonic() - self._told > LINE_SECONDS
        return late or step.stage != self._stage or step.done >= step.total

    def _draw(self, step: Step) -> None:
        if self._bar is None or step.stage != self._stage:
            self._close()
            # What was done before this bar began, by an interrupted search, does not count as its pace.
            self._bar = tqdm(
                total=step.total,
                initial=step.done,
                desc=step.stage,
                unit=f" {step.unit}",
                file=self._stream,
            )
        self._bar.total = step.total
        self._bar.update(step.done - self._bar.n)
        self._bar.set_postfix_str(_numbers(step))

    def _write_line(self, step: Step) -> None:
        numbers = _numbers(step)
        tail = f", {numbers}" if numbers else ""
        line = f"{step.stage}: {step.done:,} of {step.total:,} {step.unit}{tail}\n"
        if line == self._line:
            return
        self._stream.write(line)
        self._stream.flush()
        self._told, self._line = time.monotonic(), line

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _numbers(step: Step) -> str:
    shown = []
    for name in (name for name in SHOWN if name in step.numbers):
        value = step.numbers[name]
        text = f"{value:.1%}" if name == "coverage" else f"{value:,.{3 if name == 'loss' else 0}f}"
        shown.append(f"{name.replace('qd_score', 'QD score')} {text}")
    return ", ".join(shown)
