"""Real ensembles for tests: the smallest systems, untrained, saved and named as training and search would."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from foleyray import __version__, checkpoint
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import DCASE7, ClassList
from foleyray.config import fingerprint
from foleyray.ensemble import Ensemble, Member
from foleyray.modules.clap_stage import clap_stage
from foleyray.modules.tiny_clap import TinyClapSettings
from foleyray.selection import Selection
from foleyray.stage import Shared
from foleyray.system import read_config

TINY = "systems/contrastive_gan/tiny.yaml"
SMALLER = ("generator.width=4", "generator.max_channels=8", "vocoder.iterations=2")
"""What makes the tiny system sound in a moment; the clip stays as long as it is."""
CODES = "systems/vqvae_pixelsnail/tiny.yaml"
SMALLER_CODES = (
    "tokenizer={channels: 8, residual_channels: 4, halvings: 3, words: 16, width: 4, class_weight: 0.01}",
    "prior={network: {channels: 8, residual_channels: 8, blocks: 1, resblocks: 1, heads: 2, head_width: 4}}",
    "vocoder.iterations=2",
)
"""The same for the system of codes."""
WORDS = "systems/ldm/tiny.yaml"
SMALLER_WORDS = (
    "clap={kind: tiny, dim: 16, channels: [4, 8]}",
    "vae={fold: 4, widths: [8, 8], blocks: 1, groups: 4, mid_attention: false, latent_channels: 2}",
    "denoiser={widths: [8, 8], blocks: 1, attention: [false, true], heads: 2, groups: 4, condition_width: 16}",
    "vocoder={kind: griffin_lim, iterations: 2}",
    "pretrained=false",
)
"""The same for the system that is told in words."""


def write_untrained(
    run: Path, *, classes: ClassList = DCASE7, seed: int = 0, config_file: str = TINY, overrides: Iterable[str] = SMALLER
) -> dict[str, Checkpoint]:
    """Step 0 of every stage of a system below `run`; weights drawn from `seed`."""
    system, config = read_config(config_file, overrides)
    nets: dict[str, nn.ModuleDict] = {}
    steps: dict[str, Checkpoint] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for stage in system.stages(config, classes):
            nets[stage.name] = stage.build({name: nets[name] for name in stage.needs})
            card = Card(
                system=None if isinstance(stage, Shared) else system.name,
                stage=stage.name,
                run=fingerprint(stage.name, seed, config, classes),
                step=0,
                config=(stage.identity if isinstance(stage, Shared) else config).model_dump(mode="json"),
                classes=classes,
                mel_id=config.mel.id,
                needs={name: steps[name].id for name in stage.needs},
                sounds_with={name: steps[name].id for name in system.samples_from(config) if name in steps},
                corpus="00000000",
                version=__version__,
                commit="unknown",
            )
            folder = run / stage.name / card.run
            steps[stage.name] = checkpoint.save(folder, card, nets[stage.name].state_dict(), None, {})
    return steps


SCORER = TinyClapSettings(dim=16, channels=(4, 8))
"""A small embedding of sounds and sentences."""


def write_scorer(run: Path, *, classes: ClassList = DCASE7, seed: int = 0) -> Checkpoint:
    """Step 0 of the stage `clap` below `run`; weights drawn from `seed`."""
    _, config = read_config(TINY)
    stage = clap_stage(SCORER, config.clip, classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = stage.build({})
    card = Card(
        system=None,
        stage=stage.name,
        run=fingerprint(stage.name, seed, classes),
        step=0,
        config=stage.identity.model_dump(mode="json"),
        classes=classes,
        mel_id=config.mel.id,
        corpus="00000000",
        version=__version__,
        commit="unknown",
    )
    return checkpoint.save(run / stage.name / card.run, card, nets.state_dict(), None, {})


def with_selections(file: Path, selections: Mapping[str, Selection]) -> Path:
    """The ensemble of that file, whose members of some classes select."""
    ensemble = Ensemble.load(file)
    changed = {
        name: tuple(member.model_copy(update={"selection": selection}) for member in ensemble.classes[name])
        for name, selection in selections.items()
    }
    return ensemble.model_copy(update={"classes": ensemble.classes | changed}).save(file.parent)


def write_tiny_ensemble(folder: Path, *, classes: ClassList = DCASE7) -> Path:
    """An ensemble of two checkpoints of one system: the first class has both as members, the others one or the other."""
    system, config = read_config(TINY)
    runs = [write_untrained(folder / "checkpoints", classes=classes, seed=seed) for seed in (0, 1)]
    stages = system.samples_from(config)
    members = [
        Member(system=system.name, checkpoints={stage: f"checkpoints/{steps[stage].id}" for stage in stages}) for steps in runs
    ]
    chosen = {name: (members[label % 2],) for label, name in enumerate(classes.names)}
    chosen[classes.names[0]] = tuple(m.model_copy(update={"share": s}) for m, s in zip(members, (0.7, 0.3), strict=True))
    return Ensemble(clip=config.clip, class_list=classes, classes=chosen).save(folder)


def write_prompted_ensemble(folder: Path) -> Path:
    """The tiny ensemble, whose Rain and MovingMotorVehicle are told in words; of the rain the best of three is chosen."""
    file = write_tiny_ensemble(folder)
    steps = write_untrained(folder / "checkpoints", config_file=WORDS, overrides=SMALLER_WORDS)
    paths = {stage: f"checkpoints/{steps[stage].id}" for stage in ("clap", "vae", "ldm_finetune")}
    member = Member(system="ldm", checkpoints=paths, params={"steps": 5}, takes_prompts=True)
    chosen = member.model_copy(update={"selection": Selection(scorer=paths["clap"])})
    ensemble = Ensemble.load(file)
    told = {"MovingMotorVehicle": (member,), "Rain": (chosen,)}
    return ensemble.model_copy(update={"classes": ensemble.classes | told}).save(folder)


def write_ensemble_of_every_system(folder: Path) -> Path:
    """The prompted ensemble, whose last class is answered by codes."""
    file = write_prompted_ensemble(folder)
    steps = write_untrained(folder / "checkpoints", config_file=CODES, overrides=SMALLER_CODES)
    paths = {stage: f"checkpoints/{steps[stage].id}" for stage in ("tokenizer", "prior")}
    ensemble = Ensemble.load(file)
    last = {ensemble.class_list.names[-1]: (Member(system="vqvae_pixelsnail", checkpoints=paths),)}
    return ensemble.model_copy(update={"classes": ensemble.classes | last}).save(folder)
