"""Whether a configuration holds and can run here, and what it would fetch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from qdgs import needs
from qdgs.compare_config import CompareConfig, load_compare
from qdgs.config import RunConfig, load_config, read_mapping
from qdgs.errors import MissingModelError, MissingPackageError
from qdgs.probe_config import ProbeConfig, load_probe
from qdgs.recognition_config import RecognitionConfig, load_recognition

T = TypeVar("T")


def load_any(path: Path, overrides: Sequence[str] = ()) -> needs.AnyConfig:
    """Read a configuration of whatever kind.

    Raises:
        ConfigError: The file is missing or is not YAML, or a value does not hold.
    """
    kind = read_mapping(path).get("kind")
    if kind == "compare":
        return load_compare(path, overrides)
    if kind == "probe":
        return load_probe(str(path), overrides=overrides)
    if kind == "recognition":
        return load_recognition(path, overrides)
    return load_config(path, overrides)


def check_file(path: Path, overrides: Sequence[str] = ()) -> list[str]:
    """What is to be said of a configuration of whatever kind.

    Raises:
        InputError: It does not hold.
    """
    config = load_any(path, overrides)
    if isinstance(config, CompareConfig):
        return [*check_config(config.run), f"{_count_cells(config, path.parent)} cells"]
    if isinstance(config, ProbeConfig):
        return [*check_config(config.run), *_absent_model(config)]
    return check_config(config)


def check_config(config: RunConfig | RecognitionConfig) -> list[str]:
    """What is to be said of a configuration that holds: whether it can run here, and what it would fetch.

    Raises:
        InputError: A generator, guide or judge is unknown or cannot be used.
    """
    wanted = needs.missing(needs.sources(config))
    absent, warned = _look_at_parts(config)
    first = f"valid; would fetch {' and '.join(wanted)}" if wanted else "valid; nothing to fetch"
    return [first, *(f"cannot run yet: {sentence}" for sentence in absent), *warned]


def fetch_config(config: needs.AnyConfig) -> str:
    """Download what a configuration needs and this machine lacks, and say what that was.

    Raises:
        InputError: It cannot be had: no network, or no such thing.
    """
    fetched = needs.fetch(config)
    done = f"fetched {' and '.join(fetched)}" if fetched else "nothing to fetch"
    absent, _ = _look_at_parts(config.run if isinstance(config, CompareConfig | ProbeConfig) else config)
    return "; ".join([done, *(f"cannot be fetched: {sentence}" for sentence in absent)])


def _count_cells(config: CompareConfig, folder: Path) -> int:
    """Cells of a comparison, whose methods are looked at."""
    from qdgs.comparison.cells import Bench

    bench = Bench(config, folder)
    for method in config.methods:
        bench.sampler(method)
    return len(bench.cells())


def _absent_model(config: ProbeConfig) -> list[str]:
    """Whether the model that is to be probed is there."""
    from qdgs.probe.models import load_probed

    absent: list[str] = []
    _tried(lambda: load_probed(config.model), None, absent)
    return [f"cannot run yet: {sentence}" for sentence in absent]


def _look_at_parts(config: RunConfig | RecognitionConfig) -> tuple[list[str], list[str]]:
    """What the user has to bring, and warnings of the guide: a sentence each.

    Raises:
        InputError: A part is unknown or cannot be used.
    """
    if isinstance(config, RecognitionConfig):
        return _absent_of_recognition(config), []
    from qdgs.clip.encoder import ClipWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ClipWarning)
        absent = _absent_of_run(config)
    told = [str(item.message) for item in caught if issubclass(item.category, ClipWarning)]
    return absent, [f"warning: {sentence}" for sentence in told]


def _absent_of_run(config: RunConfig) -> list[str]:
    from qdgs.parts import load_generator, load_guide
    from qdgs.stages.judges import check_judges
    from qdgs.stages.scoring import check_fit

    absent: list[str] = []
    of_generator, of_guide = needs.source_of_generator(config), needs.source_of_guide(config)
    generator = _tried(lambda: load_generator(config.generator, device=_device_here()), of_generator, absent)
    guide = _tried(lambda: load_guide(config.guide), of_guide, absent)
    if generator and guide:
        check_fit(generator, guide)
    size = generator.image_size if generator else 64
    if not needs.missing(needs.sources_of_judges(config)):
        _tried(lambda: check_judges(config, image_size=size, guide=guide), None, absent)
    if config.workers.kind == "ray" and find_spec("ray") is None:
        absent.append("workers.kind: ray needs an optional package: pip install 'qdgs[ray]'")
    return absent


def _absent_of_recognition(config: RecognitionConfig) -> list[str]:
    """Whether its images and the recogniser that it begins from are there."""
    from qdgs.parts import load_generator

    absent: list[str] = []
    samples, folder = config.data.samples, config.data.folder
    if samples is not None:
        source = needs.source_of_samples(config)
        _tried(lambda: load_generator(samples.generator, device=_device_here()), source, absent)
    if folder is not None and not Path(folder).is_dir():
        absent.append(f"data.folder: expected a folder, got none at {folder}")
    if config.pretrained is not None and not Path(config.pretrained).is_dir():
        absent.append(f"pretrained: expected the run of a recogniser, got none at {config.pretrained}")
    return absent


def _device_here() -> str:
    """Where a run would work by itself: not every device computes in every precision."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _tried(load: Callable[[], T], source: needs.Source | None, absent: list[str]) -> T | None:
    """A part; None where it is to be fetched, or the user has to bring it, which is added to `absent`."""
    if source is not None and source.missing() is not None:
        return None
    try:
        return load()
    except (MissingModelError, MissingPackageError) as error:
        absent.append(str(error))
        return None
