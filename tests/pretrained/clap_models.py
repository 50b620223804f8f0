"""Small CLAP models with random weights, in folders with the files of the public repository."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = [*SPECIAL, "the", "sound", "of", "rain", "footsteps", "gunshot", "keyboard", "dog", "bark", "motor", "a", "and"]
RATE = 48_000


def small_config(fusion: bool = False) -> ClapConfig:
    text = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    audio = {"depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2], "patch_embeds_hidden_size": 8, "hidden_size": 64}
    text |= {"intermediate_size": 64, "projection_dim": 24}
    audio |= {"projection_dim": 24, "enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
    return ClapConfig(text_config=text, audio_config=audio, projection_dim=24)


def tensors_of(config: ClapConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors of a size that keeps sounds apart from layer to layer."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.ndim < 2:
            positive = tensor.ndim == 0 or name.endswith(("norm.weight", "LayerNorm.weight", "before.weight", "after.weight"))
            return float(positive) + 0.1 * torch.randn(tensor.shape, generator=generator)
        return torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5

    tensors = {name: drawn(name, tensor) for name, tensor in ClapModel(config).state_dict().items()}
    bands = "audio_model.audio_encoder.batch_norm."
    return tensors | {f"{bands}running_mean": torch.full((64,), -20.0), f"{bands}running_var": torch.full((64,), 400.0)}


def save_model(folder: Path, fusion: bool = False, seed: int = 0) -> Path:
    """A folder with the files of the public repository."""
    folder.mkdir(parents=True)
    config = small_config(fusion)
    config.save_pretrained(folder)
    truncation = "fusion" if fusion else "rand_trunc"
    ClapFeatureExtractor(frequency_min=50, frequency_max=14_000, truncation=truncation, padding="repeatpad").save_pretrained(
        folder
    )
    torch.save(tensors_of(config, seed), folder / "pytorch_model.bin")
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>", mask_token="<mask>"
    ).save_pretrained(folder)
    return folder


def noise(clips: int, samples: int = 4 * RATE, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))
