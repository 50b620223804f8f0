"""Options and arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

TINY = "systems/contrastive_gan/tiny.yaml"

ConfigArguments = Annotated[
    list[str],
    typer.Argument(metavar="CONFIG", help=f"A YAML per system: files or shipped ones, such as {TINY}", show_default=False),
]
ConfigOption = Annotated[str, typer.Option("--config", help="A system's YAML: a file or a shipped one")]
ConfigOptions = Annotated[
    list[str] | None,
    typer.Option("--config", help=f"A system's YAML: a file or a shipped one; may be repeated; without it {TINY}"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="[SYSTEM:]KEY=VALUE",
        help="Override a setting in every config, or only in that of SYSTEM; may be repeated",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Where the result goes")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress")]
Workers = Annotated[int, typer.Option(min=0, help="Training workers; 0 trains in this process, without Ray")]
MaxRejected = Annotated[float, typer.Option(min=0, max=1, help="Largest share of files that may be rejected")]
Weights = Annotated[
    Path | None, typer.Option("--weights", help="Folder that holds the embedders' weights (else FOLEYRAY_WEIGHTS)")
]
EmbedderName = Annotated[
    str | None, typer.Option("--embedder", help="logmel (needs no weights), yamnet, vggish, panns, clap, mert; or yamnet:all")
]
