"""MERT: random weights of a small HuBERT, named as the public file names them."""

import hashlib

import pytest
import torch
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from foleyray.config import UserError
from foleyray.metrics import mert
from foleyray.metrics.embedder import find
from foleyray.metrics.mert import Mert, build_network
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.tensors import read_pickled
from foleyray.pretrained.weights import WeightsFile

SMALL = HubertConfig(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=32,
    conv_dim=(8,) * 7,
    num_conv_pos_embeddings=16,
    num_conv_pos_embedding_groups=4,
)


def published_layout(config: HubertConfig = SMALL, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors under the names that PyTorch gave to weight norm when the file was written."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in HubertModel(config).state_dict().items():
        drawn = torch.randn(tensor.shape, generator=generator) * (1 / max(tensor[0].numel(), 1)) ** 0.5
        old = name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        )
        tensors[old] = drawn.abs() + 0.5 if name.endswith(("norm.weight", "original0")) else drawn
    return tensors


@pytest.fixture(scope="module")
def ear() -> Mert:
    return Mert(build_network(published_layout(), "MERT weights", SMALL), "last", "random")


def noise(clips: int, samples: int = 96_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("samples", "frames"), [(96_000, 299), (24_000, 74), (720, 2), (719, 1), (400, 1), (399, 1), (1, 1)])
def test_75_frames_a_second(ear, samples, frames):
    found = ear.embed(noise(5, samples))
    assert found.frames.shape == (5, frames, 24) and found.kept.all() and found.frames.dtype == torch.float32
    assert found.frames.isfinite().all()


def test_the_weights_reach_every_layer(ear):
    """Put by hand into transformers' network, they give the same answer, and each of them matters."""
    by_hand = HubertModel(SMALL).eval()
    new = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    tensors = published_layout()
    by_hand.load_state_dict({".".join(new.get(part, part) for part in name.split(".")): t for name, t in tensors.items()})
    wave = noise(2, 24_000)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True)
    heard = extractor(list(wave.numpy()), sampling_rate=24_000, return_tensors="pt").input_values
    with torch.inference_mode():
        expected = by_hand(heard).last_hidden_state
    torch.testing.assert_close(ear.embed(wave).frames, expected, rtol=1e-4, atol=1e-4)
    generator = torch.Generator().manual_seed(1)
    for name in tensors:
        if name != "masked_spec_embed" and not name.endswith("k_proj.bias"):
            other = dict(tensors, **{name: tensors[name] + 0.5 * torch.randn(tensors[name].shape, generator=generator)})
            changed = Mert(build_network(other, "MERT weights", SMALL), "last", "other").embed(wave).frames
            assert (changed - expected).abs().max() > 1e-4, name


def test_gain_and_offset_change_nothing(ear):
    wave = noise(1)
    torch.testing.assert_close(ear.embed(wave).frames, ear.embed(wave / 4 + 0.1).frames, rtol=1e-2, atol=1e-2)


def test_listening_draws_nothing_and_neighbours_change_nothing(ear):
    wave = noise(6, 24_000)
    assert torch.equal(ear.embed(wave).frames, ear.embed(wave).frames)
    torch.testing.assert_close(ear.embed(wave).frames[5:], ear.embed(wave[5:]).frames, rtol=1e-4, atol=1e-4)


def test_full_size_is_what_the_public_file_holds():
    with torch.device("meta"):
        tensors = HubertModel(HubertConfig()).state_dict()
    assert tensors["encoder.layers.11.feed_forward.output_dense.weight"].shape == (768, 3072)
    held = sum(4 * tensor.numel() for tensor in tensors.values())
    assert 0 < mert.WEIGHTS.num_bytes - held < 200_000, "the public file holds these tensors and their names, no more"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("encoder.pos_conv_embed.conv.weight_v"), "lack 'encoder.pos_conv_embed.conv.param.*original1'"),
        (lambda t: t.update({"encoder.layers.1.attention.q_proj.weight": torch.ones(4, 4)}), r"\[4, 4\]; floats \[24, 24\]"),
        (lambda t: t.update({"feature_extractor_cqt.kernel": torch.ones(4)}), "'feature_extractor_cqt.kernel', which this"),
    ],
)
def test_keys_that_do_not_fit_are_named(change, message):
    tensors = published_layout()
    change(tensors)
    with pytest.raises(UserError, match=message):
        build_network(tensors, "MERT weights", SMALL)


def test_it_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    with pytest.raises(UserError, match=r"pytorch_model.bin \(377.6 MB\) of m-a-p/MERT-v1-95M at revision 12af15fe.*DIR/mert"):
        find("mert", tmp_path, "cpu")
    (tmp_path / "mert").mkdir()
    torch.save(published_layout(), tmp_path / "mert/pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model.bin is not the published"):
        find("mert", tmp_path, "cpu")
    sha256 = hashlib.sha256((tmp_path / "mert/pytorch_model.bin").read_bytes()).hexdigest()
    monkeypatch.setattr(mert, "WEIGHTS", WeightsFile("mert", "pytorch_model.bin", 1, sha256))
    monkeypatch.setattr(mert, "MODEL", HubModel("m-a-p/MERT-v1-95M", "12af15fe", (mert.WEIGHTS,)))
    with pytest.raises(UserError, match=r"MERT weights pytorch_model.bin .*expected"):
        find("mert", tmp_path, "cpu")
    monkeypatch.setattr(mert, "HubertConfig", lambda: SMALL)
    found = find("mert", tmp_path, "cpu")
    assert (found.recipe, found.weights_id, found.dim, found.sample_rate_hz) == ("last", sha256[:8], 24, 24_000)
    assert found.embed(noise(1)).frames.shape == (1, 299, 24)


def test_a_file_that_is_no_dict_of_tensors_is_refused(tmp_path):
    (tmp_path / "text.bin").write_text("not weights")
    torch.save(torch.ones(3), tmp_path / "tensor.bin")
    for name, message in (("text.bin", "does not read"), ("tensor.bin", "holds Tensor"), ("gone.bin", "does not read")):
        with pytest.raises(UserError, match=message):
            read_pickled(tmp_path / name)
