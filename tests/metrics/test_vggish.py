"""VGGish: the challenge's steps recomputed in numpy, both files of weights, and the publisher's figures where they lie."""

import copy
import hashlib
from functools import partial

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.metrics import vggish
from foleyray.metrics.embedder import find
from foleyray.metrics.embeddings import embed_clips
from foleyray.metrics.vggish import VARIABLES, Network, VGGish, read_weights, scaled
from foleyray.pretrained.precision import full_precision
from foleyray.pretrained.tensors import content_id, load
from foleyray.pretrained.weights import WeightsFile
from tests.shared import SHARED
from tests.tensorflow_v1 import write_checkpoint

narrow = partial(Network, widths=(4, 6, 8, 10), hidden=24, dim=16)
"""A copy of the network that costs little."""


def random_port(network: Network, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random tensors as the port names them, of a size that keeps sounds apart from layer to layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        if tensor.ndim > 1
        else 0.1 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in network.state_dict().items()
    }


def as_variables(port: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """The same tensors under the names and in the axes of the public checkpoint, among others that it holds."""
    variables = {"global_step": np.int64([1]), "vggish/unused": np.zeros(3, dtype=np.float32)}
    for layer, scope in VARIABLES.items():
        weight = port[f"{layer}.weight"].numpy()
        variables[f"vggish/{scope}/weights"] = weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        variables[f"vggish/{scope}/biases"] = port[f"{layer}.bias"].numpy()
    return variables


@pytest.fixture(scope="module")
def network() -> Network:
    made = narrow()
    load(made, random_port(made), "random weights")
    return made


@pytest.fixture(scope="module")
def t7(network) -> VGGish:
    return VGGish(network, "t7", "random")


@pytest.fixture(scope="module")
def plain(network) -> VGGish:
    return VGGish(network, "16k", "random")


def clips(num_clips: int, samples: int, peak: float = 0.2, seed: int = 0) -> np.ndarray:
    """Noise in bursts as int16 (clips, T), its positive peak larger than its negative."""
    generator = np.random.default_rng(seed)
    swell = 0.1 + np.sin(np.linspace(0, 20, samples)) ** 2
    waves = generator.standard_normal((num_clips, samples)) * swell
    waves = np.abs(waves) ** 1.3 * np.sign(waves) + 0.3 * np.maximum(waves, 0)
    return (waves / np.abs(waves).max() * peak * 32767).astype(np.int16)


def as_float(pcm: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pcm.astype(np.float32) / 32768.0)


def tool_logmel(window: np.ndarray) -> np.ndarray:
    """The tool's log-mel of a window of 16,000 samples (98, 64), from the description, in float64."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([window[start : start + 400] * hann for start in range(0, len(window) - 399, 160)])
    magnitude = np.abs(np.fft.rfft(frames, 512))

    def mel(hz):
        return 1127.0 * np.log(1.0 + np.asarray(hz) / 700.0)

    bins, edges = mel(np.arange(257) * 16_000 / 512), np.linspace(mel(125.0), mel(7_500.0), 66)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    slopes = np.minimum((bins[:, None] - low) / (centre - low), (high - bins[:, None]) / (high - centre))
    return np.log(magnitude @ np.maximum(slopes, 0) + 0.01)


def tool_windows(pcm: np.ndarray) -> list[np.ndarray]:
    """One clip, int16 at 22,050 Hz, as the tool cuts and scales it."""
    wave = pcm / max(0.1, pcm.max())
    return [wave[start : start + 16_000] for start in range(0, len(wave) - 16_000 + 1, 8_000)]


def test_t7_is_the_tool_step_by_step(t7):
    pcm = clips(2, 88_200)
    found = t7.embed(as_float(pcm)).frames
    for clip, frames in zip(pcm, found, strict=True):
        logmels = [tool_logmel(window) for window in tool_windows(clip)]
        assert {len(logmel) for logmel in logmels} == {98} and len(logmels) == 10
        patches = torch.from_numpy(np.stack([logmel[:96] for logmel in logmels]).astype(np.float32))
        torch.testing.assert_close(frames, t7.network(patches), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(88_200, 10), (88_064, 10), (64_000, 7), (16_000, 1), (23_999, 1), (24_000, 2), (15_800, 1), (8_000, 1), (1, 1)],
)
def test_windows_of_the_challenge(t7, samples, windows):
    found = t7.embed(as_float(clips(1, samples)))
    assert found.frames.shape == (1, windows, 16) and found.kept.all() and found.frames.isfinite().all()


def test_of_98_frames_96_are_used(t7):
    wave = as_float(clips(1, 16_000))
    before = t7.embed(wave).frames
    for sample, heard in ((15_599, True), (15_600, False), (15_999, False)):
        other = wave.clone()
        other[0, sample] = -0.1
        assert torch.equal(t7.embed(other).frames, before) != heard


def test_the_tail_is_dropped(t7):
    wave = as_float(clips(1, 88_200))
    assert torch.equal(t7.embed(wave).frames, t7.embed(wave[:, :88_000]).frames)
    assert not torch.equal(t7.embed(wave).frames, t7.embed(wave[:, 100:]).frames)


def test_halving_a_clip_changes_nothing_and_its_sign_does(t7):
    pcm = clips(2, 88_200)
    even = pcm // 2 * 2
    whole, half = t7.embed(as_float(even)).frames, t7.embed(as_float(even // 2)).frames
    torch.testing.assert_close(half, whole, rtol=1e-4, atol=1e-4)
    rounded = t7.embed(as_float(pcm // 2)).frames
    assert (rounded - t7.embed(as_float(pcm)).frames).abs().max() < 0.02 * whole.abs().max()
    assert (t7.embed(as_float(-even)).frames - whole).abs().max() > 0.1


def test_the_divisor_is_the_signed_maximum_in_16_bit_terms():
    pcm = np.array([[-8_000, 4_000, 0], [-5, -3, -1], [0, 0, 0], [1, 0, -1]], dtype=np.int16)
    expected = [[-2.0, 1.0, 0.0], [-50.0, -30.0, -10.0], [0.0, 0.0, 0.0], [1.0, 0.0, -1.0]]
    torch.testing.assert_close(scaled(as_float(pcm)), torch.tensor(expected))


def test_floats_are_heard_as_the_file_that_would_hold_them(t7):
    wave = 0.9 * torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0)).clamp(-1.3, 1.3)
    pcm = np.clip(np.round(wave.numpy() * 32768), -32768, 32767).astype(np.int16)
    assert torch.equal(t7.embed(wave).frames, t7.embed(as_float(pcm)).frames)
    assert scaled(torch.full((1, 4), 1e-6)).abs().max() == 0.0, "below half a step of 16 bits there is silence"


def test_t7_takes_the_rate_of_the_files_as_it_is(t7):
    pcm = clips(3, 88_200)
    rows = embed_clips(t7, pcm, 22_050).rows
    np.testing.assert_allclose(rows, t7.embed(as_float(pcm)).frames.flatten(0, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("samples", "patches"), [(64_000, 4), (61_680, 4), (61_679, 3), (15_600, 1), (100, 1), (160_000, 10)])
def test_16k_has_patches_without_overlap(plain, samples, patches):
    wave = as_float(clips(2, samples))
    found = plain.embed(wave).frames
    assert found.shape == (2, patches, 16)
    if samples >= 15_600:
        logmel = np.concatenate([tool_logmel(clip) for clip in wave.numpy()])[None].reshape(2, -1, 64)
        cut = torch.from_numpy(logmel[:, : patches * 96].reshape(2 * patches, 96, 64).astype(np.float32))
        torch.testing.assert_close(found.flatten(0, 1), plain.network(cut), rtol=1e-4, atol=1e-4)


def test_16k_has_no_gain_and_another_rate(plain, t7):
    wave = as_float(clips(1, 64_000))
    assert (plain.embed(wave).frames - plain.embed(wave / 2).frames).abs().max() > 0.05
    assert (plain.sample_rate_hz, t7.sample_rate_hz) == (16_000, 22_050) and plain.note != t7.note


def test_the_last_layer_is_linear(t7):
    assert (t7.embed(as_float(clips(1, 88_200))).frames < 0).any()


def test_neighbours_in_the_batch_change_nothing(t7):
    wave = as_float(clips(5, 88_200))
    torch.testing.assert_close(t7.embed(wave).frames[3:4], t7.embed(wave[3:4]).frames, rtol=1e-4, atol=1e-4)


def test_full_precision_holds_inside_alone():
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest" and not torch.backends.cudnn.allow_tf32
        assert torch.get_float32_matmul_precision() == "high" and torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_hears_the_same(t7):
    wave = as_float(clips(8, 88_200))
    there = VGGish(copy.deepcopy(t7.network), "t7", "random", "cuda").embed(wave).frames
    torch.testing.assert_close(there.cpu(), t7.embed(wave).frames, rtol=1e-3, atol=1e-3)


def test_both_files_give_the_same_network(network, tmp_path):
    port = random_port(network, seed=1)
    torch.save(port, tmp_path / vggish.PORT.name)
    write_checkpoint(tmp_path / vggish.CHECKPOINT.name, as_variables(port))
    first, second = narrow(), narrow()
    load(first, read_weights(tmp_path / vggish.PORT.name), "port")
    load(second, read_weights(tmp_path / vggish.CHECKPOINT.name), "checkpoint")
    assert content_id(first) == content_id(second) != content_id(network)
    wave = as_float(clips(1, 88_200))
    assert torch.equal(VGGish(first, "t7", "a").embed(wave).frames, VGGish(second, "t7", "b").embed(wave).frames)


def test_the_dense_layers_read_time_then_mel_then_channel(tmp_path):
    """One unit of the first dense layer looks at one place, given as TensorFlow counts: (row * 4 + column) * channels + c."""
    network = narrow()
    port = random_port(network, seed=2)
    port["embeddings.0.weight"].zero_()
    row, column, channel = 4, 1, 7
    port["embeddings.0.weight"][0, (row * 4 + column) * 10 + channel] = 1.0
    write_checkpoint(tmp_path / vggish.CHECKPOINT.name, as_variables(port))
    load(network, read_weights(tmp_path / vggish.CHECKPOINT.name), "checkpoint")
    patches = torch.randn(3, 96, 64, generator=torch.Generator().manual_seed(3))
    maps = network.features(patches[:, None])
    assert maps.shape == (3, 10, 6, 4)
    seen = network.embeddings[0](maps.permute(0, 2, 3, 1).flatten(1))[:, 0]
    torch.testing.assert_close(seen, maps[:, channel, row, column] + port["embeddings.0.bias"][0])
    torch.testing.assert_close(network(patches), network.embeddings(maps.permute(0, 2, 3, 1).flatten(1)))


def test_full_size_has_the_names_and_shapes_of_the_public_files():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Network().state_dict().items()}
    assert len(shapes) == 18
    assert shapes["features.0.weight"] == (64, 1, 3, 3) and shapes["features.13.weight"] == (512, 512, 3, 3)
    assert shapes["embeddings.0.weight"] == (4096, 12288) and shapes["embeddings.4.weight"] == (128, 4096)
    assert {name.rsplit(".", 1)[0] for name in shapes} == set(VARIABLES)
    assert sum(np.prod(shape) for shape in shapes.values()) == 72_141_184


@pytest.fixture
def published(monkeypatch, tmp_path):
    """A narrow network's files in the place of the public ones, their hashes known."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    port = random_port(narrow(), seed=1)
    (tmp_path / "both/vggish").mkdir(parents=True)
    (tmp_path / "port").mkdir()
    torch.save(port, tmp_path / "port" / vggish.PORT.name)
    torch.save(port, tmp_path / "both/vggish" / vggish.PORT.name)
    write_checkpoint(tmp_path / "both/vggish" / vggish.CHECKPOINT.name, as_variables(port))
    monkeypatch.setattr(vggish, "Network", narrow)
    for known in ("PORT", "CHECKPOINT"):
        spec = getattr(vggish, known)
        content = (tmp_path / "both/vggish" / spec.name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        monkeypatch.setattr(vggish, known, WeightsFile(spec.folder, spec.name, len(content), sha256))
    return tmp_path


def test_it_is_found_by_name_with_either_file(published):
    both, port = find("vggish", published / "both", "cpu"), find("vggish:16k", published / "port", "cpu")
    assert (both.recipe, port.recipe) == ("t7", "16k") and both.weights_id == port.weights_id
    assert both.embed(as_float(clips(1, 88_200))).frames.shape == (1, 10, 16)


def test_another_file_of_that_name_is_refused(published):
    (published / "both/vggish" / vggish.CHECKPOINT.name).write_bytes(b"other")
    with pytest.raises(UserError, match=r"vggish_model.ckpt is not the published"):
        find("vggish", published / "both", "cpu")


def test_without_weights_file_address_and_place_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)
    with pytest.raises(UserError, match=r"vggish-10086976.pth \(288.6 MB\).*https://github.com/harritaylor.*--weights DIR"):
        find("vggish", None, "cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda port: port.pop("embeddings.4.bias"), r"lack 'embeddings.4.bias' \[16\]"),
        (
            lambda port: port.update({"features.3.weight": port["features.3.weight"].transpose(0, 1)}),
            r"\[4, 6, 3, 3\]; floats \[6",
        ),
        (lambda port: port.update({"features.0.bias": torch.full((4,), torch.nan)}), "'features.0.bias' .* not finite"),
        (lambda port: port.update({"features.0.bias": torch.ones(4, dtype=torch.int64)}), "int64"),
        (
            lambda port: port.update({"classifier.weight": torch.ones(4)}),
            "'classifier.weight', which this network has no place",
        ),
    ],
)
def test_wrong_tensors_are_named(change, message):
    network = narrow()
    port = random_port(network)
    change(port)
    with pytest.raises(UserError, match=message):
        load(network, port, "VGGish weights")


def test_a_missing_variable_is_named(network, tmp_path):
    variables = as_variables(random_port(network))
    del variables["vggish/fc1/fc1_2/weights"]
    write_checkpoint(tmp_path / vggish.CHECKPOINT.name, variables)
    with pytest.raises(UserError, match="lacks the variable 'vggish/fc1/fc1_2/weights'"):
        read_weights(tmp_path / vggish.CHECKPOINT.name)


def test_a_pickle_that_would_run_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise RuntimeError('it ran')",))

    torch.save({"features.0.weight": Trap()}, tmp_path / vggish.PORT.name)
    with pytest.raises(UserError, match="does not read as PyTorch weights"):
        read_weights(tmp_path / vggish.PORT.name)


PUBLIC = SHARED / "weights"
needs_public = pytest.mark.skipif(
    not any((PUBLIC / "vggish" / file.name).is_file() for file in (vggish.CHECKPOINT, vggish.PORT)),
    reason="needs the published VGGish weights (289 MB)",
)


@needs_public
@pytest.mark.slow
def test_it_gives_the_publishers_figures():
    """A 1 kHz sine of 3 s: mean 0.000657 and deviation 0.343, as the smoke test beside the original checks them."""
    wave = torch.sin(2 * torch.pi * 1_000 * torch.arange(48_000, dtype=torch.float64) / 16_000).float()
    frames = find("vggish:16k", PUBLIC, "cpu").embed(wave[None]).frames
    assert frames.shape == (1, 3, 128)
    assert frames.std().item() == pytest.approx(0.343, rel=0.02) and frames.mean().item() == pytest.approx(0.000657, abs=1e-3)
