"""What listeners say of systems, class by class, in plain data. Nothing automatic equals it, and nothing else is named WAS."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from foleyray.config import Config, UserError
from foleyray.listening.key import SCALES, Key, Scale, find_key, load_key
from foleyray.listening.ratings import Returned, check, read_sheets
from foleyray.listening.was import Resampler, SetScores, scores_of, was


class Opinion(Config):
    """Mean scores of 1 to 10; None where nobody gave one. `was` is None where a term of it is."""

    quality: float | None
    fit: float | None
    diversity: float | None
    was: float | None
    interval: tuple[float, float] | None
    """Of `was`: 95 %, for other listeners and other clips; None with a single rater."""


class ClassOpinion(Opinion):
    """Of one class by one system."""

    num_clips: int
    num_raters: int
    num_ratings: int


class SystemOpinion(Opinion):
    """Means over classes."""

    classes: dict[str, ClassOpinion]


class Opinions(Config):
    """What all sheets of a page say."""

    page: str
    raters: tuple[str, ...]
    num_ratings: int
    num_missing: int
    has_diversity: bool
    """False: nobody scored diversity, and WAS is the mean of two terms, not comparable with one of three."""
    systems: dict[str, SystemOpinion]
    warnings: tuple[str, ...]
    seed: int


def was_table(files: Sequence[Path], *, key: Path | None, seed: int) -> Opinions:
    """Reads sheets (JSON or CSV) of one page and scores its systems; `key` is looked for beside them where it is None.

    Raises UserError for sheets that do not hold (see `read_sheets` and `check`) and for a missing key.
    """
    returned = read_sheets(files)
    opened = load_key(key) if key else find_key(files, returned[0].sheet.page)
    check(returned, opened)
    sheets = [one.sheet for one in returned if one.sheet.ratings]
    if not sheets:
        raise UserError(f"no sheet of page {opened.page} holds a score; ask listeners for files with scores in them")
    num_ratings = sum(len(sheet.ratings) for sheet in sheets)
    has_diversity = any(rating.scale == "diversity" for sheet in sheets for rating in sheet.ratings)
    scores = {item: scores_of(found, item, sheets) for item, found in opened.sets.items()}
    systems = _systems(scores, opened, has_diversity, Resampler(scores, has_diversity, seed))
    return Opinions(
        page=opened.page,
        raters=tuple(sheet.rater for sheet in sheets),
        num_ratings=num_ratings,
        num_missing=opened.num_scores * len(sheets) - num_ratings,
        has_diversity=has_diversity,
        systems=systems,
        warnings=(*_of_sheets(returned, opened), *_of_systems(systems, has_diversity)),
        seed=seed,
    )


def _systems(scores: Mapping[str, SetScores], key: Key, has_diversity: bool, resampler: Resampler) -> dict[str, SystemOpinion]:
    order = sorted(key.sets, key=lambda item: (key.sets[item].system, key.sets[item].class_name))
    systems: dict[str, dict[str, str]] = {}
    for item in order:
        systems.setdefault(key.sets[item].system, {})[key.sets[item].class_name] = item
    means = {item: found.means() for item, found in scores.items()}
    found = {}
    for system, items in systems.items():
        classes = {
            name: ClassOpinion(
                **_opinion([item], means, has_diversity, resampler),
                num_clips=len(key.sets[item].clips),
                num_raters=scores[item].num_raters,
                num_ratings=scores[item].num_ratings,
            )
            for name, item in items.items()
        }
        found[system] = SystemOpinion(**_opinion([*items.values()], means, has_diversity, resampler), classes=classes)
    return found


def _opinion(
    items: Sequence[str], means: Mapping[str, Mapping[Scale, float]], has_diversity: bool, resampler: Resampler
) -> dict[str, object]:
    """The fields of `Opinion` over sets; what is not a number becomes None."""
    of: dict[str, float] = {scale: float(np.mean([means[item][scale] for item in items])) for scale in SCALES}
    value = was(of["quality"], of["fit"], of["diversity"] if has_diversity else None)
    fields = {name: number if np.isfinite(number) else None for name, number in {**of, "was": value}.items()}
    return {**fields, "interval": resampler.interval(items, fields["was"])}


def _of_sheets(returned: Sequence[Returned], key: Key) -> Iterator[str]:
    for sheet in (one.sheet for one in returned):
        if not sheet.ratings:
            yield f"rater '{sheet.rater}' gave no score and is not counted"
        elif sheet.missing:
            yield f"rater '{sheet.rater}' left out {sheet.missing} of {key.num_scores} scores"
    if sum(bool(one.sheet.ratings) for one in returned) == 1:
        yield "a single rater: no interval can be told"


def _of_systems(systems: Mapping[str, SystemOpinion], has_diversity: bool) -> Iterator[str]:
    if not has_diversity:
        yield "nobody scored diversity: WAS is the mean of quality and fit, not comparable with one of three terms"
    for system, opinion in systems.items():
        if bare := [name for name, one in opinion.classes.items() if one.was is None]:
            yield f"'{system}' has no WAS: nobody scored one of its terms in {', '.join(bare)}"
