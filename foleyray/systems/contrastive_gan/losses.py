"""The losses as pure functions: the hinge of the adversary, the four conditional contrastive losses, and SupCon.

Similarities are cosines in float32, sums of exponentials are log-sum-exps: exp(1 / 0.1) overflows in half precision.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOUDEST = 1.5
"""Before the tanh; after it 0.905, which on the usual scale is a log-mel of 1.8. The loudest real clips reach 1.64."""


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """Scores (B,) of real and made clips -> scalar; equation 1 of the paper."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def hinge_generator(made: Tensor) -> Tensor:
    """Scores (B,) of made clips -> scalar."""
    return -made.mean()


def excess(unbounded: Tensor) -> Tensor:
    """Mels before their tanh -> scalar: the mean square of what lies above `LOUDEST`.

    There the tanh is so flat that no judge's gradient passes, and a corner that got there early would stay for good.
    """
    return F.relu(unbounded.float() - LOUDEST).square().mean()


def contrastive(
    embedding: Tensor,
    proxy: Tensor,
    label: Tensor,
    source: Tensor | None,
    *,
    oneself: bool,
    tau_d: float,
    tau_c: float,
) -> Tensor:
    """-log(attracted / (attracted + repelled)) of every clip (B,), from unit vectors (B, E).

    A clip is attracted to its class's `proxy`, to its `source` f(x) where there is one, and, unless `oneself`, to the other
    clips of its `label` (B,). It is repelled by every clip but itself. With `oneself` this is O2C (equation 3) or OC-SupCon
    (equation 5); without it the 2C loss of ContraGAN (Kang and Park, 2020) or C-SupCon (Chung and Kim, 2022).
    """
    with torch.autocast(embedding.device.type, enabled=False):
        embedding, proxy = embedding.float(), proxy.float()
        anchors = [(embedding * proxy).sum(dim=1)]
        if source is not None:
            anchors.append((embedding * source.float()).sum(dim=1))
        own = torch.stack(anchors, dim=1) / tau_c
        itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
        others = (embedding @ embedding.T / tau_d).masked_fill(itself, -torch.inf)
        every = torch.cat([own, others], dim=1).logsumexp(dim=1)
        if oneself:
            return every - own.logsumexp(dim=1)
        kin = others.masked_fill(label[:, None] != label[None, :], -torch.inf)
        return every - torch.cat([own, kin], dim=1).logsumexp(dim=1)


def supervised_contrastive(embedding: Tensor, label: Tensor, temperature: float) -> Tensor:
    """Unit vectors (B, E) of all views, label (B,) -> SupCon loss (B,), the average outside the logarithm (Khosla et al.,
    2020, equation 2). Every label must occur twice."""
    with torch.autocast(embedding.device.type, enabled=False):
        embedding = embedding.float()
        itself = torch.eye(len(label), dtype=torch.bool, device=label.device)
        kin = (label[:, None] == label[None, :]) & ~itself
        log_share = (embedding @ embedding.T / temperature).masked_fill(itself, -torch.inf).log_softmax(dim=1)
        return -log_share.masked_fill(~kin, 0).sum(dim=1) / kin.sum(dim=1)
