"""`foleyray evaluate` and `foleyray statistics` as a user calls them."""

import json

import pytest

from tests.evaluation.test_judgement import write_sides
from tests.test_cli import foleyray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sides(tmp_path_factory.mktemp("sounds"))


def test_tables_json_and_a_comparison(sounds):
    near, real, file = (str(sounds / name) for name in ("near", "real", "real.npz"))
    done = foleyray("statistics", real, "--out", file, "--quiet")
    assert done.returncode == 0 and "by logmel:active@" in done.stdout
    done = foleyray("evaluate", near, file, "--quiet", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["scores"]["Low"]["nearest_class"] == "Low" and found["embedder"]["recipe"] == "active"
    (sounds / "near.json").write_text(done.stdout)
    done = foleyray("evaluate", near, file, "--quiet", "--against", str(sounds / "near.json"))
    assert done.returncode == 0 and "tie: the intervals overlap" in done.stdout
    for words in ("FAD, n to infinity", "kad", "coverage", "vendi"):
        assert words in done.stdout
    assert "fewer" not in done.stderr and "frames for 89 dimensions" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["near"], "evaluate needs GENERATED and REFERENCE, found 1 places"),
        (["near", "real", "--recipe", "al"], "unknown embedder 'logmel:al'"),
        (["near", "real", "--embedder", "yamnet:all", "--recipe", "all"], "names a recipe already"),
        (["near", "real", "--against", "none.json"], "none.json cannot be read"),
        (["near", "real", "--against-papers"], "the papers' FAD is of seven classes"),
        (["near", "real.txt"], "no folder or store at 'real.txt'"),
    ],
)
def test_mistakes_are_sentences(arguments, sentence, sounds, monkeypatch):
    monkeypatch.chdir(sounds)
    done = foleyray("evaluate", *arguments, "--quiet")
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr and "Traceback" not in done.stderr


def test_statistics_go_into_an_npz(sounds):
    done = foleyray("statistics", str(sounds / "real"), "--out", str(sounds / "real.txt"))
    assert done.returncode == 2 and "ends in .npz" in done.stderr
