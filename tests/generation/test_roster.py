"""Who answers: shares are kept, draws are stable, parameters are validated by name, type and bounds."""

import copy
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
import torch

from foleyray.clips import DCASE7, ClipSpec
from foleyray.config import UserError
from foleyray.ensemble import Ensemble, Member
from foleyray.generation import FieldError, Part, Request, Roster, consecutive
from foleyray.sampling import Choice, Float, Int, SamplingParams
from foleyray.system import System, SystemConfig, find


class Plain(SamplingParams):
    truncation: float = Float(0.1, 1.0, start=0.8, help="spread of z")


class Stepped(SamplingParams):
    truncation: float = Float(0.1, 2.0, start=1.0, help="spread of z")
    steps: int = Int(1, 50, start=20, help="denoising steps", batch_wide=True)
    solver: Literal["euler", "heun"] = Choice(start="heun", help="solver", batch_wide=True)


def _system(name: str, params: type[SamplingParams]) -> System:
    def no_sampler(*_: object) -> None:
        raise AssertionError("a roster makes no sound")

    return System(name, SystemConfig, params, lambda *_: (), no_sampler, ("net",))


@pytest.fixture
def roster() -> Roster:
    """DogBark has a `plain` member and two `stepped` ones with shares 0.5, 0.3 and 0.2."""
    name = find("contrastive_gan").name
    member = Member(system=name, checkpoints={"gan": "checkpoints/gan/0a/step-000000000"})
    roster = Roster(Ensemble(clip=ClipSpec(), class_list=DCASE7, classes=dict.fromkeys(DCASE7.names, (member,))))
    plain, stepped = _system("plain", Plain), _system("stepped", Stepped)
    shares = [m.model_copy(update={"share": share}) for m, share in zip([member] * 3, (0.5, 0.3, 0.2), strict=True)]
    roster.parts["DogBark"] = (
        Part(0, shares[0], plain, Plain()),
        Part(1, shares[1], stepped, Stepped()),
        Part(2, shares[2], stepped, Stepped(truncation=0.5, solver="euler")),
    )
    return roster


def test_members_answer_in_their_shares_and_each_seed_always_gets_the_same(roster: Roster) -> None:
    drawn = [roster.take(Request(0, seed)).part.number for seed in range(4000)]
    assert drawn == [roster.take(Request(0, seed)).part.number for seed in range(4000)]
    counts = Counter(drawn)
    for number, share in enumerate((0.5, 0.3, 0.2)):
        assert abs(counts[number] / 4000 - share) < 0.03


def test_a_parameter_only_some_members_know_moves_no_request_among_those(roster: Roster) -> None:
    for seed in range(300):
        free = roster.take(Request(0, seed)).part.number
        bound = roster.take(Request(0, seed, {"steps": 30})).part.number
        assert bound in (1, 2)
        assert free == 0 or bound == free


def test_a_recipe_asked_for_again_gives_the_same_recipe(roster: Roster) -> None:
    for seed in range(200):
        first = roster.take(Request(0, seed)).recipe
        assert roster.take(Request(0, seed, first.params)).recipe == first


def test_params_are_the_members_own_overridden_by_the_requests(roster: Roster) -> None:
    seed = next(seed for seed in range(100) if roster.take(Request(0, seed)).part.number == 2)
    assert roster.take(Request(0, seed, {"steps": 7})).recipe.params == {"truncation": 0.5, "steps": 7, "solver": "euler"}


@pytest.mark.parametrize(
    ("params", "field", "nearest", "allowed"),
    [
        ({"trunction": 0.5}, "params.trunction", "truncation", "truncation"),
        ({"truncation": 3.0}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": "0.5"}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": True}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": float("nan")}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": 10**400}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": [0.5]}, "params.truncation", None, "a number from 0.1 to 1"),
        ({"truncation": None}, "params.truncation", None, "a number from 0.1 to 1"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(
    roster: Roster, params: dict[str, float], field: str, nearest: str | None, allowed: str
) -> None:
    with pytest.raises(FieldError) as caught:
        roster.take(Request(0, 0, params))
    assert (caught.value.field, caught.value.nearest) == (field, nearest)
    assert allowed in str(caught.value)
    assert str(copy.copy(caught.value)) == str(caught.value)


def test_choices_and_whole_numbers_are_told_too(roster: Roster) -> None:
    stepped = roster.parts["DogBark"][1]
    with pytest.raises(FieldError, match=r"params.solver.*did you mean 'euler'.*euler, heun"):
        stepped.with_params({"solver": "Eulr"})
    with pytest.raises(FieldError, match=r"params.steps: 2.5 is of the wrong type; allowed: a whole number from 1 to 50"):
        stepped.with_params({"steps": 2.5})
    assert stepped.space()["steps"].start == 20


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_have_bounds(seed: int) -> None:
    with pytest.raises(FieldError, match="seed"):
        Request(0, seed)


def test_consecutive_counts_up_from_the_seed() -> None:
    assert [request.seed for request in consecutive(0, 5, 3)] == [5, 6, 7]
    with pytest.raises(FieldError, match="count"):
        consecutive(0, 5, 0)
    with pytest.raises(FieldError, match="seed"):
        consecutive(0, 2**63 - 1, 2)


def test_a_members_own_wrong_parameter_is_refused_when_the_ensemble_is_read() -> None:
    member = Member(system="contrastive_gan", checkpoints={"gan": "x"}, params={"no_such": 1})
    with pytest.raises(UserError, match=r"DogBark.*no_such"):
        Roster(Ensemble(clip=ClipSpec(), class_list=DCASE7, classes=dict.fromkeys(DCASE7.names, (member,))))


def test_the_roster_touches_no_global_random_numbers(roster: Roster, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    roster.take(Request(0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
