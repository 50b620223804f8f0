"""The generator of HiFi-GAN (Kong, Kim and Bae, 2020): from a log-mel, or any other frames, to a wave.

Modules bear the names of the public checkpoints, so that weights need no table of names.
"""

from math import prod
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from foleyray.clips import MelSpec
from foleyray.config import Config, UserError

SLOPE = 0.1
"""Of every leaky ReLU but the last one."""
LAST_SLOPE = 0.01
CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d)


class HiFiGANLayout(Config):
    """The size of a generator; the defaults are V1 of the paper (13.94 M parameters on 80 bands)."""

    channels: int = Field(512, ge=2, description="of the first layer, halved with every upsampling")
    rates: tuple[int, ...] = Field((8, 8, 2, 2), min_length=1, description="of the upsamplings; their product is the hop")
    kernels: tuple[int, ...] = Field((16, 16, 4, 4), description="of the upsamplings, none smaller than its rate")
    resblock: Literal[1, 2] = Field(1, description="1: two convolutions for each dilation (V1, V2), 2: one (V3)")
    residual_kernels: tuple[int, ...] = Field((3, 7, 11), min_length=1, description="one residual block each, averaged")
    dilations: tuple[tuple[int, ...], ...] = Field(((1, 3, 5),) * 3, description="of each residual block")

    @property
    def hop(self) -> int:
        """Samples for each frame."""
        return prod(self.rates)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(self.kernels) != len(self.rates) or any(k < r for k, r in zip(self.kernels, self.rates, strict=True)):
            raise ValueError(
                f"kernels {self.kernels} must be as many as rates {self.rates}, each as long as its rate or longer"
            )
        if len(self.dilations) != len(self.residual_kernels):
            raise ValueError(f"dilations are given for {len(self.dilations)} of {len(self.residual_kernels)} residual_kernels")
        if any(kernel % 2 == 0 for kernel in self.residual_kernels):
            raise ValueError(f"residual_kernels {self.residual_kernels} must be odd")
        if self.channels % 2 ** len(self.rates):
            raise ValueError(f"channels {self.channels} must be a multiple of {2 ** len(self.rates)}, for they are halved")
        return self

    def check(self, mel: MelSpec) -> None:
        """Raises UserError where the frames of `mel` are not as long as what is made of each."""
        if self.hop != mel.hop:
            raise UserError(
                f"the vocoder's rates {self.rates} make {self.hop} samples of each frame, but the mel has a hop of {mel.hop}; "
                "choose rates whose product is that hop"
            )


class HiFiGAN(nn.Module):
    """frames (B, bands, frames) -> wave (B, frames * hop) in [-1, 1]"""

    def __init__(self, layout: HiFiGANLayout, bands: int) -> None:
        super().__init__()
        self.layout = layout
        width = layout.channels
        self.conv_pre = nn.Conv1d(bands, width, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        block = ResBlock1 if layout.resblock == 1 else ResBlock2
        for rate, kernel in zip(layout.rates, layout.kernels, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            for size, dilations in zip(layout.residual_kernels, layout.dilations, strict=True):
                self.resblocks.append(block(width, size, dilations))
        self.conv_post = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv_pre(frames)
        count = len(self.layout.residual_kernels)
        for index, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, SLOPE))
            first, *others = self.resblocks[index * count : (index + 1) * count]
            total = first(x)
            for block in others:
                total = total + block(x)
            x = total / count
        # In bf16 the samples themselves would have 8 bits.
        with torch.autocast(x.device.type, enabled=False):
            wave = torch.tanh(self.conv_post(F.leaky_relu(x.float(), LAST_SLOPE))).squeeze(1)
        return _middle(wave, frames.shape[-1] * self.layout.hop)


class ResBlock1(nn.Module):
    """x (B, channels, T) -> (B, channels, T): for each dilation a dilated and a plain convolution, added."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(F.leaky_relu(dilated(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class ResBlock2(nn.Module):
    """x (B, channels, T) -> (B, channels, T): for each dilation one convolution, added."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for dilated in self.convs:
            x = x + dilated(F.leaky_relu(x, SLOPE))
        return x


def weight_normed(generator: HiFiGAN) -> HiFiGAN:
    """The same generator, every convolution of it split into length and direction, as it is trained (Salimans and Kingma)."""
    for module in generator.modules():
        if isinstance(module, CONVOLUTIONS):
            parametrizations.weight_norm(module)
    return generator


def folded(generator: HiFiGAN) -> HiFiGAN:
    """A frozen copy for inference, with the weight norm worked into plain weights."""
    convolutions = {name: module for name, module in generator.named_modules() if isinstance(module, CONVOLUTIONS)}
    weights = {
        f"{name}.{key}": getattr(module, key).detach().clone()
        for name, module in convolutions.items()
        for key in ("weight", "bias")
    }
    with torch.device("meta"):
        plain = HiFiGAN(generator.layout, generator.conv_pre.in_channels)
    plain.load_state_dict(weights, assign=True)
    return plain.eval().requires_grad_(False)


def _same(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel // 2))


def _middle(wave: Tensor, num_samples: int) -> Tensor:
    """The middle of a wave (B, T): where kernel minus rate is odd, upsampling makes a step too many.

    Cutting it from both ends keeps what a frame becomes centred on that frame's own samples.
    """
    before = (wave.shape[-1] - num_samples) // 2
    return wave[:, before : before + num_samples]
