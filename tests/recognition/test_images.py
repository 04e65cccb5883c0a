import os

import numpy as np
import pytest
import torch
from PIL import Image

from qdgs.errors import InputError
from qdgs.recognition.images import Batches, Faces, load, read_identities, read_image
from qdgs.recognition_config import AugmentationConfig

NONE = AugmentationConfig(low_resolution=0, crop=0, photometric=0, flip=0)


def put(folder, name, number, value=100):
    path = folder / name / f"{number}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 16, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b", "c"):
        for number in range(4):
            put(tmp_path / "faces", name, number, 10 * number)
    return tmp_path / "faces"


def test_a_folder_an_identity_is_read_in_order(folder):
    images = read_identities(folder)
    assert images.names == ("a", "b", "c")
    assert images.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert images.files[5] == str(folder / "b" / "1.png")


def test_an_index_names_files_and_identities(folder):
    (folder / "index.csv").write_text(
        "file,identity,group\nb/0.png,7,x\na/0.png,007,y\na/1.png,7,x\nb/2.png,007,y\n"
    )
    images = read_identities(folder)
    assert images.names == ("007", "7")
    assert images.labels.tolist() == [1, 0, 1, 0]


def test_an_index_without_an_identity_in_a_row_is_refused(folder):
    (folder / "index.csv").write_text("file,identity\nb/0.png,Ann\nb/1.png,\n")
    with pytest.raises(InputError, match=r"expected an identity in every row, got none on line 3"):
        read_identities(folder)


def test_a_trailing_comma_in_an_index_does_not_move_its_columns(folder):
    (folder / "index.csv").write_text("file,identity\nb/0.png,Ann,\nb/1.png,Ann,\n")
    with pytest.raises(InputError, match=r"index.csv: expected rows as long as the header, got a longer"):
        read_identities(folder)


def test_a_name_that_is_not_in_utf_8_is_told(folder):
    put(folder, os.fsdecode(b"Jos\xe9"), 0)
    with pytest.raises(InputError, match=r"expected names in UTF-8, got .*Jos\\xe9/0.png'; rename it"):
        read_identities(folder)
    with pytest.raises(InputError, match=r"expected names in UTF-8, got .*Jos\\xe9'; rename it"):
        read_identities(folder / os.fsdecode(b"Jos\xe9"))


def test_only_formats_of_pictures_are_opened(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "starts_ghostscript.png", "EPS")
    assert read_image(tmp_path / "starts_ghostscript.png", 8) is None


def test_an_identity_with_one_image_is_left_out_and_named(folder):
    put(folder, "lonely", 0)
    images = read_identities(folder)
    assert images.left_out == ("lonely",)
    assert len(images) == 12
    assert "lonely" in read_identities(folder, min_images=1).names


def test_folders_that_do_not_suffice_are_refused(tmp_path, folder):
    with pytest.raises(InputError, match="expected a folder of images by identity, got none"):
        read_identities(tmp_path / "nothing")
    with pytest.raises(
        InputError, match=r"expected at least two identities with 5 images or more, got 0 among 3"
    ):
        read_identities(folder, min_images=5)
    (folder / "index.csv").write_text("path,name\n")
    with pytest.raises(InputError, match="expected columns file and identity, got path, name"):
        read_identities(folder)


def test_an_unreadable_image_gives_its_place_to_the_next_and_is_named(folder):
    for number, content in ((1, b"no image"), (2, (folder / "a" / "2.png").read_bytes()[:40])):
        (folder / "a" / f"{number}.png").write_bytes(content)
    faces = Faces(read_identities(folder), 16, NONE, seed=0)
    image, label, unreadable = faces[0, 1]
    assert unreadable == [str(folder / "a" / "1.png"), str(folder / "a" / "2.png")]
    assert label == 0
    assert torch.equal(image, torch.full((3, 16, 16), 30, dtype=torch.uint8))


def test_when_no_image_can_be_read_all_are_named(folder):
    for path in folder.glob("*/*.png"):
        path.write_bytes(b"")
    images = read_identities(folder)
    image, _, unreadable = Faces(images, 16, NONE, seed=0)[0, 5]
    assert sorted(unreadable) == sorted(images.files)
    assert not image.any()


def test_an_image_of_another_size_or_kind_is_scaled_and_made_rgb(tmp_path):
    Image.fromarray(np.full((40, 20), 77, np.uint8)).save(tmp_path / "gray.png")
    pixels = read_image(tmp_path / "gray.png", 16)
    assert pixels.shape == (16, 16, 3)
    assert (pixels == 77).all()


def test_the_same_key_gives_the_same_image_and_another_epoch_another(folder):
    faces = Faces(read_identities(folder), 16, AugmentationConfig(photometric=1.0), seed=0)
    assert torch.equal(faces[0, 7][0], faces[0, 7][0])
    assert not torch.equal(faces[0, 7][0], faces[1, 7][0])


def batches(**changes):
    return Batches(**{"rows": 23, "batch_size": 4, "epochs": 3, "seed": 5, "rank": 0, "world": 1, **changes})


def test_an_epoch_has_every_image_once_but_what_is_left_over():
    keys = list(batches())
    assert len(keys) == len(batches()) == 15
    for epoch in range(3):
        rows = [row for step in keys for e, row in step if e == epoch]
        assert len(rows) == len(set(rows)) == 20
    assert [row for _, row in keys[0]] != [row for _, row in keys[5]]


def test_batches_go_on_from_any_step():
    whole = list(batches())
    for first in (0, 1, 5, 7, 14, 15):
        assert list(batches(first=first)) == whole[first:]


def test_processes_share_every_batch():
    whole = list(batches())
    parts = [list(batches(rank=rank, world=2)) for rank in range(2)]
    assert [one + other for one, other in zip(*parts, strict=True)] == whole


def test_workers_give_the_batches_that_one_process_gives(folder):
    images = read_identities(folder)
    faces = Faces(images, 16, AugmentationConfig(photometric=1.0), seed=0)
    before = torch.random.get_rng_state()
    here, there = (
        list(load(faces, batches(rows=12, epochs=1), workers=workers, device="cpu")) for workers in (0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
