"""Two processes that train together, by torch.distributed alone: one mean gradient, the same weights everywhere."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from foleyray.stage import Training
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone, Group
from tests.train import toy


def _loop(workers, accumulate: int) -> Loop:
    config = toy.config()
    torch.manual_seed(0)
    stage = toy.Classifier(config)
    return Loop(stage, Training(steps=9, batch_size=8, accumulate=accumulate), stage.build({}), workers)


def _together(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    group = Group(torch.device("cpu"))
    loop = _loop(group, accumulate=1)
    for pair in zip(toy.batches(6, seed=0), toy.batches(6, seed=1), strict=True):
        loop.advance([pair[rank]])
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.full((2,), float(rank + 1))
    if rank:
        parameters[1].grad = torch.full((2,), 4.0)
    group.average_gradients(parameters)
    states = group.gather((loop.nets.state_dict(), [parameter.grad for parameter in parameters]))
    torch.save(states, f"{folder}/states-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_workers_are_one_of_twice_the_batch(tmp_path):
    mp.spawn(_together, (str(tmp_path),), nprocs=2)
    (ours, theirs), seen_by_the_other = (torch.load(tmp_path / f"states-{rank}.pt") for rank in range(2))
    torch.testing.assert_close(ours[0], theirs[0], atol=0, rtol=0)
    torch.testing.assert_close(ours[0], seen_by_the_other[0][0], atol=0, rtol=0)

    alone = _loop(Alone(torch.device("cpu")), accumulate=2)
    for pair in zip(toy.batches(6, seed=0), toy.batches(6, seed=1), strict=True):
        alone.advance(pair)
    torch.testing.assert_close(ours[0], dict(alone.nets.state_dict()), atol=1e-6, rtol=1e-5)

    for gradients in (ours[1], theirs[1]):
        assert gradients[0].tolist() == [1.5, 1.5]
        assert gradients[1].tolist() == [2.0, 2.0], "a worker without a gradient counts as zero"
        assert gradients[2] is None, "a parameter nobody used stays untouched"
