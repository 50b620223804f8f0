"""Published pipelines, a folder for each of their networks: found on disk, or fetched from the Hugging Face hub; their weights.

Folders of diffusers and transformers are laid out alike: a JSON file of sizes beside weights, safetensors or pickled ones.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from foleyray.config import UserError
from foleyray.pretrained.tensors import read_pickled, read_safetensors
from foleyray.pretrained.weights import offline

HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w.-]+))?")
"""`owner/name` or `owner/name@revision`."""
TEXTS = ("*.json", "*.txt")
SAFE = ("diffusion_pytorch_model.safetensors", "model.safetensors")
PICKLED = ("diffusion_pytorch_model.bin", "pytorch_model.bin")


def locate(start: str, parts: Sequence[str]) -> Path:
    """The folder that `start` is, or the hub's `owner/name` or `owner/name@revision`, of which only `parts` are fetched.

    Pickled weights are fetched only where a part has no others. Raises UserError where there is no such folder, where it
    lacks a part, and where the hub cannot be reached.
    """
    folder = Path(start).expanduser()
    if not folder.is_dir():
        name = HUB_NAME.fullmatch(start)
        if name is None or start.startswith("."):
            raise UserError(
                f"'{start}' is neither a folder nor a name on the Hugging Face hub; a folder that holds {', '.join(parts)}, "
                "or a name such as cvssp/audioldm-m-full, is expected"
            )
        folder = _fetched(name[1], name[2], parts)
    missing = [part for part in parts if not (folder / part).is_dir()]
    if missing:
        raise UserError(
            f"{folder} has no sub-folder '{missing[0]}'; a pipeline as diffusers saves it is expected, with {', '.join(parts)}"
        )
    return folder


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors by name of one network's folder, safetensors first; raises UserError where there are none."""
    for name in (*SAFE, *PICKLED):
        if (folder / name).is_file():
            return read_safetensors(folder / name) if name in SAFE else read_pickled(folder / name)
    raise UserError(f"{folder} holds no weights; one of {', '.join((*SAFE, *PICKLED))} is expected, fetch the folder again")


def _fetched(repo: str, revision: str | None, parts: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(names: Sequence[str], parts: Sequence[str]) -> Path:
        patterns = [f"{part}/{name}" for part in parts for name in names]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns, local_files_only=offline()))

    try:
        folder = fetch((*TEXTS, *SAFE), parts)
        pickled = [part for part in parts if not any((folder / part / name).is_file() for name in SAFE)]
        return fetch(PICKLED, pickled) if pickled else folder
    except Exception as error:  # also those of the HTTP library below, which is not the same in every version
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{repo} could not be fetched from the Hugging Face hub ({reason}); fetch it where there is a connection, with "
            f"'hf download {repo}', or name a folder that holds {', '.join(parts)}"
        ) from None
