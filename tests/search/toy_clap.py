"""A real scorer for the noise: a tiny joint embedding that learns the tilts of the classes in a moment."""

from pathlib import Path

import torch

from foleyray import checkpoint
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import ClassList, MelSpec
from foleyray.modules.clap_stage import TinyClapStage
from foleyray.modules.tiny_clap import TinyClapSettings
from foleyray.stage import Step
from tests.search.toy_noise import CLASSES, CLIP, MEL, TARGETS, noise

SMALL = TinyClapSettings(
    prompts={"Dull": "a dull hum", "Bright": "a bright hiss"},
    mel=MelSpec(sample_rate_hz=8_000, fft=256, hop=128, window=256, bands=16, high_hz=4_000),
    dim=8,
    channels=(4, 8),
    shift_seconds=0.1,
)
STEPS = 60


def write_clap(run: Path, classes: ClassList = CLASSES, run_id: str = "c1a9c1a9", seed: int = 0) -> Checkpoint:
    """The trained checkpoint, below a step 0 that is as it was built."""
    stage = TinyClapStage(SMALL, CLIP, classes)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = stage.build({})
        card = Card(
            system=None,
            stage="clap",
            run=run_id,
            step=0,
            config=stage.identity.model_dump(mode="json"),
            classes=classes,
            mel_id=MEL.id,
            corpus="c0c0c0c0",
            version="0",
            commit="unknown",
        )
        folder = run / "clap" / run_id
        checkpoint.save(folder, card, nets.state_dict(), None, {})
        optimizer = stage.optimizer("clap", nets)
        for index in range(STEPS):
            step = Step(index, STEPS, torch.Generator().manual_seed(index))
            loss = stage.loss("clap", nets, _batch(index), step)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return checkpoint.save(folder, card.model_copy(update={"step": STEPS}), nets.state_dict(), None, {})


def _batch(index: int) -> dict[str, torch.Tensor]:
    label = torch.arange(8) % len(TARGETS)
    shifts = torch.randn(8, generator=torch.Generator().manual_seed(index)) * 0.2
    tilts = [TARGETS[number] + float(shift) for number, shift in zip(label.tolist(), shifts, strict=True)]
    return {"wave": torch.stack([noise(tilt, 90_000 + 8 * index + n) for n, tilt in enumerate(tilts)]), "label": label}
