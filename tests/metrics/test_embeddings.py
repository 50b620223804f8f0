"""Embeddings of clips: bookkeeping by clip, resampling, bad input."""

import numpy as np
import pytest
import torch

from foleyray.config import UserError
from foleyray.metrics.embedder import Embedding, find, keep
from foleyray.metrics.embeddings import ClipEmbeddings, embed_clips


class Bands:
    """A real small embedder: log energy in 8 equal bands of every quarter second; the quietest frames may be left out."""

    name, weights_id, note, sample_rate_hz, dim = "bands", "8bands", "", 8_000, 8

    def __init__(self, recipe: str = "all") -> None:
        self.recipe = recipe
        self.batches: list[int] = []

    def embed(self, wave: torch.Tensor) -> Embedding:
        self.batches.append(len(wave))
        power = torch.fft.rfft(wave.unfold(1, 2_000, 2_000)).abs().square()[..., :1000].unflatten(2, (8, -1)).mean(3)
        return Embedding(torch.log1p(power), keep(-power.sum(2), -1.0 if self.recipe == "active" else None))


def tones(clips: int, rate_hz: int = 8_000, seconds: float = 1.0, peak: float = 0.5) -> np.ndarray:
    """Clip i is a tone of 300 (i + 1) Hz (clips, T) float32."""
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.stack([peak * np.sin(2 * np.pi * 300 * (i + 1) * time) for i in range(clips)]).astype(np.float32)


def test_rows_belong_to_their_clips_whatever_the_batch():
    ear = Bands()
    whole, parts = embed_clips(ear, tones(7), 8_000), embed_clips(ear, tones(7), 8_000, batch_size=3)
    assert ear.batches == [7, 3, 3, 1]
    np.testing.assert_allclose(parts.rows, whole.rows, rtol=1e-5, atol=1e-5)
    assert parts.rows.dtype == np.float32 and parts.clip.tolist() == np.repeat(np.arange(7), 4).tolist()
    assert parts.num_clips == 7 and parts.dropped_share == 0 and str(parts.embedder) == "bands:all@8bands"


def test_int16_float_tensors_and_read_only_arrays_are_one():
    pcm = np.round(tones(3) * 32768).astype(np.int16)
    pcm.setflags(write=False)
    waves = (pcm / np.float32(32768)).astype(np.float32)
    found = [embed_clips(Bands(), form, 8_000).rows for form in (pcm, waves, torch.from_numpy(waves))]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_waves_are_resampled_to_the_embedders_rate():
    a, b = embed_clips(Bands(), tones(3, 8_000), 8_000).rows, embed_clips(Bands(), tones(3, 22_050), 22_050).rows
    assert a.shape == b.shape
    assert (a.argmax(axis=1) == b.argmax(axis=1)).all()


def test_frames_left_out_are_counted_by_clip():
    waves = tones(3)
    waves[1, 2_000:] = 0
    waves[2] = 0
    heard = embed_clips(Bands("active"), waves, 8_000)
    assert heard.counts.tolist() == [4, 1, 1] and heard.dropped.tolist() == [0, 3, 3]
    assert heard.dropped_share == pytest.approx(6 / 12)
    assert heard.silent.tolist() == [False, False, True]


def test_clipped_clips_are_counted_and_normalised_ones_are_not():
    loud = np.clip(tones(2, peak=3.0), -1, 1)
    assert embed_clips(Bands(), loud, 8_000).clipped.all()
    assert not embed_clips(Bands(), tones(2, peak=1.0)[:, :4_000] * np.hanning(4_000).astype(np.float32), 8_000).clipped.any()


def test_means_take_and_join_agree_with_loops():
    waves = tones(5)
    waves[3, 4_000:] = 0
    heard = embed_clips(Bands("active"), waves, 8_000)
    expected = [heard.rows[heard.clip == clip].astype(np.float64).mean(axis=0) for clip in range(5)]
    np.testing.assert_allclose(heard.means(), expected, rtol=1e-6)
    taken = heard.take([3, 0, 3])
    assert taken.num_clips == 3 and taken.counts.tolist() == [2, 4, 2] and taken.dropped.tolist() == [2, 0, 2]
    np.testing.assert_allclose(taken.means(), heard.means()[[3, 0, 3]])
    joined = ClipEmbeddings.join([heard.take([0, 1]), heard.take([2, 3, 4])])
    np.testing.assert_array_equal(joined.rows, heard.rows)
    np.testing.assert_array_equal(joined.clip, heard.clip)
    np.testing.assert_allclose(joined.stats().mean, heard.rows.mean(axis=0), rtol=1e-5)


def test_embeddings_of_unlike_recipes_do_not_mix():
    with pytest.raises(UserError, match="bands:all@8bands and bands:active@8bands do not compare"):
        ClipEmbeddings.join([embed_clips(Bands(recipe), tones(2), 8_000) for recipe in ("all", "active")])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda waves: waves[:0], "no clips"),
        (lambda waves: waves.astype(np.float64), r"float64 \[2, 8000\]; int16 or float32"),
        (lambda waves: waves[0], "int16 or float32"),
        (lambda waves: waves * np.float32(32768), "peaks at 16384"),
        (lambda waves: np.where(np.arange(8000) == 5, np.float32("nan"), waves), "clip 0 holds samples that are not finite"),
        (lambda waves: np.where([[0], [0], [1]], np.float32("inf"), waves), "clip 2 holds"),
    ],
)
def test_bad_waves_are_refused(spoil, message):
    with pytest.raises(UserError, match=message):
        embed_clips(Bands(), spoil(tones(3)), 8_000, batch_size=2)


def test_specs_name_embedder_and_recipe():
    assert (find("logmel", None, "cpu").recipe, find("logmel:all", None, "cpu").recipe) == ("active", "all")
    assert "compare" in find("logmel", None, "cpu").note


@pytest.mark.parametrize(("spec", "near"), [("yamnett", "yamnet"), ("logmel:activ", "logmel:active"), ("", "embedders:")])
def test_unknown_specs_are_told_the_nearest(spec, near):
    with pytest.raises(UserError, match=near):
        find(spec, None, "cpu")
