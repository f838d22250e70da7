"""TFRecord files of tf.train.Example messages, written and read without TensorFlow.

Processes that write shards, or check them, start in a fraction of the time that TensorFlow's import takes.

A record is: length (uint64), CRC of the length (uint32), data, CRC of the data (uint32), little-endian; each CRC is
a masked CRC-32C (https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details"). The data is
an Example in the protocol buffers' wire format (tensorflow/core/example/example.proto and feature.proto;
https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

HEADER, FOOTER = 12, 4
"""Bytes of a record before and after its data."""
POLYNOMIAL = 0x82F63B78
"""CRC-32C (Castagnoli), bits reversed (RFC 3720, section 12.1)."""
BLOCK = 1024
"""Bytes whose share of a CRC is looked up at once."""
SHORT = 16
"""Fewer bytes than these are faster one by one."""
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types."""


class Torn(Exception):
    """A TFRecord file that is not a run of whole records.

    Args:
        number: of the first record that is not whole, from 0.
        offset: of its first byte.
        reason: what is wrong with it.
    """

    def __init__(self, number: int, offset: int, reason: str) -> None:
        super().__init__(f"record {number}, which starts at byte {offset:,}: {reason}")
        self.number = number


@dataclass(frozen=True)
class Record:
    """The data of one record, and where in its file they begin."""

    offset: int
    data: bytes


def record(data: bytes) -> bytes:
    """Data as a record; they start HEADER bytes after the record does."""
    length = len(data).to_bytes(8, "little")
    return b"".join((length, _masked(length), data, _masked(data)))


def read_records(path: Path, *, checked: bool) -> Iterator[Record]:
    """The records of a file, one after the other.

    Args:
        path: a TFRecord file.
        checked: compare the CRCs too.

    Raises:
        Torn: at the first record that is not whole, or, where CRCs are compared, not as it was written.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        start = number = 0
        while start < size:
            header = file.read(HEADER)
            if len(header) < HEADER:
                raise Torn(number, start, "the file ends in its header")
            if checked and _masked(header[:8]) != header[8:]:
                raise Torn(number, start, "its length does not match the CRC of the length")
            length = int.from_bytes(header[:8], "little")
            if start + HEADER + length + FOOTER > size:
                raise Torn(number, start, "the file ends in it")
            data, footer = file.read(length), file.read(FOOTER)
            if checked and _masked(data) != footer:
                raise Torn(number, start, "its data do not match their CRC")
            yield Record(start + HEADER, data)
            start, number = start + HEADER + length + FOOTER, number + 1


def example(features: Mapping[str, int | bytes], last: tuple[str, bytes]) -> bytes:
    """A tf.train.Example with one value a feature; equal arguments give equal bytes.

    Args:
        features: name -> an int64 of at least 0, or bytes.
        last: a further one, of bytes, whose value the message ends with: so its place is known.
    """
    entries = [_repeated(name, value) for name, value in features.items()]
    return _delimited(1, b"".join((*entries, _feature(*last))))


def parse_example(data: bytes) -> dict[str, int | range]:
    """The features of an Example with one value each: an integer, or the places of its bytes in `data`.

    Raises:
        ValueError: not such a message.
    """
    found: dict[str, int | range] = {}
    for features in _fields(data, range(len(data)), 1):
        for entry in _fields(data, features, 1):
            (name,), (feature,) = _fields(data, entry, 1), _fields(data, entry, 2)
            found[data[name.start : name.stop].decode()] = _value(data, feature)
    return found


def crc32c(data: bytes) -> int:
    """CRC-32C.

    A CRC is linear: each byte adds what a table says for its value and its distance from the end. So the shares of
    BLOCK bytes are looked up together; the state before a block is added to the block's first four bytes.
    """
    shares, near = _tables()
    state = 0xFFFFFFFF
    head = len(data) % BLOCK
    values = np.frombuffer(data, np.uint8)
    if head < SHORT:
        for value in data[:head]:
            state = (state >> 8) ^ near[0][(state ^ value) & 255]
    else:
        rows = shares.reshape(BLOCK, 256)[head - 4 : head].tolist()
        state = _advance(state, rows) ^ int(np.bitwise_xor.reduce(shares[values[:head] + _columns(head)]))
    for start in range(head, len(data), 256 * BLOCK):
        blocks = values[start : start + 256 * BLOCK].reshape(-1, BLOCK)
        for share in np.bitwise_xor.reduce(shares.take(blocks + _columns(BLOCK)), axis=1).tolist():
            state = _advance(state, near[1:]) ^ share
    return state ^ 0xFFFFFFFF


def _columns(length: int) -> npt.NDArray[np.int64]:
    """Where in the table the row of each of so many bytes begins, the last of them at distance 0."""
    return np.arange(length - 1, -1, -1) * 256


def _advance(state: int, rows: list[list[int]]) -> int:
    """A state after n zero bytes; rows: of the table, for the distances n - 4 … n - 1."""
    return rows[3][state & 255] ^ rows[2][state >> 8 & 255] ^ rows[1][state >> 16 & 255] ^ rows[0][state >> 24]


@lru_cache(maxsize=1)
def _tables() -> tuple[npt.NDArray[np.uint32], list[list[int]]]:
    """What a byte adds at each distance from the end, (BLOCK x 256,); as lists for 0 and the last four distances."""
    row = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        row = np.where(row & 1, (row >> 1) ^ np.uint32(POLYNOMIAL), row >> 1).astype(np.uint32)
    table = np.empty((BLOCK, 256), np.uint32)
    table[0] = row
    for distance in range(1, BLOCK):
        table[distance] = (table[distance - 1] >> 8) ^ row[table[distance - 1] & 255]
    return table.reshape(-1), [table[distance].tolist() for distance in (0, *range(BLOCK - 4, BLOCK))]


def _masked(data: bytes) -> bytes:
    """The masked CRC of data, as it is stored."""
    crc = crc32c(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _feature(name: str, value: int | bytes) -> bytes:
    """An entry of the map `Features.feature`: 1 its name, 2 a Feature of 1 bytes or 3 packed integers."""
    kind, content = (1, _delimited(1, value)) if isinstance(value, bytes) else (3, _delimited(1, _varint(value)))
    return _delimited(1, _delimited(1, name.encode()) + _delimited(2, _delimited(kind, content)))


# Most features of an image are those of many others.
_repeated = lru_cache(maxsize=8192)(_feature)


def _delimited(field: int, content: bytes) -> bytes:
    return b"".join((_varint(field << 3 | BYTES), _varint(len(content)), content))


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _value(data: bytes, feature: range) -> int | range:
    for content in _fields(data, feature, 1):
        (value,) = _fields(data, content, 1)
        return value
    (content,) = _fields(data, feature, 3)
    (packed,) = _fields(data, content, 1)
    return _read_varint(data, packed.start, packed.stop)[0]


def _fields(data: bytes, within: range, wanted: int) -> list[range]:
    """Where the values of a message's fields of one number are, of those with wire type BYTES."""
    found = []
    place = within.start
    while place < within.stop:
        tag, place = _read_varint(data, place, within.stop)
        if tag & 7 == BYTES:
            length, place = _read_varint(data, place, within.stop)
            if tag >> 3 == wanted:
                found.append(range(place, place + length))
            place += length
        elif tag & 7 == VARINT:
            _, place = _read_varint(data, place, within.stop)
        elif tag & 7 in (FIXED32, FIXED64):
            place += 4 if tag & 7 == FIXED32 else 8
        else:
            raise ValueError(f"wire type {tag & 7} at byte {place}")
    if place != within.stop:
        raise ValueError(f"a field that ends at byte {place} of a message that ends at {within.stop}")
    return found


def _read_varint(data: bytes, place: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= stop or shift > 63:
            raise ValueError(f"no number at byte {place}")
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
