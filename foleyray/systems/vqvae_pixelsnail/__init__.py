"""VQ-VAE, PixelSNAIL and a vocoder: the baseline of DCASE 2023 Task 7, and CMU's track B entry by its settings."""

from foleyray.system import System
from foleyray.systems.vqvae_pixelsnail.config import Config, VqvaePixelsnailParams
from foleyray.systems.vqvae_pixelsnail.sampler import build
from foleyray.systems.vqvae_pixelsnail.stages import samples_from, stages

SYSTEM = System(
    name="vqvae_pixelsnail",
    config=Config,
    params=VqvaePixelsnailParams,
    stages=stages,
    sampler=build,
    samples_from=samples_from,
)
