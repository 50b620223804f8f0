"""What is trained: clap, the vocoder where the config has chosen one, the VAE, then the denoiser on its latents."""

from foleyray.clips import ClassList
from foleyray.modules.clap_stage import clap_stage
from foleyray.modules.vocoder_stage import vocoder_stages
from foleyray.stage import Stage
from foleyray.systems.ldm.config import Config
from foleyray.systems.ldm.diffusion_stages import FinetuneStage, PretrainStage
from foleyray.systems.ldm.vae_stage import VaeStage


def stages(config: Config, classes: ClassList) -> tuple[Stage, ...]:
    """In training order. `clap` is among them even where the denoiser is told labels: selection scores with it."""
    before = clap_stage(config.clap, config.clip, classes), *vocoder_stages(config.vocoder, config.heard_clip, config.heard)
    pretrain = (PretrainStage(config),) if config.pretrained else ()
    return (*before, VaeStage(config), *pretrain, FinetuneStage(config, classes))


def samples_from(config: Config) -> tuple[str, ...]:
    """The stages whose checkpoints make the sound."""
    clap = ("clap",) if config.condition != "label" else ()
    return (*config.vocoder.stages, *clap, "vae", "ldm_finetune")
