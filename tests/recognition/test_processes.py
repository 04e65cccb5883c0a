"""Two processes over gloo, as torchrun starts them, beside one that computes both their parts."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import distributed
from torch.nn import functional

from qdgs.errors import InputError
from qdgs.files import read_json
from qdgs.recognition.checkpoint import BACKBONE, CHECKPOINT
from qdgs.recognition.heads import RATE, mean_and_std
from qdgs.recognition.images import Batches, Faces, load, read_identities
from qdgs.recognition.processes import Processes, joined
from qdgs.recognition.train_run import _check
from qdgs.recognition.training import Training

STEPS = 3
TORCHRUN = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
TRAIN = "import torch; torch.set_num_threads(1); from qdgs.cli import main; main()"


def torchrun(config, out):
    """What a user types, with the command spelled as Python code."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0", "--no-python", "--"]
    command += [sys.executable, "-c", TRAIN, "recognition", "train", str(config), "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def reference(config):
    """Each part through the network by itself, the margins from both, the mean of the gradients."""
    images = read_identities(Path(config.data.folder))
    training = Training(config, len(images.names), STEPS, Processes(0, 1, "cpu"))
    backbone, head = training.backbone.train(), training.recogniser.head.eval()
    optimizer = training._optimizer
    faces = Faces(images, config.image_size, config.augmentation, seed=config.seed)
    parts = [
        load(
            faces,
            Batches(len(images), config.training.batch_size, 1, seed=config.seed, rank=rank, world=2),
            workers=0,
            device="cpu",
        )
        for rank in range(2)
    ]
    for both in zip(*parts, strict=True):
        first = backbone(both[0].images / 255)
        statistics = {name: value.clone() for name, value in backbone.named_buffers()}
        embeddings = [first, backbone(both[1].images / 255)]
        mean, std = mean_and_std(torch.cat(embeddings).detach().norm(dim=1))
        head.mean.lerp_(mean, RATE)
        head.std.lerp_(std, RATE)
        losses = [
            functional.cross_entropy(head(embedded, batch.labels), batch.labels)
            for embedded, batch in zip(embeddings, both, strict=True)
        ]
        optimizer.zero_grad()
        (sum(losses) / 2).backward()
        torch.nn.utils.clip_grad_norm_(training.recogniser.parameters(), config.training.clip_norm)
        optimizer.step()
        for name, value in backbone.named_buffers():
            value.copy_(statistics[name])  # those of the first process count
    return training.recogniser


def test_two_processes_train_as_one_that_averages_their_gradients(small_config, tmp_path):
    config = small_config(backbone={"dropout": 0.0}, training={"epochs": 1})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    done = torchrun(path, tmp_path / "run")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("verify it on pairs") == 1
    assert read_json(tmp_path / "run" / "summary.json")["processes"] == 2
    wanted = reference(config)
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert state["step"] == STEPS
    for name in ("mean", "std", "directions"):
        torch.testing.assert_close(state["head"][name], wanted.head.state_dict()[name])
    trained = load_file(tmp_path / "run" / BACKBONE)
    for name, value in wanted.backbone.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as processes:
        assert processes == Processes(0, 1, "cpu")
        assert processes.leads
        assert processes.gathered(["b", "a", "b"]) == ["a", "b"]


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        ({"WORLD_SIZE": "abc"}, "WORLD_SIZE: expected it in the environment .* got abc"),
        ({"WORLD_SIZE": "2"}, "RANK: expected it in the environment .* got none"),
        ({"WORLD_SIZE": "2", "RANK": "first"}, "RANK: .* got first"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR: .* got none"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "MASTER_PORT: .* got none"),
    ],
)
def test_a_part_of_what_torchrun_sets_is_refused(monkeypatch, told, wrong):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=wrong), joined("cpu"):
        pass


def test_a_process_on_a_gpu_has_a_local_rank(monkeypatch):
    for name, value in zip(TORCHRUN, ("2", "0", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match=r"LOCAL_RANK: .* got none; start with torchrun"), joined("cuda"):
        pass


def test_processes_wait_while_the_first_renders_for_hours(monkeypatch):
    for name, value in zip(TORCHRUN, ("2", "0", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    waits = []
    monkeypatch.setattr(distributed, "init_process_group", lambda kind, timeout: waits.append(timeout))
    monkeypatch.setattr(distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(distributed, "destroy_process_group", lambda: None)
    with joined("cpu"):
        pass
    assert waits == [timedelta(days=1)]


@pytest.mark.parametrize("size", [9, 2])
def test_a_batch_that_cannot_be_shared_is_refused(small_config, tmp_path, monkeypatch, size):
    config = small_config(training={"batch_size": size})
    with pytest.raises(
        InputError, match=r"at least two images for each of 2 processes, as many for each, got"
    ):
        _check(config, Processes(0, 2, "cpu"))
