"""Promotion: each winner is measured again, on fresh seeds and on clips the search never saw, and becomes a member. Its
runner-up is measured beside it, so that a win that proves nothing is seen as a tie.

<searched>/<class>/member.json                   what was measured of the class's winner, as soon as it is measured
<out>/ensemble.yaml                              whole or not there
<out>/checkpoints/<stage>/<8 hex>/step-.../      what the winners are sampled from; nothing that only training needs
"""

import filecmp
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from foleyray import cluster
from foleyray.checkpoint import Checkpoint, source_commit
from foleyray.config import UserError
from foleyray.corpus.store import Store
from foleyray.ensemble import Ensemble, Evidence, Member, RunnerUp
from foleyray.files import write_whole
from foleyray.metrics.embedder import find
from foleyray.metrics.scores import ClassScore
from foleyray.progress import Progress
from foleyray.search.candidates import Candidate, Trained, by_ids
from foleyray.search.config import SearchConfig
from foleyray.search.evaluator import Evaluator, Maker, Params
from foleyray.search.results import Contender, Winner, read_winners
from foleyray.search.run import check_machine, check_split
from foleyray.system import System, SystemConfig

FOLDER = "checkpoints"
COPIED = ("weights.safetensors", "raw.safetensors", "card.json")
MEMBER = "member.json"
SPLIT = "held_out"
DEATHS = 2
"""How often a process that died is begun again."""


@dataclass(frozen=True)
class Claim:
    """What a winner wants to become: the member, and what its evidence has to say apart from the figures."""

    member: Member
    terms: dict[str, Any]
    rival: Contender | None

    def is_proven_by(self, member: Member) -> bool:
        """Whether a member of an earlier promotion is this one, measured on the same terms."""
        proof = member.evidence
        same = member.model_copy(update={"evidence": None}) == self.member
        if not same or proof is None or any(getattr(proof, term) != value for term, value in self.terms.items()):
            return False
        return self.rival_terms == (proof.runner_up and proof.runner_up.model_dump(exclude={"value", "interval"}))

    @property
    def rival_terms(self) -> dict[str, Any] | None:
        if self.rival is None:
            return None
        return {"checkpoints": self.rival.checkpoints, "params": self.rival.params, "search_value": self.rival.fad}

    def proven(self, score: ClassScore, *rivals: ClassScore) -> Member:
        """`rivals` holds the score of the runner-up where there is one."""
        found = [RunnerUp(**self.rival_terms or {}, value=rival.fad, interval=rival.interval) for rival in rivals]
        proof = Evidence(
            **self.terms,
            value=score.fad,
            interval=score.interval,
            num_reference_clips=score.num_reference_clips,
            diversity_ratio=score.diversity_ratio,
            runner_up=next(iter(found), None),
            commit=source_commit(),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return self.member.model_copy(update={"evidence": proof})


@dataclass(frozen=True)
class Job:
    """The measurement of one class, winner first, which any process with an evaluator can do."""

    label: int
    points: Sequence[tuple[int, Params]]
    settings: SearchConfig

    def run(self, evaluator: Evaluator) -> list[ClassScore]:
        seeds, seed = self.settings.clip_seeds("promotion"), self.settings.seed
        return [evaluator.measure(self.label, candidate, params, seeds, seed) for candidate, params in self.points]


def promote(
    system: System,
    config: SystemConfig,
    settings: SearchConfig,
    store: Store,
    checkpoints: Trained,
    searched: Path,
    out: Path,
    *,
    progress: Progress,
) -> Ensemble:
    """Writes the ensemble of the winners found in `searched` into the folder `out`, with evidence for every member.

    What is measured is kept beside the winner, so that the same winner on the same terms is not measured again.
    Raises UserError where the search is not finished, or where a winner's checkpoint is no longer among `checkpoints`.
    """
    check_split(store, SPLIT)
    winners = read_winners(searched, store.classes)
    contenders = {name: [winner, *([winner.runner_up] if winner.runner_up else [])] for name, winner in winners.items()}
    chosen = {name: [by_ids(each.checkpoints, checkpoints) for each in found] for name, found in contenders.items()}
    candidates = _distinct(candidate for found in chosen.values() for candidate in found)
    claims = _claims(winners, settings, store)
    members = {
        name: member for name in winners if (member := _remembered(searched / name)) and claims[name].is_proven_by(member)
    }
    jobs = [
        Job(label, _points(candidates, chosen[name], contenders[name]), settings)
        for label, name in enumerate(store.classes.names)
        if name not in members
    ]
    if not jobs:
        progress.say(f"promoted already: the winners of {searched} under these settings")
    make = Maker(system, config, candidates, settings, store.path.resolve(), SPLIT)
    with progress.begin("promote", len(claims), "classes", len(members)) as task:
        for label, scores in _scores(make, jobs, settings):
            name = store.classes.names[label]
            members[name] = claims[name].proven(*scores)
            write_whole(searched / name / MEMBER, members[name].model_dump_json(indent=1))
            task.advance(1, f"{name} {scores[0].fad:.2f}")
    classes = {name: (members[name],) for name in store.classes.names}
    ensemble = Ensemble(clip=config.clip, class_list=store.classes, classes=classes)
    _publish(ensemble, [checkpoint for winner, *_ in chosen.values() for checkpoint in winner.values()], out)
    return ensemble


def _points(
    candidates: Sequence[Candidate], chosen: Sequence[Candidate], contenders: Sequence[Contender]
) -> list[tuple[int, Params]]:
    return [(candidates.index(candidate), each.params) for candidate, each in zip(chosen, contenders, strict=True)]


def _publish(ensemble: Ensemble, checkpoints: Iterable[Checkpoint], out: Path) -> None:
    """First the copies, then the file that names them, then what only the ensemble before this one named goes."""
    out.mkdir(parents=True, exist_ok=True)
    before = _copies_named_in(out)
    for checkpoint in checkpoints:
        _copy(checkpoint, out / FOLDER / checkpoint.id)
    ensemble.save(out)
    for folder in before - _copies_named_in(out):
        shutil.rmtree(out / folder, ignore_errors=True)


def _claims(winners: Mapping[str, Winner], settings: SearchConfig, store: Store) -> dict[str, Claim]:
    embedder = find(settings.embedder, settings.weights, "cpu")
    for name, winner in winners.items():
        if winner.embedder != f"{embedder.name}:{embedder.recipe}":
            raise UserError(
                f"the search listened to {name} with {winner.embedder}, and is to be proven with "
                f"{embedder.name}:{embedder.recipe}; search again with that embedder, or promote with the search's"
            )
    shared = {
        "metric": "fad",
        "embedder": embedder.name,
        "recipe": embedder.recipe,
        "reference": SPLIT,
        "num_clips": settings.promote_clips,
        "seed": settings.seed,
        "corpus": store.fingerprint,
    }
    return {
        name: Claim(
            Member(
                system=winner.system,
                checkpoints={stage: f"{FOLDER}/{id}" for stage, id in winner.checkpoints.items()},
                params=winner.params,
            ),
            {**shared, "search_value": winner.fad},
            winner.runner_up,
        )
        for name, winner in winners.items()
    }


def _scores(
    make: Callable[[], Evaluator], jobs: Sequence[Job], settings: SearchConfig
) -> Iterator[tuple[int, list[ClassScore]]]:
    """(label, scores) of every job: in this process where one is enough, otherwise in as many as the search had."""
    num_processes = min(settings.concurrent, len(jobs))
    if num_processes > 1:
        yield from _scores_on_ray(make, jobs, settings, num_processes)
    elif jobs:
        evaluator = make()
        for job in jobs:
            yield job.label, job.run(evaluator)


def _scores_on_ray(
    make: Callable[[], Evaluator], jobs: Sequence[Job], settings: SearchConfig, num_processes: int
) -> Iterator[tuple[int, list[ClassScore]]]:
    with cluster.connected():
        import ray
        from ray.util import ActorPool

        check_machine(settings)
        remote = ray.remote(
            num_cpus=settings.cpus_per_trial,
            num_gpus=settings.gpus_per_trial,
            max_restarts=DEATHS,
            max_task_retries=DEATHS,
        )(_Bench)
        pool = ActorPool([remote.remote(make) for _ in range(num_processes)])
        try:
            yield from pool.map_unordered(lambda bench, job: bench.run.remote(job), jobs)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None


class _Bench:
    """A Ray actor around an evaluator."""

    def __init__(self, make: Callable[[], Evaluator]) -> None:
        self.evaluator = make()

    def run(self, job: Job) -> tuple[int, list[ClassScore]]:
        return job.label, job.run(self.evaluator)


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    found: list[Candidate] = []
    for candidate in candidates:
        if candidate not in found:
            found.append(candidate)
    return found


def _remembered(folder: Path) -> Member | None:
    """What the latest promotion of a class measured, if it can be read."""
    with suppress(FileNotFoundError, ValidationError):
        return Member.model_validate_json((folder / MEMBER).read_text(encoding="utf-8"))
    return None


def _copies_named_in(out: Path) -> set[str]:
    with suppress(UserError):
        members = (member for members in Ensemble.load(out).classes.values() for member in members)
        folders = {folder for member in members for folder in member.checkpoints.values()}
        return {folder for folder in folders if folder.startswith(f"{FOLDER}/")}
    return set()


def _copy(checkpoint: Checkpoint, target: Path) -> None:
    """Copies a checkpoint as a whole, unless its copy is there already."""
    names = [name for name in COPIED if (checkpoint.path / name).exists()]
    if filecmp.cmpfiles(checkpoint.path, target, names, shallow=False)[0] == names:
        return
    draft = target.with_name(f".{target.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name in names:
        shutil.copyfile(checkpoint.path / name, draft / name)
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)
