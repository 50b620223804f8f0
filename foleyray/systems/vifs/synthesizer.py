"""The nets of VIFS put together (Lee, Nam and Park, 2023): what makes sound, and what is needed beside it for training.

Shapes: B clips, T frames, N = T * hop samples. A class's vector (B, hidden) conditions posterior, flow and decoder.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from foleyray.modules import hifigan
from foleyray.modules.hifigan import HiFiGAN, Precision, weight_normed
from foleyray.systems.vifs.flow import Flow
from foleyray.systems.vifs.folding import folded, folded_prior
from foleyray.systems.vifs.layout import HEADS, Layout
from foleyray.systems.vifs.pooling import SelfAttentivePooling
from foleyray.systems.vifs.posterior import Posterior, PosteriorEncoder
from foleyray.systems.vifs.prior import Prior


class Maker(nn.Module):
    """What sampling needs: from a clip's vector, noise and a class through prior, inverse flow and decoder to a wave."""

    def __init__(self, classes: nn.Embedding, prior: Prior, flow: Flow, decoder: HiFiGAN) -> None:
        super().__init__()
        self.classes, self.prior, self.flow, self.decoder = classes, prior, flow, decoder

    def condition(self, label: Tensor) -> Tensor:
        """label (B,) -> (B, hidden)"""
        return self.classes(label)

    def from_prior(self, z_p: Tensor, label: Tensor) -> Tensor:
        """z_p (B, hidden, T) -> z, what the decoder takes: the inverse flow."""
        return self.flow.inverse(z_p, self.condition(label))

    def make(self, summary: Tensor, noise: Tensor, noise_scale: Tensor, label: Tensor) -> Tensor:
        """summary (B, hidden), noise (B, hidden, T), noise_scale (B,), label (B,) -> wave (B, N).

        At sampling `summary` is normal noise in the place of the pooled posterior; `noise_scale` is that of the frames alone.
        """
        mean, log_std = self.prior(summary, label)
        z_p = mean + noise_scale[:, None, None] * log_std.exp() * noise
        return self.decoder(self.from_prior(z_p, label), self.condition(label))


class Synthesizer(Maker):
    """All nets, as they are trained: 64,937,600 parameters at the paper's size."""

    def __init__(self, layout: Layout, num_bins: int, frames: int, num_classes: int) -> None:
        hidden = layout.hidden
        super().__init__(
            nn.Embedding(num_classes, hidden),
            Prior(layout, frames, num_classes),
            Flow(hidden, layout.flows, layout.flow_layers, layout.kernel),
            weight_normed(HiFiGAN(layout.decoder, hidden, condition=hidden, heads=HEADS)),
        )
        self.posterior = PosteriorEncoder(num_bins, hidden, layout.posterior_layers, layout.kernel)
        self.pooling = SelfAttentivePooling(hidden)

    def encode(self, spectrum: Tensor, label: Tensor, generator: torch.Generator) -> Posterior:
        """spectrum (B, num_bins, T) of linear magnitudes, label (B,) -> posterior (B, hidden, T)"""
        return self.posterior(spectrum, self.condition(label), generator)

    def pool(self, posterior: Posterior) -> Tensor:
        """-> the vector of each clip (B, hidden)"""
        return self.pooling(posterior.z, posterior.mean)

    def to_prior(self, z: Tensor, label: Tensor) -> Tensor:
        """z (B, hidden, T) -> z_p of the same shape: the flow."""
        return self.flow(z, self.condition(label))

    def decode(self, z: Tensor, label: Tensor) -> list[Tensor]:
        """z (B, hidden, frames), a slice or the whole -> all waves, coarse to fine: (B, N / 4), (B, N / 2), (B, N)"""
        return self.decoder.outputs(z, self.condition(label))

    def for_sampling(self, precision: Precision = "float32") -> Maker:
        """A frozen copy of what sampling needs, with the weight norm worked into plain weights; its decoder in `precision`."""
        decoder = hifigan.folded(self.decoder, precision)
        maker = Maker(deepcopy(self.classes), folded_prior(self.prior), folded(self.flow), decoder)
        return maker.eval().requires_grad_(False)
