import random
from collections import Counter, defaultdict

import pytest

from foleyray.config import UserError
from foleyray.corpus.manifest import read_manifest
from foleyray.corpus.rows import Row, given_split
from foleyray.corpus.split import assign
from foleyray.corpus.store import SPLITS
from tests.shared import SHARED, needs_shared


def rows_of(*recordings: tuple[str, int, str, int]) -> list[Row]:
    """(recording, label, given split, clips) -> rows."""
    return [
        Row(f"{name}-{label}-{clip}.wav", str(label), split=split, recording=name, label=label)
        for name, label, split, count in recordings
        for clip in range(count)
    ]


def counts(rows: list[Row]) -> dict[str, int]:
    return {split: Counter(assign(rows))[split] for split in SPLITS}


def some_corpus(seed: int) -> list[Row]:
    draw = random.Random(seed)
    recordings = [
        (f"r{number}", draw.randrange(4), draw.choice(["", "", "train", "eval", "held_out"]), draw.randint(1, 8))
        for number in range(draw.randint(1, 60))
    ]
    shared = [(name, (label + 1) % 4, split, 1) for name, label, split, _ in recordings if draw.random() < 0.1]
    return rows_of(*recordings, *shared)


@pytest.mark.parametrize("seed", range(40))
def test_no_recording_lies_in_two_splits_and_order_does_not_matter(seed):
    rows = some_corpus(seed)
    found = dict(zip([row.path for row in rows], assign(rows), strict=True))
    places = defaultdict(set)
    for row in rows:
        places[row.recording].add(found[row.path])
    assert all(len(splits) == 1 and splits <= set(SPLITS) for splits in places.values())
    random.Random(seed).shuffle(rows)
    assert dict(zip([row.path for row in rows], assign(rows), strict=True)) == found


def test_shares_are_about_a_tenth_each():
    rows = rows_of(*((f"r{number}", number % 2, "", 1) for number in range(200)))
    for label in (0, 1):
        assert counts([row for row in rows if row.label == label]) == {"train": 80, "reference": 10, "held_out": 10}


def test_windows_of_long_recordings_stay_together():
    rows = rows_of(*((f"r{number}", 0, "", 8) for number in range(30)))
    assert counts(rows) == {"train": 192, "reference": 24, "held_out": 24}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([1], (1, 0, 0)),
        ([1, 1], (1, 1, 0)),
        ([1, 1, 1], (1, 1, 1)),
        ([1] * 4, (2, 1, 1)),
        ([1] * 8, (4, 2, 2)),
        ([1] * 20, (16, 2, 2)),
        ([20, 1, 1], (20, 1, 1)),
        ([8, 8], (8, 8, 0)),
        ([], (0, 0, 0)),
    ],
)
def test_small_classes(sizes, expected):
    rows = rows_of(*((f"r{number}", 0, "", size) for number, size in enumerate(sizes)))
    assert tuple(counts(rows).values()) == expected


def test_files_without_a_recording_are_their_own():
    rows = [Row(f"{number}.wav", "x", label=0) for number in range(10)]
    assert counts(rows) == {"train": 6, "reference": 2, "held_out": 2}


def test_eval_is_halved_evenly_and_given_splits_stay():
    rows = rows_of(("a", 0, "train", 5), ("b", 0, "eval", 4), ("c", 0, "eval", 3), ("d", 0, "eval", 2), ("e", 0, "eval", 1))
    assert counts(rows) == {"train": 5, "reference": 5, "held_out": 5}
    assert counts(rows_of(("a", 0, "train", 3), ("b", 0, "eval", 9), ("c", 0, "eval", 1))) == {
        "train": 3,
        "reference": 9,
        "held_out": 1,
    }
    kept = rows_of(("a", 0, "train", 1), ("b", 0, "reference", 2), ("c", 0, "held_out", 3))
    assert assign(kept) == [row.split for row in kept]


def test_validation_and_test_keep_their_meaning_where_both_are_given():
    rows = rows_of(("a", 0, "train", 1), ("b", 0, "validation", 2), ("c", 0, "test", 3))
    assert counts(rows) == {"train": 1, "reference": 2, "held_out": 3}
    alone = rows_of(("a", 0, "train", 1), ("b", 0, "test", 2), ("c", 0, "test", 2))
    assert counts(alone) == {"train": 1, "reference": 2, "held_out": 2}


def test_a_class_without_evaluation_clips_is_split_here():
    rows = rows_of(("a", 0, "train", 1), ("b", 0, "eval", 1), *((f"r{number}", 1, "train", 1) for number in range(20)))
    assert counts([row for row in rows if row.label == 1]) == {"train": 16, "reference": 2, "held_out": 2}


def test_clips_without_a_split_follow_their_recording():
    rows = [Row("a.wav", "x", "held_out", "r", label=0), Row("b.wav", "x", "", "r", label=0)]
    assert assign(rows) == ["held_out", "held_out"]


def test_a_source_that_splits_a_recording_is_refused():
    rows = rows_of(("r", 0, "train", 1), ("r", 1, "eval", 1))
    with pytest.raises(UserError, match=r"recording r lies in eval \(r-1-0.wav\) and train \(r-0-0.wav\)"):
        assign(rows)


def test_spellings():
    assert [given_split(text, "x") for text in ("Training", " DEV ", "ref", "hold out".replace(" ", ""), "val", "")] == [
        "train", "train", "reference", "held_out", "validation", "",
    ]  # fmt: skip


@needs_shared
def test_foley7_is_halved_by_recording():
    rows = read_manifest(str(SHARED / "data" / "foley7")).rows
    found = assign(rows)
    names = ["DogBark", "Footstep", "GunShot", "Keyboard", "MovingMotorVehicle", "Rain", "SneezeCough"]
    table = Counter((row.label, split) for row, split in zip(rows, found, strict=True))
    train, evaluation = [34, 76, 37, 93, 76, 66, 84], [6, 14, 8, 21, 13, 15, 18]
    assert [table[label, "train"] for label in range(len(names))] == train
    halves = [(table[label, "reference"], table[label, "held_out"]) for label in range(len(names))]
    assert [sum(half) for half in halves] == evaluation and all(abs(a - b) <= 1 for a, b in halves)
