"""The roster: which member answers a request, with which sampling parameters. Holds no weights and makes no sound."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from foleyray.config import closest
from foleyray.ensemble import Ensemble, Member
from foleyray.generation.request import FieldError, Params, Recipe, Request, fault
from foleyray.sampling import Bounds, SamplingParams
from foleyray.selection import WORST, Selection
from foleyray.system import System, find


@dataclass(frozen=True)
class Part:
    """A member made ready: its system, and its own sampling parameters, validated."""

    number: int
    member: Member
    system: System
    params: SamplingParams

    @property
    def combination(self) -> tuple[str, ...]:
        """What tells one sampler from another: the system and the checkpoints."""
        return (self.system.name, *(f"{stage}={path}" for stage, path in sorted(self.member.checkpoints.items())))

    def space(self) -> dict[str, Bounds]:
        """The bounds of the parameters, which start here at the member's own values."""
        own = self.params.model_dump()
        return {name: bounds.model_copy(update={"start": own[name]}) for name, bounds in self.system.params.space().items()}

    def with_params(self, overrides: Params) -> SamplingParams:
        """The member's parameters with the request's on top; raises FieldError naming the first that does not fit."""
        space = self.system.params.space()
        for name in overrides:
            if name not in space:
                message = f"unknown sampling parameter of {self.system.name}"
                raise FieldError(f"params.{name[:64]}", message, tuple(space), closest(name[:64], space))
        try:
            return self.system.params.model_validate({**self.params.model_dump(), **overrides}, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else ""
            if name not in space:
                raise FieldError("params", first["msg"], "values that go together") from None
            near = closest(str(first["input"])[:64], space[name].options)
            raise FieldError(f"params.{name}", fault(first["type"], first["input"]), limits(space[name]), near) from None


def limits(bounds: Bounds) -> tuple[str, ...] | str:
    """The allowed values of a sampling parameter, in words for a range and by name for a choice."""
    if bounds.kind == "choice":
        return bounds.options
    return f"a {'whole ' if bounds.kind == 'int' else ''}number from {bounds.low:g} to {bounds.high:g}"


@dataclass(frozen=True)
class Take:
    """A request decided: the part that answers it, the parameters in full, and the recipe.

    `label` is the class whose member answers, also where the request names none.
    """

    part: Part
    label: int
    params: SamplingParams
    recipe: Recipe


class Roster:
    """Who answers a request. Holds no weights, so a server's front door can decide before any sampler is asked."""

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble, self.id = ensemble, ensemble.id
        self.parts = {name: _parts(name, ensemble.classes[name]) for name in ensemble.class_list.names}

    @property
    def systems(self) -> tuple[str, ...]:
        return tuple(sorted({part.system.name for parts in self.parts.values() for part in parts}))

    @property
    def prompted(self) -> tuple[str, ...]:
        """Classes with a member that takes prompts."""
        return tuple(name for name, parts in self.parts.items() if any(part.member.takes_prompts for part in parts))

    def take(self, request: Request) -> Take:
        """Draws the member by the request's seed among those that fit the request; FieldError where none does.

        A member fits that knows the request's parameters and, where there is a prompt, takes prompts. Weighted rendezvous
        hashing: each member bids log(u) / share with u hashed from class, member and seed, and the highest wins. So shares
        are kept, the draw has nothing to do with the sound's own random numbers, and leaving members out (because the
        request sets a parameter they lack) moves no other request to another member.
        """
        fitting: list[tuple[int, Part, SamplingParams]] = []
        refusals: list[FieldError] = []
        for label, part in self._asked(request):
            try:
                fitting.append((label, part, part.with_params(request.params)))
            except FieldError as refusal:
                refusals.append(refusal)
        if not fitting:
            raise refusals[0] if refusals else self._no_prompts(request)
        names = self.ensemble.class_list.names
        label, part, params = max(fitting, key=lambda fit: _bid(names[fit[0]], fit[1], request.seed))
        return self._decided(request, label, part, params)

    def owns(self) -> list[Take]:
        """A take of every member of every class, with the member's own parameters."""
        parts = [(label, part) for label, parts in enumerate(self.parts.values()) for part in parts]
        return [self._decided(Request(label, 0), label, part, part.params) for label, part in parts]

    def _decided(self, request: Request, label: int, part: Part, params: SamplingParams) -> Take:
        recipe = Recipe(
            class_name=None if request.label is None else self.ensemble.class_list.names[label],
            prompt=request.prompt,
            seed=request.seed,
            system=part.system.name,
            checkpoints=part.member.checkpoints,
            params=params.model_dump(),
            selection=_selection(part.member, request.prompt),
            ensemble=self.id,
            clip=self.ensemble.clip,
        )
        return Take(part, label, params, recipe)

    def _asked(self, request: Request) -> Iterator[tuple[int, Part]]:
        for label, parts in enumerate(self.parts.values()):
            if request.label in (label, None):
                yield from ((label, part) for part in parts if request.prompt is None or part.member.takes_prompts)

    def _no_prompts(self, request: Request) -> FieldError:
        whose = (
            "class of this ensemble" if request.label is None else "member of " + self.ensemble.class_list.names[request.label]
        )
        prompted = self.prompted
        allowed = f"a prompt with one of the classes {', '.join(prompted)}, or with none" if prompted else "no prompt, a class"
        return FieldError("prompt", f"no {whose} takes prompts", allowed)


def _selection(member: Member, prompt: str | None) -> Selection | None:
    """Of a sound. Likeness to a prompt has another scale than that to a bank, so of such a selection the best alone is left."""
    if prompt is None or member.selection is None or member.selection.bank is None:
        return member.selection
    return member.selection.model_copy(update={"bank": None, "threshold": WORST})


def _parts(name: str, members: Sequence[Member]) -> tuple[Part, ...]:
    systems = [find(member.system) for member in members]
    return tuple(
        Part(number, member, system, system.params.parse(member.params, f"ensemble, params of {name}'s member {number + 1}"))
        for number, (member, system) in enumerate(zip(members, systems, strict=True))
    )


def _bid(class_name: str, part: Part, seed: int) -> float:
    digest = hashlib.sha256(f"{class_name}/{part.number}/{seed}".encode()).digest()
    return math.log((int.from_bytes(digest[:8], "big") + 0.5) / 2**64) / part.member.share
