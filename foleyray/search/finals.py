"""The last round of a search: how the sounds of each system's best trial are chosen and mixed. No Optuna, and few new sounds.

    <searched>/<Class>/choosing.jsonl     every selection that was tried, a line each

All systems are compared on as many sounds of the same requests, so the distances of their trials count no more.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foleyray.checkpoint import Checkpoint
from foleyray.config import fingerprint
from foleyray.corpus.store import Store
from foleyray.files import write_whole
from foleyray.metrics.embeddings import ClipEmbeddings
from foleyray.progress import Progress
from foleyray.search.banks import BankPlan, Vectors, make_banks
from foleyray.search.benches import Benches
from foleyray.search.candidates import Candidate, ids
from foleyray.search.choosing import Choice, Option, choose, goals, no_choice
from foleyray.search.config import ChoosingConfig, MixingConfig, SearchConfig, Target
from foleyray.search.evaluator import Evaluator
from foleyray.search.mixing import Mixture, mix
from foleyray.search.pooling import PoolPlan, make_pools
from foleyray.search.pools import Pool, PoolFile
from foleyray.search.results import Contender
from foleyray.search.scoring import scorer_of
from foleyray.selection import Bank


@dataclass(frozen=True, eq=False)
class Final:
    """The best trial of a system for a class, with the selection that serves it best, and the sounds it stands on."""

    contender: Contender
    unselected: Contender
    """The same trial without selection."""
    sounds: ClipEmbeddings
    choice: Choice


@dataclass(frozen=True)
class Head:
    """The best trial of a system for one class."""

    label: int
    contender: Contender
    number: int
    candidate: Candidate


@dataclass(frozen=True, eq=False)
class Choosing:
    """Chooses on a pool."""

    label: int
    pool: Pool
    scorer: str
    banks: Mapping[Target, tuple[Bank, Vectors]]
    settings: ChoosingConfig | None

    def run(self, evaluator: Evaluator) -> Choice:
        reference = evaluator.reference(self.label)
        if self.settings is None:
            return no_choice(self.pool, reference)
        return choose(self.pool, goals(self.pool, self.banks, self.settings), reference, self.scorer, self.settings)


@dataclass(frozen=True, eq=False)
class Mixing:
    """Mixes the chosen sounds of several systems."""

    label: int
    sounds: Mapping[str, ClipEmbeddings]
    settings: MixingConfig

    def run(self, evaluator: Evaluator) -> Mixture:
        return mix(self.sounds, evaluator.reference(self.label), self.settings)


@dataclass(frozen=True)
class Round:
    """What the last round of one system knows: where it works, what makes its sounds, and what scores them."""

    system: str
    out: Path
    store: Store
    settings: SearchConfig
    make: Callable[[], Evaluator]
    scorer: Checkpoint | None
    embedder_id: Sequence[str]
    """Name, recipe and weights of what listens."""

    def finals(self, heads: Mapping[str, Head], progress: Progress) -> dict[str, Final]:
        """Class -> the final of its best trial; pools and banks that are on disk are not made again."""
        with Benches(self.make, self.settings) as benches:
            pools = make_pools(self.system, {name: self._plan(name, head) for name, head in heads.items()}, benches, progress)
            banks = self._banks(heads, benches, progress)
            jobs = [
                Choosing(head.label, pools[name], self._scorer_id(head), banks.get(name, {}), self.settings.choosing)
                for name, head in heads.items()
            ]
            names = list(heads)
            with progress.begin(f"choosing {self.system}", len(jobs), "classes") as task:
                found = {}
                for number, choice in benches.work(jobs):
                    task.advance(1, f"{names[number]} {choice.chosen.fad:.2f}")
                    found[names[number]] = choice
        return {name: _final(head.contender, found[name], pools[name]) for name, head in heads.items()}

    def _scorer_id(self, head: Head) -> str:
        return scorer_of(head.candidate, self.scorer).id if self.scorer else ""

    def _plan(self, name: str, head: Head) -> PoolPlan:
        requests, count = self.settings.pool
        of = {
            "system": self.system,
            "checkpoints": ids(head.candidate),
            "params": head.contender.params,
            "embedder": list(self.embedder_id),
            "scorer": self._scorer_id(head),
            "seed": self.settings.seed,
            "pool": [requests, count],
        }
        file = self.out.resolve() / "pools" / fingerprint(of) / f"{name}.parquet"
        return PoolPlan(
            label=head.label,
            candidate=head.number,
            params=head.contender.params,
            scored=self.scorer is not None,
            file=PoolFile(file, self.settings.request_seeds(), count),
        )

    def _banks(
        self, heads: Mapping[str, Head], benches: Benches, progress: Progress
    ) -> dict[str, dict[Target, tuple[Bank, Vectors]]]:
        if self.settings.choosing is None or "bank" not in self.settings.choosing.targets:
            return {}
        plans = {name: BankPlan(head.label, head.number, self._scorer_id(head)) for name, head in heads.items()}
        banks = make_banks(benches, plans, self.store, self.out, self.settings.choosing, progress)
        return {name: {"bank": bank} for name, bank in banks.items()}

    def mixtures(
        self, finals: Mapping[str, Mapping[str, Final]], settings: MixingConfig, progress: Progress
    ) -> dict[str, Mixture]:
        """Class -> the best shares of its finals, by system; of the classes for which there are several."""
        several = {name: found for name, found in finals.items() if len(found) > 1}
        jobs = [
            Mixing(self.store.classes.index(name), {system: final.sounds for system, final in found.items()}, settings)
            for name, found in several.items()
        ]
        names, mixtures = list(several), {}
        with Benches(self.make, self.settings) as benches, progress.begin("mixing", len(jobs), "classes") as task:
            for number, mixture in benches.work(jobs):
                mixtures[names[number]] = mixture
                task.advance(1, f"{names[number]} {mixture.fad:.2f}")
        return mixtures


def _final(contender: Contender, choice: Choice, pool: Pool) -> Final:
    chosen, unselected = (
        contender.model_copy(update={"fad": picked.fad, "selection": picked.selection, "picked": picked})
        for picked in (choice.chosen, choice.unselected)
    )
    return Final(chosen, unselected, pool.clips.take(choice.places), choice)


def write_choosing(out: Path, name: str, finals: Mapping[str, Final]) -> None:
    """Writes every option that was tried for a class, of all systems."""
    rows = (_line(system, option, final.choice) for system, final in finals.items() for option in final.choice.options)
    (out / name).mkdir(parents=True, exist_ok=True)
    write_whole(out / name / "choosing.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _line(system: str, option: Option, choice: Choice) -> dict[str, Any]:
    selection = option.selection
    return {
        "system": system,
        "target": option.target,
        "candidates": selection.candidates if selection else 1,
        "threshold": selection.threshold if selection else None,
        "fad": option.fad,
        "diversity": option.diversity,
        "various_enough": selection is None or option.diversity >= choice.least_diversity,
        "acceptance_rate": option.acceptance_rate,
        "made_per_sound": option.made_per_sound,
    }
