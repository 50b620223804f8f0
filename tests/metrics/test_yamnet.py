"""YAMNet: the published vectors where they are at hand, and random weights in the published layout everywhere."""

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.metrics import audioset
from foleyray.metrics.embedder import find
from foleyray.metrics.yamnet import OFFSET, PATCH_HOP, Network, YamNet, build_network, read_weights
from tests.shared import SHARED, needs_shared

PUBLISHED = SHARED / "weights" / "yamnet"


@pytest.fixture(scope="module")
def published_layout() -> dict[str, np.ndarray]:
    """Random weights under the names and in the axes of the public file: [1, 3, 3, C] or [out, kh, kw, in]."""
    generator, arrays = np.random.default_rng(0), {}
    for name, parameter in Network().named_parameters():
        path, shape = name.replace(".", "/"), tuple(parameter.shape)
        if len(shape) == 4:
            shape = (1, 3, 3, shape[0]) if "depthwise" in path else (shape[0], *shape[2:], shape[1])
        spread = np.sqrt(2 / np.prod(parameter.shape[1:])) if len(shape) == 4 else 0.1
        arrays[path] = (spread * generator.standard_normal(shape)).astype(np.float32)
    return arrays


@pytest.fixture(scope="module")
def random_yamnet(published_layout, tmp_path_factory) -> YamNet:
    path = tmp_path_factory.mktemp("weights") / "yamnet_weights.npz"
    np.savez(path, **published_layout)
    return YamNet(build_network(read_weights(path)), "active", "random")


def noise(clips: int, samples: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(clips, samples, generator=torch.Generator().manual_seed(seed))


@needs_shared
def test_it_agrees_with_the_published_vectors():
    embedder = find("yamnet:all", SHARED / "weights", "cpu")
    with np.load(PUBLISHED / "reference.npz", allow_pickle=False) as file:
        wave, logmel, expected = (file[key] for key in ("waveform_16k", "logmel", "embedding"))
    assert np.abs(LOGMEL(torch.from_numpy(wave)).numpy() - logmel).max() < 3e-4
    found = embedder.embed(torch.from_numpy(wave))
    assert np.abs(found.frames.numpy() - expected).max() < 1e-3
    assert found.kept.all() and embedder.dim == 1024


@needs_shared
def test_the_front_end_is_the_published_one():
    with np.load(PUBLISHED / "frontend.npz", allow_pickle=False) as file:
        assert np.abs(audioset.mel_matrix().numpy() - file["mel_257x64"]).max() < 1e-6
        assert np.abs(LOGMEL.window.numpy() - file["hann_400_periodic"]).max() < 1e-6


@needs_shared
def test_silent_patches_are_left_out_of_padded_clips():
    wave = torch.cat([noise(2, 16_000), torch.zeros(2, 48_000)], dim=1)
    found = find("yamnet", PUBLISHED, "cpu").embed(wave)
    assert found.kept.tolist() == [[True, True, True, False, False, False, False, False]] * 2


LOGMEL = audioset.LogMelPatches(OFFSET, PATCH_HOP)


@pytest.mark.parametrize(("samples", "patches"), [(1, 1), (15_600, 1), (15_601, 2), (64_000, 8), (69_360, 8), (69_361, 9)])
def test_the_last_patch_is_completed_with_zeros(samples, patches):
    assert LOGMEL(torch.zeros(2, samples)).shape == (2, patches, 96, 64)


def test_silence_is_known_to_the_bit():
    assert LOGMEL(torch.zeros(3, 64_000)).unique().tolist() == [LOGMEL.silence]


def test_stride_two_pads_even_axes_at_the_end_alone(published_layout):
    """The first layer, recomputed place by place as TensorFlow's SAME puts it."""
    network = build_network(published_layout)
    patch = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
    first = next(network.children())(patch[None, None])[0]
    padded = torch.nn.functional.pad(patch, (0, 1, 0, 1))
    kernel = torch.from_numpy(published_layout["layer1/conv/weight"][5, :, :, 0])
    bias = published_layout["layer1/conv/bias"][5]
    for row, column in ((0, 0), (10, 7), (47, 31)):
        place = padded[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        assert first[5, row, column].item() == pytest.approx(max(0.0, (place * kernel).sum().item() + bias), abs=1e-5)
    assert first.shape == (32, 48, 32)


def test_random_weights_load_and_listen(random_yamnet):
    found = random_yamnet.embed(noise(3, 64_000))
    assert found.frames.shape == (3, 8, 1024) and found.frames.dtype == torch.float32
    assert found.frames.isfinite().all() and (found.frames >= 0).all() and found.frames.std() > 0


def test_skipped_silence_gets_the_networks_own_answer(random_yamnet):
    wave = torch.cat([noise(1, 20_000), torch.zeros(1, 44_000)], dim=1)
    direct = random_yamnet.network(random_yamnet.front(wave)[0])
    torch.testing.assert_close(random_yamnet.embed(wave).frames[0], direct, rtol=1e-5, atol=1e-5)


def test_a_silent_clip_keeps_a_patch(random_yamnet):
    found = random_yamnet.embed(torch.cat([torch.zeros(1, 64_000), noise(1, 64_000)]))
    assert found.kept.sum(dim=1)[0] == 1


def test_neighbours_in_the_batch_change_nothing(random_yamnet):
    wave = noise(3, 64_000)
    torch.testing.assert_close(
        random_yamnet.embed(wave).frames[1:2], random_yamnet.embed(wave[1:2]).frames, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "layer3/depthwise/weight",
            lambda array: array.transpose(3, 0, 1, 2),
            r"\[64, 1, 3, 3\]; .* \[1, 3, 3, 64\]",
        ),
        ("layer14/pointwise/bias", lambda array: array * np.nan, "finite"),
        ("layer2/pointwise/bias", lambda array: array.astype(np.float64), "float64"),
        ("layer9/pointwise/weight", lambda array: None, r"lack 'layer9/pointwise/weight' \[512, 1, 1, 512\]"),
    ],
)
def test_wrong_arrays_are_named(published_layout, name, change, message):
    changed = change(published_layout[name])
    rest = {key: array for key, array in published_layout.items() if key != name}
    with pytest.raises(UserError, match=message):
        build_network(rest if changed is None else rest | {name: changed})


def test_a_file_that_is_no_npz_or_holds_objects_is_refused(tmp_path):
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "objects.npz", weights=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "single.npy", np.ones(3))
    for name in ("text.npz", "objects.npz", "single.npy", "missing.npz"):
        with pytest.raises(UserError, match="does not read as an npz"):
            read_weights(tmp_path / name)


def test_random_weights_under_the_public_name_are_refused(published_layout, tmp_path):
    np.savez(tmp_path / "yamnet_weights.npz", **published_layout)
    with pytest.raises(UserError, match="is not the published"):
        find("yamnet", tmp_path, "cpu")
