import subprocess
import sys
from pathlib import Path

import pytest

from qdgs.compat import import_open_clip, import_torchvision

PROGRAM = """
import sys
sys.path.insert(0, {folder!r})
from qdgs import compat
try:
    compat.import_torchvision()
    print("imported", len(compat._LIBRARIES))
except RuntimeError as error:
    print("raised", error, len(compat._LIBRARIES))
"""
ASKS_FOR_ITS_OPERATORS = """
import torch
for name in ("nms", "qnms"):
    torch.library.register_fake("torchvision::" + name)(lambda dets, scores, iou_threshold: dets)
"""


@pytest.mark.parametrize(
    ("source", "outcome"),
    [
        pytest.param("", "imported 0", id="one that can be imported is left alone"),
        pytest.param(ASKS_FOR_ITS_OPERATORS, "imported 1", id="one that misses its operators gets them"),
        pytest.param("raise RuntimeError('no cheese')", "raised no cheese 0", id="other failures are shown"),
    ],
)
def test_torchvision_is_remedied_only_where_its_operators_are_missing(
    tmp_path: Path, source: str, outcome: str
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(source)
    command = [sys.executable, "-c", PROGRAM.format(folder=str(tmp_path))]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert finished.stdout.strip() == outcome


def test_open_clip_and_torchvisions_transforms_can_be_imported_here() -> None:
    assert len(import_open_clip().list_models()) > 100
    assert import_torchvision().transforms.Resize(8).size == 8


def test_importing_twice_gives_the_same_module() -> None:
    assert import_open_clip() is import_open_clip()
    assert import_torchvision() is import_torchvision()
