"""A small AudioLDM with random weights, put together and written into a folder by diffusers itself."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.audioldm import AudioLDMPipeline
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    ClapTextModelWithProjection,
    PreTrainedTokenizerFast,
)

from foleyray.clips import MelSpec
from tests.modules.speecht5 import published

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "a", "dog", "bark", "gun", "shot", "rain", "moving", "motor"]
MEL = MelSpec(sample_rate_hz=4_000, fft=256, hop=64, window=256, bands=16, high_hz=2_000)
DIM = 24
SCALE = 0.9138


def unet(**changes: Any) -> UNet2DConditionModel:
    """AudioLDM's options on two levels: FiLM by a projection that is concatenated, self-attention below the finest level."""
    return UNet2DConditionModel(
        **({
            "sample_size": 8,
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": (16, 32),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            "cross_attention_dim": (16, 32),
            "layers_per_block": 1,
            "norm_num_groups": 8,
            "class_embed_type": "simple_projection",
            "projection_class_embeddings_input_dim": DIM,
            "class_embeddings_concat": True,
        } | changes)
    ).eval()  # fmt: skip


def vae(**changes: Any) -> AutoencoderKL:
    return AutoencoderKL(
        **({
            "in_channels": 1,
            "out_channels": 1,
            "block_out_channels": (8, 16, 16),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "latent_channels": 4,
            "norm_num_groups": 8,
            "scaling_factor": SCALE,
        } | changes)
    ).eval()  # fmt: skip


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=32, **special)


def text_encoder(seed: int = 0) -> ClapTextModelWithProjection:
    """Weights large enough that two sentences are two vectors."""
    config = ClapTextConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        projection_dim=DIM,
        max_position_embeddings=40,
        pad_token_id=1,
    )
    encoder = ClapTextModelWithProjection(config).eval()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=draws) * parameter.shape[-1] ** -0.5)
    return encoder


def pipeline(folder: Path, safe: bool = True) -> AudioLDMPipeline:
    """The pipeline that was saved into `folder`, with safetensors or with pickled weights."""
    torch.manual_seed(0)
    made = AudioLDMPipeline(
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        unet=unet(),
        scheduler=DDIMScheduler(
            1000, 0.0015, 0.0195, "scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
        vocoder=published(folder / "vocoder", rate_hz=MEL.sample_rate_hz, bands=MEL.bands),
    )
    made.save_pretrained(folder, safe_serialization=safe)
    return made


def clap_model(folder: Path, seed: int = 0) -> None:
    """A ClapModel with the text tower of that seed, and an audio tower beside it."""
    torch.manual_seed(0)
    text = text_encoder(seed)
    audio = {"depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "patch_embeds_hidden_size": 8, "hidden_size": 64}
    config = ClapConfig(text_config=text.config.to_dict(), audio_config=audio | {"projection_dim": DIM}, projection_dim=DIM)
    model = ClapModel(config)
    kept = model.load_state_dict(text.state_dict(), strict=False)
    assert not kept.unexpected_keys
    model.save_pretrained(folder)
    ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation="rand_trunc", padding="repeatpad").save_pretrained(
        folder
    )
    tokenizer().save_pretrained(folder)
