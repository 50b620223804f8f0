"""The whole driver killed with -9: asked again, it goes on from the last checkpoint, and nothing beyond it is lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from foleyray import checkpoint
from foleyray.train.run import train
from tests.train import toy

DRIVER = """
import sys, torch
from pathlib import Path
from foleyray.corpus.store import open_store
from foleyray.train.run import train
from tests.train import toy
torch.set_num_threads(1)
corpus, out, steps, pause = sys.argv[1:]
said = toy.Said()
config = toy.config(steps=int(steps), checkpoint_every=20, dropout=0.3, pause_seconds=float(pause))
train(toy.SYSTEM, config, open_store(corpus), Path(out), workers=0, progress=said, until="classifier")
print(*said.sentences, sep="|")
"""


def driver(*arguments) -> subprocess.Popen:
    command = [sys.executable, "-c", DRIVER, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_killed_driver_goes_on(tmp_path):
    store = toy.write_store(tmp_path / "store")
    first = driver(tmp_path / "store", tmp_path / "out", 200, 0.01)
    while not list(tmp_path.glob("out/classifier/*/step-000000060")):
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    (folder,) = (tmp_path / "out" / "classifier").iterdir()
    reached = checkpoint.last(folder).card.step
    assert 60 <= reached < 200

    second = driver(tmp_path / "store", tmp_path / "out", 200, 0.01)
    said, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert said.strip() == f"classifier goes on from step {reached} of 200"
    assert [step.card.step for step in checkpoint.all_steps(folder)] == list(range(0, 201, 20))

    settings = toy.config(steps=200, checkpoint_every=20, dropout=0.3, pause_seconds=0.01)
    whole = train(toy.SYSTEM, settings, store, tmp_path / "whole", workers=0, progress=toy.Said(), until="classifier")
    theirs, ours = whole["classifier"][-1], checkpoint.last(folder)
    assert ours.id == theirs.id
    assert all(torch.equal(value, ours.weights()[key]) for key, value in theirs.weights().items())
    ours.restore(toy.Classifier(settings).build({}))
