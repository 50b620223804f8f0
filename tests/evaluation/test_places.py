"""What a name stands for, and what is refused as something to listen to."""

import numpy as np
import pytest
import soundfile

from foleyray.clips import ClipSpec
from foleyray.config import UserError
from foleyray.evaluation.places import CLIPS_AT_ONCE, find_place
from tests.search.toy_noise import CLASSES, CLIP, write_store

RATE = 22_050


def write(path, seconds=4.0, rate=RATE, level=0.1, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, level * np.random.default_rng(seed).standard_normal(int(seconds * rate)), rate)
    return path


def labels(place):
    return np.concatenate([batch.labels for piece in place.pieces for batch in piece.read()])


def test_a_folder_per_class_in_any_spelling(tmp_path):
    write(tmp_path / "dog_bark" / "a.wav")
    write(tmp_path / "rain" / "a.flac")
    write(tmp_path / "Whistle" / "deeper" / "a.ogg")
    place = find_place(str(tmp_path))
    assert set(place.classes) == {"DogBark", "Rain", "deeper"} and place.num_clips == 3


def test_files_named_for_their_class(tmp_path):
    for seed in range(3):
        write(tmp_path / f"Rain_{seed}.wav", seed=seed)
    write(tmp_path / "DogBark_0.wav")
    (tmp_path / "notes.txt").write_text("no sound")
    write(tmp_path / ".Rain_9.wav")
    place = find_place(str(tmp_path))
    assert (place.classes, place.num_clips) == (("DogBark", "Rain"), 4)
    assert labels(place).tolist() == [0, 1, 1, 1]


def test_other_rates_and_lengths_are_fitted_and_told(tmp_path):
    write(tmp_path / "Rain_0.wav")
    write(tmp_path / "Rain_1.wav", seconds=2.5)
    write(tmp_path / "Rain_2.wav", rate=44_100)
    (batch,) = find_place(str(tmp_path)).pieces[0].read()
    assert batch.waves.shape == (3, 88_200) and batch.refitted.tolist() == [False, True, True]
    assert not batch.waves[1, 55_125:].any() and batch.waves[2].std() > 0.05


def test_many_files_are_many_pieces(tmp_path):
    source = write(tmp_path / "Rain" / "0.wav", seconds=0.1)
    for number in range(1, CLIPS_AT_ONCE + 1):
        (tmp_path / "Rain" / f"{number}.wav").write_bytes(source.read_bytes())
    place = find_place(str(tmp_path), ClipSpec(seconds=0.1))
    assert [piece.num_clips for piece in place.pieces] == [CLIPS_AT_ONCE, 1]


def test_a_store_and_its_splits(tmp_path):
    store = write_store(tmp_path / "store", {"train": (5, 5), "reference": (2, 3), "held_out": (4, 1)})
    both, held_out = find_place(str(store.path)), find_place(f"{store.path}:held_out")
    assert both.classes == CLASSES.names and both.clip == CLIP
    assert np.bincount(labels(both)).tolist() == [6, 4] and np.bincount(labels(held_out)).tolist() == [4, 1]
    batch = next(held_out.pieces[0].read())
    assert batch.waves.dtype == np.int16 and not batch.refitted.any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no folder or store at 'nowhere'"),
        ("empty", "no sound file below 'empty'"),
        ("store:eval", "has no split 'eval'; splits: train, reference, held_out"),
    ],
)
def test_nothing_to_listen_to(name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_store(tmp_path / "store")
    with pytest.raises(UserError, match=message):
        find_place(name)


def test_files_that_are_no_sounds_are_named(tmp_path):
    (tmp_path / "Rain_0.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"Rain_0.wav does not decode"):
        labels(find_place(str(tmp_path)))
    wave = np.zeros(88_200, dtype=np.float32)
    wave[7] = np.nan
    soundfile.write(tmp_path / "Rain_0.wav", wave, RATE, subtype="FLOAT")
    with pytest.raises(UserError, match=r"Rain_0.wav holds samples that are not finite"):
        labels(find_place(str(tmp_path)))
