import subprocess
import sys
from pathlib import Path

from qdgs.compat import import_open_clip, import_torchvision

PROGRAM = """
import importlib, sys
from qdgs import compat
for folder in sys.argv[1:]:
    sys.path.insert(0, folder)
    sys.modules.pop("torchvision", None)
    importlib.invalidate_caches()
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
OUTCOMES = {
    "can be imported": ("", "imported 0"),
    "fails otherwise": ("raise RuntimeError('no cheese')", "raised no cheese 0"),
    "misses its operators": (ASKS_FOR_ITS_OPERATORS, "imported 1"),
}


def test_torchvision_is_remedied_only_where_its_operators_are_missing(tmp_path: Path) -> None:
    for name, (source, _) in OUTCOMES.items():
        (tmp_path / name / "torchvision").mkdir(parents=True)
        (tmp_path / name / "torchvision" / "__init__.py").write_text(source)
    command = [sys.executable, "-c", PROGRAM, *(str(tmp_path / name) for name in OUTCOMES)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    told = dict(zip(OUTCOMES, finished.stdout.splitlines(), strict=True))
    assert told == {name: outcome for name, (_, outcome) in OUTCOMES.items()}


def test_open_clip_and_torchvisions_transforms_can_be_imported_here() -> None:
    assert len(import_open_clip().list_models()) > 100
    assert import_torchvision().transforms.Resize(8).size == 8


def test_importing_twice_gives_the_same_module() -> None:
    assert import_open_clip() is import_open_clip()
    assert import_torchvision() is import_torchvision()
