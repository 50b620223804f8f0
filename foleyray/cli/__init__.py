"""The door `foleyray`: parses, calls one function, prints. Everything heavy is imported inside the command that needs it.

Exit codes: 0 done, 2 a mistake the user can mend (one sentence says how), 130 interrupted (ask again to go on).
"""

import sys
from collections.abc import Sequence

from rich.markup import escape

from foleyray import cluster
from foleyray.cli import judging, making  # noqa: F401  (they add their commands)
from foleyray.cli.app import app
from foleyray.config import UserError
from foleyray.terminal import errors


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a command and turns the user's mistakes into one sentence."""
    cluster.prepare()
    try:
        app(args=list(argv) if argv is not None else None)
    except UserError as mistake:
        errors.print(f"[bold red]foleyray:[/] {escape(str(mistake))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("foleyray: interrupted; the same command goes on from here", highlight=False)
        sys.exit(130)
