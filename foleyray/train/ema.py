"""Averaged weights: an exponential moving average of the parameters of some nets, kept beside the ones being trained."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """average <- d * average + (1 - d) * parameter after every step, with d = min(decay, (1 + n) / (10 + n)).

    n counts the steps since `begin`; until then the average follows the parameters. The ramp lets a short run forget its
    random beginning and changes nothing once n is a few times 10 / (1 - decay). Buffers are not averaged: they are taken
    from the nets as they stand.
    """

    def __init__(self, nets: nn.ModuleDict, names: Sequence[str], decay: float, begin: int) -> None:
        self.nets, self.decay, self.begin = nets, decay, begin
        self.live = {
            f"{name}.{key}": parameter.data
            for name in names
            for key, parameter in nets[name].named_parameters(remove_duplicate=False)
        }
        self.values = {key: parameter.clone() for key, parameter in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes the parameters in as they are after `step` steps."""
        if not self.values:
            return
        since = step - self.begin
        decay = min(self.decay, (1 + since) / (10 + since)) if since > 0 else 0.0
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update(list(self.values.values()), list(self.live.values()), None)

    def weights(self) -> dict[str, Tensor]:
        """The state of all nets, `net.param` -> tensor, with the averages in their places."""
        return {**self.nets.state_dict(), **self.values}

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Takes the averages out of such a state."""
        for key, value in self.values.items():
            value.copy_(weights[key])

    @contextmanager
    def applied(self) -> Iterator[nn.ModuleDict]:
        """The nets with the averages in them, for the length of a block."""
        trained = {key: parameter.clone() for key, parameter in self.live.items()}
        self._put(self.values)
        try:
            yield self.nets
        finally:
            self._put(trained)

    def _put(self, values: Mapping[str, Tensor]) -> None:
        for key, parameter in self.live.items():
            parameter.copy_(values[key])
