"""`listen.html`: one self-contained page on which sounds are rated blind, and beside it the key that it must not hold."""

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from foleyray import __version__
from foleyray.clips import ClipSpec
from foleyray.config import Config, UserError, fingerprint
from foleyray.files import write_whole
from foleyray.listening.blind import DrawnSet, draw
from foleyray.listening.evalset import find_systems, num_clips
from foleyray.listening.key import BlindSet, Key, key_file, save_key
from foleyray.listening.sounds import Sound, facts_of, made_alike, remarks
from foleyray.progress import Progress

SCRIPTS = ("ratings.js", "player.js", "page.js")
LARGE_MEGABYTES = 150
"""Above this a phone may not open the page."""


class Written(Config):
    """A page and its key, and what somebody who sends them out wants to know."""

    page: Path
    key: Path
    id: str
    systems: tuple[str, ...]
    classes: tuple[str, ...]
    num_clips: int
    num_scores: int
    seconds: float
    """Of sound, heard once."""
    megabytes: float
    warnings: tuple[str, ...]


def write(evalset: Path, out: Path, *, seed: int, clips_per_set: int | None, progress: Progress) -> Written:
    """Writes the page at `out` and its key beside it (`listen.key.json`): the same evalset and seed give the same page.

    Every set (a class by a system) brings `clips_per_set` drawn clips, or all it has. Raises UserError where the evalset
    does not hold (see `find_systems`), a file is no sound, or the key of another page would be lost.
    """
    if out.suffix != ".html":
        raise UserError(f"a rating page ends in .html, found '{out}'")
    systems = find_systems(evalset)
    sets = draw(systems, num_clips(systems, clips_per_set), seed)
    paths = {clip: file for drawn in sets.values() for clip, file in drawn.clips.items()}
    facts = [facts_of(file) for file in paths.values()]
    clip = ClipSpec.parse({"sample_rate_hz": max(fact.rate_hz for fact in facts)}, str(evalset))
    sounds = _sounds(paths, clip, progress)
    megabytes = sum(len(sound.flac) for sound in sounds.values()) / 1e6
    warnings = remarks(facts, sum(sound.is_cut for sound in sounds.values()), clip.sample_rate_hz)
    if megabytes > LARGE_MEGABYTES:
        warnings.append(f"the page has {megabytes:.0f} MB, too much for many a phone; --clips-per-set makes it smaller")
    key = _key(sets, sounds, seed, warnings)
    out.parent.mkdir(parents=True, exist_ok=True)
    save_key(key_file(out), key)
    write_whole(out, _render(key.page, sets, sounds))
    return Written(
        page=out,
        key=key_file(out),
        id=key.page,
        systems=tuple(systems),
        classes=tuple(next(iter(systems.values()))),
        num_clips=len(paths),
        num_scores=key.num_scores,
        seconds=sum(fact.seconds for fact in facts),
        megabytes=megabytes,
        warnings=key.warnings,
    )


def _sounds(paths: dict[str, Path], clip: ClipSpec, progress: Progress) -> dict[str, Sound]:
    sounds = {}
    with progress.begin("listen", len(paths), "clips") as task:
        for name, file in paths.items():
            sounds[name] = made_alike(file, clip)
            task.advance(1)
    return sounds


def _key(sets: dict[str, DrawnSet], sounds: dict[str, Sound], seed: int, warnings: list[str]) -> Key:
    """The page's id is made of what listeners see and hear, and of nothing else."""
    heard = [[drawn.class_name, [sounds[clip].flac for clip in drawn.clips]] for drawn in sets.values()]
    blind = {
        name: BlindSet(
            system=drawn.system,
            class_name=drawn.class_name,
            clips={clip: f"{drawn.system}/{drawn.class_name}/{file.name}" for clip, file in drawn.clips.items()},
        )
        for name, drawn in sets.items()
    }
    return Key(page=fingerprint(heard), sets=blind, seed=seed, warnings=tuple(warnings))


def _render(page: str, sets: dict[str, DrawnSet], sounds: dict[str, Sound]) -> str:
    room = files("foleyray.listening")
    style = room.joinpath("page.css").read_text(encoding="utf-8")
    script = "\n".join(room.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = (
        f"default-src 'none'; img-src data:; media-src blob:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    sheet = {
        "page": page,
        "sets": [{"id": name, "category": drawn.category, "clips": list(drawn.clips)} for name, drawn in sets.items()],
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(room.joinpath("page.html").read_text(encoding="utf-8"))
    return template.render(
        sheet=sheet,
        sounds={name: sound.flac for name, sound in sounds.items()},
        num_categories=len({drawn.class_name for drawn in sets.values()}),
        style=Markup(style),
        script=Markup(script),
        policy=Markup(policy),
        version=__version__,
    )


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
