import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qdgs.cli import run_command
from qdgs.errors import InputError
from qdgs.files import read_json
from qdgs.probe.amplification import amplification, compare_counts, read_folder

GROUPS = ("red/tall", "red/wide", "blue/tall", "blue/wide")


@pytest.fixture(scope="module")
def folders(parts, tmp_path_factory):
    """Two folders of images of the stand-in generator: mostly red ones, and any."""
    root = tmp_path_factory.mktemp("data")
    latents = parts.generator.sample_latents(500, np.random.default_rng(5))
    red = latents.clone()
    red[:, 0] = (
        torch.where(torch.rand(500, generator=torch.Generator().manual_seed(0)) < 0.9, -1, 1)
        * red[:, 0].abs()
    )
    for name, chosen in (("red", red[:250]), ("any", latents[:250]), ("unseen", latents[250:])):
        (root / name / "deeper").mkdir(parents=True)
        for number, image in enumerate(torch.cat(list(parts.images(chosen)))):
            pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(root / name / "deeper" / f"{number}.png")
    return root


def test_a_generator_that_is_more_biased_than_its_data_amplifies():
    rng = np.random.default_rng(0)
    told = compare_counts(np.array([400.0, 100, 100, 400]), np.array([480.0, 20, 20, 480]), GROUPS, rng)
    assert told.verdict == "amplified"
    assert told.ratio[1].value == pytest.approx(0.2)
    assert told.ratio[1].high < 0.5
    assert told.excess.low > 0


def test_the_same_shares_keep_the_bias_and_nearer_ones_reduce_it():
    rng = np.random.default_rng(0)
    biased, fair = np.array([400.0, 100, 100, 400]), np.array([250.0, 250, 250, 250])
    assert compare_counts(biased, biased + np.array([5, -5, 5, -5]), GROUPS, rng).verdict == "kept"
    assert compare_counts(biased, fair, GROUPS, rng).verdict == "reduced"


@pytest.mark.parametrize(("data", "generated"), [(10_000, 300), (300, 10_000), (60, 20)])
def test_the_bias_of_even_shares_is_kept_however_few_images_one_side_has(data, generated):
    rng, even = np.random.default_rng(0), np.full(4, 0.25)
    verdicts = [
        compare_counts(
            rng.multinomial(data, even).astype(float), rng.multinomial(generated, even).astype(float),
            GROUPS, rng,
        ).verdict
        for _ in range(60)
    ]  # fmt: skip
    assert verdicts.count("kept") >= 0.95 * 60 - 2 * np.sqrt(0.05 * 0.95 * 60)


def test_images_of_no_group_are_warned_of():
    counts = np.full(4, 50.0)
    told = compare_counts(counts, counts, GROUPS, np.random.default_rng(0), unreadable=(0.02, 0.65))
    assert told.warnings == (
        "the judges tell no group of 2 % of the training images and 65 % of the samples; shares are over the "
        "others",
    )
    assert compare_counts(counts, counts, GROUPS, np.random.default_rng(0)).warnings == ()


def test_what_cannot_be_read_or_written_is_told_before_anything_is_loaded(config_of, folders, tmp_path):
    (tmp_path / "file").touch()
    nowhere = config_of("probed:ByShape", "run.generator.name=shapes-vae", "run.judges.auditor=none-such")
    with pytest.raises(InputError, match="file: expected a folder, got a file"):
        amplification(nowhere, folders / "any", tmp_path / "file")
    with pytest.raises(InputError, match="none: expected a folder of images, got none"):
        amplification(nowhere, folders / "any", tmp_path / "out", held_out=tmp_path / "none")


def test_a_group_that_the_data_lacks_has_no_ratio():
    told = compare_counts(np.array([50.0, 0, 50, 50]), np.full(4, 50.0), GROUPS, np.random.default_rng(0))
    assert np.isnan(told.ratio[1].value)
    with pytest.raises(InputError, match="expected training images that the judges read, got none"):
        compare_counts(np.zeros(4), np.ones(4), GROUPS, np.random.default_rng(0))


def test_a_generator_is_compared_with_a_folder(config_of, folders, tmp_path):
    config = config_of("probed:ByShape")
    told = amplification(config, folders / "red", tmp_path / "red", samples=400)
    assert told.verdict == "reduced"
    table = pd.read_csv(tmp_path / "red" / "amplification.csv")
    assert table["group"].tolist() == list(GROUPS)
    assert table["data"].sum() == pytest.approx(1, abs=1e-4)
    kept = amplification(config, folders / "any", tmp_path / "any", samples=400, held_out=folders / "unseen")
    assert kept.verdict == "kept"
    assert not kept.copying.copies
    assert read_json(tmp_path / "any" / "amplification.json")["copies"] is False


def test_the_command_tells_the_verdict(tiny_config, folders, tmp_path, capfd):
    arguments = [
        "amplification",
        tiny_config,
        "--data",
        folders / "red",
        "--samples",
        100,
        "--out",
        tmp_path / "out",
    ]
    assert run_command([str(argument) for argument in arguments]) == 0
    assert "the bias is reduced" in capfd.readouterr().out


def test_images_are_read_as_middle_squares(tmp_path):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, 4:12] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (images,) = read_folder(tmp_path, 4)
    assert images.shape == (1, 3, 4, 4)
    assert (images == 1).all()


def test_folders_without_images_are_said(tmp_path):
    with pytest.raises(InputError, match="expected a folder of images, got none"):
        next(read_folder(tmp_path / "none", 8))
    with pytest.raises(InputError, match="expected images"):
        next(read_folder(tmp_path, 8))
    (tmp_path / "broken.png").write_bytes(b"words")
    with pytest.raises(InputError, match=r"broken\.png: cannot be read as an image"):
        next(read_folder(tmp_path, 8))
