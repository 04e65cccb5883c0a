import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qdgs.errors import InputError
from qdgs.generators.stylegan2 import StyleGAN2

SPEED = Path(__file__).parents[2] / "experiments" / "speed"


@pytest.fixture
def study(monkeypatch):
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("stylegan2_jacobian")


def table(memory, tensors, peak=2.0):
    return pd.DataFrame({"memory": memory, "tensors": tensors, "peak": peak})


def test_a_row_an_iteration_is_written_and_nothing_grows(
    study, stylegan2_folder, other_clip_folder, tmp_path, capsys
):
    out = tmp_path / "out" / "jacobian.csv"
    parts = ["--generator", str(stylegan2_folder), "--clip", f"local-dir:{other_clip_folder}"]
    sizes = ["--space", "w+", "--iterations", "16", "--batch", "2", "--threads", "1"]
    code = study.main([*parts, *sizes, "--out", str(out)])
    rows = pd.read_csv(out)
    assert list(rows.columns) == study.COLUMNS
    assert list(rows["iteration"]) == list(range(16))
    assert (rows["seconds"] > 0).all()
    assert (rows["peak"] >= rows["memory"] - 1e-3).all()
    assert study.growth(rows)["tensors"] == 0
    assert (code, capsys.readouterr().err) == (0, "")


def test_a_peak_above_the_limit_and_growth_are_faults(study):
    flat = table([2.0] * 40, [100] * 40)
    assert study.verdict(flat, 24) == []
    assert study.verdict(flat, 1.5) == ["the peak of 2.00 GiB is above 1.5 GiB"]
    grown = table(np.linspace(2, 3, 40), 100 + np.arange(40))
    more, memory = study.verdict(grown, 24)
    assert more == "20 more tensors are alive at the end"
    assert memory == "memory grew by 525 MiB"
    warming = table([1.0] * 10 + [2.0] * 30, [90] * 10 + [100] * 30)
    assert study.verdict(warming, 24) == []


def test_random_weights_make_a_generator_like_any_other(study, stylegans, tmp_path):
    folder = study.random_generator(tmp_path / "random", stylegans.TINY, 0)
    generator = StyleGAN2(str(folder), space="w")
    latents = generator.sample_latents(2000, np.random.default_rng(0))
    assert generator.prior_norm == pytest.approx(latents.norm(dim=1).mean().item(), rel=0.02)
    images = generator(latents[:4])
    assert images.std() > 0.05
    others = StyleGAN2(str(study.random_generator(tmp_path / "other", stylegans.TINY, 1)))(latents[:4])
    assert not torch.equal(images, others)


@pytest.mark.parametrize(
    ("resolution", "base", "channels"),
    [
        (256, 16384, (512, 512, 512, 512, 256, 128, 64)),
        (1024, 32768, (512, 512, 512, 512, 512, 256, 128, 64, 32)),
        (32, 64, (16, 8, 4, 2)),
    ],
)
def test_channels_are_those_that_were_published(study, resolution, base, channels):
    assert study.architecture_of(resolution, base).channels == channels


def test_what_cannot_be_is_told(study, tmp_path, capsys):
    with pytest.raises(InputError, match="--clip: expected an architecture of open_clip, got 'ViT-B-23'"):
        study.random_clip(tmp_path / "clip", "ViT-B-23", 0)
    with pytest.raises(SystemExit):
        study.main(["--out", str(tmp_path / "out.csv"), "--batch", "0"])
    assert "--batch: expected at least 1, got 0" in capsys.readouterr().err
