"""Weights on disk: where they are looked for, how they are fetched from a server, and what is refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from foleyray.config import UserError
from foleyray.pretrained import weights as room
from foleyray.pretrained.hub import HubModel
from foleyray.pretrained.weights import WeightsFile
from foleyray.progress import Quiet

CONTENT = b"a small published file"
HASH = hashlib.sha256(CONTENT).hexdigest()
FILE = WeightsFile("ear", "ear_weights.npz", len(CONTENT), HASH)
PUBLISHED = bytes(range(256)) * 10_000


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


def test_an_md5_stands_in_where_no_sha256_is_public(tmp_path):
    found = WeightsFile("ear", "ear_weights.npz", len(CONTENT), md5=hashlib.md5(CONTENT).hexdigest())
    assert found.locate(put(tmp_path / "ear_weights.npz").parent).is_file()
    assert found.id == hashlib.md5(CONTENT).hexdigest()[:8] and FILE.id == HASH[:8]
    (tmp_path / "ear_weights.npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"md5 .*expected"):
        found.locate(tmp_path)


class Answers(BaseHTTPRequestHandler):
    """A whole file, another file, half of one with the line cut, and for all else a 404."""

    def do_GET(self) -> None:
        body = {"/whole": PUBLISHED, "/cut": PUBLISHED, "/other": PUBLISHED[::-1]}.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    """A server on this machine, and the hub taken for online."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Shown(Quiet):
    """Keeps what a bar would have shown."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int | None, str]] = []
        self.bytes = 0

    def begin(self, what, total, unit, done=0):
        self.begun.append((what, total, unit))
        outer, task = self, super().begin(what, total, unit, done)
        task.advance = lambda count=1, note="": setattr(outer, "bytes", outer.bytes + count)
        return task


def published(url: str) -> WeightsFile:
    return WeightsFile("ear", "ear.bin", len(PUBLISHED), hashlib.sha256(PUBLISHED).hexdigest(), url=url)


def test_a_file_is_fetched_into_the_cache_once(address, tmp_path):
    shown = Shown()
    found = published(f"{address}/whole").locate(tmp_path / "given", shown)
    assert found == tmp_path / "cache/foleyray/weights/ear/ear.bin" and found.read_bytes() == PUBLISHED
    assert shown.begun == [("fetching ear.bin", len(PUBLISHED), "bytes")] and shown.bytes == len(PUBLISHED)
    assert published(f"{address}/gone").locate(None) == found, "a file that is there is not fetched again"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/other", r"what http.*/other sent is not the published ear.bin: sha256 .*expected"),
        ("/missing", r"/missing could not be fetched \(HTTP Error 404.*put it into .*ear"),
        ("/cut", r"/cut could not be fetched \(.*1,280,000 .*2,560,000.*fetch it from http"),
    ],
)
def test_what_cannot_be_fetched_leaves_nothing(address, tmp_path, path, message):
    with pytest.raises(UserError, match=message):
        published(f"{address}{path}").locate(None)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_an_interrupted_download_leaves_nothing(address, tmp_path):
    class Stopped(Quiet):
        def begin(self, what, total, unit, done=0):
            task = super().begin(what, total, unit, done)
            task.advance = self.stop
            return task

        def stop(self, count=1, note=""):
            assert len(list(tmp_path.rglob(".ear.bin.*.part"))) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published(f"{address}/whole").locate(None, Stopped())
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_server_out_of_reach_names_address_and_place(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(UserError, match=r"ear.bin \(2.6 MB\), and http://127.0.0.1:9/ear could not be fetched .*put it into"):
        published("http://127.0.0.1:9/ear").locate(None)


def test_offline_nothing_is_asked(address, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(room.urllib.request, "urlopen", lambda *args, **options: pytest.fail("the server was asked"))
    with pytest.raises(UserError, match=r"found in none of .*fetch it from http.*/whole and put it into .*ear"):
        published(f"{address}/whole").locate(None)


def test_a_model_in_the_hubs_own_cache_is_found_and_verified(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    revision = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub/models--someone--ear/snapshots" / revision
    put(snapshot / "ear_weights.npz")
    shown = Shown()
    assert HubModel("someone/ear", revision, (FILE,)).locate(None, shown) == snapshot
    assert shown.begun == [("fetching someone/ear", len(CONTENT), "bytes")] and shown.bytes == len(CONTENT)
    (snapshot / "ear_weights.npz").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"is not the published ear_weights.npz"):
        HubModel("someone/ear", revision, (FILE,)).locate(None, Quiet())


def test_a_model_of_several_files_is_found_whole_and_verified(tmp_path):
    files = FILE, WeightsFile("ear", "config.json", len(CONTENT), HASH)
    model = HubModel("someone/ear", "0123456789abcdef", files)
    put(tmp_path / "ear/ear_weights.npz")
    with pytest.raises(UserError, match=r"ear needs ear_weights.npz, config.json \(0.0 MB\) of someone/ear .*01234567.*into"):
        model.locate(tmp_path, Quiet())
    put(tmp_path / "ear/config.json")
    assert model.locate(tmp_path, Quiet()) == tmp_path / "ear"
    (tmp_path / "ear/config.json").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"config.json is not the published"):
        model.locate(tmp_path, Quiet())
