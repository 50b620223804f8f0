"""Sounds as files: written batch by batch, whole, and not made again where they are already there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile

from foleyray.audio.wav import Format
from foleyray.files import write_whole
from foleyray.generation.request import Request
from foleyray.generation.sampler import EnsembleSampler
from foleyray.progress import Progress
from foleyray.selection import Pick


@dataclass(frozen=True)
class Written:
    """The files in the order of the requests; and by class (or `prompt`) what was picked for those that were made now."""

    files: list[Path]
    picks: dict[str, list[Pick]]


def write_sounds(
    generator: EnsembleSampler, requests: Sequence[Request], folder: Path, form: Format, progress: Progress
) -> Written:
    """Makes every sound as a file `<Class>_<seed>.<format>` (`prompt_...` without a class) in `folder`, batch by batch.

    A file that holds the same recipe already is left as it is, so an interrupted call goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipes = [generator.roster.take(request).recipe for request in requests]
    files = [folder / recipe.file_name(form) for recipe in recipes]
    waiting = [number for number, file in enumerate(files) if recipe_of(file) != recipes[number].json_text]
    picks: dict[str, list[Pick]] = {}
    with progress.begin("generate", len(files), "sounds", done=len(files) - len(waiting)) as task:
        for batch in generator.batches([requests[number] for number in waiting]):
            for position, sound in batch:
                write_whole(files[waiting[position]], sound.encode(form))
                if sound.pick:
                    picks.setdefault(sound.recipe.kind, []).append(sound.pick)
            task.advance(len(batch))
    return Written(files, picks)


def recipe_of(file: Path) -> str:
    """The recipe inside a sound file, as text; empty where there is no such file or no recipe in it."""
    try:
        with soundfile.SoundFile(file) as sound:
            return str(sound.comment)
    except (soundfile.LibsndfileError, OSError):
        return ""
