from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from qdgs.errors import InputError
from qdgs.recognition.benchmark import Benchmark, joined_groups, read_benchmarks
from qdgs.recognition.bins import write_bin
from qdgs.recognition.pairs import Pairs, read_groups, read_pairs
from qdgs.recognition.verification import folds_of


@pytest.fixture
def images(tmp_path):
    """Two persons with two images each, named as LFW names them."""
    for name in ("Ann", "Bea"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in (1, 2):
            value = np.full((8, 8, 3), 50 * number, np.uint8)
            Image.fromarray(value).save(tmp_path / "images" / name / f"{name}_{number:04d}.jpg")
    return tmp_path / "images"


def written(path, text):
    path.write_text(text)
    return path


def named(pairs):
    return [
        (pairs.images[i].name, pairs.images[j].name) for i, j in zip(pairs.first, pairs.second, strict=True)
    ]


WANTED = [("Ann_0001.jpg", "Ann_0002.jpg"), ("Ann_0001.jpg", "Bea_0002.jpg")]


@pytest.mark.parametrize("head", ["", "1\t1\n", "1\n"])
def test_the_text_of_lfw_and_rfw_is_read(images, tmp_path, head):
    path = written(tmp_path / "pairs.txt", f"{head}Ann\t1\t2\nAnn\t1\tBea\t2\n")
    pairs = read_pairs(path, images=images)
    assert named(pairs) == WANTED
    assert pairs.same.tolist() == [True, False]
    assert pairs.groups is None


def test_a_csv_of_ours_is_read_with_its_groups(images, tmp_path):
    rows = "Ann/Ann_0001.jpg,Ann/Ann_0002.jpg,1,dark\nAnn/Ann_0001.jpg,Bea/Bea_0002.jpg,false,light\n"
    pairs = read_pairs(written(images / "pairs.csv", "first,second,same,group\n" + rows))
    assert named(pairs) == WANTED
    assert pairs.same.tolist() == [True, False]
    assert pairs.groups.tolist() == ["dark", "light"]


def test_the_columns_of_balanced_faces_in_the_wild_are_read(images, tmp_path):
    rows = "Ann/Ann_0001.jpg,Ann/Ann_0002.jpg,1,F,F\nAnn/Ann_0001.jpg,Bea/Bea_0002.jpg,0,F,M\n"
    path = written(tmp_path / "bfw.csv", "p1,p2,label,att1,att2\n" + rows)
    pairs = read_pairs(path, images=images)
    assert named(pairs) == WANTED
    assert pairs.groups.tolist() == ["F", "F and M"]
    assert pairs.folds is None


def test_folds_of_a_list_are_those_that_it_tells(images, tmp_path):
    rows = "Ann/Ann_0001.jpg,Ann/Ann_0002.jpg,1,{}\nAnn/Ann_0001.jpg,Bea/Bea_0002.jpg,0,{}\n"
    head = "p1,p2,label,fold\n"
    path = written(tmp_path / "bfw.csv", head + rows.format("2", "1") + rows.format("2", "5"))
    assert read_pairs(path, images=images).folds.tolist() == ["2", "1", "2", "5"]
    with pytest.raises(InputError, match=r"expected several folds in the column fold, got 2$"):
        read_pairs(written(tmp_path / "one.csv", head + rows.format("2", "2")), images=images)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ann 1\n", "expected `name i j` or `name i name j` on line 1, got 'Ann 1'"),
        ("Ann 1 x\n", "on line 1, got 'Ann 1 x'"),
        ("Ann 1 2\nAnn one Bea 2\n", "on line 2, got 'Ann one Bea 2'"),
        ("Ann 1 3\n", "got 1 fewer"),
        ("Ann ² 1\n", "on line 1, got 'Ann ² 1'"),
        ("²\n", "on line 1, got '²'"),
    ],
)
def test_a_wrong_line_is_named(images, tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read_pairs(written(tmp_path / "pairs.txt", text), images=images)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "expected columns first, second and same, got a, b"),
        ("first,second,same\nx,y,maybe\n", "expected 1 or 0 for the same person on line 2, got 'maybe'"),
        ("", "cannot be read as CSV"),
        ("first,second,same\nx,y,1,\n", "expected rows as long as the header"),
    ],
)
def test_a_wrong_table_is_named(tmp_path, text, message):
    with pytest.raises(InputError) as caught:
        read_pairs(written(tmp_path / "pairs.csv", text))
    assert message in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_list(images, tmp_path):
    for head in ("", "1\n"):
        path = written(tmp_path / "pairs.txt", f"\ufeff{head}Ann\t1\t2\nAnn\t1\tBea\t2\n")
        assert named(read_pairs(path, images=images)) == WANTED


def test_labels_as_pandas_writes_them_are_read(images):
    rows = "Ann/Ann_0001.jpg,Ann/Ann_0002.jpg,1.0\nAnn/Ann_0001.jpg,Bea/Bea_0002.jpg,0.0\n"
    pairs = read_pairs(written(images / "pairs.csv", "first,second,same\n" + rows))
    assert pairs.same.tolist() == [True, False]


@pytest.mark.parametrize("name", ["all", "", " "])
def test_a_group_without_a_name_or_with_that_of_all_pairs_is_refused(name):
    pairs = Pairs.of([(b"a", b"b"), (b"a", b"c")], [True, False])
    with pytest.raises(InputError, match=rf"a name other than 'all', .* got '{name}' in row 2$"):
        pairs.grouped(["dark", name])


def test_a_missing_list_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none.txt: cannot be read"):
        read_pairs(tmp_path / "none.txt")


def test_groups_come_from_a_csv_with_as_many_rows(tmp_path):
    path = written(tmp_path / "groups.csv", "group\ndark\nlight\n")
    assert read_groups(path) == ["dark", "light"]
    pairs = Pairs.of([(b"a", b"b")], [True])
    with pytest.raises(InputError, match="expected one for each of 1 pairs, got 2"):
        pairs.grouped(read_groups(path))
    with pytest.raises(InputError, match="expected a column group, got kind"):
        read_groups(written(tmp_path / "other.csv", "kind\na\n"))


def test_lists_joined_as_groups_keep_folds_of_every_group():
    sizes = {"one": 20, "two": 10}
    lists = [
        Benchmark(
            name, Pairs.of([(f"{name}{i}".encode(), b"x") for i in range(n)], [i % 2 == 0 for i in range(n)])
        )
        for name, n in sizes.items()
    ]
    joined = joined_groups(lists).pairs
    assert {name: int((joined.groups == name).sum()) for name in sizes} == sizes
    fold_of = folds_of(joined.same, joined.groups)
    for fold in range(10):
        assert sorted(joined.groups[fold_of == fold]) == ["one", "one", "two"]
    first = [joined.images[i].decode() for i in joined.first]
    assert [name for name in first if name.startswith("one")] == [f"one{i}" for i in range(20)]


def list_of(name, folds):
    pairs = Pairs.of([(f"{name}{i}".encode(), b"x") for i in range(4)], [True, False] * 2)
    return Benchmark(name, replace(pairs, folds=None if folds is None else np.array(folds)))


def test_joined_lists_keep_the_names_of_their_folds():
    lists = [list_of("one", ["1", "1", "2", "2"]), list_of("two", ["2", "2", "3", "3"])]
    assert joined_groups(lists).pairs.folds.tolist() == ["1", "1", "2", "2", "2", "2", "3", "3"]
    with pytest.raises(InputError, match=r"a column fold in every file or in none, got none in three; take"):
        joined_groups([*lists, list_of("three", None)])


def test_joined_lists_are_called_by_their_files():
    named_by = {joined_groups([list_of(name, None) for name in names]).name for names in (["a", "b"], ["a"])}
    assert named_by == {"a+b", "a"}
    many = [[f"{letter}{i}" * 20 for i in range(9)] for letter in "xy"]
    shortened = [joined_groups([list_of(name, None) for name in names]).name for names in many]
    assert shortened[0] != shortened[1]
    assert all(len(name) <= 100 for name in shortened)
    assert "+8-more-" in shortened[0]


def test_folds_beside_groups_are_those_of_the_pairs(tmp_path):
    write_bin(tmp_path / "LFW.BIN", [b"a", b"b", b"a", b"c"], [True, False])
    groups = written(tmp_path / "groups.csv", "group,fold\ndark,2\nlight,10\n")
    (found,) = read_benchmarks([tmp_path / "LFW.BIN"], groups=groups)
    assert found.name == "LFW"
    assert found.pairs.groups.tolist() == ["dark", "light"]
    assert found.pairs.folds.tolist() == ["2", "10"]
    with pytest.raises(InputError, match=r"expected several folds in the column fold, got 1$"):
        read_benchmarks([tmp_path / "LFW.BIN"], groups=written(groups, "group,fold\ndark,1\nlight,1\n"))


def test_benchmarks_need_names_of_their_own_and_groups_one_file(tmp_path):
    path = written(tmp_path / "groups.csv", "group\n")
    with pytest.raises(InputError, match="expected one file to group the pairs of, got 2"):
        read_benchmarks([tmp_path / "a.bin", tmp_path / "b.bin"], groups=path)
