"""All that promotion measures: contenders a system after the other, then the mixtures of what was heard of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from foleyray.checkpoint import Checkpoint, source_commit
from foleyray.corpus.store import Store
from foleyray.progress import Progress
from foleyray.search.benches import Benches
from foleyray.search.candidates import Candidate, Trained, by_ids
from foleyray.search.entries import Entry
from foleyray.search.evaluator import Maker
from foleyray.search.ledger import Ledger, Measured, Terms
from foleyray.search.measuring import Heard, Job, Judged, Point, Rejudge
from foleyray.search.mixing import blocks
from foleyray.search.results import Contender, Winner
from foleyray.search.scoring import STAGE, find_by_id


@dataclass(frozen=True)
class Contest:
    """Winners and what stands against them, by class, each with the ledger that remembers it."""

    winners: Mapping[str, Winner]
    trained: Mapping[str, Trained]
    store: Store
    searched: Path
    terms: Terms
    ledgers: Mapping[str, Ledger]

    @classmethod
    def of(
        cls, winners: Mapping[str, Winner], trained: Mapping[str, Trained], store: Store, searched: Path, terms: Terms
    ) -> Self:
        return cls(winners, trained, store, searched, terms, {name: Ledger(searched / name) for name in winners})

    def measure(self, entries: Sequence[Entry], progress: Progress) -> None:
        """Measures what the ledgers do not know, and enters it. Raises UserError where a checkpoint is gone."""
        contenders = {name: (*winner.members, *winner.rivals) for name, winner in self.winners.items()}
        missing = {name: [one for one in found if not self._is_known(name, one)] for name, found in contenders.items()}
        total, left = (sum(map(len, found.values())) for found in (contenders, missing))
        mixed = [name for name, winner in self.winners.items() if winner.partners and not self._knows_mixture(name)]
        if not left and not mixed:
            progress.say("promoted already: these winners on these terms")
        with progress.begin("promote", total + len(mixed), "points", total - left) as task:
            for entry in entries:
                own = {name: [one for one in found if one.system == entry.system.name] for name, found in missing.items()}
                for name, one, judged, heard in self._scored(entry, own):
                    if heard:
                        self.ledgers[name].keep(one, self.terms, heard)
                    self.ledgers[name].add([_measured(one, judged, self.terms)])
                    task.advance(1, f"{name} {judged.score.fad:.2f}")
            for name, judged in self._mixed(entries[0], mixed):
                self.ledgers[name].add([_measured(self.winners[name].mixture, judged, self.terms)])
                task.advance(1, f"{name} {judged.score.fad:.2f}, mixed")

    def _is_known(self, name: str, one: Contender) -> bool:
        """Of a part of a mixture that is not measured yet also what was heard."""
        ledger = self.ledgers[name]
        enough = self._knows_mixture(name) or not self._is_part(name, one) or ledger.heard(one, self.terms) is not None
        return ledger.find(one, self.terms) is not None and enough

    def _is_part(self, name: str, one: Contender) -> bool:
        return bool(self.winners[name].partners) and one in self.winners[name].members

    def _knows_mixture(self, name: str) -> bool:
        winner = self.winners[name]
        return not winner.partners or self.ledgers[name].find(winner.mixture, self.terms) is not None

    def _scored(
        self, entry: Entry, wanted: Mapping[str, Sequence[Contender]]
    ) -> Iterator[tuple[str, Contender, Judged, Heard | None]]:
        """The contenders of one system, by class, with what they scored."""
        points = _Points(self.trained.get(entry.system.name, {}), self.searched)
        names = [name for name, found in wanted.items() if found]
        jobs = [
            Job(
                self.store.classes.index(name),
                name,
                [points.point(one, self._is_part(name, one)) for one in wanted[name]],
                entry.settings,
            )
            for name in names
        ]
        scorer = self._scorer([one for found in wanted.values() for one in found])
        place = self.store.path.resolve()
        make = Maker(entry.system, entry.config, points.candidates, entry.settings, place, self.terms.reference, scorer)
        with Benches(make, entry.settings) as benches:
            for number, found in benches.work(jobs):
                for one, (judged, heard) in zip(wanted[names[number]], found, strict=True):
                    yield names[number], one, judged, heard

    def _scorer(self, contenders: Sequence[Contender]) -> Checkpoint | None:
        """What scores those of them that read no text tower of their own."""
        ids = {one.selection.scorer for one in contenders if one.selection and STAGE not in one.checkpoints}
        assert len(ids) <= 1, f"one search has one scorer, found {ids}"
        return find_by_id(ids.pop(), self.trained) if ids else None

    def _mixed(self, entry: Entry, names: Sequence[str]) -> Iterator[tuple[str, Judged]]:
        """The mixtures of these classes, from what was heard of their members; any system's evaluator can judge them."""
        jobs = [Rejudge(self.store.classes.index(name), name, self._mixture(name), entry.settings.seed) for name in names]
        make = Maker(entry.system, entry.config, [], entry.settings, self.store.path.resolve(), self.terms.reference)
        with Benches(make, entry.settings) as benches:
            for number, judged in benches.work(jobs):
                yield names[number], judged

    def _mixture(self, name: str) -> Heard:
        """Of every request the sound of the member that answers it, as many of each as the shares say."""
        members = self.winners[name].members
        answered = blocks([one.share for one in members], self.terms.num_clips)
        parts = []
        for one, block in zip(members, answered, strict=True):
            heard = self.ledgers[name].heard(one, self.terms)
            assert heard is not None
            parts += [heard.take(block)] if block else []
        return Heard.join(parts)


@dataclass
class _Points:
    """Contenders of one system as points of its evaluator."""

    trained: Trained
    searched: Path
    candidates: list[Candidate] = field(default_factory=list)

    def point(self, one: Contender, kept: bool) -> Point:
        candidate = by_ids(one.checkpoints, self.trained)
        if candidate not in self.candidates:
            self.candidates.append(candidate)
        bank = self.searched.resolve() / one.selection.bank.vectors if one.selection and one.selection.bank else None
        return Point(self.candidates.index(candidate), one.params, one.selection, bank, kept)


def _measured(contender: Contender, found: Judged, terms: Terms) -> Measured:
    return Measured(
        **contender.model_dump(include=set(Contender.POINT)),
        terms=terms,
        value=found.score.fad,
        interval=found.score.interval,
        num_reference_clips=found.score.num_reference_clips,
        diversity_ratio=found.score.diversity_ratio,
        second=found.second,
        acceptance_rate=found.acceptance_rate,
        made_per_sound=found.made_per_sound,
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )
