"""Promotion: each winner is measured again, on fresh seeds and on clips the search never saw, and becomes a member. Its
runner-up and the best point of every other system are measured beside it, so that a win that proves nothing is seen as a
tie. What is measured here chooses nothing: the winners stand since the search.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.corpus.store import Store
from foleyray.ensemble import Ensemble
from foleyray.metrics.embedder import find
from foleyray.progress import Progress
from foleyray.search.candidates import Trained, by_ids
from foleyray.search.checks import check_split
from foleyray.search.config import SearchConfig
from foleyray.search.contest import Contest
from foleyray.search.entries import Entry, terms_of
from foleyray.search.ledger import Terms
from foleyray.search.proofs import member_of, mixture_evidence
from foleyray.search.publishing import publish
from foleyray.search.results import Contender, Winner, read_winners
from foleyray.search.scoring import find_by_id

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
    chosen = [checkpoint for winner in winners.values() for one in winner.members for checkpoint in _checkpoints(one, trained)]
    contest = Contest.of(winners, trained, store, searched, terms)
    contest.measure(entries, progress)
    prompted = {entry.system.name for entry in entries if entry.system.takes_prompts(entry.config)}
    classes, mixtures = {}, {}
    for name, winner in winners.items():
        ledger = contest.ledgers[name]
        classes[name] = tuple(member_of(winner, one, ledger, terms, one.system in prompted) for one in winner.members)
        if winner.partners:
            mixtures[name] = mixture_evidence(winner, ledger, terms)
    ensemble = Ensemble(clip=store.clip, class_list=store.classes, classes=classes, mixtures=mixtures)
    publish(ensemble, chosen, searched, out)
    return ensemble


def _checkpoints(one: Contender, trained: Mapping[str, Trained]) -> list[Checkpoint]:
    """What a member is sampled from, and what scores it."""
    found = [*by_ids(one.checkpoints, trained.get(one.system, {})).values()]
    return [*found, find_by_id(one.selection.scorer, trained)] if one.selection else found


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
