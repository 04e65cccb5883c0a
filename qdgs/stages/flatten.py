"""Choose the solutions that become the dataset, and write its manifest."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from qdgs.config import plain
from qdgs.datasets.duplicates import duplicate_distance
from qdgs.datasets.flatten import flatten
from qdgs.datasets.identities import Variations, small_offsets
from qdgs.datasets.manifest import manifest_metadata, write_manifest
from qdgs.datasets.shortage import ShortageError
from qdgs.fairness.diversity import PixelEmbedding
from qdgs.files import write_json
from qdgs.generators.base import Generator
from qdgs.generators.quick import generate_quickly
from qdgs.generators.stored import as_stored
from qdgs.parts import load_judge
from qdgs.randomness import Stream, stream
from qdgs.run import Run, Step, Watch, unwatched
from qdgs.stages.bank import Bank
from qdgs.stages.candidates import Candidates, rescorer
from qdgs.stages.cuts import Cuts, prior_counts, settle_cuts
from qdgs.stages.frames import read_frame
from qdgs.stages.identity import identity
from qdgs.stages.judges import check_judges, teacher_of
from qdgs.stages.nuisances import open_nuisances
from qdgs.stages.scoring import Scorer, load_scorer
from qdgs.stages.search import RESERVOIR, Settled

MANIFEST = "dataset/manifest.parquet"
FLATTEN = "dataset/flatten.json"

YARDSTICK = 2
"""Index of the random samples that near-duplicates are dropped by.

They are not those that the audit counts near-duplicates by: against its own yardstick a set has none.
"""


def perform(run: Run, *, device: str, watch: Watch) -> dict[str, Any]:
    """Flatten reservoir and archive into a manifest.

    Returns:
        `gate_acceptance`, `images`, and `reference_evaluations`: random samples that the guide scored to
        place cuts and to tell the prior mass of groups, beside the search's own.

    Raises:
        ShortageError: A group cannot be filled, and the configuration says to stop; dataset/flatten.json
            then tells of it.
    """
    solutions = read_frame(run.path / RESERVOIR, "search")
    scorer = load_scorer(run, device=device)
    check_judges(
        run.config, device=device, image_size=scorer.generator.image_size, guide=scorer.guide
    )  # they may be others than at the search
    bank = open_bank(run, scorer, device=device, watch=watch, stage="flatten")
    samples = bank.scored(scorer)
    cuts = settle_cuts(run.config.dataset, run.config.judges, bank, samples, device=device)
    report: dict[str, Any] = {"cuts": cuts.points, "calibrated": cuts.calibrated}
    try:
        chosen = _flatten(run, scorer, bank, solutions, samples, cuts, device=device, watch=watch)
    except ShortageError as error:
        write_json(
            run.path / FLATTEN, {**report, "shortages": [short.to_json() for short in error.shortages]}
        )
        raise
    told = chosen.report.to_json()
    write_manifest(run.path / MANIFEST, chosen.manifest, _metadata(run, scorer, cuts, told, device=device))
    write_json(run.path / FLATTEN, {**report, **told})
    return {
        "gate_acceptance": chosen.report.gate_acceptance,
        "images": chosen.report.images,
        "reference_evaluations": len(samples),
    }


def open_bank(
    run: Run, scorer: Scorer, *, device: str, watch: Watch = unwatched, stage: str = "audit"
) -> Bank:
    """The bank of random samples of a run's generator; `watch` is told what `stage` does with it."""
    settled = Settled.of(run).config
    return Bank(
        scorer.generator,
        samples=run.config.audit.samples,
        micro_batch=settled.micro_batch,
        device=device,
        progress=lambda done, total: watch(Step(f"{stage}: bank of random samples", done, total, "images")),
    )


def random_latents(run: Run, generator: Generator, n: int, index: int = 0) -> torch.Tensor:
    """Random samples, the first of many being the few; index 0 are those that a run is compared with."""
    return generator.sample_latents(n, stream(run.config.seed, Stream.RANDOM_SAMPLES, index))


def _flatten(
    run: Run,
    scorer: Scorer,
    bank: Bank,
    solutions: pd.DataFrame,
    samples: pd.DataFrame,
    cuts: Cuts,
    *,
    device: str,
    watch: Watch,
) -> Any:
    dataset, micro_batch = run.config.dataset, Settled.of(run).config.micro_batch
    judge = run.config.judges.gate
    gate = load_judge(judge, device=device, role="gate") if judge else None
    embedding = bank.embedding()
    candidates = Candidates(scorer.generator, embedding, gate, micro_batch=micro_batch, device=device)
    seen = _Seen(watch, dataset.images)
    return flatten(
        solutions,
        dataset,
        cuts.points,
        seed=run.config.seed,
        gate=(lambda rows: seen(candidates.accept(rows))) if gate else None,
        embed=candidates.embed if dataset.duplicate_quantile else None,
        min_distance=_min_distance(run, scorer.generator, embedding, device=device),
        prior=prior_counts(samples, dataset, cuts),
        evaluations=run.summary.get("evaluations"),
        variations=_variations(run, scorer, bank, candidates if gate else None, cuts, device=device),
        nuisances=open_nuisances(run.config, bank, candidates.images, device=device, watch=watch),
    )


def _variations(
    run: Run, scorer: Scorer, bank: Bank, gated: Candidates | None, cuts: Cuts, *, device: str
) -> Variations | None:
    """What makes further images of a latent, None where each has one."""
    dataset, settled = run.config.dataset, Settled.of(run)
    if dataset.identities is None or dataset.per_latent == 1:
        return None
    std = dataset.identities.offset * bank.latents.std(dim=0).cpu().numpy()
    return Variations(
        small_offsets(dataset.per_latent, std, seed=run.config.seed),
        dataset,
        cuts.points,
        rescore=rescorer(
            scorer, settled.calibration.scale, micro_batch=settled.config.micro_batch, device=device
        ),
        gate=gated.are_whole if gated else None,
    )


class _Seen:
    """Tells a watcher how many candidates the gate has seen: at least as many as images are wanted."""

    def __init__(self, watch: Watch, wanted: int) -> None:
        self._watch = watch
        self._wanted = wanted
        self._seen = 0

    def __call__(self, accepted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        self._seen += len(accepted)
        self._watch(Step("flatten", self._seen, max(self._seen, self._wanted), "candidates"))
        return accepted


def _min_distance(run: Run, generator: Generator, embedding: PixelEmbedding, *, device: str) -> float:
    quantile, images = run.config.dataset.duplicate_quantile, run.config.dataset.images
    if quantile == 0 or images < 2:
        return 0.0
    latents = random_latents(run, generator, images, YARDSTICK).to(device)
    batches = generate_quickly(generator, latents, Settled.of(run).config.micro_batch, as_stored)
    return duplicate_distance(embedding.transform(batches), quantile)


def _metadata(run: Run, scorer: Scorer, cuts: Cuts, report: dict[str, Any], *, device: str) -> dict[str, Any]:
    config, settled = run.config, Settled.of(run).config
    judges = {role: getattr(config.judges, role) for role in ("teacher", "gate", "auditor")}
    judges["teacher"] = teacher_of(config.judges) if cuts.calibrated else judges["teacher"]
    held = config.judges.held_by_the_auditor()
    shared = {"shared": held} if held else {}
    generator = {"name": config.generator.name, "options": config.generator.options}
    return manifest_metadata(
        generator={**generator, "sha256": identity(scorer.generator)},
        guide=plain(config)["guide"],
        label=config.dataset.label,
        values={name: group.names for name, group in config.dataset.groups.items()},
        micro_batch=settled.micro_batch,
        image_size=scorer.generator.image_size,
        device=torch.device(device).type,
        version=version("qdgs"),
        cuts={**cuts.points, **cuts.calibrated},
        judges={**{role: judge.who for role, judge in judges.items() if judge}, **shared},
        search={"algorithm": settled.algorithm, "evaluations": run.summary.get("evaluations")},
        report=report,
        license=config.dataset.license,
        layout=config.dataset.layout,
    )
