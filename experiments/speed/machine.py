"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def machine(device: str) -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    accelerator = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else None
    return {
        "processor": names[0] if names else model,
        "cores": len(names) or None,
        "threads": torch.get_num_threads(),
        "device": accelerator or device,
        "torch": torch.__version__,
        "ribs": version("ribs"),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }
