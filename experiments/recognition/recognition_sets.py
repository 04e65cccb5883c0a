"""Sets of the recognition study: identities to pre-train on, the biased "real" ones, and pairs to verify on.

An identity is a latent of the generator, or a few; its images are the latent at random offsets
(`variations`), cropped to the middle, where the face is. Groups are apparent lightness as `face-light` reads
it off the whole image.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from qdgs.errors import InputError
from qdgs.files import write_text
from qdgs.generators.base import Generator
from qdgs.parts import load_generator
from qdgs.randomness import Stream, stream
from qdgs.recognition.augmentation import Pixels
from qdgs.recognition.bins import write_bin
from qdgs.recognition.samples import rendered, variations, write_identities
from recognition_arms import GENERATOR, GROUPS, Arms, Queue, lightness

UNREAD = "unread"
AT_ONCE = 32
"""Identities whose images are made at once."""

FEWEST_PAIRS = 20

# indices of a seed's streams; that of the pool is not the one of the bank that guides and cuts were made with
SPLIT, REAL, PAIRS = 1, 2, 3
VARIED, POOL = 6, 10


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        pool: Random latents of a seed that are judged, for its real set and pairs.
        pretrain: Identities and images of each to pre-train on.
        real: Identities and images of each of the biased set, and candidates rendered of each.
        skew: Identities of every other group for each of the rarest.
        test: Identities of each group that pairs are made of, candidates rendered of each, and images kept.
        offset: Strength of the variations.
        crop: Side of the square that is cropped.
        image_size: Side that recognisers see it at.
        width: Of the narrow IR-18.
        embedding: Length of its embeddings.
        scale: Of the logits. With the published 64 so narrow a network has hardly begun to learn after six
            epochs, and how far it comes hangs on the seed.
        pretrain_epochs: Of pre-training.
        pretrain_rate: First learning rate of pre-training.
        real_epochs: Of going on with the biased set.
        real_rate: Of going on: with 0.05 nothing was left of what had been learned before.
        alone_epochs: Of the biased set alone: as many steps as pre-training and going on have.
        alone_rate: Of the biased set alone.
        batch_size: Images a step.
        evaluations: Of the search that stands in for a qdgs run, where there is none.
    """

    pool: int = 8000
    pretrain: tuple[int, int] = (1000, 8)
    real: tuple[int, int, int] = (450, 8, 24)
    skew: int = 7
    test: tuple[int, int, int] = (300, 8, 4)
    offset: float = 0.5
    crop: int = 48
    image_size: int = 32
    width: int = 16
    embedding: int = 128
    scale: float = 16.0
    pretrain_epochs: int = 12
    pretrain_rate: float = 0.05
    real_epochs: int = 12
    real_rate: float = 0.02
    alone_epochs: int = 39
    alone_rate: float = 0.05
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
    alone_epochs=17,
    batch_size=32,
    evaluations=4096,
)


@dataclass(frozen=True, eq=False)
class Identity:
    """Images that are to be of one person.

    Attributes:
        group: Of its first latent's image; empty where none can be told.
        pixels: `(images, height, width, 3)`.
        read: Group of each image.
        members: Which of its latents each image is of.
    """

    group: str
    pixels: Pixels
    read: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class Faces:
    """A seed's sets: its own random latents, judged and not.

    Attributes:
        sizes: Of the study.
        work: Folder of what is made on the way.
        seed: Of everything that is drawn.
        run: Folder of the qdgs run whose dataset is pre-trained on; None lets a search stand in for it.
    """

    sizes: Sizes
    work: Path
    seed: int = 0
    run: Path | None = None

    @cached_property
    def generator(self) -> Generator:
        """What makes the faces."""
        return load_generator(GENERATOR)

    @cached_property
    def pool(self) -> tuple[Tensor, np.ndarray]:
        """Random latents and the group of each, empty where none can be told; read once."""
        latents = self.generator.sample_latents(self.sizes.pool, stream(self.seed, Stream.BANK, POOL))
        path = self.work / f"pool-{self.seed}.csv"
        if not path.is_file():
            write_text(path, pd.DataFrame({"group": self.groups(latents)}).to_csv(index=False))
        return latents, pd.read_csv(path, keep_default_na=False)["group"].to_numpy(str)

    @cached_property
    def rarest(self) -> str:
        """The group with the fewest random samples: those of seed 0, so that it is one for all seeds."""
        if self.seed:
            return replace(self, seed=0).rarest
        counts = self.pool_counts()
        return min(GROUPS, key=lambda group: counts[group])

    def pool_counts(self) -> dict[str, int]:
        """Random samples of each group."""
        return {group: int((self.pool[1] == group).sum()) for group in GROUPS}

    def groups(self, latents: Tensor) -> np.ndarray:
        """Group of each latent's image, empty where none can be told."""
        return lightness(rendered(self.generator, latents))

    def members(self, group: str) -> Tensor:
        """The pool's latents of a group in random order: pairs take the first, the real set the next."""
        rows = np.flatnonzero(self.pool[1] == group)
        order = stream(self.seed, Stream.FLATTEN, SPLIT + 100 * GROUPS.index(group)).permutation(rows)
        return self.pool[0][torch.from_numpy(order)]

    def write_real(self, folder: Path) -> None:
        """The biased set: `skew` identities of every other group for each of the rarest.

        Every image is of its identity's group as judged by itself: a light face at an offset may look darker.

        Raises:
            InputError: The pool has too few of a group.
        """
        identities = self.sizes.real[0]
        fewest = identities // (1 + self.sizes.skew * (len(GROUPS) - 1))
        rng = stream(self.seed, Stream.FLATTEN, REAL)
        parts, groups = [], []
        for group in GROUPS:
            wanted = fewest if group == self.rarest else fewest * self.sizes.skew
            found = self._staying(group, wanted, rng)
            parts.append(found)
            groups += [group] * len(found)
        self._write(folder, np.concatenate(parts), groups)

    def write_pretraining(self, folder: Path, arm: str) -> dict[str, Any]:
        """A set to pre-train on, an arm of `Arms`.

        Images of an identity are taken as they come, in every arm alike: whoever keeps those alone that are
        read to be of its own group teaches that lightness tells people apart.

        Returns:
            `groups`: for each group, and for what cannot be read, identities as judged by the image of their
            first latent and images by themselves; `latents`: number of the latent of each image.

        Raises:
            InputError: There are too few identities.
        """
        rng = stream(self.seed, Stream.FLATTEN, VARIED)
        found = [
            identity
            for queue in self.arms.queues(arm, self.sizes.pretrain[0])
            for identity in self._taken(queue, rng)
        ]
        own = np.array([identity.group for identity in found])
        read = np.concatenate([identity.read for identity in found])
        self._write(
            folder, np.stack([identity.pixels for identity in found]), [group or UNREAD for group in own]
        )
        counts = [
            {
                "group": group or UNREAD,
                "identities": int((own == group).sum()),
                "images": int((read == group).sum()),
            }
            for group in ("", *GROUPS)
        ]
        members = np.stack([identity.members for identity in found])
        numbers = np.arange(len(found))[:, None] * (members.max() + 1) + members
        return {"groups": counts, "latents": numbers.ravel().tolist()}

    def _taken(self, queue: Queue, rng: np.random.Generator) -> Iterator[Identity]:
        if len(queue.identities) < queue.wanted:
            raise InputError(
                f"{queue.who}: expected {queue.wanted} identities, got {len(queue.identities)}; take a run "
                "with more of them"
            )
        for start in range(0, queue.wanted, AT_ONCE):
            some = queue.identities[start : min(start + AT_ONCE, queue.wanted)]
            yield from self._varied(some, self.sizes.pretrain[1], rng)

    def _varied(
        self, identities: Sequence[Tensor], images: int, rng: np.random.Generator
    ) -> Iterator[Identity]:
        members = [np.resize(np.arange(len(own)), images) for own in identities]
        latents = torch.cat([own[torch.from_numpy(m)] for own, m in zip(identities, members, strict=True)])
        pixels = rendered(self.generator, variations(self.generator, latents, 1, self.sizes.offset, rng))
        groups, read = self.groups(latents[::images]), lightness(pixels)
        for place, group in enumerate(groups):
            rows = slice(place * images, (place + 1) * images)
            yield Identity(str(group), pixels[rows], read[rows], members[place])

    @property
    def arms(self) -> Arms:
        """Where the latents to pre-train on come from."""
        standing_in = self.work / f"stand-in-{self.seed}.parquet"
        return Arms(self.generator, self.seed, self.run, standing_in, self.pool, self.sizes.evaluations)

    def write_pairs(self, path: Path) -> None:
        """A `.bin` of pairs and a CSV of their groups: every fold has as many of each group and kind.

        Same pairs are two images of one identity, different pairs two of one group; every image is of its
        identity's group as judged by itself.
        """
        rng = stream(self.seed, Stream.FLATTEN, PAIRS)
        pairs = {group: self._pairs(group, rng) for group in GROUPS}
        fewest = min(len(same) for same, _ in pairs.values())
        if 2 * fewest < FEWEST_PAIRS:
            raise InputError(
                f"pool: expected {FEWEST_PAIRS} pairs of each group whose images stay in it, got "
                f"{2 * fewest}; take a larger pool"
            )
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

    def _pairs(self, group: str, rng: np.random.Generator) -> tuple[list, list]:
        identities, candidates, kept = self.sizes.test
        latents = self.members(group)[:identities]
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

    def _staying(self, group: str, wanted: int, rng: np.random.Generator) -> Pixels:
        """Images of identities after those of the pairs, `(wanted, images, height, width, 3)`."""
        _, images, candidates = self.sizes.real
        found: list[Pixels] = []
        for latents in self.members(group)[self.sizes.test[0] :].split(AT_ONCE):
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
