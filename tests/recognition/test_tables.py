import pytest

from qdgs.errors import InputError
from qdgs.recognition.tables import read_table


@pytest.fixture
def table(tmp_path):
    def of(text, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return read_table(path)

    return of


def test_cells_are_texts_as_they_stand(table):
    rows = table("a,b\n007,NA\n1.0,\n2\n")
    assert rows.to_dict("list") == {"a": ["007", "1.0", "2"], "b": ["NA", "", ""]}


def test_a_byte_order_mark_is_none_of_the_first_columns_name(table):
    assert list(table("\ufeffa,b\n1,2\n")) == ["a", "b"]


@pytest.mark.parametrize("rows", ["1,2,\n3,4,\n", "1,2,3\n4,5\n", "1,2,,,\n"])
def test_a_row_longer_than_the_header_does_not_move_the_columns(table, rows):
    with pytest.raises(InputError, match=r"table.csv: expected rows as long as the header, got a longer"):
        table("a,b\n" + rows)


def test_a_longer_row_further_down_is_named(table):
    with pytest.raises(InputError, match=r"cannot be read as CSV: .*Expected 2 fields in line 3, saw 3"):
        table("a,b\n1,2\n3,4,5\n")


def test_what_is_no_table_is_refused(table, tmp_path):
    with pytest.raises(InputError, match=r"table.csv: cannot be read as CSV"):
        table("")
    with pytest.raises(InputError, match=r"table.csv: cannot be read as CSV"):
        table("a,b\nä,2\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"none.csv: cannot be read as CSV"):
        read_table(tmp_path / "none.csv")
