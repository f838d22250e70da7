"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, e.g. train.epochs=1.")
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder of the records; default runs/NAME-DATE-TIME.")]
Data = Annotated[
    str | None,
    typer.Option("--data", help="Folder or archive of the data; else the recipe's path, HPCDL_DATA, ./data."),
]
Engine = Annotated[str, typer.Option("--engine", help="auto, horovod or mpi.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Compute threads a rank; default cores / ranks.")]
Binding = Annotated[
    str | None, typer.Option("--binding", help="What mpirun binds a rank to: none, core, socket, numa.")
]
Launcher = Annotated[
    str, typer.Option("--launcher", help="mpirun, or inside of a Slurm job srun or srun:PLUGIN (by default pmix).")
]
Oversubscribe = Annotated[bool, typer.Option("--oversubscribe", help="Allow more ranks than cores.")]
Hosts = Annotated[
    str | None,
    typer.Option(
        "--hosts", metavar="HOST:SLOTS,…", help="Hosts that ssh reaches and the ranks of each; without: this machine."
    ),
]
Interface = Annotated[
    str | None, typer.Option("--interface", help="Network interface that ranks on --hosts talk through, e.g. ib0.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the records of an earlier run in --out.")]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        metavar="auto|PATH",
        help="Go on from the newest whole checkpoint in --out (from the beginning where there is none), or from PATH.",
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option("--checkpoint", help="newest, best, a name or a path: of a checkpoint, in place of the model."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Print the exact line that would start the ranks; make no folder and start nothing."
    ),
]
