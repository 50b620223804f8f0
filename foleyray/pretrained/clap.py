"""CLAP as others publish it: hears sounds and reads sentences into one space, one vector a clip or a sentence.

Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation"
(2023). The networks are transformers' own; the front end is ours, the numbers in it are those of the model's folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from foleyray.config import UserError
from foleyray.pretrained.decibels import MelDecibels
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import content_id, load, read_pickled, read_safetensors
from foleyray.pretrained.weights import WeightsFile

if TYPE_CHECKING:  # transformers takes seconds, which settings and a tiny CLAP need not wait for
    from transformers import ClapFeatureExtractor, ClapModel

PUBLISHED = HubModel(
    "laion/clap-htsat-unfused",
    "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
    tuple(
        WeightsFile("clap", name, num_bytes, sha256)
        for name, num_bytes, sha256 in (
            ("config.json", 5_390, "9efb9557bc804f2ca6e394486af2e45dfed0b18554909735a99c6220b84e4288"),
            ("preprocessor_config.json", 541, "9739f58296aa6f9ac18008fd0150fb2649bc554985fbde86d0a4041c882ac753"),
            ("pytorch_model.bin", 614_525_833, "1cd3c601bc4afe0fa87be3de4c13dd2cfadd249fac1e29acf74a9b296c3219bb"),
            ("tokenizer.json", 2_108_746, "77ef92283d67f0d97e1454909a964afcbfa2019f0fb9f18f8e88d5c25c3ba729"),
            ("tokenizer_config.json", 384, "377f91458f7729a4574a84c77bdce67dbc3c58c1a345a29bbf8c4eb1307948a3"),
            ("special_tokens_map.json", 280, "06e405a36dfe4b9604f484f6a1e619af1a7f7d09e34a8555eb0b77b66318067f"),
            ("vocab.json", 798_293, "ed19656ea1707df69134c4af35c8ceda2cc9860bf2c3495026153a133670ab5e"),
            ("merges.txt", 456_356, "fe36cab26d4f4421ed725e10a2e9ddb7f799449c603a96e7f29b5a3c82a95862"),
        )
    ),
)
WEIGHTS = "pytorch_model.bin"
TEXTS = tuple(file.name for file in PUBLISHED.files if file.name != WEIGHTS)
"""What a model's folder holds beside the weights; a network without its tokenizer hears all the same."""
MOST_TOKENS = 77
"""As in training; what is longer is cut."""
CLIPS_AT_ONCE = 4


class PublishedClap(nn.Module):
    """Vectors of unit length, whose dot product is the cosine. Holds all that it is made of, so its state is enough.

    The network hears 10 s: a shorter clip is repeated as often as it fits and completed with zeros, as in training; of a
    longer one the first 10 s are heard.
    """

    files: Tensor

    def __init__(self, network: "ClapModel", texts: Mapping[str, str], origin: str) -> None:
        """`texts` are the small files of the model by name; `origin` is where they came from, for messages."""
        super().__init__()
        self.network, self.origin, self.texts = network, origin, dict(texts)
        self.register_buffer("files", torch.frombuffer(bytearray(json.dumps(self.texts).encode()), dtype=torch.uint8))
        with _unpacked(texts) as folder:
            extractor = _extractor(folder, origin)
        self.sample_rate_hz, self.num_samples = int(extractor.sampling_rate), int(extractor.nb_max_samples)
        self.dim = int(network.config.projection_dim)
        mel = torch.from_numpy(np.asarray(extractor.mel_filters_slaney, dtype=np.float64))
        # In float64, as the extractor: bands without sound are told from the rounding of loud ones.
        self.front = MelDecibels(mel, int(extractor.hop_length))

    @classmethod
    def open(cls, folder: Path, weights: Path) -> Self:
        """From a model's folder; raises UserError where something is missing or does not fit."""
        return cls(read_network(folder, weights), read_texts(folder), str(folder))

    @classmethod
    def blank(cls, files: Tensor, origin: str) -> Self:
        """With random weights, of the files that another one's state holds."""
        texts = json.loads(files.cpu().numpy().tobytes())
        with _unpacked(texts) as folder:
            network = _network(folder, origin)
        return cls(network, texts, origin)

    @cached_property
    def weights_id(self) -> str:
        """8 hex digits of the network's weights."""
        return content_id(self.network)

    @torch.no_grad()
    def embed_audio(self, wave: Tensor) -> Tensor:
        """wave (B, T) at `sample_rate_hz` -> (B, dim) on the network's device."""
        wave = self.filled(wave.to(self.files.device))
        with full_precision(), torch.autocast(wave.device.type, enabled=False):
            return torch.cat([self._heard(part) for part in torch.split(wave, CLIPS_AT_ONCE)])

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Sentences -> (N, dim) on the network's device; "" has a vector too.

        Raises UserError where the tokenizer is not whole, or knows none of the words of a text.
        """
        self.check_words([text for text in texts if text])
        tokens = self.tokenizer(list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        ids, mask = (tokens[name].to(self.files.device) for name in ("input_ids", "attention_mask"))
        with full_precision(), torch.autocast(ids.device.type, enabled=False):
            read: Any = self.network.get_text_features(input_ids=ids, attention_mask=mask)
        vectors: Tensor = read.pooler_output
        return vectors

    @cached_property
    def tokenizer(self) -> Any:
        """Raises UserError where the folder held none, or less than the whole of it."""
        from transformers import AutoTokenizer

        try:
            with _unpacked(self.texts) as folder:
                found: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{self.origin} holds no readable tokenizer of CLAP ({_first_line(error)})") from None
        sizes: Any = self.network.config.text_config
        vocabulary = sizes.vocab_size
        # A tokenizer without its files loads as a stub, silently.
        if len(found) != vocabulary:
            raise UserError(
                f"the tokenizer in {self.origin} knows {len(found)} tokens, the network {vocabulary}: it is not whole, and "
                f"CLAP scores would mean nothing; put the model's own tokenizer.json, vocab.json and merges.txt beside the "
                f"weights"
            )
        return found

    def check_words(self, texts: Sequence[str]) -> None:
        """Raises UserError where a text would not reach the network, for it knows none of its words."""
        for text in texts:
            if not set(self.tokenizer(text)["input_ids"]) - set(self.tokenizer.all_special_ids):
                raise UserError(
                    f"CLAP's tokenizer knows no word of '{text}'; a sentence such as 'the sound of rain' is expected"
                )

    def filled(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> (B, num_samples)."""
        repeated = wave.repeat(1, max(self.num_samples // wave.shape[1], 1))[:, : self.num_samples]
        return nn.functional.pad(repeated, (0, self.num_samples - repeated.shape[1]))

    def _heard(self, wave: Tensor) -> Tensor:
        decibels = self.front(wave).float()
        heard: Any = self.network.get_audio_features(input_features=decibels[:, None])
        vectors: Tensor = heard.pooler_output
        return vectors


def weights_file(folder: Path) -> Path:
    """The weights in a model's folder, safetensors before pickled ones."""
    safe = folder / "model.safetensors"
    return safe if safe.is_file() else folder / WEIGHTS


def read_texts(folder: Path) -> dict[str, str]:
    """The small files of a model's folder, those of them that are there."""
    return {name: (folder / name).read_text(encoding="utf-8") for name in TEXTS if (folder / name).is_file()}


def read_network(folder: Path, weights: Path) -> "ClapModel":
    """The network of the folder's config.json with these weights, safetensors or pickled; UserError where they do not fit."""
    network = _network(folder, str(folder))
    tensors = read_safetensors(weights) if weights.suffix == ".safetensors" else read_pickled(weights)
    load(network, tensors, f"CLAP weights in {folder}")
    return network


def _network(folder: Path, origin: str) -> "ClapModel":
    from transformers import ClapConfig, ClapModel

    try:
        config: Any = ClapConfig.from_pretrained(folder, local_files_only=True)
        network = ClapModel(config)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{origin} holds no readable config.json of CLAP ({_first_line(error)})") from None
    if config.audio_config.enable_fusion:
        raise UserError(f"the CLAP model in {origin} has feature fusion, which draws at random; one without is expected")
    return network


def _extractor(folder: Path, origin: str) -> "ClapFeatureExtractor":
    from transformers import ClapFeatureExtractor

    try:
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{origin} holds no readable preprocessor_config.json of CLAP ({_first_line(error)})") from None
    if (extractor.truncation, extractor.padding) != ("rand_trunc", "repeatpad"):
        raise UserError(
            f"the CLAP model in {origin} fills clips by '{extractor.padding}' and cuts them by '{extractor.truncation}'; a "
            f"model without feature fusion (repeatpad, rand_trunc) is expected"
        )
    return extractor


@contextmanager
def _unpacked(texts: Mapping[str, str]) -> Iterator[Path]:
    """A folder with these files, for the length of a block: transformers reads nothing else."""
    with TemporaryDirectory() as folder:
        for name, text in texts.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        yield Path(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
