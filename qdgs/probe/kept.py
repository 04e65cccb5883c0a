"""What a probe keeps: images and pairs depend on no model, so that the next one is probed with the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from qdgs.datasets.manifest import latents_of
from qdgs.errors import CorruptFileError, InputError
from qdgs.files import fingerprint, read_json, write_json
from qdgs.probe.matching import match_pairs
from qdgs.probe.pairs import Pairs
from qdgs.probe.samples import PAIRING, Parts, Pool, ProbeSet, draw_pool, draw_probe_set
from qdgs.probe_config import ProbeConfig, plain_probe
from qdgs.randomness import Stream, integer_seed
from qdgs.stages.frames import read_frame, write_frame


class Kept:
    """What was made on the way: images and pairs, which depend on no model.

    Args:
        folder: Where it lies.
        config: Of the probe.
    """

    def __init__(self, folder: Path, config: ProbeConfig) -> None:
        plain = plain_probe(config)
        run = {
            key: plain["run"][key] for key in ("seed", "generator", "guide", "judges", "dataset", "search")
        }
        self._folder = folder
        self._images = fingerprint([run, plain["samples"], plain["seed"], config.attributes, config.answers])
        self._pairs = fingerprint([self._images, plain["pairs"]])

    def pool(self, parts: Parts) -> Pool:
        """Random samples."""
        frames = self._frames("pool", self._images, lambda: _pool_frames(draw_pool(parts)))
        return Pool(latents_of(frames["latents"]), frames["read"])

    def probe_set(self, parts: Parts, pool: Pool) -> ProbeSet:
        """Balanced images."""
        frames = self._frames("images", self._images, lambda: _set_frames(draw_probe_set(parts, pool)))
        notes = tuple(frames["notes"]["note"])
        return ProbeSet(
            frames["rows"], latents_of(frames["latents"]), frames["read"], parts.attributes, notes
        )

    def pairs(self, parts: Parts, pool: Pool, probe_set: ProbeSet) -> list[Pairs]:
        """Matched pairs."""
        seed = integer_seed(parts.config.seed, Stream.PROBING, PAIRING)

        def make() -> dict[str, pd.DataFrame]:
            return _pairs_frames(match_pairs(parts, pool, probe_set, seed=seed))

        frames = self._frames("pairs", self._pairs, make)
        return _pairs_of(frames)

    def _frames(
        self, name: str, key: str, make: Callable[[], Mapping[str, pd.DataFrame]]
    ) -> Mapping[str, pd.DataFrame]:
        card = self._folder / f"{name}.json"
        try:
            known = read_json(card)
            if known.get("key") == key:
                return {
                    part: read_frame(self._folder / f"{name}-{part}.parquet", "probe")
                    for part in known["parts"]
                }
        except (InputError, CorruptFileError):  # missing or damaged: made again
            pass
        frames = make()
        for part, frame in frames.items():
            write_frame(self._folder / f"{name}-{part}.parquet", frame)
        write_json(card, {"key": key, "parts": list(frames)})
        return frames


def latents_frame(latents: Tensor) -> pd.DataFrame:
    """Latents `(n, latent_dim)` as columns latent_0000, …."""
    columns = [f"latent_{column:04d}" for column in range(latents.shape[1])]
    return pd.DataFrame(latents.cpu().numpy(), columns=columns)


def _pool_frames(pool: Pool) -> dict[str, pd.DataFrame]:
    return {"latents": latents_frame(pool.latents), "read": pool.read.reset_index(drop=True)}


def _set_frames(probe_set: ProbeSet) -> dict[str, pd.DataFrame]:
    return {
        "rows": probe_set.rows,
        "latents": latents_frame(probe_set.latents),
        "read": probe_set.read,
        "notes": pd.DataFrame({"note": pd.Series(list(probe_set.notes), dtype=object)}),
    }


def _pairs_frames(matched: list[Pairs]) -> dict[str, pd.DataFrame]:
    frames = {}
    for place, pairs in enumerate(matched):
        frames[f"{place}-low"] = latents_frame(pairs.low)
        frames[f"{place}-high"] = latents_frame(pairs.high)
    told = [
        {"attribute": pairs.attribute, "method": pairs.method, "outcome": outcome, "count": count}
        for pairs in matched
        for outcome, count in pairs.outcomes.items()
    ]
    return {**frames, "outcomes": pd.DataFrame(told)}


def _pairs_of(frames: Mapping[str, pd.DataFrame]) -> list[Pairs]:
    found = []
    told = frames["outcomes"].groupby("attribute", sort=False)
    for place, (attribute, rows) in enumerate(told):
        counts = Counter(dict(zip(rows["outcome"], rows["count"].astype(int), strict=True)))
        sides = [latents_of(frames[f"{place}-{side}"]) for side in ("low", "high")]
        found.append(Pairs(str(attribute), sides[0], sides[1], counts, str(rows["method"].iloc[0])))
    return found
