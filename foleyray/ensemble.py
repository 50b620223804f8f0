"""The ensemble: the one file that crosses from searching to serving, and the folder it makes whole.

An ensemble lies in a folder of its own, `ensemble.yaml` beside `checkpoints/`; every checkpoint it names is a path
below that folder, so the folder can be copied to a server as it is.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import yaml
from pydantic import Field, model_validator

from foleyray.clips import ClassList, ClipSpec
from foleyray.config import Config, RelativePath, UserError, fingerprint, read_yaml
from foleyray.files import write_whole
from foleyray.selection import Selection


def overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two intervals have a point in common."""
    return one[0] <= other[1] and other[0] <= one[1]


class Second(Config):
    """A distance of another family, and of another embedder unless the search listens with this one: so a number that was
    bought by collapsing is seen."""

    metric: str = "kad"
    embedder: str
    recipe: str
    value: float
    interval: tuple[float, float]


class Rival(Config):
    """Another trial of the same search, of the same system or another one, measured on the same terms as the winner."""

    system: str
    checkpoints: dict[str, str]
    params: dict[str, float | int | str]
    selection: Selection | None = None
    """Its scorer is named by id."""
    search_value: float
    value: float
    interval: tuple[float, float]
    diversity_ratio: float | None = None
    second: Second | None = None


Protocol = Literal["clean_selection", "paper_selection"]


class Evidence(Config):
    """What was measured when a member, or the mixture of a class, was promoted, on seeds that the search never saw."""

    protocol: Protocol = "clean_selection"
    """paper_selection: the search chose by the clips that this was measured on, as papers do; clean: by others."""
    metric: str
    embedder: str
    recipe: str
    value: float
    interval: tuple[float, float]
    reference: str
    num_clips: int
    num_reference_clips: int
    seed: int
    search_value: float
    diversity_ratio: float | None
    second: Second | None = None
    acceptance_rate: float | None = None
    """Share of the sounds whose likeness reached the threshold; None where they were not selected."""
    made_per_sound: float | None = None
    """Candidates made for each sound given; None where they were not selected."""
    corpus: str
    rivals: tuple[Rival, ...] = ()
    """The next best in the search first, whichever it is; the best trial of every other system is among them, and the same
    trial without selection where the sounds are selected."""
    commit: str
    date: str

    @property
    def runner_up(self) -> Rival | None:
        """The next best trial of the search, whichever system it is of."""
        return next(iter(self.rivals), None)

    @property
    def is_tie(self) -> bool:
        """Whether the intervals of winner and runner-up overlap: either may be the better one."""
        return self.runner_up is not None and overlap(self.interval, self.runner_up.interval)

    @property
    def label(self) -> str:
        """What has to stand beside its numbers; empty where nothing has to."""
        return PAPER_LABEL if self.protocol == "paper_selection" else ""


PAPER_LABEL = "paper_selection: chosen on the evaluation clips"


class Standing(NamedTuple):
    """What a system's best trial measured, beside the trial that the search chose."""

    mark: Literal["chosen", "tie", "nearer", "farther"]
    """A tie where the intervals overlap."""
    value: float
    interval: tuple[float, float]


class Member(Config):
    """One way of making a class: a system, its checkpoints by stage, the sampling parameters, and why."""

    system: str
    checkpoints: dict[str, RelativePath]
    params: dict[str, float | int | str] = {}
    selection: Selection | None = None
    takes_prompts: bool = Field(False, description="whether it also makes what a request says in words")
    share: float = Field(1.0, gt=0, le=1)
    evidence: Evidence | None = None

    @property
    def standings(self) -> dict[str, Standing]:
        """System -> how its best trial measured, this member's own first; empty where there is no evidence."""
        return _standings(self.system, self.evidence)

    @property
    def way_of_choosing(self) -> str:
        """How its sounds are chosen and what that costs, in words; empty where they are given as they are made."""
        chosen, proof = self.selection, self.evidence
        if chosen is None:
            return ""
        target = f"{chosen.bank.size} training clips" if chosen.bank else "the text"
        text = (
            f"nearest to {target}, best of {chosen.candidates} until {chosen.threshold:.3g}, at most {chosen.max_rounds} rounds"
        )
        if proof is None or proof.acceptance_rate is None:
            return text
        return f"{text}: {proof.acceptance_rate:.0%} accepted, {proof.made_per_sound:.1f} made for each"


MIXTURE = "mixture"


def _standings(chosen: str, proof: Evidence | None) -> dict[str, Standing]:
    if proof is None:
        return {}
    found = {chosen: Standing("chosen", proof.value, proof.interval)}
    for rival in proof.rivals:
        found.setdefault(rival.system, Standing(_mark(proof, rival), rival.value, rival.interval))
    return found


def _mark(chosen: Evidence, rival: Rival) -> Literal["tie", "nearer", "farther"]:
    if overlap(chosen.interval, rival.interval):
        return "tie"
    return "nearer" if rival.value < chosen.value else "farther"


class Ensemble(Config):
    """Class name -> members; shares of a class sum to 1 and every class has a member."""

    version: Literal[1] = 1
    clip: ClipSpec
    class_list: ClassList
    classes: dict[str, tuple[Member, ...]]
    mixtures: dict[str, Evidence] = {}
    """Class -> what its members measured together, of classes with several of them."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if set(self.classes) != set(self.class_list.names):
            raise ValueError(f"classes must be exactly {list(self.class_list.names)}, found {sorted(self.classes)}")
        for name, members in self.classes.items():
            total = sum(member.share for member in members)
            if abs(total - 1) > 1e-6:
                raise ValueError(f"shares of {name} sum to {total:g}, not 1")
        if alone := [name for name in self.mixtures if len(self.classes.get(name, ())) < 2]:
            raise ValueError(f"mixtures of {alone}, which have no two members")
        return self

    @property
    def id(self) -> str:
        return fingerprint(self)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that make a class or were measured beside one that does, by name."""
        makers = {member.system for members in self.classes.values() for member in members}
        return tuple(sorted(makers.union(*map(self.standings, self.classes)) - {MIXTURE}))

    def proof(self, name: str) -> Evidence | None:
        """What the class as a whole measured, whoever makes it."""
        return self.mixtures.get(name) or self.classes[name][0].evidence

    def standings(self, name: str) -> dict[str, Standing]:
        """System -> how its best trial of a class measured; what makes the class comes first, under MIXTURE where it is one."""
        return _standings(MIXTURE, self.mixtures[name]) if name in self.mixtures else self.classes[name][0].standings

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads `ensemble.yaml` (or the folder that holds it); raises UserError where it is missing or wrong."""
        file = ensemble_file(path)
        if not file.is_file():
            raise UserError(f"no ensemble at '{path}': expected a file such as runs/demo/ensemble.yaml")
        return cls.parse(read_yaml(file), str(file))

    def save(self, folder: Path) -> Path:
        """Writes `ensemble.yaml` into `folder`, whole or not at all."""
        file = folder / "ensemble.yaml"
        write_whole(file, yaml.safe_dump(_plain(self), sort_keys=False, allow_unicode=True))
        return file


def ensemble_file(path: Path | str) -> Path:
    """The yaml file of an ensemble given as file or folder."""
    return Path(path) / "ensemble.yaml" if Path(path).is_dir() else Path(path)


def _plain(ensemble: Ensemble) -> dict[str, Any]:
    return ensemble.model_dump(mode="json", exclude_none=True)
