"""The challenge's statistics: the tool's pickles without unpickling, the npz, and their published fingerprints."""

import hashlib
import pickle
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.metrics import official
from foleyray.metrics.distances import frechet
from foleyray.metrics.reference import load_reference
from tests.shared import SHARED, needs_shared

NPZ = SHARED / "data/t7_reference/vggish_eval_statistics.npz"
PUBLISHED_FILES = {  # folder in the challenge's FAD tool -> sha256 of the pickle there
    "dog_bark": "2d88ee176ba26cf651b89579e6a2e150d55999977673e25c8e8eef01753476a6",
    "footstep": "204e8d04c849b26ba2add57a1952037ddebf7dfa0d0824e704fed7684e1995b5",
    "gunshot": "228b62409da427017edd28a3dc674b823541e5d8d37ee3ba353d7c700ee30d04",
    "keyboard": "079f427de947fc7a613604187d3e2815b9644e87d4c29e8ea765b37fe996fb63",
    "moving_motor_vehicle": "8a309013fb7db19e81fcf962af4fb3ef492b2b33e8e7b1ca50bf50f96f15cb72",
    "rain": "f3fc0037853aaffcb2df559e96e00e8c0a3f7d24cc427a0aa4d55058b331b8b0",
    "sneeze_cough": "f827b4be95e338134563d55d97315794164cbb29aa507471d5e223d335d00193",
}
FINGERPRINTS = {  # class -> norm of the mean, trace of the covariance, its condition number
    "DogBark": (3.8513, 20.491, 2.5e4),
    "Footstep": (4.3098, 14.867, 9.0e3),
    "GunShot": (3.6784, 20.403, 2.0e4),
    "Keyboard": (4.1330, 9.401, 1.1e4),
    "MovingMotorVehicle": (7.1478, 33.135, 2.3e4),
    "Rain": (5.4296, 14.213, 7.2e3),
    "SneezeCough": (2.6239, 8.554, 1.3e4),
}
FIRST = {"DogBark": (-0.26307, -0.00399, 0.00319), "Rain": (-0.40751, 0.56060, -0.05204)}


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, 63, 7) if value >> shift or not shift]
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


class Feature:
    """Stands for TensorFlow's class of that name: pickled as no arguments and a state that holds its message."""

    def __init__(self, kind: int = 0, values: bytes = b"") -> None:
        self.message = field(kind, field(1, values))

    def __reduce__(self):
        return Feature, (), {"serialized": self.message}

    def __setstate__(self, state):
        raise AssertionError("a foreign class was built")


Feature.__module__, Feature.__qualname__ = "tensorflow.core.example.feature_pb2", "Feature"


def write_pickle(file: Path, mean: np.ndarray, covariance: np.ndarray, count: int, protocol: int = 4) -> Path:
    """As the tool writes them; with the published numbers it is the published file, byte for byte."""
    path = Feature.__module__.split(".")
    modules = {".".join(path[: depth + 1]): ModuleType(part) for depth, part in enumerate(path)}
    modules[Feature.__module__].Feature = Feature
    features = {
        "embedding_count": Feature(3, varint(count)),
        "embedding_length": Feature(3, varint(mean.size)),
        "mu": Feature(2, mean.astype("<f4").tobytes()),
        "sigma": Feature(2, covariance.astype("<f4").tobytes()),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, name, module)
        file.write_bytes(pickle.dumps(features, protocol))
    return file


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray, int]:
    rows = np.random.default_rng(0).standard_normal((300, 128))
    return rows.mean(axis=0).astype(np.float32), np.cov(rows, rowvar=False).astype(np.float32), 300


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_a_pickle_gives_its_numbers_and_no_class_of_it_is_looked_up(tmp_path, numbers, protocol):
    file = write_pickle(tmp_path / official.PICKLE, *numbers, protocol)
    assert b"feature_pb2" in file.read_bytes() and "tensorflow" not in sys.modules
    mean, covariance, count = official.read_pickle(file)
    np.testing.assert_array_equal(mean, numbers[0])
    np.testing.assert_array_equal(covariance, numbers[1])
    assert count == 300


def test_code_in_a_pickle_does_not_run(tmp_path, numbers):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    file = tmp_path / official.PICKLE
    file.write_bytes(pickle.dumps({"mu": Trap()}))
    with pytest.raises(UserError, match="does not read as a pickle of the challenge's FAD tool"):
        official.read_pickle(file)
    assert not (tmp_path / "ran").exists()


def test_damaged_pickles_are_refused_in_a_sentence(tmp_path, numbers):
    content = write_pickle(tmp_path / official.PICKLE, *numbers).read_bytes()
    broken = tmp_path / "broken.pkl"
    places = [*range(0, 700, 3), *range(700, len(content), 4_099)]
    for place in places:
        broken.write_bytes(content[:place])
        with pytest.raises(UserError, match=r"broken.pkl does not read"):
            official.read_pickle(broken)
    for place in places:
        broken.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            mean, covariance, count = official.read_pickle(broken)
        except UserError:
            continue
        assert mean.shape == (128,) and covariance.shape == (128, 128) and count > 0  # a number differs; the digest sees it


def test_other_numbers_than_the_published_ones_are_refused(tmp_path, numbers):
    write_pickle(tmp_path / "dog_bark" / official.PICKLE, *numbers)
    with pytest.raises(UserError, match="other numbers for DogBark than the challenge published"):
        official.read_folder(tmp_path)
    arrays = {"Rain.mean": numbers[0], "Rain.covariance": numbers[1], "Rain.count": np.asarray(1000)}
    with pytest.raises(UserError, match=r"x.npz holds other numbers for Rain"):
        official.read_arrays(arrays, Path("x.npz"))
    with pytest.raises(UserError, match="lacks the mean, covariance or count of Rain"):
        official.read_arrays({"Rain.covariance": numbers[1]}, Path("x.npz"))


def test_a_folder_of_an_unknown_class_is_refused(tmp_path, numbers):
    write_pickle(tmp_path / "dog_barks" / official.PICKLE, *numbers)
    with pytest.raises(UserError, match=r"unknown class 'dog_barks' \(did you mean"):
        official.read_folder(tmp_path)


@needs_shared
def test_the_published_statistics_have_their_fingerprints():
    reference = load_reference(NPZ)
    assert set(reference) == set(DCASE7.names)
    for name, (norm, trace, condition) in FINGERPRINTS.items():
        spread = reference[name].moments
        covariance = spread.root @ spread.root.T
        assert np.linalg.norm(spread.mean) == pytest.approx(norm, abs=6e-5)
        assert np.trace(covariance) == pytest.approx(trace, abs=6e-4)
        assert np.linalg.cond(covariance) == pytest.approx(condition, rel=0.05)  # printed to two digits
        assert (spread.count, reference[name].num_clips, reference[name].means) == (1000, 100, None)
    for name, entries in FIRST.items():
        assert reference[name].moments.mean[:3] == pytest.approx(entries, abs=6e-6)


@needs_shared
def test_the_published_pickles_and_the_npz_hold_the_same_statistics(tmp_path):
    with np.load(NPZ, allow_pickle=False) as file:
        for folder, sha256 in PUBLISHED_FILES.items():
            name = DCASE7.names[DCASE7.index(folder)]
            parts = [file[f"{name}.{part}"] for part in ("mean", "covariance", "count")]
            rebuilt = write_pickle(tmp_path / folder / official.PICKLE, parts[0], parts[1], int(parts[2]))
            assert hashlib.sha256(rebuilt.read_bytes()).hexdigest() == sha256
    pickled, plain = load_reference(tmp_path), load_reference(NPZ)
    assert set(pickled) == set(plain)
    for name, part in pickled.items():
        np.testing.assert_array_equal(part.moments.scatter, plain[name].moments.scatter)
        np.testing.assert_array_equal(part.moments.mean, plain[name].moments.mean)
        assert part.embedder == official.CARD and frechet(part.moments, plain[name].moments) < 1e-6
