"""The door as a user meets it: help at once, and one sentence with exit code 2 for every mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foleyray.config import shipped_configs
from foleyray.search.config import SearchConfig
from foleyray.system import read_config


def foleyray(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from foleyray.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "400"}, timeout=120
    )


def test_help_names_every_command():
    done = foleyray("--help")
    assert done.returncode == 0
    for command in ("demo", "run", "corpus", "train", "search", "generate", "evaluate", "serve"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "nowhere", "--out", "x"], "no ensemble at 'nowhere'"),
        (["train", "systems/contrastive_gan/tinny.yaml", "--corpus", "x", "--out", "y"], "did you mean"),
        (["train", "systems/contrastive_gan/tiny.yaml", "--corpus", "nowhere", "--out", "y"], "nowhere"),
        (["train", "systems/contrastive_gan/tiny.yaml", "--corpus", "x", "--out", "y", "--set", "contrasd=o2c"], "'contrast'"),
        (["corpus", "nowhere", "--out", "x"], "nowhere"),
        (["evaluate", "nowhere", "nowhere"], "nowhere"),
        (["evaluate", "nowhere", "nowhere", "--embedder", "yamned"], "yamnet"),
        (["serve", "nowhere"], "no ensemble at 'nowhere'"),
        (["run", "--corpus", "nowhere", "--out", "x", "--set", "search.trials=none"], "'trials' is 'none'"),
        (["generate", "x", "--out", "y", "--format", "mp3"], "mp3"),
    ],
)
def test_a_mistake_is_a_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = foleyray(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file", sorted(shipped_configs().rglob("*.yaml")), ids=lambda file: file.name)
def test_shipped_configs_are_whole(file: Path):
    from foleyray.config import read_yaml

    system, config = read_config(file)
    assert {stage.name for stage in system.stages(config, _classes())} <= set(config.training)
    SearchConfig.parse(read_yaml(file).get("search") or {}, str(file))


def _classes():
    from foleyray.clips import DCASE7

    return DCASE7
