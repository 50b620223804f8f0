"""From checkpoints to sounds: who answers a request, with which parameters, in which batches, and into which files.

No concrete system is named here, and nothing here knows HTTP or Ray.
"""

from foleyray.generation.files import Written, recipe_of, write_sounds
from foleyray.generation.opening import Contents, contents_of, open_ensemble
from foleyray.generation.request import PROMPT_LENGTH, PROMPTS, SEEDS, FieldError, Recipe, Request, Sound, consecutive, fault
from foleyray.generation.roster import Part, Roster, Take, limits
from foleyray.generation.sampler import MAX_BATCH, EnsembleSampler, open_generator

__all__ = [
    "MAX_BATCH",
    "PROMPTS",
    "PROMPT_LENGTH",
    "SEEDS",
    "Contents",
    "EnsembleSampler",
    "FieldError",
    "Part",
    "Recipe",
    "Request",
    "Roster",
    "Sound",
    "Take",
    "Written",
    "consecutive",
    "contents_of",
    "fault",
    "limits",
    "open_ensemble",
    "open_generator",
    "recipe_of",
    "write_sounds",
]
