r"""The study's group shares, corrected for how its auditor errs on images that were labelled by looking.

    python experiments/faces/corrected.py --study runs/faces-study --run runs/faces \
        --labels experiments/faces/results/labels_first.json experiments/faces/results/labels_second.json \
        --out runs/faces-study/corrected.csv

A row a file of labels, method, seed and metric, with a 95 % interval that holds the set's chance and that
of the labels. How often the auditor reads one value for another is counted attribute by attribute on RUN's
labelled images, and its errors in the three attributes are taken to be independent of one another, since
400 labels are too few for twelve groups. Rows come twice: with every measure corrected, and with those of
--as-read taken as the auditor reads them: lightness is colorimetry, and an eye that puts the bound between
dark and medium elsewhere shows no error of it. The labelled images are a search's: on random samples, which
are less sharp, the auditor errs more than that, and the correction is too small. Images that it cannot read
are left out, as everywhere.

`agreement.csv` beside OUT tells, by attribute, how often those who labelled say the same as each other, and
as the auditor and the guide where these tell.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from qdgs.config import RunConfig
from qdgs.datasets.manifest import read_manifest
from qdgs.errors import InputError, QdgsError
from qdgs.fairness.audit import audited_targets
from qdgs.fairness.certificate import read_labels
from qdgs.fairness.correction import confusion_counts, corrected_shares
from qdgs.fairness.shares import group_shares
from qdgs.files import read_json, write_text
from qdgs.randomness import Stream, stream
from qdgs.report.labelling import asked_groups, dataset_key, offered
from qdgs.run import Run
from qdgs.stages.audit import READINGS
from qdgs.stages.flatten import MANIFEST
from qdgs.stages.frames import read_frame

COLUMNS = ["labels", "as_read", "method", "seed", "metric", "value", "low", "high", "labelled"]
SHARE = "share of "


def labelled(run: Run, file: Path) -> pd.DataFrame:
    """Values of each measure that a file of labels gives, by the id of the image."""
    rows = read_manifest(run.path / MANIFEST).rows
    ids = rows["id"].iloc[offered(rows, run.config.seed)]
    given = read_labels(read_json(file), dataset=dataset_key(rows), offered=ids.tolist())
    return pd.DataFrame([dict(values) for values in given], index=pd.Index(ids[: len(given)], name="id"))


def readings(run: Run) -> pd.DataFrame:
    """What the auditor reads of each measure, by the id of the image."""
    judged = read_frame(run.path / READINGS, "audit").set_index("id")
    asked = asked_groups(run.config.dataset)
    return pd.DataFrame({name: judged[str(group.audit)] for name, group in asked.items()})


def confusion(
    config: RunConfig, known: pd.DataFrame, read: pd.DataFrame, as_read: Sequence[str] = ()
) -> pd.DataFrame:
    """Expected counts of each group (row) read as each group (column), errors independent by attribute.

    The measures that are taken as read have no errors.
    """
    asked = asked_groups(config.dataset)
    names = list(audited_targets(config.dataset))
    known = known.assign(**{name: read[name] for name in as_read}).dropna()
    read = read.loc[known.index]
    rates = [_rates(confusion_counts(known[name], read[name], group.names)) for name, group in asked.items()]
    groups = known[list(asked)].agg("/".join, axis=1)
    rows = groups.value_counts().reindex(names, fill_value=0).to_numpy()
    return pd.DataFrame(rows[:, None] * reduce(np.kron, rates), index=names, columns=names)


def _rates(counts: pd.DataFrame) -> np.ndarray:
    return (counts / counts.sum(axis=1).to_numpy()[:, None]).to_numpy()


def corrected(config: RunConfig, compared: pd.DataFrame, errors: pd.DataFrame) -> list[list[object]]:
    """Rows of each method and seed."""
    targets = audited_targets(config.dataset)
    rows: list[list[object]] = []
    for (method, seed), cell in compared.groupby(["method", "seed"], sort=False):
        counts = cell.set_index("metric")["n"]
        groups = [name for name in targets for _ in range(int(counts[SHARE + name]))]
        random = stream(int(seed), Stream.LABELLING, 2)
        told = corrected_shares(group_shares(groups, targets, random), errors, random)
        numbers = {
            name: getattr(told, name)
            for name in ("max_share_error", "normalized_entropy", "fairness_discrepancy")
        } | {SHARE + name: share for name, share in zip(told.groups, told.shares, strict=True)}
        rows += [
            [method, seed, name, one.value, one.low, one.high, told.known] for name, one in numbers.items()
        ]
    return rows


def agreement(config: RunConfig, told: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How often two sources say the same of a measure, over the images of which both tell."""
    rows = []
    for (one, first), (other, second) in combinations(told.items(), 2):
        for name in asked_groups(config.dataset):
            mine, theirs = first[name].align(second[name], join="inner")
            both = mine.notna() & theirs.notna()
            rows.append([name, one, other, (mine == theirs)[both].mean(), int(both.sum())])
    return pd.DataFrame(rows, columns=["measure", "one", "other", "same", "images"])


def main(argv: Sequence[str] | None = None) -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description="Correct a study's shares by labels.")
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="the run whose images were labelled")
    parser.add_argument("--labels", type=Path, nargs="+", required=True, help="files as qdgs certify reads")
    parser.add_argument("--as-read", nargs="+", default=["lightness"], metavar="MEASURE")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    run = Run.open(given.run)
    compared = pd.read_csv(given.study / "comparison" / "comparison.csv")
    read = readings(run)
    manifest = read_manifest(run.path / MANIFEST).rows.set_index("id")
    guide = manifest[[f"group_{name}" for name in read]].set_axis(read.columns, axis=1)
    told = {file.stem: labelled(run, file) for file in given.labels}
    rows = [
        [name, " ".join(kept), *row]
        for name, known in told.items()
        for kept in ((), given.as_read)
        for row in corrected(run.config, compared, confusion(run.config, known, read, kept))
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_text(given.out, table.to_csv(index=False, float_format="%.6g"))
    same = agreement(run.config, {**told, "auditor": read, "guide": guide})
    write_text(given.out.with_name("agreement.csv"), same.to_csv(index=False, float_format="%.4g"))
    means = table.groupby(["labels", "as_read", "method", "metric"], sort=False)["value"].mean().unstack()
    print(means.iloc[:, :3].to_string(float_format="{:.3f}".format))
    print(same.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    try:
        main()
    except QdgsError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
