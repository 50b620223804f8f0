"""Pictures: what is loud is bright where it sounds, and curves take their colours from the page."""

import io
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from foleyray.clips import MelSpec
from foleyray.report.pictures import NUM_LINES, decibels, loss_curves, search_history, spectrogram

SPEC = MelSpec()


@pytest.fixture(scope="module")
def tone():
    """Half a second of 4 kHz in the middle of 4 s, at full scale."""
    wave = np.zeros(88_200, np.float32)
    wave[38_588:49_612] = np.sin(2 * np.pi * 4_000 * np.arange(11_024) / 22_050)
    return decibels(wave[None], SPEC)[0]


def test_decibels_are_of_magnitude(tone):
    """A full-scale sine meets a Hann window of 1024 with a magnitude of 256; slaney filters have unit area per Hz."""
    assert tone.shape == (80, 344)
    assert tone[:, :140].max() == pytest.approx(20 * math.log10(1e-5), abs=0.1)
    assert np.unravel_index(tone.argmax(), tone.shape)[1] in range(150, 195)


def test_a_spectrogram_shows_sound_where_it_is(tone):
    content = spectrogram(tone, float(tone.max()))
    picture = imread(io.BytesIO(content), format="webp")[..., :3].astype(float).mean(axis=2)
    assert picture.shape == (258, 344) and len(content) < 20_000
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert 150 <= column <= 195 and row < 129, "4 kHz lies in the upper half of a mel scale up to 8 kHz"
    assert picture[:, :120].max() < 25


@pytest.mark.parametrize(
    "svg",
    [
        search_history([[(0, 5.0, True), (1, float("nan"), False), (2, 4.0, False), (3, 3.0, True)]], "one"),
        search_history([[(0, 5.0, True)]], "two"),
        loss_curves([[0, 10, 20], [0, 20]], [[100.0, 10.0, 1.0], [3.0, 2.0]], "three"),
        loss_curves([[1]], [[-0.5]], "four"),
    ],
)
def test_curves_are_inline_and_take_the_colours_of_the_page(svg):
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and all(id.split("-")[0] in ("one", "two", "three", "four") for id in ids)
    assert "var(--" in svg and "#01" not in svg and "http" not in svg and "<style" not in svg and root.get("width") is None


def test_the_history_of_each_system_has_a_colour_of_its_own():
    series = [[(0, 5.0, True), (1, 4.0, True)], [(0, float("nan"), True)], [(0, 7.0, True), (1, 8.0, False)]]
    assert lines_in(search_history(series, "x")) == {0, 1, 2} and lines_in(search_history(series[:1], "x")) == set()


def lines_in(svg):
    return {index for index in range(NUM_LINES) if f"var(--line-{index})" in svg}
