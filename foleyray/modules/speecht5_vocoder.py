"""The vocoder of the public AudioLDM weights: transformers' HiFi-GAN as it is published, and the stage that hands it on."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from foleyray.audio.mel import Mel
from foleyray.audio.wav import resample
from foleyray.clips import ClipSpec, MelSpec
from foleyray.config import Config, UserError
from foleyray.modules.hifigan import SLOPE
from foleyray.modules.public_hifigan import without_norm
from foleyray.modules.vocoder import SpeechT5Settings
from foleyray.pretrained.snapshot import locate, read_weights
from foleyray.pretrained.tensors import load
from foleyray.stage import Batch, Losses, Step


class SpeechT5Generator(nn.Module):
    """frames (B, bands, frames) -> wave (B, frames * hop, and what odd kernels add at the end) in [-1, 1]"""

    def __init__(self, settings: SpeechT5Settings, mel: MelSpec) -> None:
        super().__init__()
        self.network = SpeechT5HifiGan(SpeechT5HifiGanConfig(**expected_config(settings, mel)))
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> Tensor:
        # In bf16 the samples themselves would have 8 bits.
        with torch.autocast(frames.device.type, enabled=False):
            wave: Tensor = self.network(frames.float().transpose(1, 2))
            return wave


def expected_config(settings: SpeechT5Settings, mel: MelSpec) -> dict[str, Any]:
    """What transformers' config must say of a vocoder of those settings: first what follows from the mel."""
    layout = settings.layout
    return {
        "sampling_rate": mel.sample_rate_hz,
        "model_in_dim": mel.bands,
        "upsample_rates": layout.rates,
        "upsample_kernel_sizes": layout.kernels,
        "upsample_initial_channel": layout.channels,
        "resblock_kernel_sizes": layout.residual_kernels,
        "resblock_dilation_sizes": layout.dilations,
        "normalize_before": settings.normalize_before,
        "leaky_relu_slope": SLOPE,
    }


def load_published(settings: SpeechT5Settings, mel: MelSpec) -> SpeechT5Generator:
    """The vocoder of the folder or hub name `settings.start`, frozen.

    Raises UserError where there is none, where it takes other mels or has another layout, and where its weights do not fit.
    """
    folder = Path(settings.start).expanduser()
    if not (folder / "config.json").is_file():
        folder = locate(settings.start, ("vocoder",)) / "vocoder"
    _check(_read_config(folder), expected_config(settings, mel), mel, folder)
    generator = SpeechT5Generator(settings, mel)
    load(generator.network, without_norm(read_weights(folder), folder), f"the vocoder's weights in {folder}")
    return generator


def _read_config(folder: Path) -> Any:
    try:
        return SpeechT5HifiGanConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder} holds no readable config.json of a SpeechT5HifiGan ({reason}); fetch it again") from None


def _check(theirs: Any, expected: dict[str, Any], mel: MelSpec, folder: Path) -> None:
    """Names the first field in which a published vocoder differs from what the config says."""
    if (hop := prod(theirs.upsample_rates)) != mel.hop:
        raise UserError(
            f"the vocoder in {folder} makes {hop} samples of each frame (upsample_rates {theirs.upsample_rates}), but the mel "
            f"has a hop of {mel.hop}; choose a vocoder of that hop, or change the mel"
        )
    for name, value in expected.items():
        if (found := _tuples(getattr(theirs, name))) != value:
            mend = "choose a vocoder of the config's mel, or change the mel"
            if name not in ("sampling_rate", "model_in_dim"):
                mend = "write its sizes into vocoder.layout and vocoder.normalize_before"
            raise UserError(f"the vocoder in {folder} has {name} {found}, expected {value}; {mend}")


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value


class Identity(Config):
    """All that a published vocoder follows from."""

    vocoder: SpeechT5Settings
    clip: ClipSpec
    mel: MelSpec


class SpeechT5VocoderStage:
    """Trains nothing: its checkpoint is a copy of the published weights, so that what sounds with it is whole without them.

    One step is enough; step 0 is kept apart everywhere as the untrained nets.
    """

    name: str = "vocoder"
    reads: tuple[str, ...] = ("wave",)
    needs: tuple[str, ...] = ()
    turns: Mapping[str, tuple[str, ...]] = {}
    repeats: Mapping[str, int] = {}
    averaged: tuple[str, ...] = ()

    def __init__(self, settings: SpeechT5Settings, clip: ClipSpec, mel: MelSpec) -> None:
        settings.layout.check(mel)
        self.settings, self.clip, self.spec, self.mel = settings, clip, mel, Mel(mel)
        self.identity = Identity(vocoder=settings, clip=clip, mel=mel)

    def build(self, needed: Mapping[str, nn.ModuleDict]) -> nn.ModuleDict:
        """Raises UserError where the published weights are not there or do not fit."""
        return nn.ModuleDict({"generator": load_published(self.settings, self.spec)})

    def optimizer(self, turn: str, nets: nn.ModuleDict) -> Optimizer:
        raise AssertionError("a stage without turns is never asked for one's optimizer")

    def learning_rate(self, turn: str, step: Step) -> float:
        raise AssertionError("a stage without turns is never asked for one's learning rate")

    def loss(self, turn: str, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        raise AssertionError("a stage without turns is never asked for one's loss")

    def validate(self, nets: nn.ModuleDict, batch: Batch, step: Step) -> Losses:
        """Copy synthesis of whole clips, at the vocoder's own rate: the mean absolute error of the log-mel."""
        wave = batch["wave"]
        with torch.autocast(wave.device.type, enabled=False):
            mel = self.mel.to(wave.device)
            real = resample(wave.float(), round(wave.shape[1] / self.clip.seconds), self.spec.sample_rate_hz)
            made = nets["generator"](mel(real))[:, : real.shape[1]]
            return {"loss": F.l1_loss(mel(F.pad(made, (0, real.shape[1] - made.shape[1]))), mel(real))}
