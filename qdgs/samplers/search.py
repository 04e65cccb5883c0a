"""QDGS itself as a way of balancing: a run's search, and the set flattened from it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from qdgs.config import RunConfig, parse_config, plain
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import InputError
from qdgs.files import read_json
from qdgs.run import Run
from qdgs.samplers.base import BaseSampler, Problem, sample_rows
from qdgs.search.evaluation import BACKWARD_COST

NETWORKS = 2
"""Generator and guide: what a latent passes through to be scored."""


class QdgsSampler(BaseSampler):
    """The problem's run: its latents searched, its archive flattened to the target's shares.

    Images are labelled by the guide's measures at the run's cuts; the gate sees quality alone, and the judge
    nothing but the random samples that automatic cuts are found on. Those samples, the gate's readings and
    the yardstick of near-duplicates count into the cost even where a cache had them.

    Args:
        algorithm: In place of the run's.
        search: Further keys of the run's `search`.
        dataset: Keys of the run's `dataset`.

    References:
        Chang, Fontaine, Booth, Matarić and Nikolaidis (2024), Quality-diversity generative sampling for
        learning with synthetic data, arXiv 2312.14369.
    """

    paper = "Chang et al. 2024"
    quick: ClassVar[Mapping[str, Any]] = {
        "search": {"evaluations": 1600, "range_samples": 256, "prior_starts": 256}
    }

    def __init__(
        self,
        *,
        algorithm: str | None = None,
        search: Mapping[str, Any] | None = None,
        dataset: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.algorithm = algorithm
        self.search, self.dataset = dict(search or {}), dict(dataset or {})
        self._folder: Path | None = None

    def fit(self, problem: Problem, rng: np.random.Generator) -> None:
        """Search; where the problem has a work folder, a search that was interrupted goes on.

        Raises:
            InputError: The problem has no run.
        """
        if problem.run is None:
            raise InputError("qdgs: expected the configuration of a run with prompts and measures, got none")
        self._begin(problem)
        config = self._config(problem, problem.run, seed=int(rng.integers(2**31)))
        self._folder = (problem.work or self._passing()) / "run"
        run = Run.create(config, self._folder).complete(
            device=problem.device, until="search", watch=problem.watch
        )
        self._count_search(run)

    def sample(self, n: int, rng: np.random.Generator) -> pd.DataFrame:
        """Flatten n images; which ones is settled by the seed that the run was fitted with."""
        problem = self.problem
        assert self._folder is not None, "fit made it"
        with self._meter.timed():
            run = Run.open(self._folder, [f"dataset.images={n}"])
            run.do("flatten", device=problem.device, watch=problem.watch)
            rows = read_manifest(run.path / "dataset" / "manifest.parquet").rows
        report = read_json(run.path / "dataset" / "flatten.json")
        self._count_flatten(run, report)
        self.notes = _shortages(report)
        groups = run.config.dataset.groups
        values = {str(group.audit): rows[f"group_{name}"] for name, group in groups.items() if group.audit}
        kept = {name: rows[name].to_numpy() for name in ("objective", "lineage")}
        return sample_rows(problem, latents_of(rows), pd.DataFrame(values), **kept)

    def _passing(self) -> Path:
        """A folder that is gone with the sampler."""
        folder = tempfile.mkdtemp(prefix="qdgs-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _config(self, problem: Problem, run: RunConfig, seed: int) -> RunConfig:
        data = plain(run)
        search = {**data["search"], **self.search}
        if self.algorithm is not None:
            search["algorithm"] = self.algorithm
        dataset = {**data["dataset"], "on_shortage": "accept", **self.dataset, "images": problem.images}
        return parse_config({**data, "seed": seed, "search": search, "dataset": dataset})

    def _count_search(self, run: Run) -> None:
        told = pd.read_csv(run.path / "search" / "metrics.csv").iloc[-1]
        evaluations, samples = int(told["evaluations"]), run.config.audit.samples
        automatic = any(group.cuts is None for group in run.config.dataset.groups.values())
        backwards = round((float(told["equivalents"]) - evaluations) / BACKWARD_COST)
        self._meter.count(
            generator_calls=evaluations + samples,
            guide_scores=evaluations + samples,
            judge_labels=samples if automatic else 0,
            forwards=NETWORKS * (evaluations + samples),
            backwards=NETWORKS * backwards,
            seconds=float(run.summary["search_seconds"]),
        )

    def _count_flatten(self, run: Run, report: Mapping[str, Any]) -> None:
        dataset = run.config.dataset
        yardstick = dataset.images if dataset.duplicate_quantile else 0
        judged = report.get("gate_judged") or 0
        read = _read_to_balance(report)
        rendered = yardstick + judged + read
        self._meter.count(generator_calls=rendered, judge_labels=judged + read, forwards=rendered)


class QdgsGradientSampler(QdgsSampler):
    """QDGS with the published search along gradients, CMA-MAEGA."""

    def __init__(
        self,
        *,
        algorithm: str = "cma_maega",
        search: Mapping[str, Any] | None = None,
        dataset: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(algorithm=algorithm, search=search, dataset=dataset)


def _read_to_balance(report: Mapping[str, Any]) -> int:
    """Candidates that were rendered and read for what every group is balanced over."""
    read = [
        sum(sum(group["candidates"]) + group["candidates_unread"] for group in told["groups"].values())
        for told in (report.get("balance") or {}).values()
    ]
    return max(read, default=0)


def _shortages(report: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{short['group']} lacks {short['missing']:,} of {short['wanted']:,} images"
        for short in report.get("shortages", ())
    )
