"""Make the shipped bank: 10,000 random samples of ready-made tasks, embedded, judged and scored once.

    python experiments/weights/bank.py configs/shapes.yaml --out qdgs/weights/bank

Several configurations may be named. What a bank of judged samples tells already (faces_bank.py) is not told
again. A run of such a task reads it instead of making it. It is keyed by weights and code: whoever changes
the generator, a judge or the guide makes it anew (a test says so).
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from qdgs.config import RunConfig, load_config
from qdgs.parts import load_generator, load_guide, load_judge
from qdgs.stages.bank import Bank
from qdgs.stages.scoring import Scorer


def main() -> None:
    """Make every part of the bank that runs of the configurations ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("configs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    configs = [load_config(path) for path in given.configs]
    for config in configs:
        make(config, given.out)
    named = " ".join(str(path) for path in given.configs)
    write_card(given.out, configs, f"python experiments/weights/bank.py {named} --out {given.out}")
    print(*sorted(path.name for path in given.out.iterdir()), sep="\n")


def make(config: RunConfig, folder: Path) -> None:
    """Every part of the bank that a run of the configuration asks for."""
    generator = load_generator(config.generator)
    bank = Bank(
        generator,
        samples=config.audit.samples,
        micro_batch=config.search.micro_batch,
        folder=folder,
    )
    bank.embeddings()
    bank.scored(Scorer(generator, load_guide(config.guide), seed=config.seed))
    for named in (config.judges.teacher, config.judges.auditor):
        if named is not None:
            bank.judged(load_judge(named))


def write_card(folder: Path, configs: Sequence[RunConfig], command: str) -> None:
    """Say what the files are and whom they come from."""
    card = {
        "command": command,
        "licence": "MIT",
        "source": "; ".join(_source(config) for config in configs) + "; numbers, no images",
        "why": "every audit compares with them; made on the spot they take half a minute of a first run",
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def _source(config: RunConfig) -> str:
    judges = [named.name for named in (config.judges.teacher, config.judges.auditor) if named is not None]
    return (
        f"{config.audit.samples:,} random samples of {config.generator.name}, scored by "
        f"{config.guide.clip.model} and judged by {' and '.join(judges)}"
    )


if __name__ == "__main__":
    main()
