"""The command line itself, to which the files beside it add their commands."""

from typing import Annotated

import typer

from foleyray import __version__
from foleyray.terminal import console

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def _version(show: Annotated[bool, typer.Option("--version", help="Print the version and leave")] = False) -> None:
    """Train, search and serve generators of foley sound on Ray."""
    if show:
        console.print(__version__)
        raise typer.Exit
