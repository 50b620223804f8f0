"""Distances that mean something because of what stands beside them: promoted sounds, real ones, noise, untrained nets.

Everything is measured against the same held-out clips by the same embedder, on seeds that no search and no promotion has
used. What a Fréchet distance is, and its interval, belongs to `metrics/`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from foleyray import checkpoint
from foleyray.audio.wav import to_float
from foleyray.config import UserError
from foleyray.corpus.store import SPLITS, Store
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler, consecutive
from foleyray.metrics.embedder import Embedder
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.metrics.reference import ReferenceClass
from foleyray.metrics.scores import ClassScore, score
from foleyray.progress import Progress, Task
from foleyray.report.scores import SIDE, Anchors, ClassAnchors, Nearness
from foleyray.search.config import MOST_CLIPS, SearchConfig

Waves = NDArray[np.float32] | NDArray[np.int16]
Heard = Mapping[str, ClipEmbeddings]
"""Class name -> its clips, embedded."""

CHUNK_CLIPS = 16


def fresh_seed(settings: SearchConfig) -> int:
    """The first of the report's seeds: the block after the one from which search and promotion draw theirs."""
    return 2 * MOST_CLIPS * (settings.seed + 1)


def anchors_of(
    run: Path,
    generator: EnsembleSampler,
    store: Store,
    embedder: Embedder,
    settings: SearchConfig,
    device: torch.device,
    progress: Progress,
) -> Anchors:
    """The anchors of a run's ensemble, with as many clips as promotion took; kept in `scores.json` and read from there."""
    file, first = run / "scores.json", fresh_seed(settings)
    terms = (settings.promote_clips, first)
    asked = (generator.roster.id, store.fingerprint, embedder.name, embedder.recipe, embedder.weights_id, *terms)
    if (kept := _kept(file)) and kept.identity == asked:
        return kept
    untrained = untrained_sampler(generator.roster.ensemble, run, run / "train", device)
    anchors = measure_anchors(
        generator, untrained, store, embedder, clips=settings.promote_clips, seed=first, progress=progress
    )
    anchors.save(file)
    return anchors


def _kept(file: Path) -> Anchors | None:
    """What was measured before; None where nothing was, or by another version."""
    with suppress(FileNotFoundError, ValidationError):
        return Anchors.load(file)
    return None


def untrained_sampler(ensemble: Ensemble, folder: Path, train: Path, device: torch.device) -> EnsembleSampler | None:
    """The same members and parameters with the nets of step 0 in `train`, none of its sounds selected.

    None where a run no longer holds them.
    """

    def first_step(path: str) -> str:
        card = checkpoint.load(folder / path).card
        return f"{card.stage}/{card.run}/{checkpoint.step_name(0)}"

    classes = {
        name: tuple(
            member.model_copy(
                update={
                    "checkpoints": {stage: first_step(path) for stage, path in member.checkpoints.items()},
                    "selection": None,
                }
            )
            for member in members
        )
        for name, members in ensemble.classes.items()
    }
    paths = {path for members in classes.values() for member in members for path in member.checkpoints.values()}
    if not all((train / path / "card.json").is_file() for path in paths):
        return None
    return EnsembleSampler.of(ensemble.model_copy(update={"classes": classes}), train, device)


def measure_anchors(
    generator: EnsembleSampler,
    untrained: EnsembleSampler | None,
    store: Store,
    embedder: Embedder,
    *,
    clips: int,
    seed: int,
    progress: Progress,
) -> Anchors:
    """Measures `clips` sounds a class from `seed` on, with all their anchors, against the store's held-out clips."""
    names, rate_hz = store.classes.names, store.clip.sample_rate_hz
    samplers = {"generated": generator} | ({"untrained": untrained} if untrained else {})
    total = len(names) * clips * (len(samplers) + 1) + sum(store.num_clips(split) for split in SPLITS)
    with progress.begin("anchors", total, "clips") as task:

        def heard(what: str, chunks_of: Callable[[int], Iterable[Waves]]) -> Heard:
            return {name: _embed(embedder, chunks_of(label), rate_hz, task, what) for label, name in enumerate(names)}

        splits = {split: _embed_split(embedder, store, split, task) for split in SPLITS}
        found = {kind: heard(kind, partial(_sampled, sampler, clips, seed)) for kind, sampler in samplers.items()}
        found["noise"] = heard("noise", partial(_noise, store, clips, seed))
    found["real"] = splits["reference"]
    return Anchors(
        embedder=embedder.name,
        recipe=embedder.recipe,
        weights_id=embedder.weights_id,
        note=embedder.note,
        ensemble=generator.roster.id,
        corpus=store.fingerprint,
        num_clips=clips,
        seed=seed,
        classes=_classes(found, splits, seed),
    )


def _classes(found: Mapping[str, Heard], splits: Mapping[str, Heard], seed: int) -> dict[str, ClassAnchors]:
    reference = {name: ReferenceClass.of(clips) for name, clips in splits[SIDE].items()}

    def anchor(kind: str, name: str) -> ClassScore:
        return score({name: found[kind][name]}, {name: reference[name]}, seed=seed)[name]

    return {
        name: ClassAnchors(
            generated=generated,
            real=anchor("real", name),
            untrained=anchor("untrained", name) if "untrained" in found else None,
            noise=anchor("noise", name),
            nearest_train=_nearness(found["generated"][name], splits[SIDE][name], splits["train"][name]),
        )
        for name, generated in score(found["generated"], reference, seed=seed).items()
    }


def _nearness(generated: ClipEmbeddings, held_out: ClipEmbeddings, train: ClipEmbeddings) -> Nearness:
    known = _unit(train.means())

    def nearest(clips: ClipEmbeddings) -> float:
        return float(np.median(np.maximum(0.0, 1.0 - (_unit(clips.means()) @ known.T).max(axis=1))))

    return Nearness(generated=nearest(generated), held_out=nearest(held_out), num_train_clips=train.num_clips)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = rows.astype(np.float64)
    return np.asarray(exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-12))


def _embed(embedder: Embedder, chunks: Iterable[Waves], rate_hz: int, task: Task, what: str) -> ClipEmbeddings:
    parts = []
    for waves in chunks:
        parts.append(embed_clips(embedder, waves, rate_hz))
        task.advance(len(waves), what)
    return ClipEmbeddings.join(parts)


def _embed_split(embedder: Embedder, store: Store, split: str, task: Task) -> Heard:
    """All classes in one pass over the store; raises UserError for a class without clips."""
    parts: dict[int, list[ClipEmbeddings]] = {label: [] for label in range(len(store.classes.names))}
    for label, name in enumerate(store.classes.names):
        if not store.num_clips(split, label):
            raise UserError(f"{name} has no clip in the split {split}, so it has no anchors; add recordings of {name}")
    for columns in store.stream(split, ["label", "wave"], num_rows=CHUNK_CLIPS):
        clips = embed_clips(embedder, columns["wave"], store.clip.sample_rate_hz)
        for label in np.unique(columns["label"]):
            parts[int(label)].append(clips.take(np.flatnonzero(columns["label"] == label)))
        task.advance(len(columns["wave"]), split)
    return {name: ClipEmbeddings.join(parts[label]) for label, name in enumerate(store.classes.names)}


def _sampled(generator: EnsembleSampler, clips: int, seed: int, label: int) -> Iterator[Waves]:
    for batch in generator.batches(consecutive(label, seed, clips)):
        yield np.stack([sound.wave for _, sound in batch])


def _noise(store: Store, clips: int, seed: int, label: int) -> Iterator[Waves]:
    """Gaussian white noise with the level (RMS) of the class's median held-out clip."""
    chunks = store.stream(SIDE, ["wave"], label)
    level = np.median(np.concatenate([np.sqrt(np.mean(to_float(chunk["wave"]) ** 2, axis=1)) for chunk in chunks]))
    generator = np.random.default_rng((seed, label))
    for begin in range(0, clips, CHUNK_CLIPS):
        noise = generator.standard_normal((min(CHUNK_CLIPS, clips - begin), store.clip.num_samples), dtype=np.float32)
        yield np.clip(noise * np.float32(level), -1.0, 1.0)
