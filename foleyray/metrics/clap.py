"""CLAP, which hears sounds and reads sentences into one space of 512 dimensions, one vector a clip; and the CLAP score.

Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption Augmentation"
(2023). The networks are transformers' own; the front end is ours, the numbers in it are those of the model's folder.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel

from foleyray.config import UserError
from foleyray.metrics.audioset import MelDecibels
from foleyray.metrics.embedder import Embedder, Embedding, full_precision
from foleyray.metrics.hub import HubModel
from foleyray.metrics.tensors import content_id, load, read_pickled, read_safetensors
from foleyray.metrics.weights import WeightsFile, search_folders
from foleyray.progress import Progress

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
MOST_TOKENS = 77
"""As in training; what is longer is cut."""
CLIPS_AT_ONCE = 4


class Clap:
    """Vectors of unit length, whose dot product is the cosine.

    The network hears 10 s: a shorter clip is repeated as often as it fits and completed with zeros, as in training; of a
    longer one the first 10 s are heard. The recipe `unfused` is the published model of `PUBLISHED`, `folder` whatever
    model lies in the folder `clap` below `--weights DIR`.
    """

    name = "clap"
    note = "compares with clap distances and scores of the same recipe and weights only, with none of the DCASE papers"

    def __init__(self, network: ClapModel, folder: Path, recipe: str, weights_id: str, device: torch.device | str) -> None:
        self.recipe, self.weights_id, self.device, self.folder = recipe, weights_id, torch.device(device), folder
        extractor = _front(folder)
        self.sample_rate_hz, self.num_samples = int(extractor.sampling_rate), int(extractor.nb_max_samples)
        mel = torch.from_numpy(np.asarray(extractor.mel_filters_slaney, dtype=np.float64))
        # In float64, as the extractor: bands without sound are told from the rounding of loud ones.
        self.front = MelDecibels(mel, int(extractor.hop_length)).to(self.device)
        self.network, self.dim = nn.Module.to(network, self.device), int(network.config.projection_dim)

    @torch.inference_mode()
    def embed(self, wave: Tensor) -> Embedding:
        wave = self._filled(wave.to(self.device))
        with full_precision():
            clips = torch.cat([self._heard(part) for part in torch.split(wave, CLIPS_AT_ONCE)])
        return Embedding(clips[:, None], torch.ones(len(clips), 1, dtype=torch.bool, device=self.device))

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Sentences -> vectors float32 (N, D) of unit length, to be scored against those of clips.

        Raises UserError where the tokenizer is not whole, or knows none of the words of a text.
        """
        sizes: Any = self.network.config.text_config
        tokenizer = _tokenizer(self.folder)
        check_tokenizer(tokenizer, texts, sizes.vocab_size, self.folder)
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=MOST_TOKENS, return_tensors="pt")
        with full_precision():
            read = self.network.get_text_features(
                input_ids=tokens["input_ids"].to(self.device), attention_mask=tokens["attention_mask"].to(self.device)
            )
        return read.pooler_output.cpu().numpy()

    def _filled(self, wave: Tensor) -> Tensor:
        """wave (B, T) -> (B, num_samples)."""
        repeated = wave.repeat(1, max(self.num_samples // wave.shape[1], 1))[:, : self.num_samples]
        return nn.functional.pad(repeated, (0, self.num_samples - repeated.shape[1]))

    def _heard(self, wave: Tensor) -> Tensor:
        decibels = self.front(wave).float()
        return self.network.get_audio_features(input_features=decibels[:, None]).pooler_output


def check_tokenizer(tokenizer: Any, texts: Sequence[str], vocabulary: int, folder: Path) -> None:
    """Raises UserError where texts would not reach the network: a tokenizer without its files loads as a stub, silently."""
    if len(tokenizer) != vocabulary:
        raise UserError(
            f"the tokenizer in {folder} knows {len(tokenizer)} tokens, the network {vocabulary}: it is not whole, and CLAP "
            f"scores would mean nothing; put the model's own tokenizer.json, vocab.json and merges.txt beside the weights"
        )
    for text in texts:
        if not set(tokenizer(text)["input_ids"]) - set(tokenizer.all_special_ids):
            raise UserError(f"CLAP's tokenizer knows no word of '{text}'; a sentence such as 'the sound of rain' is expected")


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder} holds no readable tokenizer of CLAP ({_first_line(error)})") from None


def _front(folder: Path) -> ClapFeatureExtractor:
    try:
        extractor = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder} holds no readable preprocessor_config.json of CLAP ({_first_line(error)})") from None
    if (extractor.truncation, extractor.padding) != ("rand_trunc", "repeatpad"):
        raise UserError(
            f"the CLAP model in {folder} fills clips by '{extractor.padding}' and cuts them by '{extractor.truncation}'; a "
            f"model without feature fusion (repeatpad, rand_trunc) is expected"
        )
    return extractor


def read_network(folder: Path, weights: Path) -> ClapModel:
    """The network of the folder's config.json with these weights, safetensors or pickled; UserError where they do not fit."""
    try:
        config: Any = ClapConfig.from_pretrained(folder, local_files_only=True)
        network = ClapModel(config)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{folder} holds no readable config.json of CLAP ({_first_line(error)})") from None
    if config.audio_config.enable_fusion:
        raise UserError(f"the CLAP model in {folder} has feature fusion, which draws at random; one without is expected")
    tensors = read_safetensors(weights) if weights.suffix == ".safetensors" else read_pickled(weights)
    load(network, tensors, f"CLAP weights in {folder}")
    return network


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _given_folder(given: Path | None) -> Path:
    places = [place / "clap" for place in search_folders(given)]
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise UserError(
        f"clap:folder needs a CLAP model in a folder 'clap', and no config.json lies in {' or '.join(map(str, places))}; put "
        f"one there, or name the folder above it by --weights DIR"
    )


def build(recipe: str, weights: Path | None, device: torch.device | str, progress: Progress) -> Embedder:
    """The embedder of one of the three recipes; `laion` is the package of that name (see `laion.py`)."""
    if recipe == "laion":
        from foleyray.metrics import laion

        return laion.build(recipe, weights, device, progress)
    folder = PUBLISHED.locate(weights, progress) if recipe == "unfused" else _given_folder(weights)
    # What was verified is read: another file beside it counts in the recipe `folder` alone.
    safe = recipe == "folder" and (folder / "model.safetensors").is_file()
    network = read_network(folder, folder / ("model.safetensors" if safe else "pytorch_model.bin"))
    return Clap(network, folder, recipe, content_id(network), device)
