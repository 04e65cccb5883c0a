import builtins
import contextlib
import copyreg
import io
import os
import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qdgs.errors import CorruptFileError, InputError
from qdgs.generators.stylegan2_pickle import Record, read_inert


@pytest.fixture
def read(tmp_path):
    def act(data, protocol=3):
        content = data if isinstance(data, bytes) else pickle.dumps(data, protocol=protocol)
        (tmp_path / "file.pkl").write_bytes(content)
        return read_inert(tmp_path / "file.pkl")

    return act


class Call:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def storage_of(content):
    """What a pickle says to get a storage out of bytes."""
    return Call(torch.storage._load_from_bytes, content)


def text(value):
    """A string as an instruction of protocol 0."""
    return b"V" + str(value).encode() + b"\n"


def payloads(marker):
    """Pickles that make a folder when they are read carelessly, and the name that gives each away."""
    make = Call(os.mkdir, marker)
    expression = f"__import__('os').mkdir({marker!r})"
    inside = pickle.dumps(make)
    return {
        "a command": (Call(os.system, f"mkdir {marker}"), "posix.system"),
        "a process": (Call(subprocess.check_call, ["mkdir", marker]), "subprocess.check_call"),
        "eval": (Call(builtins.eval, expression), "builtins.eval"),
        "exec": (Call(builtins.exec, expression), "builtins.exec"),
        "within the generator": ({"G_ema": [OrderedDict(weight=make)]}, "posix.mkdir"),
        "bytes of bytes": (Call(pickle.loads, inside), "_pickle.loads"),
        "a storage": (storage_of(inside), "more than numbers inside a tensor"),
        "a storage of a file": (storage_of(saved(make)), "more than numbers inside a tensor"),
        "a storage of an old file": (
            storage_of(saved(make, _use_new_zipfile_serialization=False)),
            "more than numbers inside a tensor",
        ),
        "an attribute": (Call(getattr, "text", "upper"), "builtins.getattr"),
        "the instruction INST": (b"(" + text(marker) + b"ios\nmkdir\n.", "os.mkdir"),
        "the instruction OBJ": (b"(cos\nmkdir\n" + text(marker) + b"o.", "os.mkdir"),
        "the instruction NEWOBJ": (b"\x80\x02cos\nmkdir\n" + text(marker) + b"\x85\x81.", "os.mkdir"),
        "a dotted name": (
            b"\x80\x04" + text("torch") + text("serialization.os.mkdir") + b"\x93" + text(marker) + b"\x85R.",
            "torch.serialization.os.mkdir",
        ),
        "the published code": (b"\x80\x03ctorch_utils.persistence\n_src_to_module\n.", "_src_to_module"),
    }


def saved(data, **how):
    content = io.BytesIO()
    torch.save(data, content, **how)
    return content.getvalue()


KINDS = list(payloads("nowhere"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_pickle_calls_is_refused_by_its_name_and_not_run(read, tmp_path, kind):
    marker = tmp_path / "marker"
    payload, name = payloads(str(marker))[kind]
    with pytest.raises(InputError) as error:
        read(payload)
    assert name in str(error.value)
    assert str(error.value).endswith("which was not run; do not trust it")
    assert "\n" not in str(error.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in ("an attribute", "the published code")]
)
def test_the_same_pickles_do_run_when_they_are_read_carelessly(tmp_path, kind):
    marker = tmp_path / "marker"
    payload, _ = payloads(str(marker))[kind]
    content = payload if isinstance(payload, bytes) else pickle.dumps(payload, protocol=3)
    with contextlib.suppress(TypeError, RuntimeError, pickle.UnpicklingError):  # what comes after the call
        pickle.loads(content)
    assert marker.exists() is (kind != "the instruction NEWOBJ")


@pytest.mark.parametrize("content", [b"Pmkdir\n.", b"\x80\x02X\x05\x00\x00\x00mkdirQ."])
def test_an_object_outside_the_file_is_refused(read, content):
    with pytest.raises(InputError, match="asks for an object outside the file"):
        read(content)


def test_an_extension_is_refused(read):
    copyreg.add_extension("os", "mkdir", 240)
    try:
        with pytest.raises(InputError, match=r"os\.mkdir"):
            read(b"\x80\x02\x82\xf0.")
    finally:
        copyreg.remove_extension("os", "mkdir", 240)


@pytest.mark.parametrize(
    "name",
    ["torch.storage\n_load_from_bytes", "builtins\nset", "dnnlib\nEasyDict", "collections\nOrderedDict"],
)
@pytest.mark.parametrize("key", ["_call", "__call__", "__defaults__", "new"])
def test_nothing_can_be_attached_to_what_a_pickle_may_name(read, name, key):
    attach = b"c" + name.encode() + b"\n(N}" + text(key) + b"cbuiltins\nset\nstb."
    with pytest.raises(CorruptFileError):
        read(attach)
    with pytest.raises(CorruptFileError):
        read(attach.replace(b"(N}", b"}").replace(b"stb", b"sb"))
    assert torch.equal(read(torch.arange(3)), torch.arange(3))


def test_a_name_that_is_no_name_stays_on_one_line(read):
    with pytest.raises(InputError) as error:
        read(b"\x80\x04\x8c\x02os" + b"X\xf4\x01\x00\x00" + b"a\n\x1b[31m".ljust(500, b"b") + b"\x93.")
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_tensorflow_pickle_is_told(read):
    with pytest.raises(InputError, match=r"got one of TensorFlow; convert it with legacy\.py"):
        read(b"cdnnlib.tflib.network\nNetwork\n.")


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_file_is_told(stylegan2_pickle, tmp_path, share):
    content = stylegan2_pickle.read_bytes()
    (tmp_path / "file.pkl").write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        CorruptFileError, match=r"file\.pkl: expected a network pickle, got one that is truncated"
    ):
        read_inert(tmp_path / "file.pkl")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_inert(tmp_path / "none.pkl")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_inert(tmp_path)


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda rest: b"\x80\x04" + rest)))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_read_or_told(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(content)
    with contextlib.suppress(InputError):
        read_inert(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numbers_and_containers_are_read_as_they_were_written(read, protocol):
    data = {
        "tensor": torch.arange(6.0).reshape(2, 3),
        "transposed": torch.arange(6).reshape(2, 3).T,
        "part": torch.arange(10, dtype=torch.float64)[3:7:2],
        "half": torch.ones(2, dtype=torch.float16),
        "none": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.ones(3), requires_grad=False),
        "array": np.arange(6, dtype=">i4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "number": np.float64(0.1),
        "numbers": [np.float32(0.5), np.int64(-3), np.bool_(True), 0.25, None, (1, "x", b"y", {2})],
        "ordered": OrderedDict(a=1, b=2),
    }
    found = read(data, protocol)
    assert list(found) == list(data)
    for name in ("tensor", "transposed", "part", "half", "none", "parameter"):
        assert torch.equal(found[name], data[name]), name
        assert found[name].dtype == data[name].dtype
    for name in ("array", "columns"):
        np.testing.assert_array_equal(getattr(found[name], "values", found[name]), data[name])
    assert found["number"] == 0.1
    assert found["numbers"] == [0.5, -3, True, 0.25, None, (1, "x", b"y", {2})]
    assert found["ordered"] == data["ordered"]


def test_an_array_of_objects_is_refused(read):
    with pytest.raises(CorruptFileError):
        read(np.array([{}, []], dtype=object))


@pytest.mark.parametrize(("size", "stride", "offset"), [((5,), (1,), 0), ((2,), (1,), 3), ((2,), (4,), 0)])
def test_a_tensor_beyond_its_storage_is_refused(read, size, stride, offset):
    function, (storage, *_) = torch.arange(4.0).__reduce_ex__(2)
    assert torch.equal(read(Call(function, storage, 1, (3,), (1,), False, {})), torch.arange(1.0, 4))
    with pytest.raises(CorruptFileError):
        read(Call(function, storage, offset, size, stride, False, {}))


def test_a_storage_that_is_something_else_is_refused(read):
    for data in (torch.ones(2), {"a": 1}):
        with pytest.raises(CorruptFileError):
            read(storage_of(saved(data)))


def test_a_persistent_object_becomes_a_record_and_its_source_is_not_run(read, stylegans, tmp_path):
    marker = tmp_path / "marker"
    with stylegans.published_modules():
        module = stylegans.Persistent("Generator", f"import os; os.mkdir({str(marker)!r})", gain=np.sqrt(2))
        content = pickle.dumps({"G_ema": module})
    found = read(content)["G_ema"]
    assert isinstance(found, Record)
    assert found.class_name == "Generator"
    assert found.state["gain"] == np.sqrt(2)
    assert found.state["_parameters"] == {}
    assert not marker.exists()
