"""Sounds as files: written batch by batch, whole, and not made again where they are already there."""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from foleyray.audio.wav import Format
from foleyray.files import write_whole
from foleyray.generation.request import Request
from foleyray.generation.sampler import EnsembleSampler
from foleyray.progress import Progress


def write_sounds(
    generator: EnsembleSampler, requests: Sequence[Request], folder: Path, form: Format, progress: Progress
) -> list[Path]:
    """Makes every sound as a file `<Class>_<seed>.<format>` in `folder`, batch by batch; returns the paths in order.

    A file that holds the same recipe already is left as it is, so an interrupted call goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipes = [generator.roster.take(request).recipe for request in requests]
    files = [folder / recipe.file_name(form) for recipe in recipes]
    waiting = [number for number, file in enumerate(files) if recipe_of(file) != recipes[number].json_text]
    with progress.begin("generate", len(files), "sounds", done=len(files) - len(waiting)) as task:
        for batch in generator.batches([requests[number] for number in waiting]):
            for position, sound in batch:
                write_whole(files[waiting[position]], sound.encode(form))
            task.advance(len(batch))
    return files


def recipe_of(file: Path) -> str:
    """The recipe inside a sound file, as text; empty where there is no such file or no recipe in it."""
    try:
        with soundfile.SoundFile(file) as sound:
            return str(sound.comment)
    except (soundfile.LibsndfileError, OSError):
        return ""
