"""The generator of HiFi-GAN (Kong, Kim and Bae, 2020): from a log-mel, or any other frames, to a wave.

Modules bear the names of the public checkpoints, so that weights need no table of names.
"""

from abc import ABC, abstractmethod
from contextlib import nullcontext
from math import prod
from threading import Lock
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from foleyray.clips import MelSpec
from foleyray.config import Config, UserError
from foleyray.modules.fast_convolution import QuickStage

SLOPE = 0.1
"""Of every leaky ReLU but the last one."""
LAST_SLOPE = 0.01
CONVOLUTIONS = (nn.Conv1d, nn.ConvTranspose1d)
Precision = Literal["float32", "bf16"]
LAYING_OUT = Lock()
"""One thread lays out the weights that all of them then use."""


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
    """frames (B, bands, frames) -> wave (B, frames * hop) in [-1, 1]

    `condition` above 0: frames are made into sound with a vector of that width for each clip, added after the first layer.
    `heads` above 1: coarser waves too, one after each of the last stages (Avocodo, Bak et al., 2023).
    """

    def __init__(self, layout: HiFiGANLayout, bands: int, condition: int = 0, heads: int = 1) -> None:
        super().__init__()
        assert 1 <= heads <= len(layout.rates), "a head belongs to a stage"
        self.layout = layout
        width = layout.channels
        self.conv_pre = nn.Conv1d(bands, width, 7, padding=3)
        self.cond = nn.Conv1d(condition, width, 1) if condition else None
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        block = ResBlock1 if layout.resblock == 1 else ResBlock2
        for rate, kernel in zip(layout.rates, layout.kernels, strict=True):
            self.ups.append(nn.ConvTranspose1d(width, width // 2, kernel, rate, padding=(kernel - rate) // 2))
            width //= 2
            for size, dilations in zip(layout.residual_kernels, layout.dilations, strict=True):
                self.resblocks.append(block(width, size, dilations))
        if heads == 1:
            self.conv_post = nn.Conv1d(width, 1, 7, padding=3)
        else:
            widths = [width << stage for stage in reversed(range(heads))]
            self.conv_posts = nn.ModuleList(nn.Conv1d(each, 1, 7, padding=3, bias=False) for each in widths)

    @property
    def heads(self) -> list[nn.Module]:
        """What makes waves, one for each of the last stages, coarse to fine."""
        return list(self.conv_posts) if hasattr(self, "conv_posts") else [self.conv_post]

    def forward(self, frames: Tensor, condition: Tensor | None = None) -> Tensor:
        """frames (B, bands, frames), condition (B, condition) -> wave (B, frames * hop); no coarser wave is computed."""
        return self._waves(frames, condition, self.heads[-1:])[0]

    def outputs(self, frames: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """As `forward`, the waves of all heads, coarse to fine: each has as many samples as its stage makes of the frames."""
        return self._waves(frames, condition, self.heads)

    def _waves(self, frames: Tensor, condition: Tensor | None, heads: list[nn.Module]) -> list[Tensor]:
        """Of the last heads alone, which are given."""
        assert (condition is None) == (self.cond is None), "a vector for each clip, where the layout has one"
        x = self.conv_pre(frames)
        if self.cond is not None and condition is not None:
            x = x + self.cond(condition[:, :, None])
        waves, num_samples = [], frames.shape[-1]
        for index, rate in enumerate(self.layout.rates):
            x = self._stage(index, x)
            num_samples *= rate
            if (place := index - len(self.ups) + len(heads)) >= 0:
                waves.append(_middle(_sounded(heads[place], x), num_samples))
        return waves

    def _stage(self, index: int, x: Tensor) -> Tensor:
        """x (B, channels, T) -> (B, channels / 2, T * rate): one upsampling, and the mean of the blocks behind it."""
        x = self.ups[index](F.leaky_relu(x, SLOPE))
        first, *others = self.blocks(index)
        total: Tensor = first(x)
        for block in others:
            total = total + block(x)
        return total / (1 + len(others))

    def blocks(self, index: int) -> list["ResBlock"]:
        """Those of one stage."""
        count = len(self.layout.residual_kernels)
        return [block for block in self.resblocks[index * count : (index + 1) * count] if isinstance(block, ResBlock)]


class ResBlock(nn.Module, ABC):
    """x (B, channels, T) -> (B, channels, T): the input and, step by step, what convolutions make of it, added."""

    @property
    @abstractmethod
    def steps(self) -> list[list[nn.Module]]:
        """The convolutions of each step, in the order in which they are taken."""

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            y = x
            for convolution in step:
                y = convolution(F.leaky_relu(y, SLOPE))
            x = x + y
        return x


class ResBlock1(ResBlock):
    """A dilated and a plain convolution for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        dilated, plain = ([_same(channels, kernel, each) for each in of] for of in (dilations, (1,) * len(dilations)))
        self.convs1, self.convs2 = nn.ModuleList(dilated), nn.ModuleList(plain)

    @property
    def steps(self) -> list[list[nn.Module]]:
        return [list(pair) for pair in zip(self.convs1, self.convs2, strict=True)]


class ResBlock2(ResBlock):
    """One convolution for each dilation."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)

    @property
    def steps(self) -> list[list[nn.Module]]:
        return [[convolution] for convolution in self.convs]


class FoldedHiFiGAN(HiFiGAN):
    """A frozen generator for inference, on a CPU clip by clip: fast on one core, and the same bits in any company.

    In `bf16` the products of all stages but the last are taken of factors of 8 bits and summed in float32.
    """

    precision: Precision = "float32"
    _quick: list[QuickStage] | None = None

    def _waves(self, frames: Tensor, condition: Tensor | None, heads: list[nn.Module]) -> list[Tensor]:
        kind = frames.device.type
        if kind != "cpu":
            with torch.autocast(kind, torch.bfloat16) if self.precision == "bf16" else nullcontext():
                return super()._waves(frames, condition, heads)
        conditions = [None] * len(frames) if condition is None else [each[None] for each in condition.float()]
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            pairs = zip(frames.float(), conditions, strict=True)
            clips = [HiFiGAN._waves(self, clip[None], its_condition, heads) for clip, its_condition in pairs]
            return [torch.cat(waves) for waves in zip(*clips, strict=True)]

    def _stage(self, index: int, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super()._stage(index, x)
        with LAYING_OUT:
            if self._quick is None:
                self._quick = [self._laid_out(stage) for stage in range(len(self.ups))]
        return self._quick[index](x[0].T).T[None]  # views

    def _laid_out(self, stage: int) -> QuickStage:
        # What the last stage rounds is heard in silence: in float32 the log-mel is eight times nearer, for a tenth of the work.
        is_coarse = self.precision == "bf16" and stage < len(self.ups) - 1
        steps = [block.steps for block in self.blocks(stage)]
        return QuickStage(self.ups[stage], steps, SLOPE, torch.bfloat16 if is_coarse else torch.float32)


def weight_normed(generator: HiFiGAN) -> HiFiGAN:
    """The same generator, its convolutions split into length and direction, as it is trained (Salimans and Kingma).

    With several heads, the heads, the first layer and that of the condition stay whole, as in VITS and VIFS.
    """
    parts = [generator] if len(generator.heads) == 1 else [generator.ups, generator.resblocks]
    for module in (module for part in parts for module in part.modules()):
        if isinstance(module, CONVOLUTIONS):
            parametrizations.weight_norm(module)
    return generator


def folded(generator: HiFiGAN, precision: Precision = "float32") -> FoldedHiFiGAN:
    """A frozen copy for inference, with the weight norm worked into plain weights."""
    convolutions = {name: module for name, module in generator.named_modules() if isinstance(module, CONVOLUTIONS)}
    weights = {
        f"{name}.{key}": getattr(module, key).detach().clone()
        for name, module in convolutions.items()
        for key in ("weight", "bias")
        if getattr(module, key) is not None
    }
    condition = generator.cond.in_channels if generator.cond is not None else 0
    with torch.device("meta"):
        plain = FoldedHiFiGAN(generator.layout, generator.conv_pre.in_channels, condition, len(generator.heads))
    plain.load_state_dict(weights, assign=True)
    plain.precision = precision
    return plain.eval().requires_grad_(False)


def _same(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel // 2))


def _sounded(head: nn.Module, x: Tensor) -> Tensor:
    """x (B, channels, T) -> wave (B, T), in float32: in bf16 the samples themselves would have 8 bits."""
    with torch.autocast(x.device.type, enabled=False):
        wave: Tensor = torch.tanh(head(F.leaky_relu(x.float(), LAST_SLOPE))).squeeze(1)
        return wave


def _middle(wave: Tensor, num_samples: int) -> Tensor:
    """The middle of a wave (B, T): where kernel minus rate is odd, upsampling makes a step too many.

    Cutting it from both ends keeps what a frame becomes centred on that frame's own samples.
    """
    before = (wave.shape[-1] - num_samples) // 2
    return wave[:, before : before + num_samples]
