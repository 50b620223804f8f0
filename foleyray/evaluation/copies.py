"""Whether generated clips repeat training clips of a store: who is too near to what, by name."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foleyray.config import Config, UserError, nearest
from foleyray.corpus.store import Store
from foleyray.evaluation.embedding import Listening, embed_place
from foleyray.evaluation.places import Place, split_place
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.metrics.intervals import Measured
from foleyray.metrics.memorisation import Memorisation, Recordings, memorisation
from foleyray.progress import Progress


class Pair(Config):
    """A generated clip and the training clip nearest to it by one ear."""

    ear: str
    generated: str
    training: str
    distance: float
    is_too_near: bool


class Copies(Config):
    """One class."""

    num_clips: int
    num_training_clips: int
    num_held_out_clips: int
    shares: dict[str, Measured]
    """Ear -> share of the generated clips that are nearer to a training clip than 95 % of the real clips that were not
    trained on; about 0.05 where nothing is repeated."""
    closest: tuple[Pair, ...]
    """The ten closest of each ear, to be listened to."""


@dataclass(frozen=True)
class Named:
    names: list[str]
    recordings: Recordings


def find_copies(
    place: Place,
    generated: Mapping[str, ClipEmbeddings],
    store: Store,
    listening: Listening,
    *,
    seed: int,
    progress: Progress,
) -> dict[str, Copies]:
    """Class -> copies among the clips of `place`, which are embedded as `generated`, of the store's training clips.

    Real clips that were not trained on are its `reference` and `held_out`. Raises UserError for a class the store lacks.
    """
    for name in generated:
        if name not in store.classes.names:
            raise UserError(
                f"{store.path} has no class {name}{nearest(name, store.classes.names)}; name the store it was made from"
            )
    if place.clip.sample_rate_hz != store.clip.sample_rate_hz:
        raise UserError(
            f"{place.name} is read at {place.clip.sample_rate_hz} Hz and {store.path} holds {store.clip.sample_rate_hz} Hz; "
            f"copies are found at equal rates only"
        )
    train, held_out = split_place(store, "train"), split_place(store, "reference", "held_out")
    known, unknown = (embed_place(part, listening, progress).classes for part in (train, held_out))
    found = {}
    with progress.begin("looking for copies", len(generated), "classes") as task:
        for name, clips in generated.items():
            generated_side = _named(place, name, clips)
            real_sides = (_named(held_out, name, unknown[name]), _named(train, name, known[name]))
            found[name] = _copies(generated_side, *real_sides, store.clip.sample_rate_hz, seed)
            task.advance(1, name)
    return found


def _named(place: Place, name: str, clips: ClipEmbeddings) -> Named:
    """The waves of a class, read again in the order in which they were embedded."""
    label, names, waves = place.classes.index(name), [], []
    for piece in place.pieces:
        for batch in piece.read():
            own = batch.labels == label
            names += [known for known, is_own in zip(batch.names, own, strict=True) if is_own]
            waves.append(batch.pcm[own])
    return Named(names, Recordings(np.concatenate(waves), clips.means()))


def _copies(generated: Named, held_out: Named, train: Named, sample_rate_hz: int, seed: int) -> Copies:
    sides = (generated.recordings, held_out.recordings, train.recordings)
    verdicts = memorisation(*sides, sample_rate_hz=sample_rate_hz, seed=seed)
    return Copies(
        num_clips=len(generated.names),
        num_training_clips=len(train.names),
        num_held_out_clips=len(held_out.names),
        shares={verdict.ear: verdict.closer_share for verdict in verdicts},
        closest=tuple(pair for verdict in verdicts for pair in _pairs(verdict, generated.names, train.names)),
    )


def _pairs(verdict: Memorisation, generated: list[str], training: list[str]) -> list[Pair]:
    return [
        Pair(
            ear=verdict.ear,
            generated=generated[match.generated],
            training=training[match.training],
            distance=match.distance,
            is_too_near=match.generated in verdict.closer,
        )
        for match in verdict.closest
    ]
