"""One guarded remedy for a broken pair of packages; machines whose packages fit never enter it."""

import importlib
import sys
import warnings
from types import ModuleType

import torch

_LIBRARIES: list[torch.library.Library] = []  # operators live as long as the object that defined them


def import_torchvision() -> ModuleType:
    """Import torchvision, also where its compiled operators do not fit the installed torch.

    torchvision from the package index beside a CPU-only torch raises "operator torchvision::nms does not
    exist" on import, although open_clip and diffusers want nothing but its Python transforms. Then, and
    only then, the two missing operators are declared (without an implementation) and the import repeated.

    Raises:
        RuntimeError: Anything else that torchvision raises on import.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "operator torchvision::nms does not exist" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    _declare_operators()
    return importlib.import_module("torchvision")


def import_open_clip() -> ModuleType:
    """Import open_clip, which imports torchvision.

    See Also:
        import_torchvision: what is done where that fails.
    """
    import_torchvision()
    with warnings.catch_warnings():
        # In a notebook without ipywidgets its import of tqdm complains, although it shows no bar.
        warnings.filterwarnings("ignore", message="IProgress not found")
        return importlib.import_module("open_clip")


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _LIBRARIES.append(library)
