import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qdgs.cli import DONE, INPUT_IS_WRONG, run_command
from qdgs.compare_config import dump_compare, load_compare
from qdgs.comparison.cells import Bench, Cell
from qdgs.comparison.kept import cell_path, kept_cell
from qdgs.comparison.sets import write_set
from qdgs.datasets.manifest import latents_of
from qdgs.errors import InputError
from qdgs.files import read_json, write_json
from qdgs.generators.shapes_gan import GanDiscriminator, GanGenerator, ShapesGAN, save_gan
from qdgs.parts import load_generator
from qdgs.training.initial import seeded


@pytest.fixture
def copied(compared, quick, tmp_path):
    """A comparison's folder and configuration, to write into."""
    folder = tmp_path / "out"
    shutil.copytree(compared.path, folder)
    return SimpleNamespace(folder=folder, config=quick())


def pixels_of(path, rows):
    return np.stack([np.asarray(Image.open(path / file)) for file in rows["file"]])


def made_by(generator, rows):
    with torch.no_grad():
        images = generator(latents_of(rows))
    return images.mul(255).round().byte().permute(0, 2, 3, 1).numpy()


def test_the_images_of_a_method_are_those_of_its_latents_in_folders_by_label(copied):
    told = write_set(copied.config, copied.folder, "latent-mixtures")
    rows = pd.read_parquet(copied.folder / "cells" / "0" / "latent-mixtures.parquet")
    assert (told.images, told.unlabelled) == (len(rows), 0)
    assert told.path == copied.folder / "sets" / "0" / "latent-mixtures"
    assert {path.parent.name for path in told.path.glob("train/*/*.png")} == {"triangle", "square"}
    images = made_by(load_generator(copied.config.run.generator), rows)
    assert np.abs(pixels_of(told.path, rows).astype(int) - images).max() <= 1
    assert (told.path / "train" / "metadata.parquet").is_file()


def test_images_without_a_label_are_left_out_and_counted(copied):
    rows = pd.read_parquet(copied.folder / "cells" / "0" / "random.parquet")
    told = write_set(copied.config, copied.folder, "random", seed=0)
    assert told.images == rows["label"].notna().sum() < len(rows)
    assert told.unlabelled == rows["label"].isna().sum()
    assert len(list(told.path.glob("train/*/*.png"))) == told.images


def test_an_adapted_gan_makes_its_own_images(copied, tmp_path):
    rows = pd.read_parquet(copied.folder / "cells" / "0" / "random.parquet").head(6)
    latents = pd.DataFrame(np.random.default_rng(0).standard_normal((6, 32), dtype=np.float32))
    latents.columns = [f"latent_{column:04d}" for column in latents]
    rows = rows[["id", "file", "group"]].assign(label="square").join(latents)
    method = next(known for known in copied.config.methods if known.name == "random")
    cell, bench = Cell("random", 0, method), Bench(copied.config, copied.folder)
    rows.to_parquet(cell_path(copied.folder, cell).with_suffix(".parquet"))
    write_json(cell_path(copied.folder, cell), {**kept_cell(bench, cell), "generator": "shapes-gan"})
    with pytest.raises(InputError, match=r"random: expected the generator that it made in .*gan, got none"):
        write_set(copied.config, copied.folder, "random")
    gan = bench.work(cell) / "gan"
    save_gan(gan, seeded(GanGenerator, torch.Generator()), seeded(GanDiscriminator, torch.Generator()))
    told = write_set(copied.config, copied.folder, "random")
    assert np.abs(pixels_of(told.path, rows).astype(int) - made_by(ShapesGAN(gan), rows)).max() <= 1


@pytest.mark.parametrize(
    ("method", "seed", "sentence"),
    [
        ("latent-mixture", None, "unknown method 'latent-mixture'; did you mean"),
        ("biased", None, "unknown method 'biased'"),
        ("random", 7, "seed: expected one of the comparison's, got 7"),
    ],
)
def test_what_is_not_there_is_told_in_a_sentence(copied, method, seed, sentence):
    with pytest.raises(InputError, match=sentence):
        write_set(copied.config, copied.folder, method, seed=seed)


def test_a_cell_that_is_not_done_has_no_images(copied):
    (copied.folder / "cells" / "0" / "random.json").unlink()
    with pytest.raises(InputError, match="expected random of seed 0 to be done"):
        write_set(copied.config, copied.folder, "random")
    autophagy = copied.folder / "cells" / "0" / "autophagy.json"
    write_json(autophagy, {**read_json(autophagy), "error": "broke"})
    with pytest.raises(InputError, match="expected autophagy of seed 0 to be done"):
        write_set(copied.config, copied.folder, "autophagy")


def test_the_command_writes_a_methods_images_and_refuses_an_unknown_one_first(copied, tmp_path, capsys):
    config = tmp_path / "quick.yaml"
    config.write_text(dump_compare(copied.config))
    assert load_compare(config) == copied.config
    given = ["compare", str(config), "--out", str(copied.folder)]
    assert run_command([*given, "--write", "qdgs", "--write", "random"]) == DONE
    assert "without a label left out" in capsys.readouterr().out
    assert list((copied.folder / "sets" / "0" / "qdgs").glob("train/*/*.png"))
    elsewhere = tmp_path / "elsewhere"
    assert run_command(["compare", str(config), "--out", str(elsewhere), "--write", "qdg"]) == INPUT_IS_WRONG
    assert "unknown method 'qdg'" in capsys.readouterr().err
    assert not elsewhere.exists()
