"""Learning-rate schedules against torch's own, and how a config names them."""

import pytest
import torch
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR

from foleyray.config import Config, UserError
from foleyray.modules.schedules import Constant, OneCycle, Schedule, Triangular
from foleyray.stage import Step


class Settings(Config):
    schedule: Schedule = Constant()


def _factors(schedule: Schedule, total: int) -> list[float]:
    return [schedule.factor(Step(index, total, torch.Generator())) for index in range(total)]


def _optimizer(rate: float) -> Optimizer:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate, momentum=0.9)


def _rates(scheduler: CyclicLR | OneCycleLR, total: int) -> list[float]:
    found = []
    for _ in range(total):
        found.append(float(scheduler.get_last_lr()[0]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_triangular_is_the_one_of_torch() -> None:
    theirs = CyclicLR(_optimizer(1e-5), 1e-5, 3e-4, step_size_up=7, mode="triangular2", cycle_momentum=False)
    ours = _factors(Triangular(half_period=7), 50)
    assert [3e-4 * factor for factor in ours] == pytest.approx(_rates(theirs, 50))
    assert ours[7] == pytest.approx(1) and ours[21] - ours[0] == pytest.approx((ours[7] - ours[0]) / 2)


@pytest.mark.parametrize("total", [100, 1000, 20_000])
def test_one_cycle_is_a_line_up_and_a_cosine_down(total: int) -> None:
    ours = _factors(OneCycle(), total)
    peak = total // 20
    for strategy, part in (("linear", slice(0, peak)), ("cos", slice(peak, total - 1))):
        theirs = OneCycleLR(_optimizer(1.0), 1.0, total, pct_start=0.05, anneal_strategy=strategy)
        assert ours[part] == pytest.approx(_rates(theirs, total - 1)[part], rel=1e-6)
    assert ours[0] == pytest.approx(1 / 25) and max(ours) == ours[peak - 1] == pytest.approx(1)
    assert ours[-1] == pytest.approx(1 / 25 / 1e4)


def test_one_cycle_of_few_steps() -> None:
    for total in (1, 2, 19, 20, 21):
        assert all(0 < factor <= 1 for factor in _factors(OneCycle(), total))


def test_only_one_cycle_follows_the_number_of_steps() -> None:
    for schedule in (Constant(), Triangular(half_period=7), OneCycle()):
        is_equal = _factors(schedule, 30) == _factors(schedule, 60)[:30]
        assert is_equal == (schedule.kind != "one_cycle")


def test_a_config_names_its_schedule() -> None:
    assert Settings.parse({}, "test").schedule == Constant()
    found = Settings.parse({"schedule": {"kind": "triangular", "half_period": 1152}}, "test").schedule
    assert found == Triangular(half_period=1152)
    with pytest.raises(UserError, match="'one_cycle'"):
        Settings.parse({"schedule": {"kind": "cosine"}}, "test")
