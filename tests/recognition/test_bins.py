import io
import os
import pickle
import pickletools
import struct

import numpy as np
import pytest
from PIL import Image

from qdgs.errors import InputError
from qdgs.recognition.bins import HARMLESS, read_bin, write_bin
from qdgs.recognition.pairs import decoded


def encoded(value, size=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [encoded(value) for value in (10, 20, 10, 30)]
SAME = [True, False]


def test_what_is_written_is_read_and_a_repeated_image_is_kept_once(tmp_path):
    write_bin(tmp_path / "a.bin", IMAGES, SAME)
    pairs = read_bin(tmp_path / "a.bin")
    assert [pairs.images[i] for i in pairs.first] == IMAGES[::2]
    assert [pairs.images[i] for i in pairs.second] == IMAGES[1::2]
    assert pairs.same.tolist() == SAME
    assert len(pairs.images) == 3
    assert decoded(pairs.images[2], 8)[0, 0].tolist() == [30, 30, 30]


def test_the_fields_own_way_of_reading_reads_what_is_written(tmp_path):
    write_bin(tmp_path / "a.bin", IMAGES, SAME)
    with (tmp_path / "a.bin").open("rb") as file:
        bins, same = pickle.load(file, encoding="bytes")
    assert (bins, same) == (IMAGES, SAME)


def of_python_2(images, same):
    """Protocol 2 as Python 2 wrote it: its strings have opcodes of their own, and are bytes."""
    parts = [b"\x80\x02]("]
    for image in images:
        parts.append(
            b"T" + struct.pack("<i", len(image)) + image
            if len(image) > 255
            else b"U" + bytes([len(image)]) + image
        )
    parts.append(b"e](")
    parts += [b"\x88" if value else b"\x89" for value in same]
    return b"".join([*parts, b"e\x86."])


@pytest.mark.parametrize("size", [8, 200])
def test_a_file_of_python_2_is_read(tmp_path, size):
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (size, size, 3), dtype=np.uint8)).save(buffer, "JPEG")
    images = [buffer.getvalue(), *IMAGES[1:]]
    (tmp_path / "old.bin").write_bytes(of_python_2(images, SAME))
    pairs = read_bin(tmp_path / "old.bin")
    assert pairs.images[pairs.first[0]] == images[0]
    assert pairs.same.tolist() == SAME


class Touches:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_file_is_run(tmp_path, protocol):
    evil = tmp_path / "evil"
    content = pickle.dumps(([Touches(evil), *IMAGES], [True, False]), protocol=protocol)
    (tmp_path / "evil.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"it names (posix|nt|os)\.mkdir, and may hold nothing"):
        read_bin(tmp_path / "evil.bin")
    assert not evil.exists()


@pytest.mark.parametrize("protocol", range(3))
def test_bytes_that_python_3_wrote_as_a_call_are_told_as_such(tmp_path, protocol):
    (tmp_path / "old.bin").write_bytes(pickle.dumps((IMAGES, SAME), protocol=protocol))
    with pytest.raises(InputError, match=r"got one that Python 3 wrote in an old .* again with protocol 4$"):
        read_bin(tmp_path / "old.bin")


FOREIGN = {
    "numpy bools": ((IMAGES, list(np.array(SAME))), "it names numpy"),
    "numpy images": (([np.frombuffer(image, np.uint8) for image in IMAGES], SAME), "it names numpy"),
    "bytearray": (([bytearray(image) for image in IMAGES], SAME), "its operation 6 is BYTEARRAY8"),
    "a dict": ({"bins": IMAGES}, "its operation 3 is EMPTY_DICT, which"),
    "three lists": ((IMAGES, SAME, []), "expected a pair of lists, got tuple of 3"),
    "text": (([image.hex() for image in IMAGES], SAME), "expected images as bytes, got str at place 0"),
    "numbers": ((IMAGES, [1, 0]), "expected bools, got int at place 0"),
    "nested": ((IMAGES, [[True], False]), "expected bools, got list of 1 at place 0"),
    "odd": ((IMAGES[:3], SAME), "expected two images for each of 2 pairs, got 3 images"),
    "too many": ((IMAGES, SAME[:1]), "expected two images for each of 1 pairs, got 4 images"),
    "no lists": ((b"x", SAME), "expected a list of images as bytes, got bytes"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_with_anything_else_is_refused_in_a_sentence(tmp_path, name):
    data, message = FOREIGN[name]
    path = tmp_path / "other.bin"
    path.write_bytes(pickle.dumps(data, protocol=5))
    with pytest.raises(InputError) as caught:
        read_bin(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path}: expected ")


def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path):
    write_bin(tmp_path / "a.bin", IMAGES, SAME)
    content = (tmp_path / "a.bin").read_bytes()
    path = tmp_path / "cut.bin"
    for end in [*range(0, 40), *range(40, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:end])
        with pytest.raises(InputError, match="cannot read it"):
            read_bin(path)


def test_a_missing_file_and_an_image_that_is_none_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.bin: cannot be read: No such file"):
        read_bin(tmp_path / "none.bin")
    write_bin(tmp_path / "a.bin", [b"not an image", *IMAGES[1:]], SAME)
    with pytest.raises(
        InputError, match="pairs: expected an image that can be read, got one of 12 bytes that cannot"
    ):
        decoded(read_bin(tmp_path / "a.bin").images[0], 8)
    with pytest.raises(InputError, match="expected two for each of 2 pairs, got 3"):
        write_bin(tmp_path / "b.bin", IMAGES[:3], SAME)


def test_a_memo_that_takes_all_memory_is_refused(tmp_path):
    path = tmp_path / "bomb.bin"
    path.write_bytes(b"\x80\x02N" + pickle.LONG_BINPUT + (2**31).to_bytes(4, "little") + b".")
    with pytest.raises(InputError, match=r"it asks for a memo of 2,147,483,648 at its operation 3; fetch"):
        read_bin(path)


def test_a_few_bytes_that_nest_are_never_hashed(tmp_path):
    doubled = b"2\x86" * 40  # a tuple of itself twice, forty times over
    by_name = b"".join(b"\x94h" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    for nested in (doubled, by_name):
        (tmp_path / "endless.bin").write_bytes(b"\x80\x04})" + nested + b"Ns.")
        with pytest.raises(InputError, match=r"its operation 2 is EMPTY_DICT, which lists of images .* not"):
            read_bin(tmp_path / "endless.bin")


USED = [*range(-1, 3), 300, 70_000]


def test_no_operation_that_is_read_hashes_or_calls():
    wanted = pickle.dumps(
        (IMAGES, [*SAME, *USED, None, "text", (), (1,), (1, 2), (1, 2, 3), [1]]), protocol=4
    )
    assert {operation.name for operation, *_ in pickletools.genops(wanted)} <= HARMLESS
    for data in ({"a": 1}, {1}, frozenset({1}), 0.5, 10**20, bytearray(b"x"), Touches("x")):
        found = {operation.name for operation, *_ in pickletools.genops(pickle.dumps(data, protocol=5))}
        assert found - HARMLESS, data


def test_a_file_of_the_first_protocol_is_told_as_such(tmp_path):
    (tmp_path / "old.bin").write_bytes(b"((lp0\nS'\xff\xd8'\np1\na(lp2\nI01\na.")
    with pytest.raises(InputError, match=r"of protocol 2 or later, got one of pickle's first.*protocol 4$"):
        read_bin(tmp_path / "old.bin")
