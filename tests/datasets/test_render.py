import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import get_ident
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs.datasets.flatten import Flattened
from qdgs.datasets.manifest import latents_of, read_manifest
from qdgs.datasets.render import Rendered, _recipes, render, shard_starts, to_pixels
from qdgs.errors import GeneratorError, InputError, QdgsError
from qdgs.memory import MemoryWarning

Contents = Callable[[Path], dict[str, bytes]]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.array(image)


def test_files_hold_the_generators_images_rounded_to_bytes(
    tmp_path: Path, flattened: Flattened, generator: Any
) -> None:
    manifest = flattened.manifest
    assert render(manifest, generator, tmp_path, micro_batch=16) == Rendered(50, 0, 0)
    with torch.no_grad():
        images = generator(latents_of(manifest)).permute(0, 2, 3, 1).numpy()
    for file, image in zip(manifest["file"], images, strict=True):
        assert np.abs(pixels(tmp_path / file) / 255 - image).max() <= 0.5 / 255 + 1e-6


def test_pixels_are_rounded_not_cut_off() -> None:
    assert to_pixels(torch.full((1, 3, 1, 1), 0.999)).tolist() == [[[[255, 255, 255]]]]
    assert to_pixels(torch.full((1, 3, 1, 1), 0.4999 / 255)).tolist() == [[[[0, 0, 0]]]]


def test_the_folder_is_laid_out_as_agreed(
    stored: Path, generator: Any, metadata: dict[str, Any], contents: Contents
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    expected = {"manifest.parquet", "train/metadata.parquet", *rows["file"]}
    assert set(contents(stored)) == expected
    assert {file.split("/")[1] for file in rows["file"]} == {"triangle", "square"}


def test_rendering_again_from_the_manifest_alone_gives_the_same_bytes(
    tmp_path: Path, stored: Path, generator: Any, contents: Contents
) -> None:
    for root in (tmp_path / "one", tmp_path / "other"):
        root.mkdir()
        shutil.copy(stored / "manifest.parquet", root)
        rows, told = read_manifest(root / "manifest.parquet")
        render(rows, generator, root, micro_batch=16, metadata=told)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_together_are_the_whole(
    tmp_path: Path, flattened: Flattened, generator: Any, contents: Contents, count: int
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    render(flattened.manifest, generator, whole, micro_batch=16)
    written = [
        render(flattened.manifest, generator, parts, micro_batch=16, shard=(i, count)).written
        for i in range(count)
    ]
    assert sum(written) == 50
    assert contents(whole) == contents(parts)
    assert set(generator.calls) == {16}


def test_shards_are_aligned_to_micro_batches_and_nearly_equal() -> None:
    starts = [shard_starts(1000, 16, (i, 5)) for i in range(5)]
    assert [start for part in starts for start in part] == list(range(0, 1000, 16))
    assert {len(part) for part in starts} == {12, 13}


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_does_not_exist_is_refused(
    tmp_path: Path, flattened: Flattened, generator: Any, shard: tuple[int, int]
) -> None:
    with pytest.raises(InputError, match=r"^shard: expected i/N with i from 0 to N - 1"):
        render(flattened.manifest, generator, tmp_path, micro_batch=16, shard=shard)


def test_what_is_there_already_is_not_rendered_again(
    stored: Path, generator: Any, contents: Contents
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    before, calls = contents(stored), len(generator.calls)
    (stored / rows["file"][20]).unlink()
    assert render(rows, generator, stored, micro_batch=16, metadata=told) == Rendered(16, 34, 0)
    assert len(generator.calls) == calls + 1
    assert contents(stored) == before


def test_a_damaged_or_foreign_image_is_rendered_again(
    stored: Path, generator: Any, contents: Contents
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    before = contents(stored)
    damaged = stored / rows["file"][0]
    damaged.write_bytes(before[rows["file"][0]][:-40])
    Image.new("RGB", (16, 16)).save(stored / rows["file"][40])
    render(rows, generator, stored, micro_batch=16, metadata=told)
    assert contents(stored) == before


@pytest.mark.parametrize("change", [{"generator": {"name": "tiny", "sha256": "1" * 64}}, {"version": "9"}])
def test_another_recipe_renders_everything_again(
    stored: Path, generator: Any, change: dict[str, Any]
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    assert render(rows, generator, stored, micro_batch=16, metadata=told | change).reused == 0


def test_the_recipe_names_the_device_that_renders_and_not_the_manifests(stored: Path, generator: Any) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    assert render(rows, generator, stored, micro_batch=16, metadata=told | {"device": "cuda"}).written == 0
    latents = latents_of(rows)
    assert set(_recipes(latents, told, 16, "cuda")).isdisjoint(_recipes(latents, told, 16, "cpu"))


def test_images_of_an_earlier_manifest_go_and_other_files_stay(
    stored: Path, generator: Any, flattened: Flattened
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    foreign = stored / "train" / "square" / "photo.png"
    Image.new("RGB", (16, 16)).save(foreign)
    triangles = rows[rows["label"] == "triangle"]
    assert render(triangles, generator, stored, micro_batch=16, metadata=told).removed == 25
    assert [path.name for path in (stored / "train" / "square").iterdir()] == ["photo.png"]
    assert len(pd.read_parquet(stored / "train" / "metadata.parquet")) == 25


def test_progress_counts_images(tmp_path: Path, flattened: Flattened, generator: Any) -> None:
    seen: list[tuple[int, int]] = []
    render(flattened.manifest, generator, tmp_path, micro_batch=16, progress=lambda *step: seen.append(step))
    assert seen == [(16, 50), (32, 50), (48, 50), (50, 50)]


def test_an_interrupted_rendering_goes_on_where_it_stopped(
    stored: Path, generator: Any, tmp_path: Path, contents: Contents
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")

    def interrupt(done: int, total: int) -> None:
        if done == 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        render(rows, generator, stored, micro_batch=16, metadata=told, progress=interrupt)
    assert not list(stored.rglob("*.tmp"))
    finished = render(rows, generator, stored, micro_batch=16, metadata=told)
    assert finished.written + finished.reused == 50
    render(rows, generator, tmp_path / "unbroken", micro_batch=16, metadata=told)
    assert {k: v for k, v in contents(stored).items() if k != "manifest.parquet"} == contents(
        tmp_path / "unbroken"
    )


def test_a_folder_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, flattened: Flattened, generator: Any
) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "square").write_text("a file where a folder should be")
    with pytest.raises(
        QdgsError, match=r"cannot be written: .*; the images written so far are kept"
    ) as caught:
        render(flattened.manifest, generator, tmp_path, micro_batch=16)
    assert "\n" not in str(caught.value)


def test_a_full_disk_loses_nothing_and_leaves_nothing_half_written(
    stored: Path, generator: Any, contents: Contents, full_disk: Callable[[], AbstractContextManager[None]]
) -> None:
    rows, told = read_manifest(stored / "manifest.parquet")
    render(rows, generator, stored, micro_batch=16, metadata=told)
    before = contents(stored)
    with (
        full_disk(),
        pytest.raises(QdgsError, match=r"\.png: cannot be written: File too large; the images"),
    ):
        render(rows, generator, stored, micro_batch=16)
    assert contents(stored) == before


def test_latents_of_another_length_are_refused(tmp_path: Path, flattened: Flattened, generator: Any) -> None:
    with pytest.raises(InputError, match=r"^manifest: expected latents of length 3 .* got 2"):
        render(flattened.manifest.drop(columns="latent_0002"), generator, tmp_path, micro_batch=16)


def test_a_generator_that_breaks_its_contract_leaves_no_half_written_files(
    tmp_path: Path, flattened: Flattened, generator: Any
) -> None:
    forward = generator.forward

    def broken(latents: Tensor) -> Tensor:
        return forward(latents) * (float("nan") if len(generator.calls) == 2 else 1.0)

    generator.forward = broken
    with pytest.raises(GeneratorError, match="NaN"):
        render(flattened.manifest, generator, tmp_path, micro_batch=16)
    assert not list(tmp_path.rglob("*.tmp"))
    for path in tmp_path.rglob("*.png"):
        pixels(path)


class Threaded:
    """A generator that several threads may call, whose images have the same bits in whatever portions."""

    latent_dim, image_size, differentiable, prior_norm, thread_safe = 3, 16, True, None, True

    def __init__(self, room: int = 10**6) -> None:
        self.threads: set[int] = set()
        self.room = room
        self.most = 10**6

    def sample_latents(self, n: int, rng: np.random.Generator) -> Tensor:
        return torch.tensor(rng.standard_normal((n, 3)), dtype=torch.float32)

    def __call__(self, latents: Tensor) -> Tensor:
        self.threads.add(get_ident())
        if len(latents) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        self.room -= len(latents)
        if self.room < 0:
            raise GeneratorError("generator: worn out")
        return (latents * 0.1 + 0.5).clamp(0, 1)[:, :, None, None].expand(-1, 3, 16, 16).clone()


@pytest.fixture
def long_manifest() -> pd.DataFrame:
    latents = Threaded().sample_latents(700, np.random.default_rng(0)).numpy()
    names = [f"{number:04d}" for number in range(700)]
    rows = pd.DataFrame(latents, columns=[f"latent_{column:04d}" for column in range(3)])
    return rows.assign(id=names, file=[f"train/a/{name}.png" for name in names], label="a")


@pytest.mark.usefixtures("two_threads")
def test_what_is_rendered_in_threads_is_what_one_thread_renders(
    tmp_path: Path, long_manifest: pd.DataFrame, contents: Contents
) -> None:
    generator, told = Threaded(), []
    render(
        long_manifest, generator, tmp_path / "two", micro_batch=32, progress=lambda *done: told.append(done)
    )
    assert len(generator.threads) > 1
    assert told == [(min(32 * step, 700), 700) for step in range(1, 23)]
    for index in range(3):
        render(long_manifest, Threaded(), tmp_path / "shards", micro_batch=32, shard=(index, 3))
    torch.set_num_threads(1)
    alone = Threaded()
    render(long_manifest, alone, tmp_path / "one", micro_batch=32)
    assert len(alone.threads) == 1
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(tmp_path / "shards")


@pytest.mark.usefixtures("two_threads")
def test_a_generator_that_fails_in_a_thread_loses_no_image_and_rendering_goes_on(
    tmp_path: Path, long_manifest: pd.DataFrame, contents: Contents
) -> None:
    metadata = {"generator": {"name": "threaded"}}
    with pytest.raises(GeneratorError, match="worn out"):
        render(long_manifest, Threaded(500), tmp_path / "a", micro_batch=32, metadata=metadata)
    there = contents(tmp_path / "a")
    assert 0 < len(there) < 700
    assert not [name for name in there if name.endswith(".tmp")]
    done = render(long_manifest, Threaded(), tmp_path / "a", micro_batch=32, metadata=metadata)
    assert 0 < done.reused <= len(there)  # a micro-batch that is half there is made again
    assert done.reused + done.written == 700
    render(long_manifest, Threaded(), tmp_path / "b", micro_batch=32, metadata=metadata)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.usefixtures("two_threads")
def test_memory_that_runs_out_in_threads_costs_speed_alone(
    tmp_path: Path, long_manifest: pd.DataFrame, contents: Contents
) -> None:
    generator = Threaded()

    def tighten(done: int, _: int) -> None:
        generator.most = 8

    with pytest.warns(MemoryWarning, match="at once do not fit into memory"):
        render(long_manifest, generator, tmp_path / "tight", micro_batch=32, progress=tighten)
    render(long_manifest, Threaded(), tmp_path / "roomy", micro_batch=32)
    assert contents(tmp_path / "tight") == contents(tmp_path / "roomy")
