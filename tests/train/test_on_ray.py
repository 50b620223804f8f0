"""Ray Train workers: a killed one is replaced and all go on; a user's mistake comes back as its sentence."""

import os
import signal
import threading
import time

import pytest

from foleyray.config import UserError
from foleyray.train.run import train
from tests.train import toy

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return toy.write_store(tmp_path_factory.mktemp("corpus") / "store")


class Watched(toy.Said):
    """Keeps sentences and steps."""

    def __init__(self) -> None:
        super().__init__()
        self.done = 0

    def begin(self, what, total, unit, done=0):
        self.done = done
        return self

    def advance(self, count=1, note=""):
        self.done += count

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        pass


def test_a_killed_worker_is_replaced(ray_session, store, tmp_path):
    pids, out = tmp_path / "pids", tmp_path / "out"
    pids.mkdir()
    settings = toy.config(steps=240, checkpoint_every=40, pause_seconds=0.02, pids=str(pids))

    def kill() -> None:
        while not list(out.glob("classifier/*/step-000000080")):
            time.sleep(0.02)
        victims.extend(int(file.name) for file in pids.iterdir())
        os.kill(max(victims), signal.SIGKILL)

    victims: list[int] = []
    threading.Thread(target=kill, daemon=True).start()
    progress = Watched()
    found = train(toy.SYSTEM, settings, store, out, workers=2, progress=progress, until="classifier")["classifier"]
    assert len(victims) == 2
    assert len(list(pids.iterdir())) == 4, "both workers begin anew"
    assert len(progress.sentences) == 1
    said, resumed = progress.sentences[0], int(progress.sentences[0].split()[5])
    assert said == f"classifier goes on from step {resumed} of 240"
    assert 80 <= resumed < 240
    assert resumed % 40 == 0
    assert progress.done == 240
    assert [step.card.step for step in found] == list(range(0, 241, 40))
    assert found[-1].card.scores["validation/loss"] < 0.5 * found[0].card.scores["validation/loss"]
    found[-1].restore(toy.Classifier(settings).build({}))
    assert not list(out.glob("classifier/*/.ray"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_mistake_comes_back_as_a_sentence(ray_session, store, tmp_path):
    expected = r"^training of 'classifier' stopped: the loss of turn 'fit' is nan at step 7; the last good checkpoint is"
    with pytest.raises(UserError, match=expected):
        train(toy.SYSTEM, toy.config(spoil_at=7), store, tmp_path, workers=1, progress=toy.Said(), until="classifier")
    with pytest.raises(UserError, match="99 workers were asked for but the cluster has"):
        train(toy.SYSTEM, toy.config(), store, tmp_path, workers=99, progress=toy.Said())
