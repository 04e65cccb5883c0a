"""Where the numbers of a run go beside the terminal: TensorBoard, or whatever a user calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from qdgs.errors import MissingPackageError
from qdgs.run import Step, Watch

TENSORBOARD = "tensorboard"


@contextmanager
def open_logs(names: Sequence[str], folder: Path) -> Iterator[list[Watch]]:
    """Logs by their names, closed in the end.

    Args:
        names: "tensorboard", which writes to `folder/tensorboard`, or "package.module:function", a function
            that is called with every `Step`.
        folder: Of the run.

    Raises:
        MissingPackageError: TensorBoard is not installed.
        ConfigError: A function cannot be imported.
    """
    with ExitStack() as stack:
        logs: list[Watch] = []
        for name in names:
            if name == TENSORBOARD:
                log = TensorBoardLog(folder / TENSORBOARD)
                stack.callback(log.close)
                logs.append(log)
            else:
                logs.append(_imported(name))
        yield logs


def together(*watches: Watch) -> Watch:
    """One that tells several."""

    def tell(step: Step) -> None:
        for watch in watches:
            watch(step)

    return tell


class TensorBoardLog:
    """Writes the numbers of each step, and those of summary.json when a stage is through.

    Scalars are `<stage>/<number>` over what the stage counts (a search's evaluations), and
    `summary/<number>`. No folder is made before the first number.

    Args:
        folder: Where the event files go.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingPackageError(
                "--log tensorboard needs an optional package: pip install 'qdgs[tensorboard]'"
            ) from None
        self._make: Callable[[], Any] = partial(SummaryWriter, str(folder))
        self._writer: Any = None

    def __call__(self, step: Step) -> None:
        """Write a step."""
        group = "summary" if step.through else step.stage.replace(": ", "/")
        for name, value in step.numbers.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer = self._writer or self._make()
                self._writer.add_scalar(f"{group}/{name}", value, step.done)

    def close(self) -> None:
        """Write what waits."""
        if self._writer is not None:
            self._writer.close()


def _imported(name: str) -> Callable[[Step], None]:
    from qdgs.targets import import_target

    found: Callable[[Step], None] = import_target(name, "--log")
    return found
