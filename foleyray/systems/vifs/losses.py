"""What VIFS minimises beside the judgements: the divergence of the latents, and what keeps pooled vectors like noise."""

import torch
from torch import Tensor

from foleyray.systems.vifs.config import Moments
from foleyray.systems.vifs.posterior import Posterior
from foleyray.systems.vifs.prior import Normal

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the kernels of the mean discrepancy, times the squared distance that two normal vectors have on average."""


def divergence(z_p: Tensor, posterior: Posterior, prior: Normal) -> Tensor:
    """The posterior's sample under the prior, z_p (B, C, T), against its entropy; a mean over batch, channels and time.

    In expectation zero where both are the same distribution. In float32. VITS sums over the channels (Kim et al., 2021).
    """
    z_p, log_q, log_p, mean = (part.float() for part in (z_p, posterior.log_std, prior.log_std, prior.mean))
    return (log_p - log_q - 0.5 + 0.5 * (z_p - mean).square() * torch.exp(-2 * log_p)).mean()


def strangeness(summary: Tensor, moments: Moments, generator: torch.Generator) -> Tensor:
    """How far pooled vectors (B, C) of a batch are from normal noise, which takes their place in sampling.

    `scalar` is the authors': mean and deviation of all numbers of the batch. `per_dim` has those of each dimension, `mmd` the
    maximum mean discrepancy (Gretton et al., 2012) from as many vectors of noise.
    """
    summary = summary.float()
    if moments == "scalar":
        return summary.mean().square() + (_std(summary.flatten()) - 1).square()
    if moments == "per_dim":
        return (summary.mean(0).square() + (_std(summary) - 1).square()).mean()
    noise = torch.randn(summary.shape, generator=generator, device=summary.device)
    own, others, across = (_likeness(a, b) for a, b in ((summary, summary), (noise, noise), (summary, noise)))
    return own + others - 2 * across


def _std(values: Tensor) -> Tensor:
    """Over the first axis; its root has a gradient at zero too."""
    return (values.var(0, correction=0) + 1e-8).sqrt()


def _likeness(a: Tensor, b: Tensor) -> Tensor:
    """Mean of Gaussian kernels over all pairs of rows (B, C)."""
    distances = torch.cdist(a, b).square() / (2 * a.shape[1])
    return torch.stack([torch.exp(-distances / width) for width in BANDWIDTHS]).mean()
