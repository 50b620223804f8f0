"""The door as a user meets it: help at once, and one sentence with exit code 2 for every mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from foleyray.cli.configs import read_entries, read_systems, shared_out
from foleyray.config import shipped_configs
from foleyray.search.config import SearchConfig
from foleyray.system import read_config

TINY = "systems/contrastive_gan/tiny.yaml"


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
        (["train", TINY, TINY, "--corpus", "x", "--out", "y", "--set", "gan:training.gan.steps=3"], "is for the system 'gan'"),
        (["train", TINY, "--corpus", "x", "--out", "y", "--set", "contrastive_gan:contrasd=o2c"], "'contrast'"),
        (["search", TINY, TINY, "--run", "x", "--out", "y"], "2 configs are of the system contrastive_gan"),
        (
            ["run", "--corpus", "x", "--out", "y", "--config", TINY, "--config", TINY],
            "2 configs are of the system contrastive_gan",
        ),
    ],
)
def test_a_mistake_is_a_sentence(arguments, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = foleyray(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_overrides_hold_for_every_config_or_for_one_system():
    bare, own = "training.gan.steps=3", "contrastive_gan:training.gan.batch_size=2"
    systems = read_systems([TINY, TINY], [bare, own, "contrastive_gan:training.gan.steps=5"])
    assert [system.name for system, _ in systems] == ["contrastive_gan"] * 2
    for _, config in systems:
        assert (config.training["gan"].steps, config.training["gan"].batch_size) == (5, 2)
    (entry,) = read_entries([TINY], ["search.clips=16", "contrastive_gan:search.trials=3"], "logmel:all")
    settings = entry.settings
    assert (settings.clips, settings.trials, settings.promote_clips, settings.embedder) == (16, 3, 64, "logmel:all")


def test_an_override_for_one_system_leaves_the_others(tmp_path):
    """A value may itself hold a colon; what stands before the first = decides."""
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file, name in zip(files, ("one", "two"), strict=True):
        file.write_text(f"system: {name}\n")
    paths = [str(file) for file in files]
    assert shared_out(paths, ["a=1", "two:b.c=x:y", "d='one:e=f'"]) == [
        ["a=1", "d='one:e=f'"],
        ["a=1", "b.c=x:y", "d='one:e=f'"],
    ]


CONFIGS = sorted(file for file in shipped_configs().rglob("*.yaml") if file.parent.name != "prompts")


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_shipped_configs_are_whole(file: Path):
    from foleyray.config import read_yaml

    system, config = read_config(file)
    assert {stage.name for stage in system.stages(config, _classes())} <= set(config.training)
    SearchConfig.parse(read_yaml(file).get("search") or {}, str(file))


def _classes():
    from foleyray.clips import DCASE7

    return DCASE7
