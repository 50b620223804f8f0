"""Contrastive GANs on mels: ContraGAN, C-SupConGAN, O2C-GAN and OC-SupConGAN, switched by one setting."""

from foleyray.system import System
from foleyray.systems.contrastive_gan.config import Config, ContrastiveGanParams
from foleyray.systems.contrastive_gan.sampler import build
from foleyray.systems.contrastive_gan.stages import samples_from, stages

SYSTEM = System(
    name="contrastive_gan",
    config=Config,
    params=ContrastiveGanParams,
    stages=stages,
    sampler=build,
    samples_from=samples_from,
)
