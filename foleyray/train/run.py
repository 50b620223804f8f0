"""Training of a whole system: every stage in its order, in this process or on Ray, and where its checkpoints are found.

<out>/run.json                     corpus, system and config of the latest call
<out>/<column>/<8 hex>/            what a trained stage made of the corpus for later ones, see `columns.py`
<out>/<stage>/<8 hex>/step-...     see `job.py` for the name and `checkpoint.py` for what lies there
"""

import json
from dataclasses import replace
from pathlib import Path

from foleyray import checkpoint, cluster
from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError, nearest
from foleyray.corpus.store import Store
from foleyray.files import write_whole
from foleyray.progress import Progress
from foleyray.system import System, SystemConfig
from foleyray.train.alone import train_alone
from foleyray.train.columns import with_columns
from foleyray.train.job import Job, checked_stages


def train(
    system: System, config: SystemConfig, store: Store, out: Path, *, workers: int, progress: Progress, until: str | None = None
) -> dict[str, list[Checkpoint]]:
    """Trains every stage in order, or up to the stage `until`; stage -> its checkpoints, oldest first, step 0 among them.

    `workers` 0: in this process, without Ray. What is trained is left alone, what was cut off goes on from its last
    checkpoint. Raises UserError where config and corpus do not fit or the numbers are lost, KeyboardInterrupt after Ctrl-C.
    """
    names = [stage.name for stage in checked_stages(system, config, store)]
    if until is not None and until not in names:
        raise UserError(f"unknown stage '{until}'{nearest(until, names)}; stages of {system.name}: {', '.join(names)}")
    _remember(out, system, config, store)
    found: dict[str, list[Checkpoint]] = {}
    for name in names[: names.index(until) + 1 if until else None]:
        job = _job(system, config, store, name, found, out)
        if _steps(job) is not None:
            progress.say(f"{name} is trained already: {job.training.steps} steps in {job.folder}")
        else:
            _train(job, workers, progress)
        found[name] = _whole(job)
    return found


def _train(job: Job, workers: int, progress: Progress) -> None:
    if workers == 0:
        train_alone(with_columns(job, workers, progress), progress)
        return
    with cluster.connected():
        # ray reads its environment when it is first imported
        from foleyray.train.on_ray import train_on_ray

        train_on_ray(with_columns(job, workers, progress), workers, progress)


def trained(out: Path, system: System, config: SystemConfig, store: Store) -> dict[str, list[Checkpoint]]:
    """Stage -> its checkpoints, oldest first; raises UserError where a stage is missing or has not come to its end."""
    found: dict[str, list[Checkpoint]] = {}
    for stage in checked_stages(system, config, store):
        found[stage.name] = _whole(_job(system, config, store, stage.name, found, out))
    return found


def remembered_corpus(out: Path) -> Path:
    """The store that the latest training in `out` was given; raises UserError where nothing was trained."""
    file = out / "run.json"
    try:
        return Path(json.loads(file.read_text(encoding="utf-8"))["corpus"])
    except FileNotFoundError:
        raise UserError(f"nothing was trained in '{out}': it holds no run.json; train first, or name the corpus") from None
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UserError(f"{file} is damaged: it names no corpus; train again, or name the corpus") from None


def _job(system: System, config: SystemConfig, store: Store, name: str, found: dict[str, list[Checkpoint]], out: Path) -> Job:
    """Paths are absolute: workers may live in another folder."""
    store = replace(store, path=store.path.resolve())
    return Job(system, config, store, name, {earlier: steps[-1] for earlier, steps in found.items()}, out.resolve())


def _steps(job: Job) -> list[Checkpoint] | None:
    """The checkpoints of a stage up to its last step, or None where that is still to come."""
    steps, end = checkpoint.all_steps(job.folder), job.training.steps
    if any(step.card.step == end for step in steps):
        return [step for step in steps if step.card.step <= end]
    if steps and steps[-1].card.step > end:
        raise UserError(
            f"{job.folder} has gone on to step {steps[-1].card.step} and keeps no step {end}; "
            f"set training.{job.stage_name}.steps={steps[-1].card.step}, or train into another folder"
        )
    return None


def _whole(job: Job) -> list[Checkpoint]:
    steps = _steps(job)
    if steps is None:
        last = checkpoint.last(job.folder)
        found = f"is at step {last.card.step} of {job.training.steps}" if last else f"has no checkpoint in {job.folder}"
        raise UserError(f"stage {job.stage_name} {found}; run `foleyray train` with this config and corpus first")
    return steps


def _remember(out: Path, system: System, config: SystemConfig, store: Store) -> None:
    document = {
        "corpus": str(store.path.resolve()),
        "fingerprint": store.fingerprint,
        "system": system.name,
        "config": config.model_dump(mode="json"),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "run.json", json.dumps(document, indent=1))
