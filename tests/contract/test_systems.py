"""What every folder in systems/ promises, on its tiny.yaml and a CPU. Knows no system by name."""

import ast
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from foleyray import checkpoint, system
from foleyray.audio.mel import Mel
from foleyray.checkpoint import Card, Checkpoint
from foleyray.clips import DCASE7
from foleyray.config import UserError
from foleyray.corpus.feed import to_batch
from foleyray.sampling import SamplingParams
from foleyray.stage import Batch, MakesColumn, Shared, Stage, Step
from foleyray.system import Sampler, System, SystemConfig
from foleyray.train.loop import Loop
from foleyray.train.workers import Alone

pytestmark = pytest.mark.slow  # every system is trained and sounds

STEPS = 10
SEEDS = (3, 11, 5, 2**62, 0)


@dataclass
class Case:
    """A system, every stage of it after ten steps on one batch, and what that left on disk."""

    system: System
    config: SystemConfig
    batch: Batch
    nets: dict[str, nn.ModuleDict]
    losses: dict[str, list[dict[str, float]]]
    """Stage -> its turns' losses by step."""
    fixed: dict[str, tuple[float, float]]
    """Stage -> the loss of its first turn with the same random numbers, before and after the ten steps."""
    checkpoints: dict[str, Checkpoint]

    def batch_of(self, stage: Stage) -> Batch:
        """As many clips as the stage's training takes at once."""
        count = self.config.training[stage.name].batch_size
        return {name: column[:count] for name, column in self.batch.items()}

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self.system.stages(self.config, DCASE7)

    @cached_property
    def sampler(self) -> Sampler:
        return self.new_sampler()

    def new_sampler(self) -> Sampler:
        return system.load_sampler(
            {name: self.checkpoints[name] for name in self.system.samples_from(self.config)}, torch.device("cpu")
        )


@pytest.fixture(scope="module", params=system.names())
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    found, config = system.read_config(f"systems/{request.param}/tiny.yaml")
    case = Case(found, config, _batch(config), {}, {}, {}, {})
    for stage in case.stages:
        torch.manual_seed(0)
        training = config.training[stage.name].model_copy(update={"steps": STEPS})
        nets = stage.build({name: case.nets[name] for name in stage.needs})
        loop = Loop(stage, training, nets, Alone(torch.device("cpu")))
        before = _fixed_loss(stage, nets, case.batch_of(stage))
        steps = [loop.advance([case.batch_of(stage)]) for _ in range(STEPS)]
        case.losses[stage.name] = [
            {f"{turn}.{name}": float(value) for turn, losses in step.items() for name, value in losses.items()}
            for step in steps
        ]
        case.fixed[stage.name] = (before, _fixed_loss(stage, nets, case.batch_of(stage)))
        case.nets[stage.name] = nets
        if isinstance(stage, MakesColumn):
            with torch.no_grad():
                column = stage.encode(deepcopy(nets).eval(), case.batch)
            assert stage.makes not in case.batch and len(column) == len(case.batch["label"])
            case.batch |= to_batch({stage.makes: column})
        raw = nets.state_dict() if training.average else None
        folder = tmp_path_factory.mktemp(found.name) / stage.name / ("0" * 8)
        case.checkpoints[stage.name] = checkpoint.save(folder, _card(case, stage), loop.average.weights(), raw, loop.state())
    return case


def _batch(config: SystemConfig) -> Batch:
    """Two clips of each class: noise of its own colour and decay, in every column that a corpus has."""
    draws = torch.Generator().manual_seed(0)
    label = torch.arange(2 * len(DCASE7.names)) % len(DCASE7.names)
    time = torch.linspace(0, 1, config.clip.num_samples)
    noise = torch.randn(len(label), config.clip.num_samples, generator=draws)
    smooth = torch.stack([row.roll(1) * 0.1 * k + row for row, k in zip(noise, label.tolist(), strict=True)])
    wave = (0.1 * smooth * torch.exp(-time * label[:, None])).clamp(-1, 1)
    return {"wave": wave, "mel": Mel(config.mel)(wave), "label": label}


def _card(case: Case, stage: Stage, **changes: str) -> Card:
    training = {"training": {stage.name: case.config.training[stage.name].model_dump(mode="json")}}
    shared = stage.identity.model_dump(mode="json") | training if isinstance(stage, Shared) else None
    values = {
        "system": None if shared else case.system.name,
        "stage": stage.name,
        "run": "0" * 8,
        "step": STEPS,
        "config": shared or case.config.model_dump(mode="json"),
        "classes": DCASE7,
        "mel_id": case.config.mel.id,
        "corpus": "contract",
        "version": "0",
        "commit": "none",
    }
    return Card.model_validate(values | changes)


def _step() -> Step:
    return Step(0, STEPS, torch.Generator().manual_seed(0))


@torch.no_grad()
def _fixed_loss(stage: Stage, nets: nn.ModuleDict, batch: Batch) -> float:
    """The loss of the first turn with the same random numbers whenever it is asked for; the nets are left as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return float(stage.loss(next(iter(stage.turns)), deepcopy(nets), batch, _step())["loss"])


def _copy(nets: nn.ModuleDict) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in nets.state_dict().items()}


def _sound(sampler: Sampler, labels: Sequence[int], params: SamplingParams, seeds: Sequence[int]) -> Tensor:
    return sampler.sample(torch.tensor(labels), [params] * len(labels), seeds)


def test_system_is_named_like_its_folder_and_samples_from_its_stages(case: Case) -> None:
    names = [stage.name for stage in case.stages]
    assert case.config.system == case.system.name in system.names()
    assert set(case.system.samples_from(case.config)) <= set(names)
    for index, stage in enumerate(case.stages):
        assert set(stage.needs) <= set(names[:index]), f"{stage.name} needs stages that are not trained before it"
        assert set(stage.reads) <= set(case.batch), f"{stage.name} reads columns that no corpus has"


def test_ten_steps_lower_a_plain_loss_and_keep_an_adversarial_one_finite(case: Case) -> None:
    for stage in case.stages:
        for losses in case.losses[stage.name]:
            assert all(torch.tensor(list(losses.values())).isfinite()), f"{stage.name}: {losses}"
        assert all(p.isfinite().all() for p in case.nets[stage.name].parameters())
        if len(stage.turns) == 1:
            before, after = case.fixed[stage.name]
            assert after < before, f"{stage.name}: loss went from {before:.4f} to {after:.4f} in {STEPS} steps"


def test_each_turn_changes_only_the_nets_it_owns(case: Case) -> None:
    for stage in case.stages:
        nets = stage.build({name: case.nets[name] for name in stage.needs})
        trained = {name for owned in stage.turns.values() for name in owned}
        for name, net in nets.items():
            net.train(name in trained).requires_grad_(name in trained)
        step = _step()
        for turn, owned in stage.turns.items():
            before, optimizer = _copy(nets), stage.optimizer(turn, nets)
            optimizer.zero_grad()
            stage.loss(turn, nets, case.batch_of(stage), step)["loss"].backward()
            optimizer.step()
            changed = {key.split(".")[0] for key, value in nets.state_dict().items() if not torch.equal(value, before[key])}
            assert changed == set(owned), f"turn {turn} of stage {stage.name} changed {changed}, it owns {set(owned)}"


def test_checkpoint_out_and_in_gives_equal_outputs(case: Case) -> None:
    for stage in case.stages:
        found = checkpoint.load(case.checkpoints[stage.name].path)
        nets = stage.build({name: case.nets[name] for name in stage.needs})
        found.restore(nets, averaged=False)
        for key, value in case.nets[stage.name].state_dict().items():
            assert torch.equal(nets.state_dict()[key], value), key
        assert _fixed_loss(stage, nets, case.batch_of(stage)) == case.fixed[stage.name][1]


def _in_few_steps(sampler: Sampler) -> SamplingParams:
    """The start values, but whole numbers that a batch shares (steps) at their lowest: no promise hangs on their number."""
    space = sampler.params.space().items()
    fewest = {name: int(bounds.low or 0) for name, bounds in space if bounds.kind == "int" and bounds.batch_wide}
    return sampler.params.parse(fewest, "fewest steps")


def test_sampler_makes_whole_clips_within_range(case: Case) -> None:
    sampler = case.sampler
    assert sampler.clip == case.config.clip
    assert sampler.classes == DCASE7
    labels = list(range(len(DCASE7.names)))
    wave = _sound(sampler, labels, _in_few_steps(sampler), labels)
    assert wave.shape == (len(labels), case.config.clip.num_samples)
    assert wave.dtype == torch.float32 and wave.device.type == "cpu"
    assert wave.isfinite().all() and wave.abs().max() <= 1


def test_same_seed_gives_same_sound_in_any_company(case: Case) -> None:
    sampler = case.sampler
    labels, params = [2, 0, 2, 6, 2], _in_few_steps(sampler)
    together = _sound(sampler, labels, params, SEEDS)
    backwards = _sound(sampler, labels[::-1], params, SEEDS[::-1]).flip(0)
    alone = torch.cat([_sound(sampler, [label], params, [seed]) for label, seed in zip(labels, SEEDS, strict=True)])
    assert torch.equal(together, alone)
    assert torch.equal(together, backwards)
    assert torch.equal(together, _sound(case.new_sampler(), labels, params, SEEDS)), "a sampler built anew sounds different"
    assert not torch.equal(together[0], together[2]), "two seeds of one class sound the same"


def test_both_ends_of_the_bounds_sample(case: Case) -> None:
    sampler = case.sampler
    for low in (True, False):
        ends = {}
        for name, bounds in sampler.params.space().items():
            number = bounds.low if low else bounds.high
            ends[name] = bounds.options[0 if low else -1] if bounds.kind == "choice" else number
        wave = _sound(sampler, [0, 1], sampler.params.parse(ends, "ends of the bounds"), [0, 1])
        assert wave.isfinite().all() and wave.abs().max() <= 1


def test_params_that_disagree_within_a_batch_are_refused(case: Case) -> None:
    sampler = case.sampler
    for name, bounds in sampler.params.space().items():
        if bounds.batch_wide:
            ends = bounds.options[:2] if bounds.kind == "choice" else (bounds.low, bounds.high)
            params = [sampler.params.parse({name: end}, name) for end in ends]
            with pytest.raises(ValueError, match=name):
                sampler.sample(torch.tensor([0, 0]), params, [0, 1])


def test_foreign_mel_is_refused_in_a_sentence(case: Case) -> None:
    foreign = {
        stage.name: Checkpoint(case.checkpoints[stage.name].path, _card(case, stage, mel_id="f0e1d2c3"))
        for stage in case.stages
        if stage.name in case.system.samples_from(case.config)
    }
    with pytest.raises(UserError, match=r"f0e1d2c3.*" + case.config.mel.id):
        system.load_sampler(foreign, torch.device("cpu"))


@pytest.mark.parametrize("name", system.names())
def test_folder_imports_no_other_system(name: str) -> None:
    own = f"foleyray.systems.{name}"
    for file in (Path(system.__file__).parent / "systems" / name).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                modules = [f"{node.module or ''}.{alias.name}" for alias in node.names]
            else:
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module.startswith("foleyray.systems"):
                    assert module == own or module.startswith(f"{own}."), f"{file.name} imports {module}"
