"""How much memory a run takes at most: `qdgs run` in a process of its own, and what that peaked at.

    python experiments/speed/memory.py --out experiments/speed/results/memory.json
    python experiments/speed/memory.py --set search.evaluations=4000 --out FILE.json

Of several processes the largest counts, as the system has it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from qdgs.files import write_text

PROGRAM = "from qdgs.cli import main; main()"
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "shapes.yaml"


def measured(config: Path, overrides: list[str]) -> dict[str, Any]:
    """Peak of resident memory of the run and whatever it started, the largest process of them.

    Raises:
        SystemExit: The run failed; it has told why.
    """
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, "run", str(config), "--out", f"{folder}/run"]
        for assignment in overrides:
            command += ["--set", assignment]
        ended = subprocess.run(command, check=False)
        if ended.returncode:
            raise SystemExit(ended.returncode)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "peak_memory_gb": round(peak * 1024 / 1e9, 3),
        "seconds": round(time.perf_counter() - begun, 1),
        "config": config.name,
        "set": overrides,
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    told = measured(given.config, given.set)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(given.out, json.dumps(told, indent=2) + "\n")
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
