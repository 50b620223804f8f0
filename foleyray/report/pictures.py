"""Pictures of the page: spectrograms as small WebP files, curves as inline SVG that takes its colours from the page.

What is drawn comes in as numbers; names stay in the page's own text, where they are escaped.
"""

import io
import re
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
import torch
from librosa.display import specshow
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from foleyray.audio.mel import Mel
from foleyray.clips import MelSpec

RANGE_DB = 70.0
"""Depth of the colour scale below its loudest point."""
NUM_LINES = 6
"""Line colours that the page's style declares, `--line-0` and on."""

_INK, _RULE, _ACCENT = "#010101", "#010102", "#010103"
_LINES = [f"#0102{index:02d}" for index in range(NUM_LINES)]
_COLOURS = {_INK: "var(--soft)", _RULE: "var(--rule)", _ACCENT: "var(--made)"} | {
    colour: f"var(--line-{index})" for index, colour in enumerate(_LINES)
}
"""Stand-ins drawn by matplotlib -> colours of the page, so that one picture serves light and dark."""

_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": _RULE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": _RULE,
    "grid.linewidth": 0.7,
    "text.color": _INK,
    "xtick.color": _RULE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.solid_joinstyle": "round",
}


def decibels(waves: NDArray[np.float32], spec: MelSpec) -> NDArray[np.float32]:
    """wave (N, T) in [-1, 1] -> mel spectrogram (N, bands, frames) in dB of magnitude."""
    with torch.inference_mode():
        log_mel = Mel(spec)(torch.from_numpy(np.ascontiguousarray(waves, dtype=np.float32)))
    return np.asarray(log_mel.numpy() * (20.0 / np.log(10.0)), dtype=np.float32)


def spectrogram(levels: NDArray[np.float32], loudest_db: float, width: int = 344, height: int = 258) -> bytes:
    """One mel spectrogram (bands, frames) in dB as WebP of `width` x `height`; colours end RANGE_DB below `loudest_db`."""
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    specshow(levels, cmap="magma", vmin=loudest_db - RANGE_DB, vmax=loudest_db, ax=axes)
    axes.set_axis_off()
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(target, format="webp", pil_kwargs={"quality": 80, "method": 6})
    return target.getvalue()


def search_history(series: Sequence[Sequence[tuple[int, float, bool]]], name: str) -> Markup:
    """Distance of every trial (number, FAD, whether whole), hollow where it was stopped early, and the best so far, as SVG.

    One series a system, in the order of the page's line colours where there are several. A distance that is NaN is left out;
    one whole trial of all must have one.
    """
    lines = [_LINES[index % NUM_LINES] for index in range(len(series))]
    colours = [(_ACCENT, _INK)] if len(series) == 1 else list(zip(lines, lines, strict=True))

    def draw(axes: Axes) -> None:
        for trials, (line, dots) in zip(series, colours, strict=True):
            _draw_trials(axes, trials, line, dots)
        axes.set_xlabel("trial")
        _shorten(axes, np.asarray([fad for trials in series for _, fad, _ in trials], dtype=np.float64))

    return _svg(draw, (3.2, 1.75), name)


def _draw_trials(axes: Axes, trials: Sequence[tuple[int, float, bool]], line: str, dots: str) -> None:
    numbers, distances = (np.asarray(column, dtype=np.float64) for column in list(zip(*trials, strict=True))[:2])
    finished = np.asarray([whole for *_, whole in trials], dtype=bool)
    best = np.minimum.accumulate(np.where(finished & np.isfinite(distances), distances, np.inf))
    axes.step(numbers[np.isfinite(best)], best[np.isfinite(best)], where="post", color=line)
    axes.plot(numbers[finished], distances[finished], "o", ms=3.4, color=dots, alpha=0.75)
    axes.plot(numbers[~finished], distances[~finished], "o", ms=3.4, mfc="none", color=dots, alpha=0.75)


def loss_curves(steps: Sequence[Sequence[float]], losses: Sequence[Sequence[float]], name: str) -> Markup:
    """One line a loss, over training steps, in the order of the page's line colours, as SVG."""

    def draw(axes: Axes) -> None:
        for index, (at, values) in enumerate(zip(steps, losses, strict=True)):
            axes.plot(at, values, color=_LINES[index % NUM_LINES], marker="o" if len(at) < 3 else None, ms=3)
        axes.set_xlabel("step")
        _shorten(axes, np.concatenate([np.asarray(values, dtype=np.float64) for values in losses]))

    return _svg(draw, (5.4, 2.1), name)


def _shorten(axes: Axes, values: NDArray[np.float64]) -> None:
    """Few ticks, whole numbers below, and a logarithmic height where the values span more than a factor of 20."""
    values = values[np.isfinite(values)]
    if values.min() > 0 and values.max() > 20 * values.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


def _svg(draw: Callable[[Axes], None], size: tuple[float, float], name: str) -> Markup:
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        target = io.StringIO()
        FigureCanvasSVG(figure).print_figure(target, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(target.getvalue(), name)


def _inline(svg: str, name: str) -> Markup:
    """Cuts the file's head away, gives every id the picture's name, and turns stand-ins into colours of the page."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' (xmlns(:xlink)?|version)="[^"]*"', "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg )', r"\1\2", body, count=1)
    body = re.sub(r'font(-family)?: [^;"]*sans-serif', "font-family: var(--sans)", body)
    for colour, variable in _COLOURS.items():
        body = body.replace(colour, variable)
    return Markup(body.replace("<svg ", '<svg aria-hidden="true" ', 1))
