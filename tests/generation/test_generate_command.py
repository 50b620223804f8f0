"""`foleyray generate` as it is called."""

import json
from pathlib import Path

import pytest

from foleyray.cli import main
from foleyray.config import fingerprint
from foleyray.generation import recipe_of
from tests.ensembles import write_prompted_ensemble


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prompted_ensemble(tmp_path_factory.mktemp("ensemble")).parent


DOG = f"prompt-{fingerprint('a dog in the rain')}"


def generate(folder: Path, out: Path, *arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["generate", str(folder), "--out", str(out), "--quiet", *arguments])
    return int(left.value.code or 0)


@pytest.mark.slow
def test_a_prompt_makes_its_own_sounds(folder: Path, tmp_path: Path) -> None:
    assert generate(folder, tmp_path, "--prompt", "a dog in the rain", "-n", "2", "--seed", "3") == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{DOG}_3.wav", f"{DOG}_4.wav"]
    recipe = json.loads(recipe_of(tmp_path / f"{DOG}_3.wav"))
    assert (recipe["class"], recipe["prompt"], recipe["system"]) == (None, "a dog in the rain", "ldm")
    assert generate(folder, tmp_path, "--prompt", "a dog", "--class", "motor") == 0
    [file] = tmp_path.glob("MovingMotorVehicle-*_0.wav")
    assert json.loads(recipe_of(file))["prompt"] == "a dog"


@pytest.mark.slow
def test_what_a_selection_came_to_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(folder, tmp_path, "--class", "Rain", "--class", "DogBark", "-n", "2") == 0
    told = capsys.readouterr().out
    [row] = [line for line in told.splitlines() if "Rain" in line]
    assert row.replace("│", " ").split()[:4] == ["Rain", "2", "100%", "3.0"]  # best of three, no threshold
    assert "DogBark" not in told and "4 sounds in" in told
    assert generate(folder, tmp_path / "other", "--class", "DogBark") == 0
    assert "accepted" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--prompt", "rain", "--class", "DogBark"), "no member of DogBark takes prompts"),
        (("--prompt", "xylophone"), "knows no word of 'xylophone'"),
        (("--prompt", ""), "1 to 300 printable characters"),
    ],
)
def test_a_wrong_prompt_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert generate(folder, tmp_path, *arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
