"""TensorFlow's first checkpoint format, read without TensorFlow: one sorted table file of serialised tensor slices.

Sources: the table format of LevelDB (doc/table_format), whose layout TensorFlow shares, and the messages of
saved_tensor_slice.proto, tensor.proto, tensor_shape.proto and tensor_slice.proto.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foleyray.config import UserError

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES, TRAILER_BYTES = 48, 5
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types of a protocol buffer."""
FLOAT = 1
"""DT_FLOAT."""


class _Broken(Exception):
    """Says what is wrong with the bytes."""


def read_checkpoint(path: Path) -> dict[str, NDArray[np.float32]]:
    """All float32 variables by name, in their saved shapes; others, such as step counters, are left out.

    Raises UserError where the file is no such checkpoint, is cut short, is compressed, or has variables in several pieces.
    """
    try:
        table = memoryview(path.read_bytes())
        records = [value for _, value in _records(table)]
        if not records:
            raise _Broken("it is empty")
        shapes = _shapes(records[0])
        slices = (_slice(record) for record in records[1:])
        arrays = {name: _array(name, data, shapes[name]) for name, data in slices if name in shapes}
        absent = sorted(set(shapes) - set(arrays))
        if absent:
            raise _Broken(f"'{absent[0]}' is announced and missing")
        return arrays
    except (OSError, _Broken, IndexError, ValueError, struct.error) as error:
        raise UserError(
            f"{path} does not read as a TensorFlow V1 checkpoint ({error}); a single uncompressed file as published is "
            f"expected: fetch it again"
        ) from None


def _records(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Keys and values of a table in their order: footer -> index block -> data blocks."""
    if len(table) < FOOTER_BYTES or struct.unpack("<Q", table[-8:])[0] != MAGIC:
        raise _Broken("its last bytes are not those of a table")
    footer = table[-FOOTER_BYTES:]
    _, _, at = _handle(footer, 0)
    start, size, _ = _handle(footer, at)
    for _, handle in _entries(_block(table, start, size)):
        start, size, _ = _handle(handle, 0)
        yield from _entries(_block(table, start, size))


def _block(table: memoryview, start: int, size: int) -> memoryview:
    if start + size + TRAILER_BYTES > len(table):
        raise _Broken("a block lies beyond its end")
    if table[start + size] != 0:
        raise _Broken("its blocks are compressed")
    return table[start : start + size]


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """A key shares its first bytes with the key before it; the restart points at the block's end are for searching."""
    (restarts,) = struct.unpack("<I", block[-4:])
    end, at, key = len(block) - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        if shared > len(key) or at + own + length > end:
            raise _Broken("a record lies beyond its block")
        key = key[:shared] + bytes(block[at : at + own])
        yield key, block[at + own : at + own + length]
        at += own + length


def _handle(data: memoryview, at: int) -> tuple[int, int, int]:
    """Offset and size of a block, and where the bytes go on."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise _Broken("a number is longer than 64 bits")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of a protocol buffer: numbers of varints, bytes of all else."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == VARINT:
            number, at = _varint(message, at)
            yield tag >> 3, number
            continue
        if kind not in (FIXED64, BYTES, FIXED32):
            raise _Broken(f"wire type {kind} is unknown")
        size, at = _varint(message, at) if kind == BYTES else ({FIXED64: 8, FIXED32: 4}[kind], at)
        if at + size > len(message):
            raise _Broken("a field lies beyond its message")
        yield tag >> 3, message[at : at + size]
        at += size


def _inner(message: memoryview, field: int) -> list[memoryview]:
    """All messages, texts or packed values of one field."""
    return [value for number, value in _fields(message) if number == field and isinstance(value, memoryview)]


def _numbers(message: memoryview, field: int) -> list[int]:
    return [value for number, value in _fields(message) if number == field and isinstance(value, int)]


def _text(message: memoryview) -> str:
    return bytes(_inner(message, 1)[0]).decode()


def _shapes(record: memoryview) -> dict[str, list[int]]:
    """The table of contents, the first record: shapes of the float variables by name."""
    (contents,) = _inner(record, 1)
    shapes = {}
    for variable in _inner(contents, 1):
        if _numbers(variable, 3) == [FLOAT]:
            dims = [dim for shape in _inner(variable, 2) for dim in _inner(shape, 2)]
            shapes[_text(variable)] = [sum(_numbers(dim, 1)) for dim in dims]
    return shapes


def _slice(record: memoryview) -> tuple[str, memoryview]:
    """Name and tensor of a data record; an extent with a length of its own is a piece of a variable."""
    (saved,) = _inner(record, 2)
    if any(_numbers(extent, 2) for part in _inner(saved, 2) for extent in _inner(part, 1)):
        raise _Broken(f"'{_text(saved)}' is saved in pieces")
    return _text(saved), _inner(saved, 3)[0]


def _array(name: str, tensor: memoryview, shape: list[int]) -> NDArray[np.float32]:
    """Its values lie in `tensor_content` (4), or packed in `float_val` (5)."""
    raw = _inner(tensor, 4) or _inner(tensor, 5)
    values = np.frombuffer(raw[0] if len(raw) == 1 else b"".join(raw), dtype="<f4")
    if values.size != int(np.prod(shape)):
        raise _Broken(f"'{name}' has {values.size} values, its shape {shape} asks for {int(np.prod(shape))}")
    return values.reshape(shape).astype(np.float32)
