"""The joint embedding of sounds and sentences as other rooms use it: its settings, and one way to call whichever was chosen."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from foleyray.audio.wav import resample
from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClipSpec
from foleyray.config import Config, UserError
from foleyray.modules.prompts import Prompts, sentences
from foleyray.modules.threads import single_threads
from foleyray.modules.tiny_clap import TinyClap
from foleyray.modules.tiny_clap import TinyClapSettings as TinyClapSettings
from foleyray.pretrained.clap import PublishedClap


class PublishedClapSettings(Config):
    """A CLAP as others publish it (Wu et al., 2023): its stage only copies it."""

    kind: Literal["published"] = "published"
    prompts: Prompts = Field({}, description="class -> its sentence, or a YAML file of them")
    model: Path | None = Field(None, description="folder of a ClapModel; None: the hub's laion/clap-htsat-unfused")


ClapSettings = Annotated[TinyClapSettings | PublishedClapSettings, Field(discriminator="kind")]


class Identity(Config):
    """All that the nets of the stage `clap` follow from, and what its checkpoint's card holds of it."""

    clap: ClapSettings
    clip: ClipSpec
    content: str | None = Field(None, description="8 hex digits of a published model, in the place of its folder")


class Clap(Protocol):
    """An opened one, to use. Every vector is of unit length, so that a dot product is the cosine."""

    dim: int
    prompts: Mapping[str, str]
    """Class name -> its sentence, for every class of its corpus."""

    def embed_audio(self, wave: Tensor, sample_rate_hz: int) -> Tensor:
        """wave (B, T) in [-1, 1] -> float32 (B, D) on the CPU; on a CPU a clip has the same bits in any company."""
        ...

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts -> float32 (N, D) on the CPU; "" has a vector too, that of no condition.

        Raises UserError where it knows no word of a text.
        """
        ...


class ClapNet(Protocol):
    """The net `clap` of the stage of that name, on its device and at its own rate; otherwise as `Clap`."""

    dim: int
    sample_rate_hz: int

    def embed_audio(self, wave: Tensor) -> Tensor: ...

    def embed_text(self, texts: Sequence[str]) -> Tensor: ...


def clap_net(nets: nn.ModuleDict) -> ClapNet:
    """The one net among those of the stage `clap`."""
    net = nets["clap"]
    assert isinstance(net, TinyClap | PublishedClap)
    return net


def text_vectors(nets: nn.ModuleDict, texts: Sequence[str]) -> Tensor:
    """Texts -> float32 (N, D) of unit length on the CPU, by the nets that another stage's `build` was handed.

    Raises UserError where they know no word of a text.
    """
    return _read(clap_net(nets), texts)


def open_clap(checkpoint: Checkpoint, device: torch.device) -> Clap:
    """From a checkpoint of the stage `clap` alone; raises UserError where it is of another stage, or damaged."""
    if checkpoint.card.stage != "clap":
        raise UserError(f"{checkpoint.path} is of the stage {checkpoint.card.stage}; one of the stage clap is expected")
    config = {key: value for key, value in checkpoint.card.config.items() if key != "training"}
    settings = Identity.parse(config, f"card of {checkpoint.path}").clap
    told = sentences(settings.prompts, checkpoint.card.classes)
    weights = checkpoint.weights()
    net: TinyClap | PublishedClap
    if isinstance(settings, TinyClapSettings):
        net = TinyClap(settings, tuple(told.values()))
    elif "clap.files" in weights:
        net = PublishedClap.blank(weights["clap.files"], checkpoint.id)
    else:
        raise UserError(f"{checkpoint.path} holds no published CLAP, though its card says so; train the stage clap again")
    nets = checkpoint.restore(nn.ModuleDict({"clap": net})).eval().requires_grad_(False)
    return OpenedClap(nets.to(device), told)


class OpenedClap:
    """The net of a checkpoint. See `Clap`."""

    def __init__(self, nets: nn.ModuleDict, prompts: Mapping[str, str]) -> None:
        self.net, self.prompts = clap_net(nets), prompts
        self.dim, self.device = self.net.dim, next(nets.parameters()).device

    def embed_audio(self, wave: Tensor, sample_rate_hz: int) -> Tensor:
        if self.device.type != "cpu":
            return self._heard(wave.to(self.device), sample_rate_hz)
        # A clip for each thread: it has the same bits in any company.
        with single_threads() as threads:
            each = threads.map(lambda clip: self._heard(wave[clip : clip + 1], sample_rate_hz), range(len(wave)))
            return torch.cat([torch.empty(0, self.dim), *each])

    @torch.no_grad()
    def _heard(self, wave: Tensor, sample_rate_hz: int) -> Tensor:
        return self.net.embed_audio(resample(wave, sample_rate_hz, self.net.sample_rate_hz)).cpu()

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        return _read(self.net, texts)


@torch.no_grad()
def _read(net: ClapNet, texts: Sequence[str]) -> Tensor:
    """Each text alone and on one core: another one's length and the number of cores move no bit."""
    with single_threads(1) as thread:
        each = thread.submit(lambda: [net.embed_text([text]).cpu() for text in texts]).result()
    return torch.cat([torch.empty(0, net.dim), *each])
