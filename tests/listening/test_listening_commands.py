"""`foleyray listen` and `foleyray evaluate --ratings` as a user calls them."""

import json

import pytest

from foleyray.listening.key import load_key
from tests.listening.evalsets import sheet_of, write_evalset, write_sheet
from tests.test_cli import foleyray

SCORES = {"quince": {"quality": 8, "fit": 7, "diversity": 4}, "medlar": {"quality": 2, "fit": 3, "diversity": 5}}

pytestmark = pytest.mark.slow


def test_from_sounds_to_was(tmp_path):
    evalset, page = write_evalset(tmp_path / "evalset"), tmp_path / "listen.html"
    done = foleyray("listen", str(evalset), "--out", str(page), "--quiet")
    assert done.returncode == 0, done.stderr
    assert page.is_file() and "keep the key from listeners" in done.stdout
    key = load_key(tmp_path / "listen.key.json")
    files = [str(write_sheet(tmp_path, sheet_of(key, rater, SCORES))) for rater in ("anna", "ben", "cleo")]
    done = foleyray("evaluate", "--ratings", *files)
    assert done.returncode == 0, done.stderr
    assert "WAS = (2 Q + 2 F + D) / 5; 3 raters" in done.stdout and "quince" in done.stdout
    found = json.loads(foleyray("evaluate", "--ratings", *files, "--json").stdout)
    assert found["systems"]["quince"]["was"] == pytest.approx((2 * 8 + 2 * 7 + 4) / 5)
    assert found["systems"]["medlar"]["was"] == pytest.approx((2 * 2 + 2 * 3 + 5) / 5)


def test_mistakes_are_sentences(tmp_path):
    for arguments, sentence in (
        (["listen", str(tmp_path), "--out", str(tmp_path / "a.html")], str(tmp_path)),
        (["evaluate", "--ratings", str(tmp_path / "none.json")], "none.json cannot be read"),
    ):
        done = foleyray(*arguments)
        assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
