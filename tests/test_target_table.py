import csv
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.target_table import is_table, read_shares

VALUES = {"color": ("red", "blue"), "edges": ("triangle", "square")}
GROUPS = ["red/triangle", "red/square", "blue/triangle", "blue/square"]
EVEN = "color,edges,share\nred,triangle,0.25\nred,square,0.25\nblue,triangle,0.25\nblue,square,0.25\n"


@pytest.fixture
def table(tmp_path):
    """Writes a table and tells where it is."""

    def write(content):
        path = tmp_path / "census.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_shares_are_read_by_the_names_of_columns_and_groups(table):
    path = table("share,edges,color\n.1,square,blue\n0,triangle,blue\n0.7,square,red\n0.2,triangle,red\n")
    shares = read_shares(path, VALUES)
    assert list(shares.items()) == list(zip(GROUPS, [0.2, 0.7, 0.0, 0.1], strict=True))


def test_counts_become_shares(table):
    path = table("color,edges,count\nred,triangle,3\nred,square,0\nblue,triangle,1.5\nblue,square,1.5\n")
    assert list(read_shares(path, VALUES).values()) == [0.5, 0.0, 0.25, 0.25]


def test_spreadsheets_of_many_kinds_are_read(table):
    plain = read_shares(table(EVEN), VALUES)
    for written in (
        b"\xef\xbb\xbf" + EVEN.encode(),
        EVEN.replace("\n", "\r\n"),
        EVEN.replace(",", " , "),
        EVEN.replace("red", '"red"'),
        EVEN.replace("share\n", "share\n\n") + ",,\n",
    ):
        assert read_shares(table(written), VALUES) == plain


def test_shares_that_were_rounded_are_divided_by_their_sum(table):
    thirds = EVEN.replace("0.25", "0.333", 3).replace("0.25", "0")
    assert list(read_shares(table(thirds), VALUES).values()) == [1 / 3, 1 / 3, 1 / 3, 0]
    floats = EVEN.replace("0.25", str(0.1 + 0.2), 3).replace("0.25", "0.1")
    assert list(read_shares(table(floats), VALUES).values()) == pytest.approx([0.3, 0.3, 0.3, 0.1])


@pytest.mark.parametrize("written", ["0.248", "0.24", "0.3", "0.250001", "1", "0"])
def test_shares_that_no_rounding_explains_are_refused(table, written):
    with pytest.raises(ValueError, match="expected shares that sum to 1, got ") as error:
        read_shares(table(EVEN.replace("0.25", written)), VALUES)
    assert str(error.value).endswith("; or name the column count")


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.integers(0, 1000), min_size=4, max_size=4).filter(any),
    digits=st.integers(3, 9),
    order=st.permutations(range(4)),
)
def test_any_table_of_counts_or_rounded_shares_gives_the_same_shares(
    tmp_path_factory, weights, digits, order
):
    folder = tmp_path_factory.mktemp("tables")
    exact = [weight / sum(weights) for weight in weights]
    groups = list(product(*VALUES.values()))
    for amount, amounts in (
        ("count", [str(weight) for weight in weights]),
        ("share", [f"{share:.{digits}f}" for share in exact]),
    ):
        with (folder / "t.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*VALUES, amount])
            writer.writerows([*groups[row], amounts[row]] for row in order)
        shares = read_shares(folder / "t.csv", VALUES)
        assert list(shares) == GROUPS
        assert sum(shares.values()) == pytest.approx(1, abs=1e-12)
        assert list(shares.values()) == pytest.approx(exact, abs=10.0**-digits * (1 + amount.count("h")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",share", ",percent", ": expected one column of share or count, got neither"),
        ("edges,share", "count,share", ": expected one column of share or count, got share and count"),
        ("color,", "colour,", ": expected a column 'color', got colour, edges, share"),
        ("edges,share", "edges,share,note", ": unknown column 'note'; known: color, edges, share"),
        ("edges,share", "color,share", ": expected distinct columns, got 'color' twice"),
        ("red,square", "red,sqare", ", line 3: unknown value 'sqare' of edges; did you mean 'square'? "),
        ("red,square", "red,triangle", ", line 3: expected every group once, got 'red/triangle' again"),
        ("blue,square,0.25\n", "", ": expected a row for each of 4 groups, got none for 'blue/square'; "),
        ("red,square,0.25", "red,square,-1", ", line 3: expected a share from 0 to 1E+15, got '-1'"),
        ("red,square,0.25", "red,square,many", ", line 3: expected a share from 0 to 1E+15, got 'many'"),
        ("red,square,0.25", "red,square,nan", ", line 3: expected a share from 0 to 1E+15, got 'nan'"),
        ("red,square,0.25", "red,square,1e99999999", ", line 3: expected a share from 0 to 1E+15, got '1e9"),
        ("red,square,0.25", "red,square,", ", line 3: expected a share from 0 to 1E+15, got ''"),
        ("red,square,0.25", "red,square", ", line 3: expected 3 cells, got 2"),
        ("red,square", '"red,square', ": is not a CSV in UTF-8: "),
        (EVEN, "", ": expected one column of share or count, got neither"),
    ],
)
def test_a_mistake_in_a_table_is_one_sentence_that_names_the_place(table, old, new, message):
    assert old in EVEN
    path = table(EVEN.replace(old, new, 1))
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        read_shares(path, VALUES)
    assert str(error.value).startswith(f"{path}{message}")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00c", b"color\x00,"])
def test_a_file_that_is_no_table_is_told(table, content):
    with pytest.raises(ValueError, match=r"^\S*census\.csv: [^\n]*$"):
        read_shares(table(content), VALUES)


def test_counts_that_are_all_none_are_refused(table):
    path = table(EVEN.replace("share", "count").replace("0.25", "0"))
    with pytest.raises(ValueError, match="expected a count above 0 in one group at least, got none"):
        read_shares(path, VALUES)


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"none\.csv: cannot be read: No such file"):
        read_shares(tmp_path / "none.csv", VALUES)


def test_only_a_csv_is_a_table():
    assert is_table("a/census.CSV")
    assert not any(is_table(target) for target in ("uniform", "csv", None, {"red/square": 1.0}))
