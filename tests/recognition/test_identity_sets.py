from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qdgs.errors import InputError
from qdgs.files import read_json
from qdgs.recognition.identity_sets import choose_identities, write_identity_set
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


def test_what_does_not_divide_goes_to_the_first_group(source):
    rows = choose_identities(read_identities(source), 7, 2, seed=0)
    assert rows.groupby("group")["identity"].nunique().to_dict() == {"dark": 4, "light": 3}


@pytest.mark.parametrize(
    ("identities", "each", "message"),
    [
        (10, 2, "expected 5 of group 'light' with 2 images or more, got 4"),
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
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith(".")) == [
        "foreign",
        "source",
    ]
