"""What is trained: the vocoder where the config has chosen one, the tokenizer, then the prior on the tokenizer's codes."""

from foleyray.clips import ClassList
from foleyray.modules.prior_stage import PriorStage
from foleyray.modules.tokenizer_stage import TokenizerStage
from foleyray.modules.vocoder_stage import vocoder_stages
from foleyray.stage import Stage
from foleyray.systems.vqvae_pixelsnail.config import Config


def stages(config: Config, classes: ClassList) -> tuple[Stage, ...]:
    """In training order."""
    num_classes = len(classes.names)
    vocoder = vocoder_stages(config.vocoder, config.clip, config.mel)
    tokenizer = TokenizerStage(config.tokenizer, config.mel, config.clip, num_classes)
    return (*vocoder, tokenizer, PriorStage(config.prior, config.grid, config.tokenizer.words, num_classes))


def samples_from(config: Config) -> tuple[str, ...]:
    """The stages whose checkpoints make the sound."""
    return (*config.vocoder.stages, "tokenizer", "prior")
