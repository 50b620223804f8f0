"""What is an evalset, and what a challenge could not be run with."""

import shutil

import pytest

from foleyray.config import UserError
from foleyray.listening.evalset import find_systems, num_clips
from tests.listening.evalsets import write_evalset, write_sound


def test_systems_classes_and_files_in_order(tmp_path):
    write_evalset(tmp_path, systems=("b", "a"), classes=("Rain", "DogBark"), clips=3)
    write_sound(tmp_path / "a" / "Rain" / "take_9.FLAC", 300)
    (tmp_path / "a" / "Rain" / "notes.txt").write_text("no sound")
    (tmp_path / ".hidden").mkdir()
    systems = find_systems(tmp_path)
    assert list(systems) == ["a", "b"] and list(systems["a"]) == ["DogBark", "Rain"]
    assert [file.name for file in systems["a"]["Rain"]] == ["take_0.wav", "take_1.wav", "take_2.wav", "take_9.FLAC"]


def test_classes_at_the_top_are_one_system(tmp_path):
    write_evalset(tmp_path, systems=("alone",), classes=("Rain", "DogBark"))
    assert list(find_systems(tmp_path / "alone")) == ["alone"]


def test_sets_of_a_class_are_equally_large(tmp_path):
    write_evalset(tmp_path, systems=("a", "b"), classes=("Rain", "DogBark"), clips=3)
    assert num_clips(find_systems(tmp_path), None) == {"DogBark": 3, "Rain": 3}
    write_sound(tmp_path / "b" / "Rain" / "more.wav", 300)
    systems = find_systems(tmp_path)
    with pytest.raises(UserError, match=r"'a' has 3 clips of Rain and 'b' 4.*--clips-per-set 3"):
        num_clips(systems, None)
    assert num_clips(systems, 2) == {"DogBark": 2, "Rain": 2}
    with pytest.raises(UserError, match=r"'a' has 3 clips of DogBark, --clips-per-set asks for 4"):
        num_clips(systems, 4)
    with pytest.raises(UserError, match="--clips-per-set is 1"):
        num_clips(systems, 1)


def mixed_depths(folder):
    write_sound(folder / "Rain" / "1.wav", 300)


def no_systems(folder):
    for path in list(folder.iterdir()):
        shutil.rmtree(path)


def bare_system(folder):
    (folder / "c").mkdir()


def lacking_class(folder):
    shutil.rmtree(folder / "b" / "Rain")


def lonely_clip(folder):
    (folder / "b" / "Rain" / "take_0.wav").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (mixed_depths, "mixes depths.*'Rain'.*'a'"),
        (no_systems, "holds no folders"),
        (bare_system, "system 'c' holds no folder"),
        (lacking_class, "'b' lacks Rain"),
        (lonely_clip, "system 'b' has 1 .wav or .flac file in 'Rain'"),
    ],
)
def test_refuses(tmp_path, spoil, words):
    write_evalset(tmp_path, systems=("a", "b"), classes=("Rain", "DogBark"))
    spoil(tmp_path)
    with pytest.raises(UserError, match=words):
        find_systems(tmp_path)


def test_refuses_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no folder at"):
        find_systems(tmp_path / "nowhere")
