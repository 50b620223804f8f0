"""Writes TensorFlow's first checkpoint format: the messages by the protobuf library, the table as LevelDB describes it."""

import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPES = {"float32": (1, "float_val"), "float64": (2, "double_val"), "int32": (3, "int_val"), "int64": (9, "int64_val")}
RESTART_INTERVAL = 16


@cache
def messages() -> dict[str, Any]:
    """The classes of saved_tensor_slice.proto and what it imports, as far as checkpoints use them."""
    field = descriptor_pb2.FieldDescriptorProto
    kinds = {"int64": field.TYPE_INT64, "int32": field.TYPE_INT32, "string": field.TYPE_STRING, "bytes": field.TYPE_BYTES}
    kinds |= {"float": field.TYPE_FLOAT, "double": field.TYPE_DOUBLE}
    layout = {
        "Dim": "size:int64:1",
        "TensorShape": "dim:Dim*:2",
        "Extent": "start:int64:1 length:int64:2",
        "TensorSlice": "extent:Extent*:1",
        "Tensor": "dtype:int32:1 tensor_shape:TensorShape:2 tensor_content:bytes:4 float_val:float*:5 double_val:double*:6 "
        "int_val:int32*:7 int64_val:int64*:10",
        "SavedSliceMeta": "name:string:1 shape:TensorShape:2 type:int32:3 slice:TensorSlice*:4",
        "Versions": "producer:int32:1 min_consumer:int32:2",
        "SavedTensorSliceMeta": "tensor:SavedSliceMeta*:1 versions:Versions:2",
        "SavedSlice": "name:string:1 slice:TensorSlice:2 data:Tensor:3",
        "SavedTensorSlices": "meta:SavedTensorSliceMeta:1 data:SavedSlice:2",
    }
    file = descriptor_pb2.FileDescriptorProto(name="slices.proto", package="slices", syntax="proto3")
    for name, fields in layout.items():
        message = file.message_type.add(name=name)
        for text in fields.split():
            label, kind, number = text.split(":")
            single = kind.removesuffix("*")
            added = message.field.add(name=label, number=int(number), type=kinds.get(single, field.TYPE_MESSAGE))
            added.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            if single not in kinds:
                added.type_name = f".slices.{single}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"slices.{name}")) for name in layout}


def write_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], block_bytes: int = 4096, raw: bool = False) -> None:
    """One file of all arrays; `raw` puts their bytes into `tensor_content` instead of the list of their type."""
    kinds = messages()
    contents, records = kinds["SavedTensorSlices"](), []
    contents.meta.versions.producer = 1
    for name, array in sorted(arrays.items()):
        number, field = TYPES[array.dtype.name]
        meta = contents.meta.tensor.add(name=name, type=number)
        saved = kinds["SavedTensorSlices"]()
        saved.data.name = name
        for size in array.shape:
            meta.shape.dim.add(size=size)
            saved.data.slice.extent.add()
        meta.slice.add().CopyFrom(saved.data.slice)
        if raw:
            saved.data.data.tensor_content = array.tobytes()
        else:
            getattr(saved.data.data, field).extend(array.ravel())
        records.append((b"\0" + name.encode() + b"\0\1" + bytes([len(array.shape)]), saved.SerializeToString()))
    path.write_bytes(table([(b"", contents.SerializeToString()), *records], block_bytes))


def table(records: list[tuple[bytes, bytes]], block_bytes: int) -> bytes:
    """Sorted records as a table: data blocks, an empty block of meta data, an index, a footer."""
    out, index = b"", []
    while records:
        size, count = 0, 0
        while count < len(records) and (count == 0 or size < block_bytes):
            size += len(records[count][1])
            count += 1
        handle, out = added(out, block(records[:count]))
        index.append((records[count - 1][0], handle))
        records = records[count:]
    meta, out = added(out, block([]))
    places, out = added(out, block(index))
    return out + (meta + places).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)


def added(out: bytes, content: bytes) -> tuple[bytes, bytes]:
    """The handle of a block, and the file with it; its check sum is left at 0."""
    return varint(len(out)) + varint(len(content)), out + content + b"\0" + bytes(4)


def block(records: list[tuple[bytes, bytes]]) -> bytes:
    out, restarts, before = b"", [0], b""
    for place, (key, value) in enumerate(records):
        shared = 0
        if place % RESTART_INTERVAL == 0 and place:
            restarts.append(len(out))
        elif place:
            shared = next((i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b), min(len(before), len(key)))
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return out + b"".join(struct.pack("<I", start) for start in restarts) + struct.pack("<I", len(restarts))


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])
