"""AudioLDM as it is published, in the layout of diffusers: weights for our nets, and proof that they are what the config says.

Liu et al., "AudioLDM: Text-to-Audio Generation with Latent Diffusion Models" (2023).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoTokenizer, ClapTextConfig, ClapTextModelWithProjection

from foleyray.config import UserError
from foleyray.pretrained.snapshot import locate, read_weights
from foleyray.pretrained.tensors import load

AN_AUDIOLDM = "an AudioLDM checkpoint, such as cvssp/audioldm-m-full"
OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""How diffusers called the parts of an attention before 0.18, when these weights were written."""
UNCOMPARED = {"sample_size", "force_upcast", "scaling_factor", "attention_head_dim", "num_attention_heads"}
"""Options of diffusers that change nothing about a net or are told apart: the heads, of which two names mean one number."""
OF_VAE = {
    "block_out_channels": "vae.widths",
    "layers_per_block": "vae.blocks",
    "norm_num_groups": "vae.groups",
    "latent_channels": "vae.latent_channels",
    "mid_block_add_attention": "vae.mid_attention",
}
OF_UNET = {
    "block_out_channels": "denoiser.widths",
    "layers_per_block": "denoiser.blocks",
    "norm_num_groups": "denoiser.groups",
    "in_channels": "vae.latent_channels",
    "projection_class_embeddings_input_dim": "denoiser.condition_width",
    "heads": "denoiser.heads",
}
"""Option of diffusers -> the setting of ours that says the same."""
SAME = 0.9999
"""Cosine above which two text vectors are those of one model."""


def load_vae(start: str, vae: AutoencoderKL) -> float:
    """Puts the published VAE's weights into `vae`; returns what its latents are multiplied by.

    Raises UserError where the folder or hub name is none of AudioLDM, and where its sizes are not those of the config.
    """
    return float(_load(start, "vae", vae, OF_VAE).scaling_factor)


def load_denoiser(start: str, denoiser: UNet2DConditionModel) -> None:
    """Puts the published UNet's weights into `denoiser`.

    Raises UserError where the folder or hub name is none of AudioLDM, and where its sizes are not those of the config.
    """
    _load(start, "unet", denoiser, OF_UNET)


def check_schedule(start: str, expected: Mapping[str, object]) -> None:
    """Raises UserError where the published weights were trained with another schedule than `expected`, in diffusers' words."""
    file = locate(start, ("scheduler",)) / "scheduler/scheduler_config.json"
    epsilon = {"prediction_type": "epsilon"}  # the only kind when diffusers did not say so yet
    theirs = epsilon | _read_json(file)
    for name, value in (epsilon | dict(expected)).items():
        if theirs.get(name) != value:
            raise UserError(
                f"the schedule in {file} has {name} {theirs.get(name)}, expected {value}: these weights know other noise than "
                f"ours; start from {AN_AUDIOLDM}"
            )


def check_text(start: str, texts: Sequence[str], vectors: Tensor) -> None:
    """Raises UserError where `vectors` (N, D), those of `texts` by the config's CLAP, are strange to the published weights."""
    folder = locate(start, ("text_encoder", "tokenizer"))
    theirs = _text_vectors(folder, texts)
    if theirs.shape[1] != vectors.shape[1]:
        raise UserError(
            f"the config's CLAP has vectors of {vectors.shape[1]} numbers, the text encoder of {folder} of {theirs.shape[1]}; "
            "set clap to the model whose text tower lies there"
        )
    cosines = F.cosine_similarity(theirs, vectors.cpu(), dim=1).tolist()
    for text, cosine in zip(texts, cosines, strict=True):
        if not cosine > SAME:
            raise UserError(
                f"the config's CLAP and the text encoder of {folder} are different models: their vectors of '{text}' have a "
                f"cosine of {cosine:.4f}, above {SAME} is expected; set clap to the model whose text tower lies there"
            )


@torch.no_grad()
def _text_vectors(folder: Path, texts: Sequence[str]) -> Tensor:
    """Texts -> (N, D) of unit length, as the pipeline of diffusers makes them."""
    sizes = _read_json(folder / "text_encoder/config.json")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        config: Any = ClapTextConfig.from_dict(sizes)
        encoder: Any = ClapTextModelWithProjection(config)
    except (OSError, ValueError, TypeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder} holds no readable text encoder and tokenizer of CLAP ({reason}); fetch it again") from None
    load(encoder, read_weights(folder / "text_encoder"), f"the weights in {folder / 'text_encoder'}")
    tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    read = encoder(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return F.normalize(read.text_embeds, dim=-1)


def _load(start: str, part: str, net: Any, settings: Mapping[str, str]) -> Any:
    """Fills the net, which is ready to be trained as a fresh one is; returns the published config."""
    folder = locate(start, (part,)) / part
    theirs = _described(type(net), folder)
    _check_same(theirs, net, settings, folder)
    load(net, {_newer(name): value for name, value in read_weights(folder).items()}, f"the weights in {folder}")
    net.train().requires_grad_(True)
    return theirs.config


def _described(kind: Any, folder: Path) -> Any:
    """The published net without its weights: diffusers fills in what its older configs did not say."""
    config = _read_json(folder / "config.json")
    if config.get("_class_name") != kind.__name__:
        raise UserError(f"{folder} holds a {config.get('_class_name')}, no {kind.__name__}; start from {AN_AUDIOLDM}")
    try:
        with torch.device("meta"):
            return kind.from_config(config)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise UserError(f"{folder / 'config.json'} describes no {kind.__name__} ({error}); fetch the folder again") from None


def _check_same(theirs: Any, ours: Any, settings: Mapping[str, str], folder: Path) -> None:
    """Names the first option in which they differ: a checkpoint of ours is opened by our config alone.

    Heads above all: another number of them fits the same weights and computes something else.
    """
    options = [name for name in ours.config if not name.startswith("_") and name not in UNCOMPARED]
    pairs = [(name, theirs.config[name], ours.config[name]) for name in sorted(options, key=lambda name: name not in settings)]
    differing = [pair for pair in pairs if _listed(pair[1]) != _listed(pair[2])]
    if not differing and _heads(theirs) != _heads(ours):
        differing.append(("heads", theirs.config.attention_head_dim, ours.config.attention_head_dim))
    for name, found, expected in differing[:1]:
        mend = f"write {settings[name]}: {_listed(found)}" if name in settings else f"start from {AN_AUDIOLDM}"
        raise UserError(f"the net in {folder} has {name} {_listed(found)}, the config's has {_listed(expected)}; {mend}")


def _heads(net: nn.Module) -> list[int]:
    return [module.heads for module in net.modules() if isinstance(module, Attention)]


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def _newer(name: str) -> str:
    for old, new in OLD_NAMES.items():
        name = name.replace(old, new)
    return name


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} does not read as JSON ({error}); fetch the folder again") from None
    if not isinstance(found, dict):
        raise UserError(f"{file} holds {type(found).__name__}; settings by name are expected, fetch the folder again")
    return found
