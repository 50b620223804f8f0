"""Pipelines in a folder and in the hub's own cache, which is laid out here as the hub's library does it."""

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from foleyray.config import UserError
from foleyray.pretrained.snapshot import locate, read_weights

REVISION = "0123456789abcdef0123456789abcdef01234567"


def _filled(folder: Path) -> Path:
    """Two parts, one of which has pickled weights alone."""
    for part, name in (("vae", "diffusion_pytorch_model.safetensors"), ("vocoder", "pytorch_model.bin")):
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        weights = {"weight": torch.arange(3.0)}
        save_file(weights, folder / part / name) if name.endswith("safetensors") else torch.save(weights, folder / part / name)
    return folder


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of `somebody/pipeline` at its branch main, in a cache without a connection."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = tmp_path / "hub/models--somebody--pipeline"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(REVISION)
    return _filled(repository / "snapshots" / REVISION)


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = _filled(tmp_path / "pipeline")
    assert locate(str(folder), ("vae", "vocoder")) == folder


def test_a_name_of_the_hub_is_found_in_its_cache(cached: Path) -> None:
    for start in ("somebody/pipeline", f"somebody/pipeline@{REVISION}", "somebody/pipeline@main"):
        assert locate(start, ("vae", "vocoder")).resolve() == cached.resolve()
    with pytest.raises(UserError, match=r"somebody/pipeline could not be fetched .*'hf download somebody/pipeline'"):
        locate("somebody/pipeline@other", ("vae",))
    with pytest.raises(UserError, match=r"has no sub-folder 'unet'; a pipeline as diffusers saves it is expected, with unet"):
        locate("somebody/pipeline", ("unet",))


@pytest.mark.parametrize("start", ["./none", "none", "a/b/c", "/none/at/all", "somebody/pipeline@"])
def test_what_is_neither_is_named(start: str) -> None:
    with pytest.raises(UserError, match=r"is neither a folder nor a name on the Hugging Face hub; a folder that holds vae"):
        locate(start, ("vae",))


def test_weights_are_read_safetensors_first(tmp_path: Path) -> None:
    folder = _filled(tmp_path / "pipeline")
    for part in ("vae", "vocoder"):
        assert torch.equal(read_weights(folder / part)["weight"], torch.arange(3.0))
    torch.save({"weight": torch.zeros(3)}, folder / "vae/diffusion_pytorch_model.bin")
    assert torch.equal(read_weights(folder / "vae")["weight"], torch.arange(3.0))
    with pytest.raises(UserError, match=r"holds no weights; one of diffusion_pytorch_model.safetensors"):
        read_weights(folder)
