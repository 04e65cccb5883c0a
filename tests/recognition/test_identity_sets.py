from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qdgs.errors import InputError
from qdgs.files import read_json
from qdgs.recognition.identity_sets import UnreadableWarning, choose_identities, write_identity_set
from qdgs.recognition.images import IdentityImages, read_identities
from qdgs.recognition.samples import write_identities


@pytest.fixture
def source(tmp_path, face_pixels):
    """Twelve identities of two groups, two thirds of them dark."""
    pixels = np.array([face for faces in face_pixels(12, 5) for face in faces])
    numbers = np.repeat(np.arange(12), 5)
    write_identities(tmp_path / "source", pixels, numbers, ["dark" if n < 8 else "light" for n in numbers])
    return tmp_path / "source"


def test_a_set_has_its_size_and_as_many_identities_of_each_group(source, tmp_path):
    purities = write_identity_set(source, tmp_path / "set", 8, 3, seed=1)
    table = pd.read_csv(tmp_path / "set" / "index.csv", dtype=str)
    sizes = table.groupby(["group", "identity"]).size()
    assert sizes.groupby("group").size().to_dict() == {"dark": 4, "light": 4}
    assert set(sizes) == {3}
    assert purities["pixels"]["nearest"]["value"] > 0.95
    assert read_json(tmp_path / "set" / "purity.json") == purities
    images = read_identities(tmp_path / "set")
    assert (len(images), len(images.names)) == (24, 8)
    originals = read_identities(source)
    own, all_of_them = ({Path(file).read_bytes() for file in some.files} for some in (images, originals))
    assert own < all_of_them


def test_the_seed_chooses(source):
    images = read_identities(source)
    one, same, other = (choose_identities(images, 6, 2, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


def damage(source, *places):
    files = read_identities(source).files
    for place in places:
        Path(files[place]).write_bytes(b"no image")
    return [files[place] for place in places]


def test_an_unreadable_image_gives_its_place_to_another_and_is_named(source, tmp_path):
    bad = damage(source, 40)
    with pytest.warns(UnreadableWarning, match=f"1 unreadable images were left out: {bad[0]}"):
        write_identity_set(source, tmp_path / "set", 8, 4)
    table = pd.read_csv(tmp_path / "set" / "index.csv", dtype=str)
    sizes = table.groupby("identity").size()
    assert set(sizes) == {4}
    assert {f"{number:04d}" for number in range(8, 12)} < set(sizes.index)
    assert (tmp_path / "set" / "unreadable.txt").read_text() == f"{bad[0]}\n"
    assert len(read_identities(tmp_path / "set")) == 32


def test_an_identity_with_too_few_readable_images_gives_its_place_to_another(source, tmp_path):
    damage(source, 0)
    images = read_identities(source)
    whole, one_less = (
        choose_identities(images, 8, 5, seed=0, readable=readable)
        for readable in (lambda file: True, lambda file: Path(file).read_bytes() != b"no image")
    )
    assert "0000" in set(whole["identity"])
    assert "0000" not in set(one_less["identity"])
    assert len(set(one_less["identity"]) - set(whole["identity"])) == 1
    assert one_less.groupby("group")["identity"].nunique().to_dict() == {"dark": 4, "light": 4}


def test_too_few_readable_images_are_refused_before_anything_is_copied(source, tmp_path):
    damage(source, 0, 59)
    with pytest.raises(InputError, match=r"expected 4 of group 'light' with 5 .* that can be read, got 3"):
        write_identity_set(source, tmp_path / "set", 8, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_judge_that_is_none_is_refused_before_anything_is_copied(source, tmp_path, monkeypatch):
    monkeypatch.setattr("qdgs.recognition.identity_sets.choose_identities", None)
    with pytest.raises(InputError, match=r"nowhere: expected a trained recogniser, got no"):
        write_identity_set(source, tmp_path / "set", 4, 2, judge=tmp_path / "nowhere")


def test_a_set_that_fails_leaves_nothing(source, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("qdgs.recognition.identity_sets.identity_purity", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_identity_set(source, tmp_path / "set", 4, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_does_not_divide_goes_to_the_first_group(source):
    rows = choose_identities(read_identities(source), 7, 2, seed=0)
    assert rows.groupby("group")["identity"].nunique().to_dict() == {"dark": 4, "light": 3}


@pytest.mark.parametrize(
    ("identities", "each", "message"),
    [
        (10, 2, "expected 5 of group 'light' with 2 images or more that can be read, got 4"),
        (4, 6, "expected at least two identities"),
    ],
)
def test_a_set_that_cannot_be_had_is_refused(source, tmp_path, identities, each, message):
    with pytest.raises(InputError, match=message):
        write_identity_set(source, tmp_path / "set", identities, each)
    assert not (tmp_path / "set").exists()


def test_identities_without_groups_make_one_group():
    images = IdentityImages(tuple("abcdef"), np.array([0, 0, 1, 1, 2, 2]), ("x", "y", "z"))
    assert choose_identities(images, 2, 2, seed=0)["group"].unique().tolist() == ["all"]


def test_a_folder_that_exists_is_left_alone(source, tmp_path):
    with pytest.raises(InputError, match="expected a new folder, got one that exists"):
        write_identity_set(source, tmp_path, 4, 2)


def test_an_identity_of_two_groups_is_refused():
    images = IdentityImages(("a", "b"), np.array([0, 0]), ("Ann",), groups=np.array(["dark", "light"]))
    with pytest.raises(InputError, match="expected one group for each, got several for 'Ann'"):
        choose_identities(images, 1, 1, seed=0)


@pytest.mark.parametrize("name", ["../Ann", "/Ann", "Ann/Bea", "..", "."])
def test_a_name_that_leaves_the_folder_is_refused(source, tmp_path, name):
    rows = pd.read_csv(source / "index.csv", dtype=str)
    rows["identity"] = rows["identity"].replace(rows["identity"].iloc[0], name)
    rows["file"] = [str(source / file) for file in rows["file"]]
    (tmp_path / "foreign").mkdir()
    rows.drop(columns="group").to_csv(tmp_path / "foreign" / "index.csv", index=False)
    with pytest.raises(InputError, match="expected names that a folder can have"):
        write_identity_set(tmp_path / "foreign", tmp_path / "out", 12, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "source"]
