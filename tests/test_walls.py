"""Who may import whom: the floors of docs/architecture.md, checked on every import statement of the package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "foleyray"

FLOOR = {
    **dict.fromkeys(("__init__", "config", "clips", "sampling", "selection", "ensemble", "files", "progress"), 0),
    **dict.fromkeys(("stage", "system", "checkpoint", "audio", "pretrained"), 1),
    "modules": 2,
    "systems": 3,
    "metrics": 3,
    "generation": 4,
    **dict.fromkeys(("cluster", "corpus", "train", "search", "serving", "evaluation"), 5),
    **dict.fromkeys(("pipeline", "report", "listening"), 6),
    **dict.fromkeys(("cli", "tables", "terminal"), 7),
}
SIDEWAYS = {
    **dict.fromkeys(("train", "search", "evaluation"), ("corpus", "cluster")),
    **dict.fromkeys(("corpus", "serving"), ("cluster",)),
}
MAY_NAME_RAY = {"cluster", "corpus", "train", "search", "serving", "evaluation"}
DOORS_ONLY = {"typer", "rich"}
WORDS_MAY_IMPORT = {"pydantic", "yaml"} | set(sys.stdlib_module_names)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from foleyray import cluster` names a room too
            found |= {f"foleyray.{alias.name}" for alias in node.names} if node.module == "foleyray" else {node.module}
    return found


def ours(path: Path) -> list[list[str]]:
    names = (name.split(".")[1:] for name in imports(path) if name.split(".")[0] == "foleyray")
    return [parts for parts in names if parts and parts[0] != "__version__"]


def test_every_room_has_a_floor():
    assert {room(path) for path in sources()} <= set(FLOOR)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_downward(path):
    here = room(path)
    for parts in ours(path):
        there = parts[0]
        if there == here:
            if here == "systems" and len(parts) > 1:
                assert parts[1] == path.relative_to(PACKAGE).parts[1], f"{path.name} imports another system, {parts[1]}"
            continue
        same_floor = FLOOR[there] == FLOOR[here] and FLOOR[here] in (0, 1, 6, 7)
        assert FLOOR[there] < FLOOR[here] or same_floor or there in SIDEWAYS.get(here, ()), f"{here} imports {there}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_on_their_floors(path):
    here, tops = room(path), {name.split(".")[0] for name in imports(path)}
    assert "ray" not in tops or here in MAY_NAME_RAY
    assert not tops & DOORS_ONLY or FLOOR[here] == 7
    assert "optuna" not in tops or here == "search"
    assert "fastapi" not in tops or here == "serving"
    if FLOOR[here] == 0:
        assert tops - {"foleyray"} <= WORDS_MAY_IMPORT


def test_words_and_help_stay_light():
    """Importing the door must not drag in torch or ray: `foleyray --help` answers at once."""
    script = "import sys, foleyray.cli; print(sorted({'torch', 'ray', 'numpy', 'pandas', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
