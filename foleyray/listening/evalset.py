"""The sounds to be judged: a folder of systems, each a folder per class; or one such system alone."""

from collections.abc import Mapping
from pathlib import Path

from foleyray.config import UserError

ENDINGS = {".wav", ".flac"}
FEWEST_CLIPS = 2
"""Of a set; diversity cannot be told from one clip."""

Systems = Mapping[str, Mapping[str, tuple[Path, ...]]]
"""System -> class -> its sound files; systems, classes and files in order of their names."""


def find_systems(evalset: Path) -> Systems:
    """`<evalset>/<system>/<Class>/*.wav` (or .flac); where the sounds lie one folder higher, the evalset is one system.

    Raises UserError where there is nothing to hear, where systems differ in their classes, or where a set is too small.
    """
    if not evalset.is_dir():
        raise UserError(f"no folder at '{evalset}'; expected one folder per system, and in each one folder per class")
    folders = _folders(evalset)
    shallow, deep = ([folder for folder in folders if _holds(folder, pattern)] for pattern in ("*", "*/*"))
    if shallow and deep:
        raise UserError(
            f"{evalset} mixes depths: sounds lie in '{shallow[0].name}' and, a folder deeper, in '{deep[0].name}'; "
            "expected either <system>/<Class>/*.wav or <Class>/*.wav throughout"
        )
    systems = {folder.name: _classes(folder) for folder in ([evalset.resolve()] if shallow else folders)}
    if not systems:
        raise UserError(f"{evalset} holds no folders; expected one folder per system, and in each one folder per class")
    _check_alike(systems)
    return systems


def num_clips(systems: Systems, wanted: int | None) -> dict[str, int]:
    """Class -> clips of each of its sets: `wanted`, or all that there are.

    Raises UserError where a set is smaller than that, or where systems differ: a set's size would tell them apart.
    """
    if wanted is not None and wanted < FEWEST_CLIPS:
        raise UserError(f"--clips-per-set is {wanted}; diversity is heard from {FEWEST_CLIPS} clips or more")
    counts = {}
    for name in next(iter(systems.values())):
        sizes = {system: len(classes[name]) for system, classes in systems.items()}
        least, most = min(sizes, key=lambda system: sizes[system]), max(sizes, key=lambda system: sizes[system])
        if wanted is not None and sizes[least] < wanted:
            raise UserError(f"'{least}' has {sizes[least]} clips of {name}, --clips-per-set asks for {wanted}; ask for fewer")
        if wanted is None and sizes[least] != sizes[most]:
            raise UserError(
                f"'{least}' has {sizes[least]} clips of {name} and '{most}' {sizes[most]}, which would tell them apart; "
                f"give --clips-per-set {sizes[least]} to draw as many of each"
            )
        counts[name] = wanted or sizes[least]
    return counts


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _sounds(folder: Path, pattern: str = "*") -> list[Path]:
    found = folder.glob(pattern)
    return sorted(path for path in found if path.suffix.lower() in ENDINGS and not path.name.startswith("."))


def _holds(folder: Path, pattern: str) -> bool:
    return bool(_sounds(folder, pattern))


def _classes(system: Path) -> dict[str, tuple[Path, ...]]:
    classes = {folder.name: tuple(_sounds(folder)) for folder in _folders(system)}
    if not classes:
        raise UserError(f"system '{system.name}' holds no folder; expected a folder per class with .wav or .flac files in it")
    for name, files in classes.items():
        if len(files) < FEWEST_CLIPS:
            found = f"{len(files)} .wav or .flac file{'' if len(files) == 1 else 's'}"
            raise UserError(
                f"system '{system.name}' has {found} in '{name}'; expected {FEWEST_CLIPS} or more, add clips or "
                "remove the folder"
            )
    return classes


def _check_alike(systems: Systems) -> None:
    known = {name for classes in systems.values() for name in classes}
    lacking = {system: sorted(known - set(classes)) for system, classes in systems.items() if known - set(classes)}
    if lacking:
        which = "; ".join(f"'{system}' lacks {', '.join(names)}" for system, names in lacking.items())
        raise UserError(f"systems have to hold the same classes, but {which}: add them, or remove them from the others")
