"""The diffusion itself: noise for training, guidance, and the way back from noise to a latent by diffusers' solvers.

Shapes: latents (B, C, T, F), conditions (B, D). A clip's random numbers come from its own generator, on the CPU.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.systems.ldm.config import Solver

TIMES = 1000
SCHEDULE = {"num_train_timesteps": TIMES, "beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}
CHECKED_TIMES = 4
"""At how many times each clip is denoised in a validation."""
Predict = Callable[[Tensor, int], Tensor]
"""Latents and a time -> the noise in them."""


def scheduler(solver: Solver) -> Any:
    """A scheduler of diffusers. DPM-Solver++ of second order remembers its last step, so each run needs one of its own."""
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler  # takes seconds, which a config need not wait for

    kinds: dict[Solver, Any] = {"ddim": DDIMScheduler, "dpm": DPMSolverMultistepScheduler}
    published = {"clip_sample": False, "steps_offset": 1} if solver == "ddim" else {}
    return kinds[solver](**SCHEDULE, **published)


class Noising:
    """The way forward: what a denoiser is trained and validated on (Ho et al., 2020, equation 14)."""

    @cached_property
    def schedule(self) -> Any:
        return scheduler("ddim")

    def training_error(self, denoiser: nn.Module, latents: Tensor, condition: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of the noise, at a time drawn for each clip."""
        time = torch.randint(TIMES, (len(latents),), generator=generator, device=latents.device)
        return self._error(denoiser, latents, condition, time, generator)

    def checked_error(self, denoiser: nn.Module, latents: Tensor, condition: Tensor, generator: torch.Generator) -> Tensor:
        """The same at times spread evenly over the schedule, so that few clips say more."""
        count, errors = len(latents), []
        for turn in range(CHECKED_TIMES):
            place = torch.arange(count, device=latents.device) * CHECKED_TIMES + turn
            within = torch.rand(count, generator=generator, device=latents.device)
            time = ((place + within) * (TIMES / (count * CHECKED_TIMES))).long().clamp(max=TIMES - 1)
            errors.append(self._error(denoiser, latents, condition, time, generator))
        return torch.stack(errors).mean()

    def _error(
        self, denoiser: nn.Module, latents: Tensor, condition: Tensor, time: Tensor, generator: torch.Generator
    ) -> Tensor:
        noise = torch.randn(latents.shape, generator=generator, device=latents.device)
        found = denoiser(self.schedule.add_noise(latents, noise, time), time, condition)
        return F.mse_loss(found, noise)


def guided(denoiser: nn.Module, condition: Tensor, unconditional: Tensor, guidance: Tensor) -> Predict:
    """Classifier-free guidance u + w (c - u), w = guidance (B,), by Ho and Salimans (2022); one pass where it is 1 for all."""
    count, is_guided = len(condition), bool((guidance != 1).any())
    both = torch.cat([unconditional.expand_as(condition), condition]) if is_guided else condition
    weight = guidance[:, None, None, None]

    def predict(latents: Tensor, time: int) -> Tensor:
        twice = torch.cat([latents, latents]) if is_guided else latents
        noise: Tensor = denoiser(twice, torch.full((len(twice),), time, device=latents.device), both)
        return torch.lerp(noise[:count], noise[count:], weight) if is_guided else noise

    return predict


def denoised(
    predict: Predict, latents: Tensor, *, solver: Solver, steps: int, eta: float, draws: Sequence[torch.Generator]
) -> Tensor:
    """Noise -> latents, in `steps` evaluations. `eta` and `draws`, a generator a clip, are for the noise of DDIM on its way."""
    schedule = scheduler(solver)
    schedule.set_timesteps(steps)
    for time in schedule.timesteps.tolist():
        noise, more = predict(latents, time), {}
        if solver == "ddim":
            added = torch.stack([torch.randn(latents.shape[1:], generator=draw) for draw in draws])
            more = {"eta": eta, "variance_noise": added.to(latents.device)}
        latents = schedule.step(noise, time, latents, **more).prev_sample
    return latents
