"""The rule of selection: which candidates are made, which is kept, when it ends."""

import math

import pytest
from pydantic import ValidationError

from foleyray.selection import CEILING, WORST, Bank, Pick, Picking, Selection, candidate_seed


def selection(**settings: object) -> Selection:
    return Selection.model_validate({"scorer": "checkpoints/clap/0a/step-000000001", **settings})


def banked(size: int = 10, threshold: float = 0.75, max_rounds: int = 9, **bank: object) -> Selection:
    vectors = {"vectors": "banks/motor.safetensors", "size": size, **bank}
    return selection(candidates=1, threshold=threshold, max_rounds=max_rounds, bank=vectors)


def heard(picking: Picking, *rounds: list[float]) -> Pick:
    for scores in rounds:
        picking.hear(scores)
    assert picking.pick
    return picking.pick


def test_the_likest_of_a_round_is_picked():
    picking = Picking(selection(candidates=3), 7)
    assert picking.pick is None and picking.wanted == range(3)
    assert heard(picking, [0.1, 0.4, 0.3]) == Pick(candidate=1, score=0.4, rounds=1, made=3, accepted=True)
    assert not picking.wanted


def test_below_the_threshold_another_round_is_made():
    picking = Picking(selection(candidates=2, threshold=0.5), 7)
    assert heard(picking, [0.1, 0.4]) == Pick(1, 0.4, 1, 2, False)
    assert picking.wanted == range(2, 4)
    assert heard(picking, [0.5, 0.2]) == Pick(2, 0.5, 2, 4, True)
    assert not picking.wanted


def test_at_the_cap_the_best_of_all_rounds_is_given():
    picking = Picking(selection(candidates=2, threshold=0.9, max_rounds=3), 7)
    assert heard(picking, [0.1, 0.2], [0.6, 0.3], [0.5, 0.4]) == Pick(2, 0.6, 3, 6, False)
    assert not picking.wanted
    with pytest.raises(AssertionError):
        picking.hear([0.95, 0.95])


def test_of_equals_the_first_is_kept():
    assert heard(Picking(selection(candidates=3), 0), [0.2, 0.2, 0.2]).candidate == 0
    assert heard(Picking(selection(candidates=1, threshold=0.5, max_rounds=2), 0), [0.2], [0.2]).candidate == 0


def test_what_is_too_like_its_target_is_refused():
    picking = Picking(selection(candidates=3, threshold=0.3), 7)
    assert heard(picking, [0.995, 0.4, CEILING + 1e-9]) == Pick(1, 0.4, 1, 3, True)
    assert heard(Picking(selection(candidates=1), 7), [CEILING]).accepted


def test_a_round_of_refused_ones_is_no_success_even_without_a_threshold():
    picking = Picking(selection(candidates=2, max_rounds=2), 7)
    assert heard(picking, [1.0, 0.999]) == Pick(0, WORST, 1, 2, False)
    assert picking.wanted == range(2, 4)
    assert heard(picking, [-0.8, 1.0]) == Pick(2, -0.8, 2, 4, True)


@pytest.mark.parametrize("nothing", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_counts_as_worst(nothing: float):
    assert heard(Picking(selection(candidates=2), 7), [nothing, -0.9]) == Pick(1, -0.9, 1, 2, True)
    assert heard(Picking(selection(candidates=2), 7), [nothing, -1.0]) == Pick(1, WORST, 1, 2, True)
    assert heard(Picking(selection(candidates=2, max_rounds=1), 7), [nothing] * 2) == Pick(0, WORST, 1, 2, False)


def test_a_rounding_below_the_worst_is_the_worst():
    assert heard(Picking(selection(candidates=1), 7), [-1.0000001]) == Pick(0, WORST, 1, 1, True)


def test_a_bank_is_walked_from_a_place_of_the_requests_own():
    def walk(seed: int) -> list[int]:
        picking, targets = Picking(banked(threshold=0.9), seed), []
        while picking.wanted:
            targets.append(picking.target)
            picking.hear([0.0])
        return targets

    assert walk(3) == [(walk(3)[0] + step) % 10 for step in range(9)]
    assert walk(3) == walk(3)
    assert {walk(seed)[0] for seed in range(100)} == set(range(10))


def test_a_bank_in_random_order_is_drawn_anew_each_round():
    def drawn(seed: int) -> list[int]:
        picking, targets = Picking(banked(threshold=0.9, max_rounds=64, order="random"), seed), []
        while picking.wanted:
            targets.append(picking.target)
            picking.hear([0.0])
        return targets

    assert drawn(3) == drawn(3) != drawn(4)
    assert set(drawn(3)) == set(range(10))
    assert len({(after - before) % 10 for before, after in zip(drawn(3), drawn(3)[1:], strict=False)}) > 1


def test_the_threshold_of_a_bank_falls_after_every_three_rounds_in_vain():
    picking, thresholds = Picking(banked(), 3), []
    while picking.wanted:
        thresholds.append(picking.threshold)
        picking.hear([0.0])
    assert thresholds == pytest.approx([0.75] * 3 + [0.70] * 3 + [0.65] * 3)
    late = Picking(banked(), 3)
    assert heard(late, [0.72], [0.74], [0.70], [0.71]) == Pick(3, 0.71, 4, 4, True)
    own = Picking(banked(relax=0.2, relax_after=1), 3)
    assert heard(own, [0.6], [0.6]).accepted


def test_the_threshold_of_a_text_stays():
    picking = Picking(selection(candidates=1, threshold=0.3, max_rounds=9), 3)
    for _ in range(9):
        assert (picking.threshold, picking.target) == (0.3, 0)
        picking.hear([0.29])


def test_the_first_candidate_is_the_request_itself_and_all_seeds_differ():
    assert [candidate_seed(seed, 0) for seed in (0, 7, 2**63 - 1)] == [0, 7, 2**63 - 1]
    seeds = [candidate_seed(seed, candidate) for seed in range(50) for candidate in range(64)]
    assert len(set(seeds)) == len(seeds) and all(0 <= seed < 2**63 for seed in seeds)
    assert candidate_seed(7, 3) == candidate_seed(7, 3)
    assert max(seeds) > 2**62  # all bits are used


@pytest.mark.parametrize(
    "settings",
    [
        {"threshold": 0.995},
        {"threshold": -1.1},
        {"candidates": 0},
        {"max_rounds": 65},
        {"scorer": "../clap"},
        {"scorer": "/clap"},
        {"bank": {"vectors": "a/../../b", "size": 3}},
        {"bank": {"vectors": "b", "size": 0}},
        {"bank": {"vectors": "b", "size": 3, "order": "shuffled"}},
    ],
)
def test_settings_that_could_not_work_are_refused(settings: dict[str, object]):
    with pytest.raises(ValidationError):
        selection(**settings)
    assert Bank(vectors="b", size=3).order == "walk"
