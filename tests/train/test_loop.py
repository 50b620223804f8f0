"""One step: who learns in which turn, accumulated batches, averaged weights, clipping, precision."""

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from foleyray.stage import Training
from foleyray.train.ema import Average
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone
from tests.train import toy
from tests.train.toy import batches

ALONE = Alone(torch.device("cpu"))


def loop(stage_class=toy.Classifier, training: Mapping | None = None, **own) -> Loop:
    settings = Training(**({"steps": 20, "batch_size": 8} | dict(training or {})))
    config = toy.config(**own)
    torch.manual_seed(0)
    needed = {"classifier": toy.Classifier(config).build({}).requires_grad_(False)}
    stage = stage_class(config)
    return Loop(stage, settings, stage.build(needed), ALONE)


def weights(ours: Loop) -> dict[str, torch.Tensor]:
    return copy.deepcopy(ours.nets.state_dict())


def test_a_plain_stage_learns():
    ours = loop(training={"steps": 60})
    losses = [float(ours.advance([batch])["fit"]["loss"]) for batch in batches(60)]
    assert losses[-1] < 0.7 * losses[0]
    assert ours.step == 60


def test_each_turn_changes_only_its_nets(monkeypatch):
    ours = loop(toy.Players)
    taken, take = [], ours._take

    def watched(turn, *rest):
        before = weights(ours)
        losses = take(turn, *rest)
        changed = {key.split(".")[0] for key, value in ours.nets.state_dict().items() if not torch.equal(value, before[key])}
        taken.append((turn, changed))
        return losses

    monkeypatch.setattr(ours, "_take", watched)
    ours.advance(batches(1))
    critic, generator = ("critic", {"critic"}), ("generator", {"generator", "table"})
    assert taken == [critic, critic, generator]


def test_frozen_nets_hear_gradients_but_get_none():
    ours = loop(toy.Players)
    judge = [parameter.clone() for parameter in ours.nets["judge"].parameters()]
    ours.advance(batches(1))
    assert not ours.nets["judge"].training
    assert ours.nets["critic"].training
    assert all(parameter.grad is None for parameter in ours.nets["judge"].parameters())
    assert all(torch.equal(a, b) for a, b in zip(judge, ours.nets["judge"].parameters(), strict=True))


def test_accumulated_batches_equal_a_large_one():
    small, large = loop(training={"accumulate": 4}), loop()
    for group in [batches(4, seed=seed) for seed in range(5)]:
        ours = small.advance(group)
        theirs = large.advance([{key: torch.cat([batch[key] for batch in group]) for key in group[0]}])
        torch.testing.assert_close(ours["fit"]["loss"], theirs["fit"]["loss"], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(weights(small), weights(large), atol=1e-6, rtol=1e-5)


def test_gradients_are_clipped_by_net():
    ours = loop(toy.Players, {"clip_gradient": 1e-3}, scale=100.0)
    losses = ours.advance(batches(1))
    for turn, owned in ours.stage.turns.items():
        for name in owned:
            assert losses[turn][f"{name}_norm"] > 1e-3
            norms = [parameter.grad.norm() for parameter in ours.nets[name].parameters() if parameter.grad is not None]
            assert torch.stack(norms).norm() <= 1e-3 * 1.0001


def test_the_learning_rate_follows_the_stage():
    ours = loop(training={"steps": 4}, cosine=True)
    rates = []
    for batch in batches(4):
        ours.advance([batch])
        rates.append(ours.optimizers["fit"].param_groups[0]["lr"])
    assert rates == pytest.approx([0.01, 0.0075, 0.005, 0.0025])


def test_bf16_on_a_cpu_keeps_float32_weights():
    exact, rounded = loop(), loop(training={"precision": "bf16"})
    a, b = (float(ours.advance(batches(1))["fit"]["loss"]) for ours in (exact, rounded))
    assert a != b
    assert a == pytest.approx(b, rel=0.05)
    assert {value.dtype for value in rounded.nets.state_dict().values()} == {torch.float32}


def test_average_follows_then_ramps_then_decays():
    net = nn.ModuleDict({"net": nn.Linear(1, 1, bias=False), "norm": nn.BatchNorm1d(1)})
    average = Average(net, ["net", "norm"], decay=0.5, begin=2)
    expected, seen = None, []
    for step in range(1, 9):
        with torch.no_grad():
            net["net"].weight.fill_(step)
            net["norm"].running_mean.fill_(step)
        average.update(step)
        since = step - 2
        decay = min(0.5, (1 + since) / (10 + since)) if since > 0 else 0.0
        expected = step if expected is None else decay * expected + (1 - decay) * step
        seen.append(float(average.values["net.weight"]))
        assert seen[-1] == pytest.approx(expected)
    assert seen[:2] == [1, 2]
    assert average.weights()["norm.running_mean"].item() == 8
    with average.applied() as nets:
        assert nets["net"].weight.item() == pytest.approx(expected)
        assert nets["norm"].running_mean.item() == 8
    assert net["net"].weight.item() == 8


def test_the_average_of_constant_weights_is_those_weights():
    net = nn.ModuleDict({"net": nn.Linear(3, 2)})
    average = Average(net, ["net"], decay=0.999, begin=0)
    for step in range(1, 50):
        average.update(step)
    torch.testing.assert_close(average.weights(), dict(net.state_dict()))


def test_validation_uses_the_average_and_disturbs_nothing():
    ours, theirs = loop(toy.Players, {"average": 0.9}), loop(toy.Players, {"average": 0.9})
    with ours.own_randomness():
        for batch in batches(3):
            ours.advance([batch])
            before = weights(ours)
            first, again = ours.validate(batches(2, seed=7)), ours.validate(batches(2, seed=7))
            assert first == again
            torch.testing.assert_close(weights(ours), before, atol=0, rtol=0)
    with theirs.own_randomness():
        for batch in batches(3):
            theirs.advance([batch])
    torch.testing.assert_close(weights(ours), weights(theirs), atol=0, rtol=0)
    assert ours.nets["generator"].training
