"""What scores candidates: which checkpoint, and its likeness of sounds to the text of a class."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from foleyray.checkpoint import Checkpoint
from foleyray.config import UserError
from foleyray.metrics.embedder import name_and_recipe
from foleyray.search.candidates import Candidate, Trained, absolute, by_ids
from foleyray.search.config import SearchConfig
from foleyray.system import Prompted, Sampler

if TYPE_CHECKING:
    from foleyray.modules.clap import Clap

STAGE = "clap"


def find_scorer(systems: Sequence[str], trained: Mapping[str, Trained], settings: SearchConfig) -> Checkpoint | None:
    """The newest checkpoint of the stage `clap` of the first system that has one; None where nothing is to be scored.

    Raises UserError where no system has one, or where the embedder that evaluates is of the scorer's own kind.
    """
    if settings.choosing is None:
        return None
    steps = (trained.get(system, {}).get(STAGE, ()) for system in systems)
    found = next((steps[-1] for steps in steps if steps and steps[-1].card.step > 0), None)
    if found is None:
        raise UserError(
            f"search.choosing needs what scores sounds, a trained stage '{STAGE}', and none of {', '.join(systems)} has one; "
            "let a config take part that brings one, such as systems/ldm/tiny.yaml"
        )
    _check_mirror(found, settings)
    return absolute(found)


def find_by_id(scorer: str, trained: Mapping[str, Trained]) -> Checkpoint:
    """The checkpoint of that id, whichever system has it; raises UserError where it is gone."""
    known = [checkpoint for system in trained.values() for checkpoint in system.get(STAGE, ())]
    return by_ids({STAGE: scorer}, {STAGE: known})[STAGE]


def _check_mirror(scorer: Checkpoint, settings: SearchConfig) -> None:
    kind = scorer.card.config.get(STAGE, {}).get("kind")
    if name_and_recipe(settings.embedder)[0] == STAGE and kind == "published":
        raise UserError(
            f"search.embedder is {settings.embedder} and a published CLAP selects, which would praise its own choice; evaluate "
            "with another embedder, such as yamnet, or select with a tiny one"
        )


def scorer_of(candidate: Candidate, scorer: Checkpoint | None) -> Checkpoint:
    """What scores the sounds of a candidate: the text tower that it reads itself, otherwise the search's scorer."""
    found = candidate.get(STAGE, scorer)
    assert found is not None
    return found


def target_of(sampler: Sampler, scorer: "Clap", label: int) -> NDArray[np.float32]:
    """What the sounds of a class without a prompt are scored against: a vector (D,) of unit length."""
    if isinstance(sampler, Prompted):
        return np.asarray(sampler.targets(torch.tensor([label]), [None])[0].numpy())
    return np.asarray(scorer.embed_text([scorer.prompts[sampler.classes.names[label]]])[0].numpy())


def cosines(vectors: NDArray[np.float32], targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of unit vectors (B, D) and (N, D) -> (B, N), in double precision: no threshold hangs on rounding."""
    return np.asarray((vectors.astype(np.float64) @ targets.T.astype(np.float64)).clip(-1.0, 1.0))
