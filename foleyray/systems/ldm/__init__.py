"""Latent diffusion after AudioLDM with a tuned text condition: Surrey's entry to DCASE 2023 Task 7."""

from foleyray.system import System
from foleyray.systems.ldm.config import Config, LdmParams
from foleyray.systems.ldm.sampler import build
from foleyray.systems.ldm.stages import samples_from, stages

SYSTEM = System(
    name="ldm",
    config=Config,
    params=LdmParams,
    stages=stages,
    sampler=build,
    samples_from=samples_from,
    takes_prompts=lambda config: config.condition != "label",
)
