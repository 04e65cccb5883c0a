import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from qdgs.datasets.face_folders import read_faces
from qdgs.errors import CorruptFileError, InputError


def picture(path, grey, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, grey)).save(path, quality=95)


def read(kind, folder, attributes, split="train", **options):
    rng = np.random.default_rng(0)
    return read_faces(kind, folder, attributes, split=split, image_size=16, rng=rng, **options)


@pytest.fixture
def celeba(tmp_path):
    lines = ["4", "Male Smiling"]
    for number, (male, smiling) in enumerate([(1, 1), (1, -1), (-1, 1), (-1, -1)]):
        picture(tmp_path / "img_align_celeba" / f"{number:06d}.jpg", 40 * number)
        lines.append(f"{number:06d}.jpg {male:2d} {smiling:2d}")
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    parts = "\n".join(f"{number:06d}.jpg {part}" for number, part in enumerate([0, 0, 0, 2]))
    (tmp_path / "list_eval_partition.txt").write_text(parts + "\n")
    return tmp_path


def test_celeba_has_its_splits_and_its_attributes_as_yes_and_no(celeba):
    attributes = {"Male": ("no", "yes"), "Smiling": ("no", "yes")}
    train = read("celeba", celeba, attributes)
    assert train.values["Male"].tolist() == ["yes", "yes", "no"]
    assert train.values["Smiling"].tolist() == ["yes", "no", "yes"]
    assert train.images.shape == (3, 3, 16, 16)
    assert train.images[2].float().mean() == pytest.approx(80, abs=2)
    assert len(read("celeba", celeba, attributes, "test")) == 1


def test_fairface_leaves_out_other_values(tmp_path):
    rows = [("train/1.jpg", "20-29", "Male", "White"), ("train/2.jpg", "30-39", "Female", "Black")]
    for number, (file, *_) in enumerate(rows):
        picture(tmp_path / file, 100 * number)
    table = pd.DataFrame(rows, columns=["file", "age", "gender", "race"])
    table.to_csv(tmp_path / "fairface_label_train.csv", index=False)
    found = read("fairface", tmp_path, {"gender": ("Male", "Female"), "race": ("White", "Indian")})
    assert found.values.to_dict("list") == {"gender": ["Male"], "race": ["White"]}


def test_utkface_is_read_off_its_names(tmp_path):
    names = ["25_0_1_1.jpg", "71_1_0_2.jpg", "3_1_4_3.jpg", "40_0_2_4.jpg", "58_1_3_5.jpg", "bad_name.jpg"]
    for name in names:
        picture(tmp_path / name, 10)
    attributes = {
        "age": ("0-9", "20-29", "40-49", "50-59", "more than 70"),
        "gender": ("Male", "Female"),
        "race": ("White", "Black", "Asian", "Indian", "Others"),
    }
    both = [read("utkface", tmp_path, attributes, split).values for split in ("train", "test")]
    told = pd.concat(both).agg("/".join, axis=1)
    assert set(told) == {
        "20-29/Male/Black", "more than 70/Female/White", "0-9/Female/Others", "40-49/Male/Asian",
        "50-59/Female/Indian",
    }  # fmt: skip
    assert len(both[1]) == 1


def test_a_limit_takes_some_of_them(celeba):
    assert len(read("celeba", celeba, {"Male": ("no", "yes")}, limit=2)) == 2


def test_what_is_missing_is_told_in_a_sentence(celeba, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(InputError, match=r"list_attr_celeba\.txt: expected a file"):
        read("celeba", empty, {"Male": ("no", "yes")})
    with pytest.raises(InputError, match="'Smilling'; did you mean 'Smiling'"):
        read("celeba", celeba, {"Smilling": ("no", "yes")})
    with pytest.raises(InputError, match=r"expected images of the train split .* got none"):
        read("celeba", celeba, {"Male": ("maybe",)})
    with pytest.raises(InputError, match="expected the folder of UTKFace"):
        read("utkface", empty / "none", {"age": ("0-9",)})
    with pytest.raises(InputError, match="unknown 'celebb'; did you mean 'celeba'"):
        read("celebb", celeba, {})
    (celeba / "img_align_celeba" / "000000.jpg").write_bytes(b"no image")
    with pytest.raises(CorruptFileError, match=r"000000\.jpg: is missing or damaged"):
        read("celeba", celeba, {"Male": ("no", "yes")})


def test_a_list_that_is_not_as_published_is_told_in_a_sentence(celeba, tmp_path_factory):
    for text in ("", "4\n", "4\nMale Smiling\n000000.jpg 1 1 1 1 1\n1 2 3 4 5 6 7 8\n"):
        (celeba / "list_attr_celeba.txt").write_text(text)
        with pytest.raises(InputError, match=r"celeba|expected"):
            read("celeba", celeba, {"Male": ("no", "yes")})
    folder = tmp_path_factory.mktemp("fairface")
    for data in (b"", b'file,age\n"a,b\n', b"\xff\xfe\x00file"):
        (folder / "fairface_label_train.csv").write_bytes(data)
        with pytest.raises(InputError, match=r"fairface_label_train\.csv"):
            read("fairface", folder, {"gender": ("Male", "Female")})


def test_the_middle_square_is_what_is_kept(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "20_0_0_1.jpg", quality=100)
    picture(tmp_path / "21_0_0_1.jpg", 0)
    image = read("utkface", tmp_path, {"gender": ("Male",)}, "test").images[0]
    assert image.dtype == torch.uint8
    assert image[:, 4:-4, 4:-4].float().mean() > 190
