"""Promotion: each winner is measured again, on fresh seeds and on clips the search never saw, and becomes a member. Its
runner-up and the best point of every other system are measured beside it, so that a win that proves nothing is seen as a
tie. What is measured here chooses nothing: the winners stand since the search.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from foleyray.checkpoint import source_commit
from foleyray.config import UserError
from foleyray.corpus.store import Store
from foleyray.ensemble import Ensemble, Evidence, Member, Rival
from foleyray.metrics.embedder import find
from foleyray.metrics.scores import ClassScore
from foleyray.progress import Progress
from foleyray.search.candidates import Candidate, Trained, by_ids
from foleyray.search.config import SearchConfig
from foleyray.search.entries import Entry, terms_of
from foleyray.search.evaluator import Maker
from foleyray.search.measuring import Job, Ledger, Measured, Terms, measure
from foleyray.search.publishing import FOLDER, publish
from foleyray.search.results import Contender, Winner, read_winners
from foleyray.search.run import check_split

SPLIT = "held_out"


def promote(
    entries: Sequence[Entry], trained: Mapping[str, Trained], store: Store, searched: Path, out: Path, *, progress: Progress
) -> Ensemble:
    """Writes the ensemble of the winners found in `searched` into the folder `out`, with evidence for every member.

    `trained` holds the checkpoints by system and stage. What is measured is kept beside the winner, so that the same point
    on the same terms is not measured again. Raises UserError where the search is not finished, or where a checkpoint that
    it chose is no longer among `trained`.
    """
    settings = terms_of(entries)
    check_split(store, SPLIT)
    winners = read_winners(searched, store.classes)
    _check_systems(entries, winners, searched)
    terms = _terms(winners, settings, store)
    chosen = {name: by_ids(winner.checkpoints, trained.get(winner.system, {})) for name, winner in winners.items()}
    ledgers = {name: Ledger(searched / name) for name in winners}
    _measure_missing(entries, trained, store, winners, ledgers, terms, progress)
    members = {name: _member(winner, ledgers[name], terms) for name, winner in winners.items()}
    classes = {name: (members[name],) for name in store.classes.names}
    ensemble = Ensemble(clip=store.clip, class_list=store.classes, classes=classes)
    publish(ensemble, [checkpoint for candidate in chosen.values() for checkpoint in candidate.values()], out)
    return ensemble


def _check_systems(entries: Sequence[Entry], winners: Mapping[str, Winner], searched: Path) -> None:
    ours = sorted(entry.system.name for entry in entries)
    theirs = sorted(next(iter(winners.values())).studies)
    if ours != theirs:
        raise UserError(
            f"the search in '{searched}' was among {', '.join(theirs)}, and {', '.join(ours)} are to be promoted; run "
            "`foleyray search` again with the configs that are to take part"
        )


def _terms(winners: Mapping[str, Winner], settings: SearchConfig, store: Store) -> Terms:
    embedder = find(settings.embedder, settings.weights, "cpu")
    for name, winner in winners.items():
        if winner.embedder != f"{embedder.name}:{embedder.recipe}":
            raise UserError(
                f"the search listened to {name} with {winner.embedder}, and is to be proven with "
                f"{embedder.name}:{embedder.recipe}; search again with that embedder, or promote with the search's"
            )
    return Terms(
        embedder=embedder.name,
        recipe=embedder.recipe,
        reference=SPLIT,
        num_clips=settings.promote_clips,
        seed=settings.seed,
        corpus=store.fingerprint,
    )


def _measure_missing(
    entries: Sequence[Entry],
    trained: Mapping[str, Trained],
    store: Store,
    winners: Mapping[str, Winner],
    ledgers: Mapping[str, Ledger],
    terms: Terms,
    progress: Progress,
) -> None:
    """Measures winners and rivals that the ledgers do not know, a system after the other, and enters them."""
    contenders = {name: (winner, *winner.rivals) for name, winner in winners.items()}
    missing = {name: [one for one in found if not ledgers[name].find(one, terms)] for name, found in contenders.items()}
    total, left = (sum(map(len, found.values())) for found in (contenders, missing))
    if not left:
        progress.say("promoted already: these winners on these terms")
    with progress.begin("promote", total, "points", total - left) as task:
        for entry in entries:
            own = {name: [one for one in found if one.system == entry.system.name] for name, found in missing.items()}
            for name, one, score in _scored(entry, trained.get(entry.system.name, {}), store, own):
                ledgers[name].add([_measured(one, score, terms)])
                task.advance(1, f"{name} {score.fad:.2f}")


def _scored(
    entry: Entry, trained: Trained, store: Store, wanted: Mapping[str, Sequence[Contender]]
) -> Iterator[tuple[str, Contender, ClassScore]]:
    """The contenders of one system, by class, with their scores."""
    candidates: list[Candidate] = []
    jobs = []
    for label, name in enumerate(store.classes.names):
        chosen = [by_ids(one.checkpoints, trained) for one in wanted[name]]
        candidates += [candidate for candidate in chosen if candidate not in candidates]
        points = [(candidates.index(candidate), one.params) for candidate, one in zip(chosen, wanted[name], strict=True)]
        jobs += [Job(label, points, entry.settings)] if points else []
    make = Maker(entry.system, entry.config, candidates, entry.settings, store.path.resolve(), SPLIT)
    for label, scores in measure(make, jobs, entry.settings):
        name = store.classes.names[label]
        yield from ((name, one, score) for one, score in zip(wanted[name], scores, strict=True))


def _measured(contender: Contender, score: ClassScore, terms: Terms) -> Measured:
    return Measured(
        system=contender.system,
        checkpoints=contender.checkpoints,
        params=contender.params,
        terms=terms,
        value=score.fad,
        interval=score.interval,
        num_reference_clips=score.num_reference_clips,
        diversity_ratio=score.diversity_ratio,
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _member(winner: Winner, ledger: Ledger, terms: Terms) -> Member:
    def measured(contender: Contender) -> Measured:
        found = ledger.find(contender, terms)
        assert found is not None
        return found

    own = measured(winner)
    proof = Evidence(
        **terms.model_dump(),
        **own.model_dump(include={"value", "interval", "num_reference_clips", "diversity_ratio", "commit", "date"}),
        search_value=winner.fad,
        rivals=tuple(_rival(rival, measured(rival)) for rival in winner.rivals),
    )
    paths = {stage: f"{FOLDER}/{id}" for stage, id in winner.checkpoints.items()}
    return Member(system=winner.system, checkpoints=paths, params=winner.params, evidence=proof)


def _rival(contender: Contender, found: Measured) -> Rival:
    return Rival(
        **found.model_dump(include={"system", "checkpoints", "params", "value", "interval"}), search_value=contender.fad
    )
