"""CLAP: a small random model saved as the public one is, against transformers' own front end; its text; the score."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from foleyray.config import UserError
from foleyray.metrics import laion
from foleyray.metrics.clap import Clap
from foleyray.metrics.embedder import find
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.weights import WeightsFile
from tests.pretrained.clap_models import RATE, noise, save_model, small_config, tensors_of


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("weights") / "clap").parent


@pytest.fixture(scope="module")
def ear(weights) -> Clap:
    found = find("clap:folder", weights, "cpu")
    assert isinstance(found, Clap)
    return found


def test_a_clip_is_one_frame(ear):
    found = ear.embed(noise(2))
    assert torch.equal(found.frames[:, 0], ear.network.embed_audio(noise(2)))
    assert found.frames.shape == (2, 1, 24) and found.kept.all() and found.frames.dtype == torch.float32


def test_vectors_have_unit_length_and_silence_has_one_too(ear):
    norms = ear.embed(torch.cat([noise(4), torch.zeros(1, 4 * RATE)])).frames.norm(dim=2)
    torch.testing.assert_close(norms, torch.ones(5, 1))


def test_of_a_long_clip_the_first_ten_seconds_are_heard_and_nothing_is_drawn(ear):
    wave = noise(1, 15 * RATE)
    assert torch.equal(ear.embed(wave).frames, ear.embed(wave[:, : 10 * RATE]).frames)


def test_neighbours_in_the_batch_change_nothing(ear):
    wave = noise(6)
    torch.testing.assert_close(ear.embed(wave).frames[5:], ear.embed(wave[5:]).frames, rtol=1e-4, atol=1e-5)


def test_text_lies_in_the_same_space(ear):
    vectors = ear.embed_text(["the sound of rain", "a dog bark"])
    assert vectors.shape == (2, 24) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(ear.embed_text(["a dog bark"])[0], vectors[1], atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(ear.embed_text(["rain"])[0] - vectors[0]).max() > 1e-3


@pytest.mark.parametrize("text", ["xylophone", "", "!"])
def test_a_text_without_a_known_word_is_refused(ear, text):
    with pytest.raises(UserError, match=f"knows no word of '{text}'"):
        ear.embed_text(["the sound of rain", text])


def test_safetensors_are_read_too_and_the_id_is_of_the_content(weights, tmp_path):
    first, folder = find("clap:folder", weights, "cpu"), save_model(tmp_path / "clap")
    (folder / "pytorch_model.bin").unlink()
    save_file(tensors_of(small_config()), folder / "model.safetensors")
    assert find("clap:folder", tmp_path, "cpu").weights_id == first.weights_id
    save_file(tensors_of(small_config(), seed=1), folder / "model.safetensors")
    assert find("clap:folder", tmp_path, "cpu").weights_id != first.weights_id
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="does not read as safetensors"):
        find("clap:folder", tmp_path, "cpu")


def test_a_model_that_fuses_is_refused(tmp_path):
    save_model(tmp_path / "clap", fusion=True)
    with pytest.raises(UserError, match="has feature fusion"):
        find("clap:folder", tmp_path, "cpu")


def test_a_folder_without_a_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    with pytest.raises(
        UserError, match=r"clap:folder needs a CLAP model in a folder 'clap', and no config.json lies in .*weights/clap;"
    ):
        find("clap:folder", tmp_path, "cpu")
    (tmp_path / "clap").mkdir()
    (tmp_path / "clap/config.json").write_text("{not json")
    with pytest.raises(UserError, match=r"no readable config.json"):
        find("clap:folder", tmp_path, "cpu")


def test_the_published_model_is_verified_and_asked_for_by_name(tmp_path, monkeypatch):
    weights = save_model(tmp_path / "own/clap").parent
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    with pytest.raises(
        UserError, match=r"pytorch_model.bin.*\(617.9 MB\) of laion/clap-htsat-unfused.*put them into .*DIR/clap"
    ):
        find("clap", weights, "cpu")
    for file in ("special_tokens_map.json", "vocab.json", "merges.txt"):
        (weights / "clap" / file).write_text("{}")
    with pytest.raises(UserError, match=r"config.json is not the published"):
        find("clap", weights, "cpu")


def test_without_the_package_the_extra_is_named(weights):
    if "laion_clap" in sys.modules or laion.find_spec("laion_clap"):
        pytest.skip("laion-clap is installed")
    with pytest.raises(UserError, match=r"package laion-clap.*uv sync --extra clap.*clap:unfused"):
        find("clap:laion", weights, "cpu")


class StandIn(torch.nn.Module):
    """The part of the package's `CLAP_Module` that is used, for where the package is not installed."""

    def __init__(self, enable_fusion: bool, device: torch.device) -> None:
        super().__init__()
        assert not enable_fusion
        self.model = torch.nn.ModuleDict(
            {"audio_projection": torch.nn.Linear(8, 512), "text_projection": torch.nn.Linear(1, 512)}
        )
        self.tokenize: object = range(50_265)

    def get_audio_embedding_from_data(self, x, use_tensor):
        return self.model["audio_projection"](x.unfold(1, 1000, 1000)[:, :8].std(2))

    def get_text_embedding(self, x, use_tensor):
        return self.model["text_projection"](torch.tensor([[float(len(text))] for text in x]))


@pytest.fixture
def package(monkeypatch, tmp_path) -> Path:
    """The stand-in under the package's name, and a checkpoint as the package's training writes one."""
    made = ModuleType("laion_clap")
    made.CLAP_Module = StandIn
    made.__spec__ = type(sys.__spec__)("laion_clap", None)
    monkeypatch.setitem(sys.modules, "laion_clap", made)
    state = {f"module.{name}": tensor for name, tensor in StandIn(False, torch.device("cpu")).model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(3)
    record = {"epoch": 1, "name": "x", "best": np.float64(0.5), "step": np.int64(3), "state_dict": state}
    torch.save(record, tmp_path / laion.WEIGHTS.name)
    sha256 = hashlib.sha256((tmp_path / laion.WEIGHTS.name).read_bytes()).hexdigest()
    monkeypatch.setattr(laion, "WEIGHTS", WeightsFile("clap", laion.WEIGHTS.name, 1, sha256))
    monkeypatch.setattr(laion, "MODEL", HubModel("lukewys/laion_clap", "main", (laion.WEIGHTS,)))
    return tmp_path


def test_the_package_is_a_second_way(package):
    found = find("clap:laion", package, "cpu")
    assert isinstance(found, laion.Laion) and (found.name, found.recipe, found.sample_rate_hz) == ("clap", "laion", RATE)
    wave = noise(6)
    heard = found.embed(wave).frames
    assert heard.shape == (6, 1, 512)
    torch.testing.assert_close(heard.norm(dim=2), torch.ones(6, 1))
    torch.testing.assert_close(heard[5:], found.embed(wave[5:]).frames)
    expected = found.module.get_audio_embedding_from_data(wave[:1], True)
    torch.testing.assert_close(heard[0], torch.nn.functional.normalize(expected.detach(), dim=1))
    vectors = found.embed_text(["rain", "a dog barks"])
    assert vectors.shape == (2, 512) and np.linalg.norm(vectors, axis=1) == pytest.approx([1.0, 1.0], rel=1e-5)


def test_the_packages_stub_of_a_tokenizer_is_refused(package):
    found = find("clap:laion", package, "cpu")
    found.module.tokenize = range(5)
    with pytest.raises(UserError, match="tokenizer knows 5 tokens"):
        found.embed_text(["rain"])


def test_a_checkpoint_of_the_package_runs_no_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise RuntimeError('it ran')",))

    torch.save({"state_dict": {}, "optimizer": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(UserError, match="does not read as PyTorch weights"):
        laion.read_weights(tmp_path / "trap.pt")
    torch.save({"epoch": 1}, tmp_path / "none.pt")
    with pytest.raises(UserError, match="holds no 'state_dict'"):
        laion.read_weights(tmp_path / "none.pt")
