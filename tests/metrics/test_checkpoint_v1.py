"""TensorFlow's first checkpoint format: files written by the protobuf library and a table writer of the tests' own."""

import struct

import numpy as np
import pytest

from foleyray.config import UserError
from foleyray.metrics.checkpoint_v1 import read_checkpoint
from tests.tensorflow_v1 import messages, table, write_checkpoint


def some_arrays() -> dict[str, np.ndarray]:
    """Forty variables whose names share beginnings, among them a step counter, an empty one and single numbers."""
    generator = np.random.default_rng(0)
    arrays = {f"net/conv{i}/weights": generator.standard_normal((3, 3, 1 + i, 4)).astype(np.float32) for i in range(38)}
    return arrays | {"net/bias": np.zeros(300, dtype=np.float32), "scale": np.float32([[2.5]]), "global_step": np.int64([12])}


@pytest.mark.parametrize("block_bytes", [1, 4096, 1 << 30], ids=["a record a block", "as written", "one block"])
@pytest.mark.parametrize("raw", [False, True])
def test_every_float_variable_comes_back(tmp_path, block_bytes, raw):
    arrays = some_arrays()
    write_checkpoint(tmp_path / "model.ckpt", arrays, block_bytes, raw)
    found = read_checkpoint(tmp_path / "model.ckpt")
    assert set(found) == set(arrays) - {"global_step"}
    for name, array in found.items():
        assert array.dtype == np.float32 and array.shape == arrays[name].shape
        np.testing.assert_array_equal(array, arrays[name])


def test_a_variable_in_pieces_is_refused(tmp_path):
    kinds = messages()
    contents, saved = kinds["SavedTensorSlices"](), kinds["SavedTensorSlices"]()
    meta = contents.meta.tensor.add(name="wide", type=1)
    meta.shape.dim.add(size=4)
    saved.data.name = "wide"
    saved.data.slice.extent.add(start=0, length=2)
    saved.data.data.float_val.extend([1.0, 2.0])
    (tmp_path / "m.ckpt").write_bytes(table([(b"", contents.SerializeToString()), (b"a", saved.SerializeToString())], 1))
    with pytest.raises(UserError, match="'wide' is saved in pieces"):
        read_checkpoint(tmp_path / "m.ckpt")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "its last bytes are not those of a table"),
        (lambda data: data[:-100], "its last bytes are not those of a table"),
        (lambda data: data[1000:], "m.ckpt does not read as a TensorFlow V1 checkpoint"),
        (lambda data: compressed(data), "its blocks are compressed"),
        (lambda data: table([], 1), "it is empty"),
    ],
    ids=["empty", "cut short", "without its beginning", "compressed", "no records"],
)
def test_a_damaged_file_is_refused(tmp_path, damage, message):
    write_checkpoint(tmp_path / "m.ckpt", some_arrays())
    (tmp_path / "m.ckpt").write_bytes(damage((tmp_path / "m.ckpt").read_bytes()))
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path / "m.ckpt")


def compressed(data: bytes) -> bytes:
    """The type byte of the index block, the last before the footer, set to 1."""
    assert struct.unpack("<Q", data[-8:])[0] == 0xDB4775248B80FB57
    return data[: -48 - 5] + b"\1" + data[-48 - 4 :]


def test_every_single_damaged_byte_is_refused_or_harmless(tmp_path):
    """Whatever the bytes, the answer is an array or a sentence, never another error."""
    write_checkpoint(tmp_path / "m.ckpt", {"a/weights": np.ones((2, 2), dtype=np.float32), "b": np.ones(3, dtype=np.float32)})
    whole = (tmp_path / "m.ckpt").read_bytes()
    refused = 0
    for place in range(len(whole)):
        (tmp_path / "m.ckpt").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            assert isinstance(read_checkpoint(tmp_path / "m.ckpt"), dict)
        except UserError:
            refused += 1
    assert refused > len(whole) // 4
