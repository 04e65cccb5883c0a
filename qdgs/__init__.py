"""Turn a biased image generator into a balanced training set.

>>> import qdgs
>>> run = qdgs.Run.create("configs/shapes.yaml", "RUN")  # doctest: +SKIP
>>> run.complete().summary["label_agreement"]  # doctest: +SKIP

`Run.complete` does every stage that is not through yet; `run.do("search")`, `run.do("flatten")` and so on
do one. `run.archive` and `run.dataset` hold what came out, and show it in a notebook.

A generator of your own is any object with `latent_dim`, `image_size`, `differentiable`, `prior_norm`,
`sample_latents(n, rng)` and a call from latents to images (`qdgs.Generator`). A configuration names it as
`{name: python, target: "package.module:factory"}`, or by a name that you give it:
`qdgs.GENERATORS["mine"] = MyGenerator`, or an object. Guides (`qdgs.GUIDES`) and judges (`qdgs.JUDGES`)
likewise.

The names below are imported on use, so that `import qdgs` costs nothing.
"""

import importlib
from typing import Any

_NAMES = {
    "Archive": "qdgs.report.views",
    "ClipEncoder": "qdgs.clip.encoder",
    "Dataset": "qdgs.report.views",
    "GENERATORS": "qdgs.generators.base",
    "GUIDES": "qdgs.guides.base",
    "Generator": "qdgs.generators.base",
    "Guide": "qdgs.guides.base",
    "JUDGES": "qdgs.judges.base",
    "Judge": "qdgs.judges.base",
    "LabelledImages": "qdgs.datasets.labelled",
    "Problem": "qdgs.samplers.base",
    "PromptGuide": "qdgs.guides.prompts",
    "QdgsError": "qdgs.errors",
    "Run": "qdgs.run",
    "RunConfig": "qdgs.config",
    "SAMPLERS": "qdgs.samplers.base",
    "Sampler": "qdgs.samplers.base",
    "STAGES": "qdgs.run",
    "Scorer": "qdgs.stages.scoring",
    "Search": "qdgs.search.state",
    "Step": "qdgs.run",
    "Stream": "qdgs.randomness",
    "Cost": "qdgs.samplers.costs",
    "biased_shapes": "qdgs.datasets.drawing",
    "clean_figures": "qdgs.datasets.drawing",
    "compare": "qdgs.comparison.compare",
    "draw": "qdgs.datasets.drawing",
    "dump_config": "qdgs.config",
    "generate": "qdgs.generators.base",
    "illuminate": "qdgs.search.loop",
    "judge_batches": "qdgs.judges.base",
    "load_compare": "qdgs.compare_config",
    "load_config": "qdgs.config",
    "load_generator": "qdgs.parts",
    "load_guide": "qdgs.parts",
    "load_judge": "qdgs.parts",
    "load_probe": "qdgs.probe_config",
    "load_recognition": "qdgs.recognition_config",
    "parse_config": "qdgs.config",
    "probe_model": "qdgs.probe.carry_out",
    "read_bin": "qdgs.recognition.bins",
    "read_manifest": "qdgs.datasets.manifest",
    "render_manifest": "qdgs.stages.render",
    "stream": "qdgs.randomness",
    "train_recogniser": "qdgs.recognition.train_run",
    "verify_distances": "qdgs.recognition.verification",
    "verify_pairs": "qdgs.recognition.benchmark",
}

__all__ = sorted(_NAMES)  # a list that grows with the names


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'qdgs' has no attribute {name!r}")
    return getattr(importlib.import_module(_NAMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_NAMES]
