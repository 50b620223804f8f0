"""Members and their evidence, in the words of the ensemble, from winners and what was measured of them."""

from collections.abc import Sequence

from foleyray.ensemble import Evidence, Member, Rival
from foleyray.search.ledger import Ledger, Measured, Terms
from foleyray.search.publishing import FOLDER
from foleyray.search.results import Contender, Winner

SHOWN = {"value", "interval", "num_reference_clips", "diversity_ratio", "second", "acceptance_rate", "made_per_sound"}
BESIDE = {"system", "checkpoints", "params", "selection", "value", "interval", "diversity_ratio", "second"}


def member_of(winner: Winner, one: Contender, ledger: Ledger, terms: Terms, takes_prompts: bool) -> Member:
    """A member of a class with its own evidence; rivals stand beside what makes the whole class."""
    rivals = () if winner.partners else winner.rivals
    selection = one.selection and one.selection.model_copy(update={"scorer": f"{FOLDER}/{one.selection.scorer}"})
    return Member(
        system=one.system,
        checkpoints={stage: f"{FOLDER}/{id}" for stage, id in one.checkpoints.items()},
        params=one.params,
        selection=selection,
        takes_prompts=takes_prompts,
        share=one.share,
        evidence=_evidence(winner, one, ledger, terms, rivals),
    )


def mixture_evidence(winner: Winner, ledger: Ledger, terms: Terms) -> Evidence:
    """Of a class with several members: each of them alone is a rival of all together."""
    return _evidence(winner, winner.mixture, ledger, terms, (*winner.members, *winner.rivals))


def _evidence(winner: Winner, one: Contender, ledger: Ledger, terms: Terms, rivals: Sequence[Contender]) -> Evidence:
    own = _found(one, ledger, terms)
    return Evidence(
        protocol=winner.protocol,
        **terms.model_dump(),
        **own.model_dump(include=SHOWN | {"commit", "date"}),
        search_value=one.fad,
        rivals=tuple(_rival(rival, _found(rival, ledger, terms)) for rival in rivals),
    )


def _rival(contender: Contender, found: Measured) -> Rival:
    return Rival(**found.model_dump(include=BESIDE), search_value=contender.fad)


def _found(contender: Contender, ledger: Ledger, terms: Terms) -> Measured:
    found = ledger.find(contender, terms)
    assert found is not None
    return found
