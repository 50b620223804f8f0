"""What each class is called in a sentence: the prompts of a config, given in place or as a YAML file."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, StringConstraints

from foleyray.clips import ClassList, spoken
from foleyray.config import UserError, read_yaml


def _read(value: Any) -> Any:
    return read_yaml(value) if isinstance(value, str | Path) else value


Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Prompts = Annotated[dict[str, Sentence], BeforeValidator(_read)]
"""Class name, in any spelling -> its sentence. A path is read at once, so that what is saved holds the sentences."""


def sentences(prompts: Mapping[str, str], classes: ClassList) -> dict[str, str]:
    """Class name -> its sentence, for every class in index order; "the sound of dog bark" where `prompts` has none."""
    told = {}
    for name, sentence in prompts.items():
        with suppress(UserError):  # one file may serve several corpora
            told[classes.index(name)] = sentence
    return {name: told.get(index, f"the sound of {spoken(name)}") for index, name in enumerate(classes.names)}
