"""`python benchmarks/all.py [--quick]`: runs every benchmark here and appends its figures to BENCHMARKS.md.

A benchmark is a script that prints a readable table and, as its last line, one JSON object of its figures.
"""

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent / "BENCHMARKS.md"


def main() -> int:
    failed = []
    for script in sorted(HERE.glob("*.py")):
        if script.name != Path(__file__).name and not run(script, sys.argv[1:]):
            failed.append(script.name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


def run(script: Path, arguments: list[str]) -> bool:
    """Runs one script with its output shown, and appends its JSON to the page."""
    print(f"== {script.name}", flush=True)
    done = subprocess.run([sys.executable, str(script), *arguments], stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, flush=True)
    if done.returncode:
        return False
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    with PAGE.open("a", encoding="utf-8") as page:
        page.write(entry(" ".join(["python", f"benchmarks/{script.name}", *arguments]), figures))
    return True


def entry(command: str, figures: dict[str, object]) -> str:
    """One dated section: command, commit, machine, figures."""
    rows = "\n".join(
        f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |" for name, value in figures.items()
    )
    when = datetime.now(UTC).date().isoformat()
    return f"\n### `{command}`\n\n{when}, commit {commit()}, {machine()}\n\n| figure | value |\n|---|---|\n{rows}\n"


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False)
    return found.stdout.strip() or "unknown"


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _cpuinfo() -> list[str]:
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main())
