"""The page as a file: what is in it, what must not be, and the key that belongs to it."""

import base64
import io
import json
import re
import shutil

import numpy as np
import pytest
import soundfile

from foleyray.config import UserError
from foleyray.listening.key import load_key
from foleyray.listening.page import write
from foleyray.progress import Quiet
from tests.listening.evalsets import HOSTILE, RATE_HZ, write_evalset, write_sound


@pytest.fixture(scope="module")
def html(written) -> str:
    return written.page.read_text(encoding="utf-8")


def make(evalset, out, seed=0, clips_per_set=None):
    return write(evalset, out, seed=seed, clips_per_set=clips_per_set, progress=Quiet())


def sheet_in(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="sheet">(.*?)</script>', html)[1])


def sounds_in(html: str) -> dict[str, bytes]:
    found = re.findall(r'<script type="text/plain" id="sound-(\w+)">(.*?)</script>', html)
    return {clip: base64.b64decode(text, validate=True) for clip, text in found}


def test_names_no_system_and_no_file(html):
    for name in ("quince", "medlar", "take_", "evalset"):
        assert name not in html, name


def test_loads_nothing_and_escapes_names(html):
    assert not re.search(r"https?://|url\(|@import|<[^>]*\ssrc=", html)
    assert "default-src 'none'" in html and "unsafe-inline" not in html
    assert HOSTILE not in html and {found["category"] for found in sheet_in(html)["sets"]} == {"Dog bark", HOSTILE}


def test_the_key_leads_every_sound_back_to_its_file(written, key, html):
    sheet, sounds = sheet_in(html), sounds_in(html)
    assert sheet["page"] == key.page == written.id
    assert {found["id"]: found["clips"] for found in sheet["sets"]} == {n: list(f.clips) for n, f in key.sets.items()}
    files = {clip: file for found in key.sets.values() for clip, file in found.clips.items()}
    assert list(files) == list(sounds) and len(set(files.values())) == written.num_clips == 8
    for clip, file in files.items():
        (heard, rate_hz), (real, _) = (
            soundfile.read(io.BytesIO(sounds[clip])),
            soundfile.read(written.key.parent / "evalset" / file),
        )
        assert rate_hz == RATE_HZ and np.array_equal(heard, real)
    assert written.num_scores == 2 * 8 + 4 and written.seconds == pytest.approx(8 * 0.3, abs=0.01)


def test_the_same_seed_gives_the_same_page_and_another_another_order(tmp_path):
    evalset = write_evalset(tmp_path / "evalset", classes=("A", "B", "C"), clips=4)
    one, same, other = (make(evalset, tmp_path / name, seed) for name, seed in (("1.html", 0), ("2.html", 0), ("3.html", 1)))
    assert one.page.read_bytes() == same.page.read_bytes() and load_key(one.key) == load_key(same.key)
    order = [[(found.system, *found.clips.values()) for found in load_key(w.key).sets.values()] for w in (one, other)]
    assert order[0] != order[1] and one.id != other.id


def test_the_order_cannot_be_repeated_without_the_evalset(tmp_path):
    """The same seed and names over other sounds give another draw."""
    orders = set()
    for hz in range(300, 306):
        folder = write_evalset(tmp_path / str(hz) / "e", classes=("A", "B", "C"))
        write_sound(folder / "quince" / "A" / "take_0.wav", hz)
        made = make(folder, tmp_path / str(hz) / "listen.html")
        orders.add(tuple((found.system, found.class_name) for found in load_key(made.key).sets.values()))
    assert len(orders) > 1


def test_fewer_clips_are_drawn_not_the_first(tmp_path):
    evalset = write_evalset(tmp_path / "evalset", classes=("A", "B"), clips=12)
    made = make(evalset, tmp_path / "listen.html", clips_per_set=3)
    taken = [set(found.clips.values()) for found in load_key(made.key).sets.values()]
    assert made.num_clips == 12 and all(len(files) == 3 for files in taken)
    assert len({file.split("/")[-1] for files in taken for file in files}) > 3


def test_sounds_are_made_alike_and_it_is_said(tmp_path):
    evalset = write_evalset(tmp_path / "evalset", classes=("A",))
    write_sound(evalset / "quince" / "A" / "take_0.wav", 500, rate_hz=16_000, channels=2, seconds=0.5)
    loud = np.full(6615, 1.5, dtype=np.float32)
    soundfile.write(evalset / "medlar" / "A" / "take_0.wav", loud, RATE_HZ, subtype="FLOAT")
    made = make(evalset, tmp_path / "listen.html")
    said = " / ".join(made.warnings)
    for words in ("1 of 4 clips were resampled to 22,050 Hz", "1 of 4 clips were mixed", "1 of 4 clips go beyond full scale"):
        assert words in said, words
    assert "0.30 to 0.50 s" in said and made.warnings == load_key(made.key).warnings
    formats = {
        str(soundfile.info(io.BytesIO(sound)).__dict__["samplerate"]) for sound in sounds_in(made.page.read_text()).values()
    }
    assert formats == {str(RATE_HZ)}


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"no sound at all", "does not decode"), (np.zeros(0), "holds no samples"), (np.full(99, np.nan), "not finite")],
)
def test_refuses_what_is_no_sound(tmp_path, content, words):
    evalset = write_evalset(tmp_path / "evalset", classes=("A",))
    file = evalset / "quince" / "A" / "take_0.wav"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        soundfile.write(file, content, RATE_HZ, subtype="FLOAT")
    with pytest.raises(UserError, match=f"take_0.wav.*{words}"):
        make(evalset, tmp_path / "listen.html")
    assert not list(tmp_path.glob("listen*"))


def test_does_not_overwrite_the_key_of_another_page(tmp_path):
    evalset = write_evalset(tmp_path / "evalset", classes=("A",))
    made = make(evalset, tmp_path / "listen.html")
    make(evalset, tmp_path / "listen.html")
    before = made.page.read_bytes()
    with pytest.raises(UserError, match="key of another page"):
        make(evalset, tmp_path / "listen.html", seed=1)
    assert made.page.read_bytes() == before
    with pytest.raises(UserError, match=r"ends in \.html"):
        make(evalset, tmp_path / "listen.txt")


def test_renamed_systems_do_not_slip_under_an_old_key(tmp_path):
    evalset = write_evalset(tmp_path / "evalset", systems=("a", "b"), classes=("A",))
    make(evalset, tmp_path / "listen.html")
    shutil.move(evalset / "a", evalset / "was_a")
    with pytest.raises(UserError, match="key of another page"):
        make(evalset, tmp_path / "listen.html")
