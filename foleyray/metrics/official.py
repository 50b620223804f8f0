"""The published statistics of the challenge's evaluation set (DCASE 2023 Task 7), read from the pickles of its FAD tool or
from an npz of the same numbers. A pickle's opcodes are listed and never carried out, so no code in one can run.
"""

import hashlib
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.metrics.embedder import EmbedderCard
from foleyray.metrics.stats import EmbeddingStats

CARD = EmbedderCard(
    name="vggish",
    recipe="t7",
    weights_id="published",
    note="the challenge's own reference: the FAD of the DCASE 2023 Task 7 papers where 100 clips a class are scored",
)
"""`published` stands for the published VGGish weights in any of their file layouts, which hold the same numbers."""

NUM_CLIPS = 100
"""Of each class, of 10 windows each."""
PICKLE = "gt_embedding.pkl"

DIGESTS = {
    "DogBark": "79a781f4b17e229d",
    "Footstep": "488f7e27a70059fb",
    "GunShot": "27d5bb559e82c1c3",
    "Keyboard": "19e3a86367fd8ba3",
    "MovingMotorVehicle": "43a99a82752df524",
    "Rain": "e5ff14954775cb0f",
    "SneezeCough": "9bb272d2bfea293c",
}
"""Class -> the first 16 hex digits of `digest` of the published numbers."""

COVARIANCE = ".covariance"
FEATURES = ("embedding_count", "embedding_length", "mu", "sigma")
FLOATS, INTEGERS, VALUES = 2, 3, 1
"""Field numbers of TensorFlow's `Feature`: a list of floats or of integers, and the packed values in either."""


Moments = tuple[NDArray[np.float32], NDArray[np.float32], int]
"""Mean (D,), covariance (D, D) and number of rows."""


def read_folder(folder: Path) -> dict[str, EmbeddingStats]:
    """Class -> statistics, of a folder with one folder a class that holds the tool's pickle (its `data/eval`).

    Raises UserError where a file does not read, a class is unknown, or the numbers are not the published ones.
    """
    return dict(_published(file.parent.name, *read_pickle(file), file) for file in sorted(folder.glob(f"*/{PICKLE}")))


def read_arrays(arrays: Mapping[str, NDArray[Any]], file: Path) -> dict[str, EmbeddingStats]:
    """The same of the arrays `<Class>.mean`, `<Class>.covariance` and `<Class>.count` of an npz `file`."""
    names = [name.removesuffix(COVARIANCE) for name in arrays if name.endswith(COVARIANCE)]
    return dict(_published(name, *_moments(arrays, name, file), file) for name in names)


def read_pickle(file: Path) -> Moments:
    """The moments in one pickle: a dict of TensorFlow's `Feature`, each as its bytes; raises UserError in any other file."""
    try:
        features = _features(file.read_bytes())
        dim, count = (_integer(features[name]) for name in ("embedding_length", "embedding_count"))
        mean, covariance = (np.frombuffer(_packed(features[name], FLOATS), "<f4") for name in ("mu", "sigma"))
        return mean.reshape(dim), covariance.reshape(dim, dim), count
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{file} does not read as a pickle of the challenge's FAD tool ({error}); fetch it from that tool's data/eval"
        ) from None


def digest(mean: NDArray[Any], covariance: NDArray[Any], count: int) -> str:
    """64 hex digits of the content, whatever file it came from."""
    parts = (np.asarray(mean, "<f4"), np.asarray(covariance, "<f4"), np.asarray(count, "<i8"))
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def _moments(arrays: Mapping[str, NDArray[Any]], name: str, file: Path) -> Moments:
    try:
        mean, covariance = (np.asarray(arrays[name + part], dtype=np.float32) for part in (".mean", COVARIANCE))
        return mean, covariance, int(arrays[f"{name}.count"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} lacks the mean, covariance or count of {name} ({error}); fetch the file again") from None


def _published(word: str, mean: NDArray[Any], covariance: NDArray[Any], count: int, file: Path) -> tuple[str, EmbeddingStats]:
    """The class of that spelling and its statistics, once they are proved to be the published ones."""
    name = DCASE7.names[DCASE7.index(word)]
    found = digest(mean, covariance, count)[:16]
    if found != DIGESTS[name]:
        raise UserError(
            f"{file} holds other numbers for {name} than the challenge published ({found}, expected {DIGESTS[name]}); "
            f"a distance to them would not be the challenge's, so fetch the file again"
        )
    return name, EmbeddingStats.from_moments(mean, covariance, count)


def _features(content: bytes) -> dict[str, bytes]:
    """Feature -> its message: the bytes that follow its name among the opcodes."""
    found: dict[str, bytes] = {}
    name = None
    for _, argument, _ in pickletools.genops(content):
        if isinstance(argument, str) and argument in FEATURES:
            name = argument
        elif isinstance(argument, bytes) and name is not None:
            found[name] = argument
    return found


def _integer(feature: bytes) -> int:
    values = _packed(feature, INTEGERS)
    value, end = _varint(values, 0)
    if end != len(values):
        raise ValueError(f"one integer expected, found {len(values)} bytes")
    return value


def _packed(feature: bytes, kind: int) -> bytes:
    """The packed values of a `Feature` of that kind."""
    return _only_field(_only_field(feature, kind), VALUES)


def _only_field(message: bytes, number: int) -> bytes:
    """The content of a protobuf message that holds one field of that number, of the wire type with a length."""
    key, at = _varint(message, 0)
    length, at = _varint(message, at)
    if key != number << 3 | 2 or at + length != len(message):
        raise ValueError(f"field {number} of {len(message) - at} bytes expected, found field {key >> 3} of {length}")
    return message[at:]


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """An integer in groups of seven bits, the lowest first, and where the next thing begins."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"no end of the integer at byte {at}")
