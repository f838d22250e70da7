"""Pickles of others: their arrays and lists are read, and nothing that they ask for is run."""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpcdl.data.sources.unpickle import unpickle
from hpcdl.errors import DataError


def python2(value: Any) -> bytes:
    """A pickle of protocol 2 as Python 2 writes it, where text is a string of bytes; written by hand."""
    return b"\x80\x02" + _operations(value) + b"."


def _operations(value: Any) -> bytes:
    if value is None:
        return b"N"
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, list):
        return b"](" + b"".join(map(_operations, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_operations, value)) + b"t"
    if isinstance(value, dict):
        return b"}(" + b"".join(_operations(part) for pair in value.items() for part in pair) + b"u"
    assert isinstance(value, np.ndarray)
    kind = b"cnumpy\ndtype\n" + _operations((value.dtype.str[1:], 0, 1)) + b"R"
    kind += _operations((3, value.dtype.str[0], None, None, None, -1, -1, 0)) + b"b"
    state = b"(" + _operations(1) + _operations(value.shape) + kind + _operations(False) + _operations(value.tobytes())
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _operations((0,)) + _operations("b") + b"tR"
    return empty + state + b"tb"


def test_what_python_2_wrote_is_read() -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(5, 12)
    written = {"data": pixels, "labels": [3, 1, 4, 1, 5], "batch_label": "training batch 1 of 5"}
    content = python2(written)
    assert pickle.loads(content, encoding="bytes")[b"labels"] == [3, 1, 4, 1, 5]  # the hand's writing is a pickle
    found = unpickle(content, "batch")
    assert set(found) == {b"data", b"labels", b"batch_label"}
    assert found[b"data"].dtype == np.uint8 and np.array_equal(found[b"data"], pixels)
    assert found[b"labels"] == [3, 1, 4, 1, 5] and found[b"batch_label"] == b"training batch 1 of 5"


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, -2, 2**40], ">i8"),
        np.zeros((0, 3), np.float32),
        np.array(7, np.int16),
        np.array([True, False]),
    ],
)
def test_arrays_of_numbers_come_as_they_went(array: Any, core: str, protocol: int) -> None:
    content = pickle.dumps({"a": array, "deep": [(array[..., :1] if array.ndim else array,)]}, protocol)
    own = np.empty(0).__reduce__()[0].__module__.rsplit(".", 1)[0].encode()
    # Lengths of names are written before them from protocol 4 on, so only the older one can be renamed in place.
    if protocol == 3:
        content = content.replace(own, core.encode())
    found = unpickle(content, "file")
    assert found["a"].dtype == pickle.loads(content)["a"].dtype and found["a"].shape == array.shape
    assert np.array_equal(found["a"], array)
    assert np.array_equal(found["deep"][0][0], array[..., :1] if array.ndim else array)


def test_scalars_and_containers_are_read() -> None:
    value = {"f": np.float32(1.5), "i": np.int64(-3), "set": {1, 2}, "none": None, "b": b"\x00", "long": 2**80}
    found = unpickle(pickle.dumps(value), "file")
    assert found == value


class Asks:
    """Pickled, it asks for a call when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.asked = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.asked


def attacks(marker: Path) -> dict[str, tuple[Any, str]]:
    """Objects whose pickles create the marker, and what each asks for."""
    touch = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    state = Asks(os.system, f"touch '{marker}'")
    return {
        "shell": (state, "posix.system"),
        "eval": (Asks(builtins.eval, touch), "eval"),
        "exec": (Asks(builtins.exec, touch), "exec"),
        "open": (Asks(builtins.open, str(marker), "w"), "open"),
        "numpy writes": (Asks(np.save, str(marker), np.zeros(1)), "save"),
        "numpy maps": (Asks(np.memmap, str(marker), "u1", "w+", 0, (1,)), "memmap"),
        "nested": ({"data": [np.zeros(3), ({"deeper": Asks(builtins.eval, touch)},)]}, "eval"),
        "key": ({Asks(builtins.eval, f"{touch} or 1"): 1}, "eval"),
        "elements": (np.array([state], dtype=object), "posix.system"),
        "partial": (collections.defaultdict(list, {1: Asks(builtins.eval, touch)}), "collections.defaultdict"),
    }


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_what_a_pickle_asks_for_is_named_and_not_run(attack: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    value, name = attacks(marker)[attack]
    content = pickle.dumps(value, protocol)
    with pytest.raises(DataError) as caught:
        unpickle(content, tmp_path / "data_batch_1")
    assert not marker.exists() and not marker.with_suffix(".npy").exists()
    assert "data_batch_1" in caught.value.received
    # Up to protocol 2, Python 3 writes bytes as a call too, which may come first in an array.
    assert name in caught.value.received or ("_codecs.encode" in caught.value.received and protocol < 3)
    pickle.loads(content)
    assert marker.exists() or marker.with_suffix(".npy").exists()  # the attack works where nothing forbids it


@pytest.mark.parametrize(
    "asked",
    [
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x08touch xx\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93\x8c\x01x\x85R.",  # a dotted name
        b"(S'touch xx'\niposix\nsystem\n.",  # INST
        b"c__builtin__\neval\n(S'1'\ntR.",  # a name of Python 2
        b"cnumpy\nfromfile\n(S'xx'\ntR.",
        b"\x80\x02\x82\x01.",  # EXT1, a registered name
        b"Pxx\n.",  # PERSID
    ],
)
def test_every_way_to_name_something_is_closed(asked: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError):
        unpickle(asked, "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [b"numpy\nndarray", b"numpy\ndtype", b"numpy.core.multiarray\n_reconstruct"])
@pytest.mark.parametrize("state", [{"x": 1}, (None, {"_make": 1}), (None, {"__call__": 1})])
def test_the_names_that_are_known_cannot_be_changed(name: bytes, state: Any) -> None:
    with pytest.raises(DataError):
        unpickle(b"\x80\x02c" + name + b"\n" + _operations(state) + b"b.", "file")
    assert np.array_equal(unpickle(python2(np.arange(3)), "file"), np.arange(3))


@pytest.mark.parametrize(
    ("shape", "kind", "raw"),
    [
        ((2**40,), "u1", b"\0"),
        ((2**40, 0, 2**40), "u1", b"\0"),
        ((-1, -4), "u1", b"\0\0\0\0"),
        ((4,), "u1", b"\0\0\0"),
        ((2,), "O", bytes(16)),
        ((1,), "O8", bytes(8)),
        ((1,), "V8", bytes(8)),
        ((1,), "S2", b"ab"),
        ((1,), "i3", b"abc"),
        ((1,), "u1,O", bytes(9)),
        ((1,), "u1", [1]),
        ("ab", "u1", b"\0"),
    ],
)
def test_an_array_that_is_not_whole_numbers_in_a_shape_is_refused(shape: Any, kind: str, raw: Any) -> None:
    dtype = b"cnumpy\ndtype\n" + _operations((kind, 0, 1)) + b"R" + _operations((3, "|", *[None] * 3, -1, -1, 0)) + b"b"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _operations((0,)) + _operations("b") + b"tR"
    state = b"(" + _operations(1) + _shape(shape) + dtype + _operations(False) + _operations(raw) + b"tb"
    with pytest.raises(DataError) as caught:
        unpickle(b"\x80\x02" + empty + state + b".", "some/file")
    assert "some/file" in caught.value.received
    assert not kind.startswith("O") or "Python objects" in caught.value.received


def test_an_array_of_records_is_refused() -> None:
    state = _operations((3, "|", None, ("a",), {"a": 0}, 1, 1, 0))
    kind = b"cnumpy\ndtype\n" + _operations(("u1", 0, 1)) + b"R" + state + b"b"
    with pytest.raises(DataError, match="array of records"):
        unpickle(b"\x80\x02" + kind + b".", "file")


def _shape(shape: Any) -> bytes:
    if isinstance(shape, str):
        return _operations(shape)
    return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", size) for size in shape) + b"t"


def test_objects_are_refused_also_as_numpy_writes_them() -> None:
    with pytest.raises(DataError, match="Python objects"):
        unpickle(pickle.dumps(np.array([1, "a", None], dtype=object), 4), "file")


def test_every_cut_is_an_error_and_never_another_one() -> None:
    content = python2({"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3]})
    for length in range(len(content)):
        with pytest.raises(DataError, match="file"):
            unpickle(content[:length], "file")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_damaged_pickle_gives_a_value_or_a_data_error() -> None:
    content = python2({"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], "x": ("y", None)})
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(3000):
        damaged = bytearray(content)
        for place in random.integers(0, len(content), random.integers(1, 4)):
            damaged[place] = random.integers(256)
        try:
            unpickle(bytes(damaged), "file")
        except DataError:
            refused += 1
    assert refused > 1000


def test_room_is_not_made_for_objects_that_are_not_there() -> None:
    """The reader would fill 64 GB for this one."""
    with pytest.raises(DataError, match="object 4294967295"):
        unpickle(b"\x80\x02]r\xff\xff\xff\xff.", "file")
