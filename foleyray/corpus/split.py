"""Which clip is trained on, searched with, and kept for promotion: decided by recording, per class, without chance.

The order of recordings is that of their hashes, so a split depends on what is there and not on how it was listed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from foleyray.config import UserError
from foleyray.corpus.rows import Row
from foleyray.corpus.store import SPLITS

SHARE = 0.1
"""Of a class's clips, for `reference` and for `held_out` each, where the source gives no split."""
SEED = 0


@dataclass(frozen=True)
class _Recording:
    name: str
    label: int
    given: str
    num_clips: int

    @property
    def draw(self) -> str:
        return sha256(f"{SEED}/{self.name}".encode()).hexdigest()


def assign(rows: Sequence[Row]) -> list[str]:
    """The split of each row, such that no recording lies in two.

    A split given by the source is kept, `eval` is halved into reference and held_out, and so are `validation` and `test`
    where only one of them is given (else they become reference and held_out). A class without given evaluation clips is
    split here. Raises UserError where the source itself puts one recording into two splits.
    """
    recordings = _gather(rows)
    assigned: dict[str, str] = {}
    for members in _by_class(recordings).values():
        assigned |= _split_class(members)
    return [assigned[_name(row)] for row in rows]


def _name(row: Row) -> str:
    return f"recording {row.recording}" if row.recording else f"file {row.path}"


def _gather(rows: Sequence[Row]) -> list[_Recording]:
    clips: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        clips[_name(row)].append(row)
    alone = len({"validation", "test"} & {row.split for row in rows}) < 2
    meaning = {"validation": "eval" if alone else "reference", "test": "eval" if alone else "held_out"}
    return [_Recording(name, _home(members), _agreed(name, members, meaning), len(members)) for name, members in clips.items()]


def _home(rows: Iterable[Row]) -> int:
    """The class that most clips of a recording are of; a recording heard in two classes is split with one of them."""
    (label, _), *_ = sorted(Counter(row.label for row in rows).items(), key=lambda item: (-item[1], item[0]))
    return label


def _agreed(name: str, rows: Iterable[Row], meaning: Mapping[str, str]) -> str:
    given = {meaning.get(row.split, row.split): row.path for row in rows if row.split}
    if len(given) > 1:
        places = " and ".join(f"{split} ({path})" for split, path in sorted(given.items()))
        raise UserError(
            f"{name} lies in {places}; put all clips of a recording into one split, or leave the splits out to have them made"
        )
    return next(iter(given), "")


def _by_class(recordings: Iterable[_Recording]) -> dict[int, list[_Recording]]:
    classes: dict[int, list[_Recording]] = defaultdict(list)
    for recording in sorted(recordings, key=lambda recording: (recording.draw, recording.name)):
        classes[recording.label].append(recording)
    return classes


def _split_class(recordings: Sequence[_Recording]) -> dict[str, str]:
    if {recording.given for recording in recordings} <= {"", "train"}:
        return _draw(recordings)
    groups: dict[str, list[_Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.given].append(recording)
    kept = {recording.name: split for split in SPLITS for recording in groups[split]}
    return kept | _halve(groups["eval"]) | _draw(groups[""])


def _halve(recordings: Sequence[_Recording]) -> dict[str, str]:
    """Reference and held_out of sizes as equal as whole recordings allow: the largest first, each to the smaller half."""
    assigned: dict[str, str] = {}
    filled = {"reference": 0, "held_out": 0}
    for recording in sorted(recordings, key=lambda recording: -recording.num_clips):
        half = min(filled, key=lambda split: filled[split])
        filled[half] += recording.num_clips
        assigned[recording.name] = half
    return assigned


def _draw(recordings: Sequence[_Recording]) -> dict[str, str]:
    """Our own shares of a class: about a tenth each for reference and held_out, the rest for training.

    Small classes give a clip or two to each as far as they have recordings; training comes first, then reference.
    """
    num_clips = sum(recording.num_clips for recording in recordings)
    target = max(1, min(2, num_clips // 4), round(SHARE * num_clips))
    assigned = {recording.name: "train" for recording in recordings}
    left, filled = list(recordings), {"reference": 0, "held_out": 0}
    while len(left) > 1:
        split = min(filled, key=lambda split: filled[split])
        room = target - filled[split]
        index = next((index for index in reversed(range(len(left))) if left[index].num_clips <= room), None)
        if index is None and filled[split]:
            break
        chosen = left.pop(min(range(len(left)), key=lambda index: left[index].num_clips) if index is None else index)
        filled[split] += chosen.num_clips
        assigned[chosen.name] = split
    return assigned
