"""PANNs CNN14: random weights in the layout of the public file, and the front end against librosa's and the file's own."""

import hashlib
from functools import partial

import librosa
import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.metrics import panns
from foleyray.metrics.embedder import find
from foleyray.metrics.panns import FRONT, MEL, Network, Panns, read_weights
from foleyray.pretrained.decibels import MelDecibels
from foleyray.pretrained.tensors import load
from foleyray.pretrained.weights import WeightsFile

narrow = partial(Network, widths=(4, 5, 6, 7, 8, 9), dim=12)


def published_layout(network: Network, seed: int = 0) -> dict:
    """What the public file holds: the network, its classifier, and the front end as convolutions and a matrix."""
    generator = torch.Generator().manual_seed(seed)
    model = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            model[name] = tensor
        elif tensor.ndim > 1:
            model[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        else:
            model[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
    model |= {"bn0.running_mean": torch.full((64,), -40.0), "bn0.running_var": torch.full((64,), 400.0)}
    phase = -2 * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    for part, wave in (("real", np.cos(phase)), ("imag", np.sin(phase))):
        model[f"spectrogram_extractor.stft.conv_{part}.weight"] = torch.from_numpy((wave * hann)[:, None].astype(np.float32))
    model[MEL] = torch.from_numpy(librosa.filters.mel(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000).T.copy())
    model |= {"fc_audioset.weight": torch.zeros(527, network.dim), "fc_audioset.bias": torch.zeros(527)}
    return {"iteration": 600_000, "model": model}


@pytest.fixture(scope="module")
def content() -> dict:
    return published_layout(narrow())


@pytest.fixture(scope="module")
def ear(content, tmp_path_factory) -> Panns:
    path = tmp_path_factory.mktemp("weights") / panns.WEIGHTS.name
    torch.save(content, path)
    tensors, mel = read_weights(path)
    network = narrow()
    load(network, tensors, "PANNs weights")
    return Panns(network, mel, "cnn14", "random")


def noise(clips: int, samples: int = 128_000, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


def test_the_front_end_is_that_of_the_file(content):
    """Its Fourier transform is two convolutions over the wave, reflected by half a window at both ends."""
    model, wave = content["model"], noise(2, 32_000)
    padded = torch.nn.functional.pad(wave[:, None], (512, 512), mode="reflect")
    parts = [torch.nn.functional.conv1d(padded, model[name], stride=320) for name in FRONT if name != MEL]
    power = (parts[0].square() + parts[1].square()).transpose(1, 2)
    expected = 10 * torch.log10((power @ model[MEL]).clamp(min=1e-10))
    torch.testing.assert_close(MelDecibels(model[MEL], 320)(wave), expected, rtol=1e-3, atol=5e-3)


def test_the_front_end_is_that_of_librosa(content):
    wave = noise(1, 64_000)
    spectrum = librosa.stft(wave[0].numpy(), n_fft=1024, hop_length=320, pad_mode="reflect")
    mel = librosa.filters.mel(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000)
    expected = librosa.power_to_db(mel @ np.abs(spectrum) ** 2, ref=1.0, amin=1e-10, top_db=None).T
    np.testing.assert_allclose(MelDecibels(content["model"][MEL], 320)(wave)[0], expected, rtol=1e-3, atol=5e-3)


def test_silence_has_the_floor_of_decibels(content):
    assert MelDecibels(content["model"][MEL], 320)(torch.zeros(1, 32_000)).unique().tolist() == [-100.0]


@pytest.mark.parametrize("samples", [128_000, 320_000, 9_920, 9_919, 1])
def test_one_vector_a_clip(ear, samples):
    found = ear.embed(noise(6, samples))
    assert found.frames.shape == (6, 1, 12) and found.kept.tolist() == [[True]] * 6
    assert found.frames.isfinite().all() and (found.frames >= 0).all() and found.frames.dtype == torch.float32


def test_the_network_is_the_published_one_layer_by_layer(ear, content):
    """The same arithmetic written with functions on the tensors of the file."""
    model, wave = content["model"], noise(2)
    functions = torch.nn.functional

    def norm(x, name):
        return functions.batch_norm(x, *(model[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    x = MelDecibels(model[MEL], 320)(wave)[:, None]
    x = norm(x.transpose(1, 3), "bn0").transpose(1, 3)
    for number in range(1, 7):
        for layer in "12":
            x = functions.conv2d(x, model[f"conv_block{number}.conv{layer}.weight"], padding=1)
            x = norm(x, f"conv_block{number}.bn{layer}").relu()
        x = functions.avg_pool2d(x, 2) if number < 6 else x
    assert x.shape == (2, 9, 12, 2)
    x = x.mean(3)
    x = (x.max(2).values + x.mean(2)) @ model["fc1.weight"].T + model["fc1.bias"]
    torch.testing.assert_close(ear.embed(wave).frames[:, 0], x.relu(), rtol=1e-4, atol=1e-4)
    assert x.relu().std() > 0.01


def test_neighbours_in_the_batch_change_nothing(ear):
    wave = noise(6)
    torch.testing.assert_close(ear.embed(wave).frames[5:], ear.embed(wave[5:]).frames, rtol=1e-4, atol=1e-5)


def test_full_size_has_the_names_and_shapes_of_the_public_file():
    with torch.device("meta"):
        tensors = Network().state_dict()
    assert tensors["conv_block1.conv1.weight"].shape == (64, 1, 3, 3)
    assert tensors["conv_block6.conv2.weight"].shape == (2048, 2048, 3, 3) and tensors["bn0.weight"].shape == (64,)
    whole = sum(tensor.numel() for tensor in tensors.values() if tensor.is_floating_point()) + 527 * 2049
    held = 4 * (whole + sum(int(np.prod(shape)) for shape in FRONT.values()))
    assert 0 < panns.WEIGHTS.num_bytes - held < 100_000, "the public file holds these tensors and their names, no more"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("model"), "holds no 'model', only iteration"),
        (lambda content: content["model"].pop(MEL), "'logmel_extractor.melW' is missing"),
        (lambda content: content["model"].update({MEL: torch.ones(513, 128)}), r"is \[513, 128\], \[513, 64\] is expected"),
    ],
)
def test_a_file_of_another_front_end_is_refused(tmp_path, change, message):
    content = published_layout(narrow())
    change(content)
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("conv_block3.bn2.running_var"), r"lack 'conv_block3.bn2.running_var' \[6\]"),
        (lambda tensors: tensors.update({"fc1.weight": torch.ones(12, 10)}), r"'fc1.weight' .*\[12, 10\]; floats \[12, 9\]"),
    ],
)
def test_wrong_tensors_are_named(content, change, message):
    network, tensors = narrow(), dict(content["model"])
    tensors = {name: tensor for name, tensor in tensors.items() if name in network.state_dict()}
    change(tensors)
    with pytest.raises(UserError, match=message):
        load(network, tensors, "PANNs weights")


def test_it_is_found_by_name(content, tmp_path, monkeypatch):
    torch.save(content, tmp_path / panns.WEIGHTS.name)
    with pytest.raises(UserError, match=r"is not the published Cnn14_mAP=0.431.pth"):
        find("panns", tmp_path, "cpu")
    sha256 = hashlib.sha256((tmp_path / panns.WEIGHTS.name).read_bytes()).hexdigest()
    monkeypatch.setattr(panns, "WEIGHTS", WeightsFile("panns", panns.WEIGHTS.name, 1, sha256))
    monkeypatch.setattr(panns, "Network", narrow)
    found = find("panns", tmp_path, "cpu")
    assert (found.name, found.recipe, found.weights_id, found.sample_rate_hz) == ("panns", "cnn14", sha256[:8], 32_000)
    assert found.embed(noise(1)).frames.shape == (1, 1, 12)
