"""From labels and seeds to waves: the prior with noise in the place of a clip, the flow backwards, the decoder."""

from collections.abc import Mapping, Sequence
from threading import Lock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from foleyray.checkpoint import Checkpoint
from foleyray.clips import ClassList
from foleyray.config import UserError
from foleyray.modules.hifigan import Precision
from foleyray.modules.threads import by_parts, single_threads
from foleyray.sampling import SamplingParams, check_batch
from foleyray.systems.vifs.config import Config, VifsParams
from foleyray.systems.vifs.stages import fresh
from foleyray.systems.vifs.synthesizer import Maker, Synthesizer

CLIPS_AT_ONCE = 16
"""On an accelerator; how many fill it."""


class VifsSampler:
    """Clips from a trained synthesizer. Every clip has a generator of random numbers: first its vector, then its frames."""

    params: type[SamplingParams] = VifsParams

    def __init__(self, config: Config, classes: ClassList, net: Synthesizer, device: torch.device) -> None:
        self.clip, self.classes, self.device = config.clip, classes, device
        self.vectors = net.classes.weight.detach().cpu()
        self.summary, self.noise = (config.layout.hidden,), (config.layout.hidden, config.frames)
        self.making = Lock()
        self.trained = net
        self.makers: dict[Precision, Maker] = {"float32": net.for_sampling().to(device)}

    def class_vectors(self) -> Tensor:
        """(classes, hidden) float32: what posterior, flow and decoder know of each class."""
        return self.vectors

    def sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        check_batch(params)
        made = by_parts(
            lambda part: self._sample(labels[part], params[part], seeds[part]), len(labels), self.device, CLIPS_AT_ONCE
        )
        return torch.cat([torch.zeros(0, self.clip.num_samples), *made])

    @torch.inference_mode()
    def _sample(self, labels: Tensor, params: Sequence[SamplingParams], seeds: Sequence[int]) -> Tensor:
        chosen = [item for item in params if isinstance(item, VifsParams)]
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        summary = torch.stack([torch.randn(self.summary, generator=draw) for draw in draws])
        noise = torch.stack([torch.randn(self.noise, generator=draw) for draw in draws])
        summary *= torch.tensor([item.sap_scale for item in chosen])[:, None]
        noise_scale = torch.tensor([item.noise_scale for item in chosen])
        placed = (part.to(self.device) for part in (summary, noise, noise_scale, labels))
        wave = self._maker(chosen[0].precision).make(*placed).cpu()[:, : self.clip.num_samples]
        return F.pad(wave, (0, self.clip.num_samples - wave.shape[1]))

    def _maker(self, precision: Precision) -> Maker:
        """Made when it is first asked for."""
        with self.making:
            if precision not in self.makers:
                self.makers[precision] = self.trained.for_sampling(precision).to(self.device)
            return self.makers[precision]


def build(config: Config, checkpoints: Mapping[str, Checkpoint], device: torch.device) -> VifsSampler:
    """Raises UserError where the checkpoint was trained on spectrograms of another front end, or does not fit its config."""
    trained = checkpoints["vifs"]
    if trained.card.mel_id != config.mel.id:
        raise UserError(
            f"{trained.id} was trained on the front end {trained.card.mel_id}, its config says {config.mel.id} "
            f"(hop {config.mel.hop}); use the config it was trained with, or train again"
        )
    with single_threads(1) as thread:
        return thread.submit(_assembled, config, trained, device).result()


def _assembled(config: Config, trained: Checkpoint, device: torch.device) -> VifsSampler:
    nets = nn.ModuleDict({"synthesizer": fresh(config, len(trained.card.classes.names))})
    try:
        nets.load_state_dict({key: value for key, value in trained.weights().items() if key.startswith("synthesizer.")})
    except RuntimeError as error:
        raise UserError(f"checkpoint {trained.path} does not fit the synthesizer of its config: {error}") from None
    net = nets["synthesizer"].eval()
    assert isinstance(net, Synthesizer)
    return VifsSampler(config, trained.card.classes, net, device)
