import os

import pytest
import yaml

from qdgs.errors import CorruptFileError, InputError
from qdgs.files import cache_folder, fingerprint, read_json, write_json, write_text, yaml_text


@pytest.mark.parametrize("text", ["0\x85", "\x85", "a\x85b", "a\u2028b", "a\nb", "no", "1"])
def test_yaml_is_read_back_as_it_was(text):
    assert yaml.safe_load(yaml_text({text: [text]})) == {text: [text]}


def test_what_is_written_is_read_back_and_infinities_are_null(tmp_path):
    path = tmp_path / "deep" / "file.json"
    write_json(path, {"a": 1, "b": [float("nan"), float("inf"), 0.5], "c": {"ä": None}})
    assert read_json(path) == {"a": 1, "b": [None, None, 0.5], "c": {"ä": None}}
    assert os.listdir(path.parent) == ["file.json"]


def test_a_failed_write_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "file"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "before"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_what_is_no_object_is_told_by_its_name(tmp_path, content):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=r"file\.json: "):
        read_json(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(InputError, match="expected a file, got none"):
        read_json(tmp_path / "none.json")


def test_fingerprints_follow_the_content_and_not_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("QDGS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("QDGS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "qdgs"
