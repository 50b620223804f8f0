"""Sounds in folders or stores against one another: where files meet metrics. The distances live in `metrics/`."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foleyray.audio.wav import fit, read_mono, to_float
from foleyray.clips import DCASE7, ClassList, ClipSpec
from foleyray.config import UserError
from foleyray.corpus.store import SPLITS, open_store
from foleyray.metrics.embedder import Embedder
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips
from foleyray.progress import Progress

ENDINGS = {".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff"}
CHUNK_CLIPS = 32


def embed_place(place: str, embedder: Embedder, clip: ClipSpec, progress: Progress) -> dict[str, ClipEmbeddings]:
    """Class name -> embeddings of the clips at `place`.

    A place is a folder per class, a folder of files named `<Class>_<anything>`, or a store, where `STORE:held_out`
    names one split (without it: reference and held_out together, never the clips that were trained on).
    Raises UserError where nothing can be read.
    """
    folder, _, split = place.partition(":") if not Path(place).exists() else (place, "", "")
    if (Path(folder) / "store.json").is_file():
        return _embed_store(Path(folder), split, embedder, progress)
    files = _files_by_class(Path(folder))
    embedded = {}
    with progress.begin(f"embed {folder}", sum(map(len, files.values())), "clips") as task:
        for name, paths in files.items():
            parts = []
            for at in range(0, len(paths), CHUNK_CLIPS):
                waves = [fit(read_mono(path, clip.sample_rate_hz), clip.num_samples) for path in paths[at : at + CHUNK_CLIPS]]
                parts.append(embed_clips(embedder, np.stack(waves), clip.sample_rate_hz))
                task.advance(len(waves))
            embedded[name] = ClipEmbeddings.join(parts)
    return embedded


def _embed_store(path: Path, split: str, embedder: Embedder, progress: Progress) -> dict[str, ClipEmbeddings]:
    store = open_store(path)
    if split and split not in SPLITS:
        raise UserError(f"store {path} has no split '{split}'; splits: {', '.join(SPLITS)}")
    embedded = {}
    with progress.begin(f"embed {path}", len(store.classes.names), "classes") as task:
        for label, name in enumerate(store.classes.names):
            waves: list[NDArray[np.int16]] = [
                store.read(part, ["wave"], label=label)["wave"] for part in ((split,) if split else SPLITS[1:])
            ]
            embedded[name] = embed_clips(embedder, to_float(np.concatenate(waves)), store.clip.sample_rate_hz)
            task.advance(1, name)
    return embedded


def _files_by_class(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise UserError(f"no folder or store at '{folder}'; expected a folder per class, or a store made by foleyray corpus")
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            word = path.parent.name if path.parent != folder else path.stem.rpartition("_")[0] or path.stem
            files.setdefault(_class_name(word), []).append(path)
    if not files:
        raise UserError(f"no sound file below '{folder}'; expected {', '.join(sorted(ENDINGS))} in a folder per class")
    return files


def _class_name(word: str, known: ClassList = DCASE7) -> str:
    try:
        return known.names[known.index(word)]
    except UserError:
        return word
