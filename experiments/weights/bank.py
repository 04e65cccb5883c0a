"""Make the shipped bank: 10,000 random samples of a ready-made task, embedded, judged and scored once.

    python experiments/weights/bank.py configs/shapes.yaml --out qdgs/weights/bank

A run of that task reads it instead of making it. It is keyed by weights and code: whoever changes the
generator, a judge or the guide makes it anew (a test says so).
"""

import argparse
import hashlib
import json
import shutil
from pathlib import Path

from qdgs.config import RunConfig, load_config
from qdgs.parts import load_generator, load_guide, load_judge
from qdgs.stages.bank import Bank
from qdgs.stages.scoring import Scorer


def main() -> None:
    """Make every part of the bank that a run of the configuration asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    config = load_config(given.config)
    shutil.rmtree(given.out, ignore_errors=True)
    generator = load_generator(config.generator)
    bank = Bank(
        generator,
        samples=config.audit.samples,
        micro_batch=config.search.micro_batch,
        folder=given.out,
    )
    bank.embeddings()
    bank.scored(Scorer(generator, load_guide(config.guide), seed=config.seed))
    for named in (config.judges.teacher, config.judges.auditor):
        if named is not None:
            bank.judged(load_judge(named))
    write_card(given.out, config, f"python experiments/weights/bank.py {given.config} --out {given.out}")
    print(*sorted(path.name for path in given.out.iterdir()), sep="\n")


def write_card(folder: Path, config: RunConfig, command: str) -> None:
    """Say what the files are and whom they come from."""
    judges = [named.name for named in (config.judges.teacher, config.judges.auditor) if named is not None]
    card = {
        "command": command,
        "licence": "MIT",
        "source": f"{config.audit.samples:,} random samples of {config.generator.name}, scored by "
        f"{config.guide.clip.model} and judged by {' and '.join(judges)}; numbers, no images",
        "why": "every audit compares with them; made on the spot they take half a minute of a first run",
        "sha256": {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
        },
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
