"""The recognition study in seconds: patterns of colour for faces, their mean brightness for lightness."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from qdgs.datasets.manifest import manifest_metadata, read_manifest, write_manifest
from qdgs.errors import InputError
from qdgs.files import write_json
from qdgs.generators.base import GENERATORS
from qdgs.judges.base import JUDGES
from qdgs.recognition.bins import read_bin
from qdgs.recognition.images import read_identities
from qdgs.recognition.pairs import decoded
from qdgs.recognition_config import load_recognition
from qdgs.stages.frames import write_frame

RECOGNITION = Path(__file__).parents[2] / "experiments" / "recognition"


class Patterns:
    """Four colours at the corners, and what lies between them."""

    latent_dim, image_size, differentiable, prior_norm = 12, 64, True, 12**0.5

    def sample_latents(self, n, rng):
        return torch.from_numpy(rng.standard_normal((n, 12), dtype=np.float32))

    def __call__(self, latents):
        corners = latents.reshape(-1, 3, 2, 2).sigmoid()
        return functional.interpolate(corners, size=64, mode="bilinear")


class Brightness:
    """Three values of the mean brightness; it cannot tell of nearly black images."""

    attributes = {"lightness": ("dark", "medium", "light")}  # noqa: RUF012

    def judge(self, images):
        mean = images.mean(dim=(1, 2, 3)).numpy()
        values = np.array(["dark", "medium", "light"], dtype=object)[np.digitize(mean, [0.47, 0.57])]
        values[mean < 0.3] = None
        return pd.DataFrame({"lightness": values, "lightness_score": mean, "accepted": mean >= 0.3})


@pytest.fixture(autouse=True)
def _parts(monkeypatch, tmp_path):
    module = sys.modules[__name__]
    monkeypatch.setitem(sys.modules, "patterns_of_the_test", module)
    monkeypatch.setitem(GENERATORS, "dcgan-digiface", "patterns_of_the_test:Patterns")
    for name in ("face-light", "faces-dlib"):
        monkeypatch.setitem(JUDGES, name, "patterns_of_the_test:Brightness")
    monkeypatch.syspath_prepend(str(RECOGNITION))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def sets():
    return importlib.import_module("recognition_sets")


@pytest.fixture
def study(monkeypatch, sets):
    module = importlib.import_module("study")
    monkeypatch.setattr(module, "QUICK", tiny(sets))
    return module


def tiny(sets, **changes):
    return replace(
        sets.QUICK,
        **{
            "pool": 400,
            "pretrain": (12, 4),
            "real": (15, 4, 8),
            "test": (12, 6, 4),
            "offset": 0.3,
            "crop": 32,
            "image_size": 32,
            "width": 4,
            "embedding": 8,
            "pretrain_epochs": 1,
            "real_epochs": 1,
            "alone_epochs": 4,
            "batch_size": 16,
            "evaluations": 1300,
            **changes,
        },
    )


def test_pairs_are_of_their_group_and_every_fold_has_as_many_of_each_kind(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    faces.write_pairs(tmp_path / "pairs.bin")
    pairs = read_bin(tmp_path / "pairs.bin")
    table = pd.read_csv(tmp_path / "pairs.csv").assign(same=pairs.same)
    assert table.groupby(["group", "same"]).size().nunique() == 1
    assert len(table) >= 60
    # the middle of a pattern is nearly as bright as the whole, on which groups are judged
    means = [np.mean(decoded(image, 32)) / 255 for image in pairs.images]
    brightness = pd.Series((np.array(means)[pairs.first] + np.array(means)[pairs.second]) / 2)
    order = brightness.groupby(table["group"]).mean()
    assert order["dark"] < order["medium"] < order["light"]
    for fold in np.array_split(np.arange(len(table)), 10):
        assert table.iloc[fold].groupby(["group", "same"]).size().max() <= -(-len(fold) // 6)


def test_the_real_set_is_skewed_against_the_rarest_and_held_out(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    faces.write_real(tmp_path / "real")
    images = read_identities(tmp_path / "real")
    rows = pd.DataFrame({"identity": images.labels, "group": images.groups}).drop_duplicates()
    others = [group for group in sets.GROUPS if group != faces.rarest]
    assert rows["group"].value_counts().to_dict() == {faces.rarest: 1, others[0]: 7, others[1]: 7}
    assert {
        (len(own), own["group"].nunique())
        for _, own in pd.DataFrame({"identity": images.labels, "group": images.groups}).groupby("identity")
    } == {(4, 1)}
    with pytest.raises(InputError, match="take a larger pool"):
        sets.Faces(tiny(sets, pool=60), tmp_path / "small").write_real(tmp_path / "none")


def test_pairs_and_the_real_set_share_no_latent(sets, tmp_path, monkeypatch):
    faces = sets.Faces(tiny(sets), tmp_path)
    used = {"pairs": [], "real": []}

    def watched(name):
        def vary(generator, latents, *rest):
            used[name].append(latents)
            return original(generator, latents, *rest)

        return vary

    original = sets.variations
    monkeypatch.setattr(sets, "variations", watched("pairs"))
    faces.write_pairs(tmp_path / "pairs.bin")
    monkeypatch.setattr(sets, "variations", watched("real"))
    faces.write_real(tmp_path / "real")
    pairs, real = (torch.cat(found) for found in used.values())
    assert len(pairs) == 36
    assert len(real) >= 15
    assert torch.cdist(pairs, real).min() > 1e-3


def test_every_seed_has_random_latents_of_its_own_and_one_rarest_group(sets, tmp_path):
    first, second = (sets.Faces(tiny(sets), tmp_path, seed) for seed in (0, 1))
    assert not torch.equal(first.pool[0], second.pool[0])
    assert first.rarest == second.rarest
    assert sorted(path.name for path in tmp_path.glob("pool-*")) == ["pool-0.csv", "pool-1.csv"]


@pytest.fixture
def run(tmp_path):
    """Writes a run's manifest: 30 dark latents and 10 light ones, every other at an offset."""

    def write(generator="dcgan-digiface", **columns):
        rng = np.random.default_rng(0)
        n = 40
        light = ["dark"] * 30 + ["light"] * 10
        rows = pd.DataFrame(
            {
                "id": [f"{i:06d}" for i in range(n)],
                "file": [f"train/x/{i:06d}.png" for i in range(n)],
                "label": "x",
                "group": light,
                "group_lightness": light,
                "offset": [i % 2 for i in range(n)],
                **{f"latent_{i:04d}": rng.standard_normal(n).astype(np.float32) for i in range(12)},
                **columns,
            }
        )
        metadata = manifest_metadata(
            generator={"name": generator},
            guide={},
            label="x",
            values={},
            micro_batch=16,
            image_size=64,
            device="cpu",
            version="0",
        )
        write_manifest(tmp_path / "run" / "dataset" / "manifest.parquet", rows, metadata)
        return rows

    return write


def arms_of(sets, folder):
    return sets.Faces(tiny(sets), folder, 0, folder / "run").arms


def rows_of(latents, rows):
    columns = [name for name in rows if name.startswith("latent_")]
    known = {tuple(row): place for place, row in enumerate(rows[columns].to_numpy())}
    return rows.iloc[[known[tuple(np.float32(row))] for row in latents.tolist()]]


def test_elites_come_evenly_from_a_runs_groups(sets, run, tmp_path):
    rows = run()
    queues = arms_of(sets, tmp_path).queues("qdgs-elites", 9)
    assert [queue.wanted for queue in queues] == [5, 4]
    for queue, group in zip(queues, ("dark", "light"), strict=True):
        chosen = rows_of(torch.cat(list(queue.identities)), rows)
        assert set(chosen["group_lightness"]) == {group}
        assert set(chosen["offset"]) == {0}
        assert len(queue.identities) == len(chosen) == (rows["offset"].eq(0) & rows["group"].eq(group)).sum()
        assert chosen["id"].is_unique


def searched(folder, rows):
    """Leaves a reservoir of every latent twice, nearly, from dark to light."""
    latents = rows[[column for column in rows if column.startswith("latent_")]]
    found = pd.concat([latents, 0.999 * latents + 0.001], ignore_index=True)
    found["lightness"] = np.tile(np.linspace(-1, 1, 40), 2)
    write_frame(folder / "search" / "reservoir.parquet", found)
    write_json(folder / "dataset" / "flatten.json", {"cuts": {"lightness": [-0.5, 0.5]}})
    return found


def test_solutions_come_evenly_and_no_two_are_of_one_person(sets, run, tmp_path):
    rows = run()
    with pytest.raises(InputError, match=r"reservoir.parquet: expected a file, got none; run qdgs search"):
        arms_of(sets, tmp_path).queues("qdgs", 6)
    found = searched(tmp_path / "run", rows)
    queues = arms_of(sets, tmp_path).queues("qdgs", 6)
    assert [queue.wanted for queue in queues] == [2, 2, 2]
    taken = torch.cat([identity for queue in queues for identity in queue.identities])
    cosines = functional.cosine_similarity(taken[:, None], taken[None], dim=2).fill_diagonal_(0)
    assert cosines.max() < 0.5
    for queue, (low, high) in zip(queues, [(-1, -0.5), (0.5, 1), (-0.5, 0.5)], strict=True):
        assert rows_of(torch.cat(list(queue.identities)), found)["lightness"].between(low, high).all()


def test_whoever_is_taken_first_keeps_others_away():
    arms = importlib.import_module("recognition_arms")
    latents = np.array([[1, 0], [0.9, 0.1], [0, 2], [0.1, 1], [-1, 0]], np.float32)
    assert arms.apart(latents, np.arange(5)).tolist() == [0, 2, 4]
    assert arms.apart(latents, np.array([1, 0, 3, 2, 4])).tolist() == [1, 3, 4]


def test_an_identity_of_the_paper_is_a_cluster_within_a_group(sets, run, tmp_path):
    rows = run()
    queues = arms_of(sets, tmp_path).queues("qdgs-clusters", 6)
    everything = []
    for queue in queues:
        for members in queue.identities:
            own = rows_of(members, rows)
            assert own["group_lightness"].nunique() == 1
            everything += list(own["id"])
    assert sorted(everything) == sorted(rows.loc[rows["offset"] == 0, "id"])
    assert max(len(members) for queue in queues for members in queue.identities) > 1
    assert sum(len(queue.identities) for queue in queues) == 8 + 3  # half of 15, and of 5


def test_a_runs_own_identities_are_taken_where_it_has_them(sets, run, tmp_path):
    rows = run(identity=[f"{i // 4:04d}" for i in range(40)])
    for queue in arms_of(sets, tmp_path).queues("qdgs-clusters", 4):
        for members in queue.identities:
            assert rows_of(members, rows)["identity"].nunique() == 1


def test_a_run_that_cannot_be_taken_is_refused(sets, run, tmp_path):
    run(generator="shapes-vae")
    with pytest.raises(InputError, match="expected a run of dcgan-digiface, got one of shapes-vae"):
        arms_of(sets, tmp_path).queues("qdgs", 4)
    rows = run(group_age=["x"] * 40).drop(columns="group_lightness")
    manifest = tmp_path / "run" / "dataset" / "manifest.parquet"
    write_manifest(manifest, rows, read_manifest(manifest).metadata)
    with pytest.raises(InputError, match="expected a run whose groups are of lightness, got age"):
        arms_of(sets, tmp_path).queues("qdgs", 4)


def test_too_few_identities_are_told(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    queue = sets.Queue("RUN, light", 3, faces.members("light")[:2].split(1))
    with pytest.raises(InputError, match=r"^RUN, light: expected 3 identities, got 2; take a run with more"):
        list(faces._taken(queue, np.random.default_rng(0)))


def counts(told):
    return pd.DataFrame(told["groups"]).set_index("group")


def test_identities_of_every_arm_are_taken_and_varied_alike(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    gated = counts(faces.write_pretraining(tmp_path / "gated", "random-gated"))
    assert gated["identities"].sum() == 12
    assert gated.loc["unread", "identities"] == 0
    even = counts(faces.write_pretraining(tmp_path / "even", "random-even"))
    assert even["identities"].to_dict() == {"unread": 0, "dark": 4, "medium": 4, "light": 4}
    raw = counts(faces.write_pretraining(tmp_path / "raw", "random"))
    for told in (gated, even, raw):
        assert told["images"].sum() == 48
        assert not (told["images"] == 4 * told["identities"]).all()  # an offset may change the lightness
    for name in ("gated", "even", "raw"):
        assert np.bincount(read_identities(tmp_path / name).labels).tolist() == [4] * 12


def test_an_identitys_latents_take_turns(sets, tmp_path):
    faces = sets.Faces(tiny(sets), tmp_path)
    members = faces.members("medium")[:3]
    (identity,) = faces._varied([members], 7, np.random.default_rng(0))
    assert identity.members.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert identity.group == "medium"


def test_the_study_leaves_its_rows_and_does_only_what_is_missing(study, run, tmp_path, capsys):
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--workers", "1"]
    study.main(arguments)
    told = capsys.readouterr().out
    assert "its set comes from a short search whose guide is the luminance of pixels" in told
    rows = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(rows) == ["pretraining", "seed", "group", "accuracy", "n"]
    assert rows.groupby("pretraining").size().to_dict() == {"pixels": 4, "qdgs": 4, "random": 4}
    assert rows["accuracy"].between(0, 1).all()
    whole = rows[rows["group"] == "all"]["n"].unique()
    assert whole == rows[(rows["pretraining"] == "qdgs") & (rows["group"] != "all")]["n"].sum()
    before = pd.read_csv(tmp_path / "out" / "pretrained.csv")
    assert before.groupby("pretraining").size().to_dict() == {"qdgs": 4, "random": 4}
    trained = rows[rows["pretraining"] != "pixels"].reset_index(drop=True)
    assert (before["n"] == trained["n"]).all()
    assert (before["accuracy"] != trained["accuracy"]).any()
    stages = pd.read_csv(tmp_path / "out" / "intervals.csv")["after"].value_counts()
    assert stages.to_dict() == {"pre-training": 4, "real set": 4}
    sets = pd.read_csv(tmp_path / "out" / "sets.csv")
    assert sets.groupby("pretraining")["identities"].sum().to_dict() == {"qdgs": 12, "random": 12}
    assert sets.groupby("pretraining")["images"].sum().to_dict() == {"qdgs": 48, "random": 48}
    purity = pd.read_csv(tmp_path / "out" / "purity.csv")
    assert purity[["pretraining", "embedding", "compared", "images", "identities"]].to_numpy().tolist() == [
        ["random", "pixels", "images", 48, 12],
        ["qdgs", "pixels", "images", 48, 12],
    ]
    assert (tmp_path / "out" / "accuracy.png").stat().st_size > 10_000
    kept = rows[rows["pretraining"] != "qdgs"]
    kept.to_csv(tmp_path / "out" / "results.csv", index=False, float_format="%.6g")
    study.main([*arguments, "--arms", "none", "qdgs", "qdgs-clusters"])
    again = capsys.readouterr().out
    assert "random       seed" not in again
    assert "none         seed 0" in again
    purity = pd.read_csv(tmp_path / "out" / "purity.csv")
    assert purity["embedding"].tolist() == ["pixels", "recogniser"] * 2 + ["pixels"] * 2 + ["recogniser"] * 2
    assert purity["compared"].tolist()[-4:] == ["images", "latents"] * 2
    alone, after = (
        load_recognition(tmp_path / "out" / "seed-0" / f"trained-{arm}" / "config.yaml")
        for arm in ("none", "qdgs")
    )
    schedule = alone.training.model_copy(update={"epochs": 1, "milestones": [1], "learning_rate": 0.02})
    assert after.model_copy(update={"pretrained": None}) == alone.model_copy(update={"training": schedule})
    assert after.pretrained == str(tmp_path / "out" / "seed-0" / "pretrained-qdgs")
    after = pd.read_csv(tmp_path / "out" / "results.csv")
    kept = after[after["pretraining"].isin(["random", "qdgs", "pixels"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, rows, check_exact=False)
    again = pd.read_csv(tmp_path / "out" / "pretrained.csv")
    assert len(again) == 12
    kept = again[again["pretraining"] != "qdgs-clusters"].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before, check_exact=False)
    with pytest.raises(InputError, match=r"expected a qdgs run with a dataset, got no dataset/manifest"):
        study.main([*arguments, "--run", str(tmp_path)])
    searched(tmp_path / "run", run())
    with pytest.raises(InputError, match=r"seed-0: expected .* got one that took another run"):
        study.main([*arguments, "--run", str(tmp_path / "run")])


def test_a_folder_takes_more_runs_and_seeds_but_no_others(study, run, tmp_path):
    rows = run()
    for name in ("first", "second"):
        searched(tmp_path / "run", rows)
        (tmp_path / "run").rename(tmp_path / name)
        rows = run(group_age=[name] * 40)
    first, second = tmp_path / "first", tmp_path / "second"

    def checked(*runs, seeds, takes_no_run=False):
        study.Study(study.QUICK, tmp_path / "out", runs, "cpu", takes_no_run).check(seeds)

    checked(first, seeds=1)
    checked(first, second, seeds=2)
    checked(second, seeds=2, takes_no_run=True)
    with pytest.raises(InputError, match=r"seed-0: expected .* got one that took another run"):
        checked(second, seeds=2)
    with pytest.raises(InputError, match=r"seed-1: expected .* got one that took another run"):
        checked(first, seeds=2)
    with pytest.raises(InputError, match="got one with other sizes"):
        study.Study(study.FULL, tmp_path / "out", (first,), "cpu").check(1)


def test_the_real_set_alone_is_trained_on_for_as_many_steps(sets):
    for sizes in (sets.FULL, sets.QUICK):
        images, batch = sizes.real[0] * sizes.real[1], sizes.batch_size
        steps = sizes.pretrain_epochs * (sizes.pretrain[0] * sizes.pretrain[1] // batch)
        alone = (sizes.alone_epochs - sizes.real_epochs) * (images // batch)
        assert abs(alone - steps) < images // batch


def test_without_an_arm_that_is_pre_trained_there_is_one_panel(study, tmp_path, capsys):
    study.main(["--quick", "--out", str(tmp_path), "--workers", "1", "--arms", "none", "pixels"])
    assert set(pd.read_csv(tmp_path / "results.csv")["pretraining"]) == {"none", "pixels"}
    assert not (tmp_path / "pretrained.csv").exists()
    assert (tmp_path / "accuracy.png").stat().st_size > 10_000


def test_schedules_are_compared_on_identities_of_no_table(sets, tmp_path):
    schedules = importlib.import_module("schedules")
    compared = (
        schedules.Schedule(64, (1, 0.05)),
        schedules.Schedule(16, (1, 0.05), (1, 0.02)),
        schedules.Schedule(16, None, (1, 0.05)),
    )
    table = schedules.carry_out(compared, tiny(sets), tmp_path, 0)
    assert table["scale"].tolist() == [64, 16, 16]
    assert table[["pretrain_epochs", "real_epochs"]].to_numpy().tolist() == [[1, 0], [1, 1], [0, 1]]
    assert table["accuracy"].between(0.3, 1).all()
    trained = tmp_path / "seed-0" / "schedules"
    going_on = load_recognition(trained / "16-1x0.05-1x0.02" / "config.yaml")
    assert going_on.pretrained == str(trained / "16-1x0.05-none")
    assert going_on.data.folder == str(tmp_path / "seed-0" / "real")
    assert load_recognition(trained / "64-1x0.05-none" / "config.yaml").head.scale == 64
    pd.testing.assert_frame_equal(schedules.carry_out(compared, tiny(sets), tmp_path, 0), table)
