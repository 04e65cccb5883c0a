"""Sets of the recognition study: identities to pre-train on, the biased "real" ones, and pairs to verify on.

An identity is a latent of the generator; its images are the latent at random offsets (`variations`), cropped
to the middle, where the face is. Groups are apparent lightness as `face-light` reads it off the whole image.
"""

import io
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from qdgs.config import MeasureConfig, SearchConfig
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.errors import InputError
from qdgs.files import write_text
from qdgs.generators.base import Generator
from qdgs.judges.base import judge_batches
from qdgs.parts import load_generator, load_judge
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.bins import write_bin
from qdgs.recognition.samples import rendered, variations, write_identities
from qdgs.search.loop import illuminate
from qdgs.search.state import Search

GENERATOR = "dcgan-digiface"
GROUPS = ("dark", "medium", "light")
UNREAD = "unread"
READ_AT_ONCE = 256
AT_ONCE = 32
"""Identities whose images are made at once."""

# indices of a seed's streams
POOL, SPLIT, REAL, PAIRS, RANDOM, QDGS, VARIED = range(7)
POOL_SEED = 0


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        pool: Random latents that are judged, for the real set and the pairs of every seed.
        pretrain: Identities and images of each to pre-train on.
        real: Identities and images of each of the biased set, and candidates rendered of each.
        skew: Identities of every other group for each of the rarest.
        test: Identities of each group that pairs are made of, candidates rendered of each, and images kept.
        offset: Strength of the variations.
        crop: Side of the square that is cropped.
        image_size: Side that recognisers see it at.
        width: Of the narrow IR-18.
        embedding: Length of its embeddings.
        pretrain_epochs: Of pre-training.
        real_epochs: Of training on the biased set.
        pretrain_rate: First learning rate of pre-training.
        real_rate: Of training on the biased set.
        batch_size: Images a step.
        evaluations: Of the search that stands in for a qdgs run, where there is none.
    """

    pool: int = 8000
    pretrain: tuple[int, int] = (1000, 12)
    real: tuple[int, int, int] = (450, 8, 24)
    skew: int = 7
    test: tuple[int, int, int] = (300, 8, 4)
    offset: float = 0.5
    crop: int = 48
    image_size: int = 32
    width: int = 16
    embedding: int = 128
    pretrain_epochs: int = 12
    real_epochs: int = 12
    pretrain_rate: float = 0.05
    real_rate: float = 0.02
    batch_size: int = 64
    evaluations: int = 20_000


FULL = Sizes()
QUICK = Sizes(
    pool=1000,
    pretrain=(120, 8),
    real=(90, 8, 24),
    test=(40, 6, 4),
    pretrain_epochs=8,
    real_epochs=6,
    batch_size=32,
    evaluations=4096,
)


@dataclass(frozen=True)
class Faces:
    """The generator's latents, judged and not.

    Attributes:
        sizes: Of the study.
        work: Folder of what is made on the way.
        run: Folder of the qdgs run whose dataset is pre-trained on; None lets a search stand in for it.
    """

    sizes: Sizes
    work: Path
    run: Path | None = None

    @cached_property
    def generator(self) -> Generator:
        """What makes the faces."""
        return load_generator(GENERATOR)

    @cached_property
    def pool(self) -> tuple[Tensor, np.ndarray]:
        """Random latents and the group of each, empty where none can be told; read once."""
        latents = self.generator.sample_latents(self.sizes.pool, stream(POOL_SEED, Stream.BANK, POOL))
        path = self.work / "pool.csv"
        if not path.is_file():
            write_text(path, pd.DataFrame({"group": self.groups(latents)}).to_csv(index=False))
        return latents, pd.read_csv(path, keep_default_na=False)["group"].to_numpy(str)

    @cached_property
    def rarest(self) -> str:
        """The group with the fewest random samples."""
        counts = self.pool_counts()
        return min(GROUPS, key=lambda group: counts[group])

    def pool_counts(self) -> dict[str, int]:
        """Random samples of each group."""
        return {group: int((self.pool[1] == group).sum()) for group in GROUPS}

    def groups(self, latents: Tensor) -> np.ndarray:
        """Group of each latent's image, empty where none can be told."""
        return lightness(rendered(self.generator, latents))

    def members(self, seed: int, group: str) -> Tensor:
        """The pool's latents of a group in a seed's order: pairs take the first, the real set the next."""
        rows = np.flatnonzero(self.pool[1] == group)
        order = stream(seed, Stream.FLATTEN, SPLIT + 100 * GROUPS.index(group)).permutation(rows)
        return self.pool[0][torch.from_numpy(order)]

    def write_real(self, folder: Path, seed: int) -> None:
        """The biased set: `skew` identities of every other group for each of the rarest.

        Every image is of its identity's group as judged by itself: a light face at an offset may look darker.

        Raises:
            InputError: The pool has too few of a group.
        """
        identities = self.sizes.real[0]
        fewest = identities // (1 + self.sizes.skew * (len(GROUPS) - 1))
        rng = stream(seed, Stream.FLATTEN, REAL)
        parts, groups = [], []
        for group in GROUPS:
            wanted = fewest if group == self.rarest else fewest * self.sizes.skew
            found = self._staying(group, wanted, seed, rng)
            parts.append(found)
            groups += [group] * len(found)
        self._write(folder, np.concatenate(parts), groups)

    def write_pretraining(self, folder: Path, arm: str, seed: int) -> list[dict[str, object]]:
        """A set to pre-train on: "random", "random-gated" or "qdgs".

        Returns:
            For each group, and for those that cannot be read: identities as judged by their own image, and
            images as judged by themselves.

        Raises:
            InputError: The qdgs run has too few latents.
        """
        identities, images = self.sizes.pretrain
        latents = self._qdgs(identities, seed) if arm == "qdgs" else self._random(identities, arm, seed)
        if len(latents) < identities:
            raise InputError(
                f"{self.run or 'stand-in'}: expected latents of {identities} identities, as every arm has, "
                f"got {len(latents)}; take a run with more images"
            )
        rng = stream(seed, Stream.FLATTEN, VARIED)
        varied = variations(self.generator, latents, images, self.sizes.offset, rng)
        pixels = rendered(self.generator, varied)
        of_identities, of_images = self.groups(latents), lightness(pixels)
        self._write(
            folder,
            pixels.reshape(identities, images, *pixels.shape[1:]),
            [group or UNREAD for group in of_identities],
        )
        return [
            {
                "group": group or UNREAD,
                "identities": int((of_identities == group).sum()),
                "images": int((of_images == group).sum()),
            }
            for group in ("", *GROUPS)
        ]

    def write_pairs(self, path: Path, seed: int) -> None:
        """A `.bin` of pairs and a CSV of their groups: every fold has as many of each group and kind.

        Same pairs are two images of one identity, different pairs two of one group; every image is of its
        identity's group as judged by itself.
        """
        rng = stream(seed, Stream.FLATTEN, PAIRS)
        pairs = {group: self._pairs(group, seed, rng) for group in GROUPS}
        fewest = min(len(same) for same, _ in pairs.values())
        images: list[bytes] = []
        same: list[bool] = []
        groups: list[str] = []
        for place in range(fewest):
            for group, kinds in pairs.items():
                for kind, found in zip((True, False), kinds, strict=True):
                    images += found[place]
                    same.append(kind)
                    groups.append(group)
        write_text(path.with_suffix(".csv"), pd.DataFrame({"group": groups}).to_csv(index=False))
        write_bin(path, images, same)

    def _pairs(self, group: str, seed: int, rng: np.random.Generator) -> tuple[list, list]:
        identities, candidates, kept = self.sizes.test
        latents = self.members(seed, group)[:identities]
        pixels = rendered(
            self.generator, variations(self.generator, latents, candidates, self.sizes.offset, rng)
        )
        stays = (lightness(pixels) == group).reshape(len(latents), candidates)
        whole = pixels.reshape(len(latents), candidates, *pixels.shape[1:])
        same, owners = [], []
        for identity, staying in enumerate(stays):
            found = [self._encoded(image) for image in whole[identity][staying][:kept]]
            for place in range(len(found) // 2):
                same.append(found[2 * place : 2 * place + 2])
                owners.append(identity)
        return _shuffled(same, np.array(owners), rng)

    def _staying(self, group: str, wanted: int, seed: int, rng: np.random.Generator) -> Pixels:
        """Images of identities after those of the pairs, `(wanted, images, height, width, 3)`."""
        _, images, candidates = self.sizes.real
        found: list[Pixels] = []
        for latents in self.members(seed, group)[self.sizes.test[0] :].split(AT_ONCE):
            varied = variations(self.generator, latents, candidates, self.sizes.offset, rng)
            pixels = rendered(self.generator, varied)
            stays = (lightness(pixels) == group).reshape(len(latents), candidates)
            whole = pixels.reshape(len(latents), candidates, *pixels.shape[1:])
            found += [
                own[keep][:images] for own, keep in zip(whole, stays, strict=True) if keep.sum() >= images
            ]
            if len(found) >= wanted:
                return np.stack(found[:wanted])
        raise InputError(
            f"pool: expected {wanted} identities of group {group!r} with {images} images that stay in it, "
            f"after the {self.sizes.test[0]} of the pairs, got {len(found)}; take a larger pool"
        )

    def _encoded(self, image: Pixels) -> bytes:
        start = (len(image) - self.sizes.crop) // 2
        middle = slice(start, start + self.sizes.crop)
        buffer = io.BytesIO()
        Image.fromarray(image[middle, middle]).save(buffer, "PNG")
        return buffer.getvalue()

    def _write(self, folder: Path, pixels: Pixels, groups: list[str]) -> None:
        """Identities `(identities, images, height, width, 3)`, their middle alone."""
        start = (pixels.shape[2] - self.sizes.crop) // 2
        middle = slice(start, start + self.sizes.crop)
        folder.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.repeat(np.arange(len(pixels)), pixels.shape[1])
        flat = pixels[:, :, middle, middle].reshape(-1, self.sizes.crop, self.sizes.crop, 3)
        write_identities(folder, flat, numbers, [groups[number] for number in numbers])

    def _random(self, identities: int, arm: str, seed: int) -> Tensor:
        rng = stream(seed, Stream.RANDOM_SAMPLES, RANDOM)
        if arm == "random":
            return self.generator.sample_latents(identities, rng)
        gate, parts = load_judge("faces-dlib", role="gate"), [torch.empty(0, self.generator.latent_dim)]
        while sum(map(len, parts)) < identities:
            drawn = self.generator.sample_latents(READ_AT_ONCE, rng)
            images = torch.from_numpy(rendered(self.generator, drawn)).permute(0, 3, 1, 2).float() / 255
            parts.append(drawn[torch.from_numpy(gate.judge(images)["accepted"].to_numpy(bool))])
        return torch.cat(parts)[:identities]

    def _qdgs(self, identities: int, seed: int) -> Tensor:
        rows, column = self._found()
        return latents_of(evenly(rows, column, identities, stream(seed, Stream.FLATTEN, QDGS)))

    def _found(self) -> tuple[pd.DataFrame, str]:
        """Latents of the qdgs run, and the column that tells how light it takes them to be."""
        if self.run is None:
            return self._stand_in(), "group"
        manifest = read_manifest(self.run / "dataset" / "manifest.parquet")
        name = manifest.metadata["generator"]["name"]
        if name != GENERATOR:
            raise InputError(f"{self.run}: expected a run of {GENERATOR}, got one of {name}")
        rows = manifest.rows
        rows = rows[rows["offset"] == 0] if "offset" in rows else rows
        return rows, "group_lightness" if "group_lightness" in rows else "group"

    def _stand_in(self) -> pd.DataFrame:
        path = self.work / "stand-in.parquet"
        if not path.is_file():
            stand_in(self.generator, self.pool, self.sizes.evaluations).to_parquet(path)
        return pd.read_parquet(path)


def lightness(pixels: Pixels) -> np.ndarray:
    """Apparent lightness of the face in each image `(n, height, width, 3)`, empty where none can be told."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    judge = load_judge("face-light", role="auditor")
    judged = judge_batches(judge, (batch.float() / 255 for batch in images.split(READ_AT_ONCE)))
    return judged["lightness"].fillna("").to_numpy(str)


def evenly(rows: pd.DataFrame, column: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    """At most n rows, as many of each value of a column as there are, by chance within it."""
    shuffled = rows.iloc[rng.permutation(len(rows))]
    turn = shuffled.groupby(column).cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(n)


def stand_in(generator: Generator, pool: tuple[Tensor, np.ndarray], evaluations: int) -> pd.DataFrame:
    """Elites of a search whose guide is the luminance of pixels, where no run with a CLIP can be had.

    Measures are the luminance of the middle of the image, where the face is, and of its border; the objective
    is to stay on the prior's shell. Groups are cut midway between the median luminances of judged samples.

    Returns:
        Latents, and `group`.
    """

    def score(latents: Tensor) -> tuple[Tensor, Tensor]:
        return -(latents.norm(dim=1) - generator.prior_norm).square(), luminances(generator, latents)

    measures = [
        MeasureConfig(name=name, low=["dark"], high=["light"], cells=cells)
        for name, cells in (("face_luminance", 24), ("border_luminance", 12))
    ]
    search = Search.begin(
        SearchConfig(
            algorithm="cma_mae",
            emitters=4,
            evaluations=evaluations,
            prior_share=0.5,
            restart_rule=5,
            sigma0=0.3,
            reservoir=12,
        ),
        measures,
        score,
        latent_dim=generator.latent_dim,
        differentiable=False,
        sample_prior=generator.sample_latents,
        seed=POOL_SEED,
    )
    for _ in illuminate(search):
        pass
    found = search.reservoir_frame()
    cuts = _cuts(generator, pool)
    values = found["face_luminance"].to_numpy()
    return found.assign(group=np.array(GROUPS)[np.digitize(values, cuts)])


def luminances(generator: Generator, latents: Tensor) -> Tensor:
    """Mean luminance of the middle of each image, and of its border, `(n, 2)`."""
    images = generator(latents)
    luma = (images * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(dim=1)
    quarter = luma.shape[1] // 4
    inner = luma[:, quarter:-quarter, quarter:-quarter]
    middle = inner.mean(dim=(1, 2))
    border = (luma.sum(dim=(1, 2)) - inner.sum(dim=(1, 2))) / (luma[0].numel() - inner[0].numel())
    return torch.stack([middle, border], dim=1)


def _cuts(generator: Generator, pool: tuple[Tensor, np.ndarray]) -> list[float]:
    latents, groups = pool
    with torch.no_grad():
        values = torch.cat([luminances(generator, part)[:, 0] for part in latents.split(64)]).numpy()
    medians = [float(np.median(values[groups == group])) for group in GROUPS]
    return [(low + high) / 2 for low, high in itertools.pairwise(medians)]


def _shuffled(
    same: list[list[bytes]], owners: np.ndarray, rng: np.random.Generator
) -> tuple[list[list[bytes]], list[list[bytes]]]:
    """Same pairs in a random order, and as many different ones of the same images."""
    order = rng.permutation(len(same))
    same, owners = [same[place] for place in order], owners[order]
    different = []
    for place, pair in enumerate(same):
        others = np.flatnonzero(owners != owners[place])
        different.append([pair[0], same[rng.choice(others)][1]])
    return same, different
