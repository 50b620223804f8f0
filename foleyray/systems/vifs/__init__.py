"""VIFS: variational inference with a flow and an adversarial decoder, from a class to a wave in one net."""

from foleyray.system import System
from foleyray.systems.vifs.config import Config, VifsParams
from foleyray.systems.vifs.sampler import build
from foleyray.systems.vifs.stages import samples_from, stages

SYSTEM = System(
    name="vifs",
    config=Config,
    params=VifsParams,
    stages=stages,
    sampler=build,
    samples_from=samples_from,
)
