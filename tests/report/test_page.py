"""The page is parsed as a browser would parse it: its sections, its sounds, and what must not be in it."""

import base64
import io
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
import soundfile
import torch

from foleyray.corpus.store import open_store
from foleyray.ensemble import Ensemble
from foleyray.generation import EnsembleSampler
from foleyray.metrics.embedder import find
from foleyray.progress import Quiet
from foleyray.report.anchors import anchors_of
from foleyray.report.page import SECTIONS, write
from foleyray.report.scores import Anchors
from foleyray.report.tables import kinships, systems
from foleyray.search.config import SearchConfig
from tests.report.conftest import CLASSES, HOSTILE, OTHER

SETTINGS = SearchConfig(clips=4, rungs=1, promote_clips=3)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Every tag with its attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(whole_run) -> str:
    file = write(whole_run, store=open_store(whole_run / "corpus"), settings=SETTINGS, progress=Quiet())
    return file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def content(uri: str) -> bytes:
    return base64.b64decode(uri.partition("base64,")[2], validate=True)


def test_seven_sections_in_order(page):
    assert [attrs["id"] for attrs in page.all("section")] == list(SECTIONS)
    assert not [attrs for attrs in page.all("p") if attrs.get("class") == "empty"]


def test_every_player_sounds_and_shows(page):
    """Per class four generated sounds and three real ones, 4 s at 22,050 Hz."""
    players = page.all("audio")
    assert len(players) == 7 * len(CLASSES.names)
    for player in players:
        wave, rate_hz = soundfile.read(io.BytesIO(content(player["src"])))
        assert (rate_hz, wave.shape) == (22_050, (88_200,)) and abs(wave).max() > 0
    pictures = page.all("img")
    assert len(pictures) == len(players) and all(attrs["alt"].startswith("Spectrogram of ") for attrs in pictures)
    assert all(content(attrs["src"])[8:12] == b"WEBP" for attrs in pictures)


def test_loads_nothing(html, page):
    links = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "xlink:href", "action") if key in attrs]
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert not re.search(r"https?://|url\((?!#)|@import", html)


def test_ids_are_unique_and_links_lead_somewhere(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"][1:] for attrs in page.all("a") if "download" not in attrs]
    assert links and set(links) <= set(ids)


def test_names_of_others_are_text(html, page):
    assert len(page.all("script")) == 1 and HOSTILE not in html
    assert HOSTILE in page.text and "silent & <empty>" in page.text and "truncated <b>" in page.text
    assert "foleyray run --corpus 'a b & <c>'" in page.text


def test_says_what_was_measured(whole_run, page):
    anchors = Anchors.load(whole_run / "scores.json")
    assert list(anchors.classes) == list(CLASSES.names) and anchors.embedder == "logmel"
    wanted = ("Untrained", "White", "A note of the corpus.", "gan/", "search found", "8 trials, 1 stopped early")
    for words in (*wanted, anchors.note):
        assert words in page.text, words


def test_every_system_has_its_place(html, page):
    """A tie over the other system, and a class whose runner-up is of the same system; the history tells them apart."""
    table = re.search(r'<h3 class="sub" id="systems">.*?<table>(.*?)</table>', html, re.DOTALL)[1]
    rows = [re.sub(r"<[^>]+>", " ", row).split() for row in re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)]
    assert rows == [
        ["Class", "contrastive_", "gan", "other_", "system"],
        ["Hum", *["3.25", "3", "to", "3.50", "chosen", "3.40", "3.30", "to", "3.60", "tie"]],
        ["Hiss", *["3.25", "3", "to", "3.50", "chosen", "7.75", "7", "to", "8"]],
    ]
    assert "FAD 3.40 (3.30 to 3.60) of other_system: a tie, the intervals overlap" in page.text
    assert "FAD 4.25 (4 to 4.50)" in page.text and "of contrastive_gan:" not in page.text
    histories = re.search(r'<section id="search">(.*?)</section>', html, re.DOTALL)[1]
    assert histories.count("</span> contrastive_gan") == histories.count("</span> other_system") == 2
    assert "best 7 at trial 2 of contrastive_gan" in histories


def test_the_best_combinations_are_a_table_and_a_file(html, page):
    """Trial 2 is the best of both systems; the first two were tried by all classes as well, the third had no distance."""
    part = re.search(r"Best combinations of contrastive_gan.*?<table[^>]*>(.*?)</table>", html, re.DOTALL)[1]
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", part, re.DOTALL)]
    assert [cell.replace("<wbr>", "") for cell in rows[0]] == [
        *("Class", "gan 0, truncation 0.875", "gan 0, truncation 1", "gan 100, truncation 0.75", "ensemble")
    ]
    assert rows[1:] == [
        *([name, "8", "9", "<strong>7</strong>", "<strong>7</strong>"] for name in CLASSES.names),
        ["Mean", "8", "9", "7", "7"],
    ]
    links = {attrs["download"]: content(attrs["href"]).decode() for attrs in page.all("a") if "download" in attrs}
    assert set(links) == {"results-contrastive_gan.csv", f"results-{OTHER}.csv"}
    assert links[f"results-{OTHER}.csv"].splitlines()[1] == "Hum,8.0,9.0,7.0,7.0"


def test_class_vectors_are_shown_as_cosines(whole_run, html):
    generator = EnsembleSampler.load(whole_run)
    ((_, sampler),) = generator.samplers.items()
    (kinship,) = kinships(generator)
    hum, hiss = sampler.class_vectors()
    cosine = float(hum @ hiss / hum.norm() / hiss.norm())
    assert kinship.system == "contrastive_gan" and kinship.checkpoint.startswith("gan/")
    assert [name for name, _ in kinship.rows] == list(CLASSES.names)
    (own,), (other, last) = (cells for _, cells in kinship.rows)
    assert [own, last] == [(pytest.approx(1), 46)] * 2
    assert other == (pytest.approx(cosine, abs=1e-6), round(46 * max(cosine, 0)))
    shown = re.search(r"Classes as contrastive_gan knows them.*?<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
    assert re.findall(r"<td[^>]*>(.*?)</td>", shown) == ["1.000", "", f"{cosine:.3f}", "1.000"]


def test_one_system_has_nobody_to_be_compared_with(whole_run):
    ensemble = Ensemble.load(whole_run)
    assert systems(ensemble) == ["contrastive_gan", OTHER]
    alone = {name: (members[0].model_copy(update={"evidence": None}),) for name, members in ensemble.classes.items()}
    assert systems(ensemble.model_copy(update={"classes": alone})) == []


def test_asking_again_measures_nothing_and_leaves_no_draft(whole_run, html):
    before = (whole_run / "scores.json").stat().st_mtime_ns
    generator, store = EnsembleSampler.load(whole_run), open_store(whole_run / "corpus")
    embedder, cpu = find(SETTINGS.embedder, None, "cpu"), torch.device("cpu")
    kept = anchors_of(whole_run, generator, store, embedder, SETTINGS, cpu, Quiet())
    assert kept == Anchors.load(whole_run / "scores.json")
    assert (whole_run / "scores.json").stat().st_mtime_ns == before
    assert not list(whole_run.glob(".*.part"))


def test_a_run_without_ensemble_says_so(bare_run):
    file = write(bare_run, store=open_store(bare_run / "corpus"), settings=SETTINGS, progress=Quiet())
    page = Page(file.read_text(encoding="utf-8"))
    missing = [attrs for attrs in page.all("p") if attrs.get("class") == "empty"]
    assert len(missing) == len(SECTIONS) - 1 and len(page.all("audio")) == 3 * len(CLASSES.names)
    assert "no ensemble has been promoted" in page.text


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium to look at the page as a reader does")
def test_a_browser_plays_every_sound_and_complains_of_nothing(html, tmp_path):
    assert "CONSOLE" not in browse(html, tmp_path)[1]
    # media that is to be loaded at once holds the load event back until it can be played
    probe = """<script>onload = () => {
      document.title = [...document.querySelectorAll("audio")].map(audio => audio.duration);
    }</script></body>"""
    probed = re.sub(r"script-src [^;]*;", "script-src 'unsafe-inline';", html.replace("</body>", probe))
    title = re.search(r"<title>(.*?)</title>", browse(probed.replace('preload="none"', 'preload="auto"'), tmp_path)[0])
    assert title and title[1] == ",".join(["4"] * 7 * len(CLASSES.names))


def browse(html: str, folder) -> tuple[str, str]:
    """The page after its scripts have run, and what the browser logged."""
    (folder / "page.html").write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return done.stdout, done.stderr
