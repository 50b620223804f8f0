"""The built-in corpus: real files in the right places, one sound for one seed, classes apart, and no two clips alike."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from foleyray.audio.mel import Mel
from foleyray.clips import DCASE7, ClipSpec, MelSpec
from foleyray.config import UserError
from foleyray.corpus.builtin import MARKER, RECIPES, synthesise, write_builtin
from foleyray.progress import Quiet

pytestmark = pytest.mark.slow
CLIPS, EVAL_CLIPS = 64, 16
NUM_CLASSES = len(DCASE7.names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_builtin(tmp_path_factory.mktemp("builtin") / "corpus", clips_per_class=CLIPS, seed=0, progress=Quiet())


def waves(folder: Path, split: str, name: str) -> NDArray[np.float32]:
    """(clips, T)"""
    return np.stack([soundfile.read(file, dtype="float32")[0] for file in sorted((folder / split / name).iterdir())])


@pytest.fixture(scope="module")
def mels(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Split -> log-mels (classes, clips, bands, frames)."""
    mel = Mel(MelSpec())
    return {
        split: np.stack([mel(torch.from_numpy(waves(folder, split, name))).numpy() for name in DCASE7.names])
        for split in ("train", "eval")
    }


def statistics(mels: NDArray[np.float32], frames: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Log-mels (..., bands, frames) -> mean and deviation (..., 2 bands) over the chosen `frames` (..., frames)."""
    chosen = frames[..., None, :].astype(np.float32)
    count = chosen.sum(-1)
    mean = (mels * chosen).sum(-1) / count
    deviation = np.sqrt((((mels - mean[..., None]) * chosen) ** 2).sum(-1) / count)
    return np.concatenate([mean, deviation], axis=-1)


def sounding(mels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames that are not padded silence."""
    return mels.max(-2) > np.log(MelSpec().floor) + 1e-3


def loudest(mels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Frames within 3 nepers (26 dB) of the clip's loudest: the events, without the room they stand in."""
    return mels.max(-2) > mels.max((-2, -1))[..., None] - 3.0


def test_layout_format_and_length(folder: Path) -> None:
    for split, count in (("train", CLIPS - EVAL_CLIPS), ("eval", EVAL_CLIPS)):
        assert {path.name for path in (folder / split).iterdir()} == set(DCASE7.names)
        for name in DCASE7.names:
            assert len(list((folder / split / name).iterdir())) == count
    assert (folder / "train" / "DogBark" / "DogBark_0001.wav").is_file()
    stems = [path.stem for path in folder.rglob("*.wav")]
    assert len(set(stems)) == len(stems) == CLIPS * NUM_CLASSES
    clip = ClipSpec()
    for path in folder.rglob("*_0001.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.frames, info.channels) == (clip.sample_rate_hz, clip.num_samples, 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")


@pytest.mark.parametrize("name", DCASE7.names)
def test_levels(folder: Path, name: str) -> None:
    for wave in (*waves(folder, "train", name), *waves(folder, "eval", name)):
        peak = np.abs(wave).max()
        assert 0.09 < peak < 0.96
        assert np.mean(np.abs(wave) > 0.999 * peak) < 1e-3  # no flat tops
        assert abs(wave.mean()) < 0.005 * peak


@pytest.mark.parametrize("name", DCASE7.names)
def test_one_seed_is_one_sound(name: str) -> None:
    wave = synthesise(name, 3, 11)
    assert np.isfinite(wave).all() and wave.dtype == np.float32
    np.testing.assert_array_equal(wave, synthesise(name, 3, 11))
    assert not np.array_equal(wave, synthesise(name, 3, 12))
    assert not np.array_equal(wave, synthesise(name, 4, 11))


def test_every_class_has_a_recipe() -> None:
    assert tuple(RECIPES) == DCASE7.names


def test_the_same_settings_do_no_work_and_others_replace(tmp_path: Path) -> None:
    folder = write_builtin(tmp_path / "corpus", clips_per_class=8, seed=1, progress=Quiet())
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.wav")}
    before = (folder / MARKER).stat().st_mtime_ns
    write_builtin(folder, clips_per_class=8, seed=1, progress=Quiet())
    assert (folder / MARKER).stat().st_mtime_ns == before

    (folder / MARKER).write_text("{}")  # as of other settings
    write_builtin(folder, clips_per_class=8, seed=1, progress=Quiet())
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.wav")} == first
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


def test_user_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at least 8 clips"):
        write_builtin(tmp_path / "few", clips_per_class=3, seed=0, progress=Quiet())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="something else"):
        write_builtin(tmp_path / "mine", clips_per_class=8, seed=0, progress=Quiet())
    assert (tmp_path / "mine" / "thesis.txt").is_file()


def test_a_linear_classifier_tells_the_classes_apart(mels: dict[str, NDArray[np.float32]]) -> None:
    """Linear discriminants on log-mel mean and deviation, of the whole and of its events; 0.90 on real recordings."""

    def features(mels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([statistics(mels, sounding(mels)), statistics(mels, loudest(mels))], axis=-1)

    train, unseen = features(mels["train"]), features(mels["eval"])
    centre, scale = train.mean((0, 1)), train.std((0, 1))
    train, unseen = (train - centre) / scale, (unseen - centre) / scale
    means = train.mean(1)
    spread = (train - means[:, None]).reshape(-1, train.shape[-1])
    covariance = 0.95 * spread.T @ spread / len(spread) + 0.05 * np.eye(train.shape[-1])
    weights = np.linalg.solve(covariance, means.T)
    guesses = (unseen @ weights - 0.5 * np.sum(means.T * weights, axis=0)).argmax(-1)
    accuracy = np.mean(guesses == np.arange(NUM_CLASSES)[:, None])
    assert accuracy >= 0.9


def test_clips_of_a_class_differ(mels: dict[str, NDArray[np.float32]]) -> None:
    """Distance between two clips of one class against that of two classes: 0.31 to 0.78 in real recordings."""
    flat = statistics(mels["train"], sounding(mels["train"])).reshape(NUM_CLASSES * (CLIPS - EVAL_CLIPS), -1)
    flat = (flat - flat.mean(0)) / flat.std(0)
    labels = np.repeat(np.arange(NUM_CLASSES), CLIPS - EVAL_CLIPS)
    distances = np.linalg.norm(flat[:, None] - flat, axis=-1)
    between = distances[labels[:, None] != labels].mean()
    for label in range(NUM_CLASSES):
        own = distances[np.ix_(labels == label, labels == label)]
        assert own.sum() / (len(own) * (len(own) - 1)) > 0.3 * between


def test_no_near_duplicates(mels: dict[str, NDArray[np.float32]]) -> None:
    """Correlation of log-mels less their class's mean: up to 0.96 between different real recordings of a class."""
    for clips in np.concatenate([mels["train"], mels["eval"]], axis=1):
        flat = clips.reshape(CLIPS, -1)
        likeness = np.corrcoef(flat - flat.mean(0)) - np.eye(CLIPS)
        assert likeness.max() < 0.95
