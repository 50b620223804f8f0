"""What decoding has shown, put together: which clips are in and in which split, which files are not and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.corpus.decode import Outcome
from foleyray.corpus.rows import Row
from foleyray.corpus.split import assign
from foleyray.corpus.store import SPLITS
from foleyray.corpus.summary import in_words


@dataclass(frozen=True)
class Clip:
    """One file that is in."""

    row: Row
    outcome: Outcome
    split: str


@dataclass(frozen=True)
class Verdict:
    """Everything that the store says of its files; both lists in the order in which the source lists them."""

    classes: ClassList
    clips: tuple[Clip, ...]
    rejected: tuple[dict[str, str], ...]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> class name -> clips."""
        found = Counter((clip.split, clip.row.label) for clip in self.clips)
        return {split: {name: found[split, label] for label, name in enumerate(self.classes.names)} for split in SPLITS}

    @property
    def kinds(self) -> dict[str, int]:
        """Kind of rejection -> files."""
        return dict(sorted(Counter(row["kind"] for row in self.rejected).items()))

    @property
    def warnings(self) -> int:
        return sum(bool(clip.outcome.warning) for clip in self.clips)

    def notes(self) -> list[str]:
        """What a user should know of the splits: those that we made or could not fill."""
        notes = []
        for label, name in enumerate(self.classes.names):
            given = {clip.row.split for clip in self.clips if clip.row.label == label}
            empty = [split for split in SPLITS if not self.counts[split][name]]
            if given == {"train"} and len(empty) < 2:
                notes.append(f"{name} came with training clips only; its reference and held_out clips were drawn from them")
            if empty:
                notes.append(f"{name} has no clip in {' and '.join(empty)}; it needs recordings from more sources")
        return notes


def judge(rows: Sequence[Row], outcomes: Mapping[str, Outcome], classes: ClassList) -> Verdict:
    """Finds duplicates (the first that is listed stays) and splits what is left."""
    first: dict[str, Row] = {}
    kept: list[Row] = []
    rejected: list[dict[str, str]] = []
    for row in rows:
        outcome = Outcome("misplaced", row.refused) if row.refused else outcomes[row.id]
        twin = first.setdefault(outcome.hash, row) if not outcome.kind else row
        if outcome.kind:
            rejected.append(_rejection(row, classes, outcome.kind, outcome.reason))
        elif twin is not row:
            rejected.append({**_rejection(row, classes, "duplicate", _duplicate_of(twin, row, classes)), "twin": twin.path})
        else:
            kept.append(row)
    clips = tuple(Clip(row, outcomes[row.id], split) for row, split in zip(kept, assign(kept), strict=True))
    return Verdict(classes, clips, tuple(rejected))


def refuse(verdict: Verdict, max_rejected: float, where: str) -> None:
    """Raises UserError where nothing is left, a class is empty, or a larger share than `max_rejected` is rejected."""
    num_files = len(verdict.clips) + len(verdict.rejected)
    kinds = in_words(verdict.kinds)
    if not verdict.clips:
        raise UserError(f"none of the {num_files} files can be used ({kinds}); each one's reason is in {where}")
    share = len(verdict.rejected) / num_files
    if share > max_rejected:
        raise UserError(
            f"{len(verdict.rejected)} of {num_files} files were rejected ({kinds}): {share:.1%}, more than {max_rejected:.1%}; "
            f"mend the files listed in {where}, or allow more with --max-rejected {ceil(share * 100) / 100:g}"
        )
    full = {clip.row.label for clip in verdict.clips}
    empty = [name for label, name in enumerate(verdict.classes.names) if label not in full]
    if empty:
        raise UserError(
            f"no file of the class {', '.join(empty)} can be used; mend its files, listed in {where}, or leave the class out"
        )


def _rejection(row: Row, classes: ClassList, kind: str, reason: str) -> dict[str, Any]:
    return {"path": row.path, "class": classes.names[row.label] if row.label >= 0 else "", "kind": kind, "reason": reason}


def _duplicate_of(twin: Row, row: Row, classes: ClassList) -> str:
    if twin.path == row.path:
        return "duplicate: the file is listed twice"
    other = f", which is in the class {classes.names[twin.label]}" if twin.label != row.label else ""
    return f"duplicate of {twin.path}{other}"
