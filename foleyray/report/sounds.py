"""What can be heard on the page: of each class the first generated sounds beside the first held-out recordings."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foleyray.audio.wav import encode, to_float
from foleyray.clips import ClipSpec, MelSpec
from foleyray.corpus.store import Store
from foleyray.ensemble import Evidence, Member
from foleyray.generation import EnsembleSampler, consecutive
from foleyray.report.figures import number
from foleyray.report.pictures import decibels, spectrogram
from foleyray.report.scores import SIDE

MOST_GENERATED, MOST_REAL = 4, 3
"""Players of a class; what keeps the page at some megabytes."""


@dataclass(frozen=True)
class Heard:
    """A sound that is to be shown: wave float32 (T,) in [-1, 1], a name for the player and a caption below it."""

    wave: NDArray[np.float32]
    name: str
    caption: str


@dataclass(frozen=True)
class Player:
    """One clip on the page, its sound (FLAC) and its spectrogram (WebP) as data URIs."""

    audio: str
    picture: str
    name: str
    caption: str


def generated_sounds(generator: EnsembleSampler, label: int, seed: int) -> list[Heard]:
    """The first sounds of the class, by seed."""
    name = generator.roster.ensemble.class_list.names[label]
    sounds = generator.generate(consecutive(label, seed, MOST_GENERATED))
    return [Heard(sound.wave, f"generated {name}, seed {sound.recipe.seed}", f"seed {sound.recipe.seed}") for sound in sounds]


def real_sounds(store: Store, label: int) -> list[Heard]:
    """The first held-out recordings of the class, by name."""
    clips = store.read(SIDE, ["id", "wave"], label=label)
    first = np.argsort(clips["id"])[:MOST_REAL]
    names = [(str(clips["id"][row]), clips["wave"][row]) for row in first]
    return [Heard(to_float(wave), f"real {store.classes.names[label]}, {name}", name) for name, wave in names]


def players(sides: Sequence[Sequence[Heard]], clip: ClipSpec, mel: MelSpec) -> list[list[Player]]:
    """Players of one class, side by side; all its spectrograms share the colour scale of the loudest of the class."""
    sounds = [sound for side in sides for sound in side]
    if not sounds:
        return [[] for _ in sides]
    levels = decibels(np.stack([sound.wave for sound in sounds]), mel)
    loudest_db = float(np.percentile(levels, 99.9))
    made = iter([_player(sound, level, loudest_db, clip) for sound, level in zip(sounds, levels, strict=True)])
    return [[next(made) for _ in side] for side in sides]


def _player(sound: Heard, levels: NDArray[np.float32], loudest_db: float, clip: ClipSpec) -> Player:
    return Player(
        audio=_data_uri(encode(sound.wave, clip, "flac"), "audio/flac"),
        picture=_data_uri(spectrogram(levels, loudest_db), "image/webp"),
        name=sound.name,
        caption=sound.caption,
    )


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{b64encode(content).decode('ascii')}"


def recipe(members: Sequence[Member]) -> list[tuple[str, str]]:
    """How the generated sounds of a class are made, in words: key and value."""
    rows: list[tuple[str, str]] = []
    for member in members:
        share = f", {100 * member.share:.0f} % of the sounds" if len(members) > 1 else ""
        rows.append(("system", f"{member.system}{share}"))
        rows += [("checkpoint", path.removeprefix("checkpoints/")) for path in member.checkpoints.values()]
        rows += [(name, number(value) if isinstance(value, float) else str(value)) for name, value in member.params.items()]
        if chosen := member.way_of_choosing:
            rows.append(("chosen", chosen))
        if member.evidence:
            rows += _evidence(member.system, member.evidence)
    return rows


def _evidence(system: str, proof: Evidence) -> list[tuple[str, str]]:
    label = f"; {proof.label}" if proof.label else ""
    rows = [
        ("promoted at", f"{_measured(proof.value, proof.interval)}, n {proof.num_clips}{label}"),
        ("search found", f"FAD {number(proof.search_value)}"),
    ]
    if proof.second:
        rows.append(("beside it", f"KAD {number(proof.second.value)} by {proof.second.embedder}:{proof.second.recipe}"))
    if proof.diversity_ratio is not None:
        rows.append(("diversity", f"{number(proof.diversity_ratio)} of that of real clips"))
    second = proof.runner_up
    if second:
        of = "" if second.system == system else f" of {second.system}"
        tie = ": a tie, the intervals overlap" if proof.is_tie else ""
        rows.append(("runner-up", f"{_measured(second.value, second.interval)}{of}{tie}"))
    return rows


def _measured(value: float, interval: tuple[float, float]) -> str:
    return f"FAD {number(value)} ({number(interval[0])} to {number(interval[1])})"
