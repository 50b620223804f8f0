"""Weights on disk: where they are looked for, and what is refused."""

import hashlib

import pytest

from foleyray.config import UserError
from foleyray.metrics.weights import WeightsFile

CONTENT = b"a small published file"
FILE = WeightsFile("ear", "ear_weights.npz", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture(autouse=True)
def _places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FOLEYRAY_WEIGHTS", raising=False)


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    return path


def test_the_folder_given_goes_before_the_environment_and_the_cache(tmp_path, monkeypatch):
    cached = put(tmp_path / "cache/foleyray/weights/ear/ear_weights.npz")
    assert FILE.locate(None) == FILE.locate(tmp_path / "elsewhere") == cached
    named = put(tmp_path / "named/ear_weights.npz")
    monkeypatch.setenv("FOLEYRAY_WEIGHTS", str(named.parent))
    assert FILE.locate(None) == named
    assert FILE.locate(put(tmp_path / "given/ear/ear_weights.npz").parents[1]) == tmp_path / "given/ear/ear_weights.npz"


def test_missing_weights_name_file_size_and_places(tmp_path):
    with pytest.raises(UserError, match=r"ear_weights.npz \(0.0 MB\).*elsewhere.*cache/foleyray/weights/ear.*--weights"):
        FILE.locate(tmp_path / "elsewhere")


def test_another_file_of_that_name_is_refused(tmp_path):
    put(tmp_path / "ear_weights.npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"is not the published ear_weights.npz: sha256 .*expected"):
        FILE.locate(tmp_path)
