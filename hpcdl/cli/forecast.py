"""hpcdl forecast: throughput at rank counts that nobody had."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from hpcdl.cli.options import Json
from hpcdl.errors import ConfigError, RecordError

if TYPE_CHECKING:
    from hpcdl.analysis.forecast import Point
    from hpcdl.analysis.links import Link
    from hpcdl.analysis.stepmodel import Setting

MOST = 10_000_000


class _Basis(NamedTuple):
    """What a table or a benchmark's folder tells."""

    points: list[Point]
    setting: Setting
    epochs: float | None = None
    """That the recipe plans."""
    epoch_images: float | None = None
    engine: str | None = None


def forecast(
    path: Annotated[
        Path, typer.Argument(metavar="DIR|TABLE.csv", help="A benchmark's folder, or a table ranks,images_per_s.")
    ],
    ranks: Annotated[str, typer.Option("--ranks", help="Rank counts to forecast, with commas between.")],
    ranks_per_node: Annotated[
        int | None, typer.Option("--ranks-per-node", min=1, help="Ranks that share a node; default as measured.")
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network", help="Of a node: as 100gbit-ib or 4x200gbit-ib, a site, α,β, or a folder of `bench allreduce`."
        ),
    ] = None,
    inside: Annotated[
        str | None,
        typer.Option("--inside", help="Between two ranks of a node: nvlink2, pcie4, …, α,β, or such a folder."),
    ] = None,
    gradients: Annotated[
        float | None, typer.Option("--bytes", help="Bytes of gradients a step; default from the recipe's network.")
    ] = None,
    batch: Annotated[
        float | None, typer.Option("--batch", help="Images of a rank a step, the same at all rank counts.")
    ] = None,
    global_batch: Annotated[
        float | None, typer.Option("--global-batch", help="Images of all ranks a step, the same at all rank counts.")
    ] = None,
    bucket_mb: Annotated[
        float | None, typer.Option("--bucket-mb", help="MiB of gradients that are reduced at once; default 64.")
    ] = None,
    images: Annotated[
        float | None, typer.Option("--images", help="Images an epoch, for the time to train; default as recorded.")
    ] = None,
    epochs: Annotated[float | None, typer.Option("--epochs", help="Epochs; default the recipe's.")] = None,
    engine: Annotated[str | None, typer.Option("--engine", help="Which of the measured series.")] = None,
    mode: Annotated[str | None, typer.Option("--mode", help="Which of the measured series.")] = None,
    recipe: Annotated[str | None, typer.Option("--recipe", help="Which of the measured series.")] = None,
    source: Annotated[str | None, typer.Option("--input", help="Which of the measured series.")] = None,
    steps: Annotated[
        int, typer.Option("--simulate", metavar="STEPS", min=0, help="Also simulate so many steps, event by event.")
    ] = 0,
    with_laws: Annotated[
        bool, typer.Option("--laws", help="Also what Amdahl's, Gustafson's and the universal law say of the points.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forecast images/s, efficiency and time to train, what limits them, and what a change would gain.

    \b
    Examples:
      hpcdl forecast runs/b --ranks 8,64,512 --ranks-per-node 4 --network 100gbit-ib
      hpcdl forecast table.csv --ranks 8,64 --ranks-per-node 4 --network 4x200gbit-ib --bytes 102e6 --batch 128
      hpcdl forecast table.csv --ranks 512 --images 1281167 --epochs 90 --laws --json
    """
    counts = _counts(ranks)
    given = {
        "--bytes": gradients,
        "--batch": batch,
        "--global-batch": global_batch,
        "--bucket-mb": bucket_mb,
        "--images": images,
        "--epochs": epochs,
    }
    for option, value in given.items():
        if value is not None and not 0.0 < value < float("inf"):
            raise ConfigError(f"{option} {value:g}", "a number above 0", f"see `hpcdl forecast --help` for {option}")
    if batch is not None and global_batch is not None:
        raise ConfigError("--batch and --global-batch", "one of them: the batch that stays", "leave one out")
    wanted = {"engine": engine, "mode": mode, "recipe": recipe, "input": source}
    basis = _read(path, wanted, ranks_per_node)
    link, per_node = _network(network, basis.engine)
    changes: dict[str, Any] = {"bytes": gradients, "batch": batch, "global_batch": global_batch, "between": link}
    if ranks_per_node is None:
        changes["ranks_per_node"] = per_node
    if inside is not None:
        changes["inside"] = _link(inside, "--inside", basis.engine)
    if bucket_mb is not None:
        changes["bucket_bytes"] = bucket_mb * 2**20
    setting = basis.setting
    if batch or global_batch:
        setting = replace(setting, batch=None, global_batch=None)
    setting = replace(setting, **{name: value for name, value in changes.items() if value is not None})

    from hpcdl.analysis.forecast import calibrate
    from hpcdl.report.forecast_answer import answer

    calibrated = calibrate(basis.points, setting)
    found = answer(
        calibrated,
        counts,
        images=images or basis.epoch_images,
        epochs=epochs or basis.epochs,
        steps=steps,
        with_laws=with_laws,
    )
    if as_json:
        typer.echo(json.dumps(found))
        return
    from hpcdl.report.forecast_text import lines

    for line in lines(calibrated, found):
        typer.echo(line)


def _counts(text: str) -> list[int]:
    """The rank counts of --ranks."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch(r"[1-9]\d{0,7}", word) and int(word) <= MOST for word in words):
        raise ConfigError(
            f"--ranks {text}", f"whole numbers from 1 to {MOST:,}, with commas between", "--ranks 8,64,512"
        )
    return list(dict.fromkeys(int(word) for word in words))


def _read(path: Path, wanted: dict[str, str | None], ranks_per_node: int | None) -> _Basis:
    from hpcdl.analysis.stepmodel import Setting

    if path.suffix == ".csv" or (path.is_file() and path.suffix != ".json"):
        from hpcdl.analysis.table import read_table

        for name, value in wanted.items():
            if value is not None:
                raise ConfigError(
                    f"--{name} with a table", "a benchmark's folder, whose records tell", f"drop --{name}"
                )
        return _Basis(read_table(path), Setting(ranks_per_node=ranks_per_node or 1))

    from hpcdl.analysis.measured import one_series, points_of, setting_of
    from hpcdl.analysis.scaling import oversubscribed
    from hpcdl.models.registry import check
    from hpcdl.records import read_results

    results = read_results(path if path.suffix == ".json" else path / "results.json")
    every = one_series(results.results, **wanted)
    # They tell how ranks share a machine that is full, and nothing of a larger one.
    full = [m.ranks for m in every if oversubscribed(m)]
    series = [m for m in every if m.ranks not in full]
    if full:
        told = f"{', '.join(map(str, full))} ranks, whose compute threads were more than the cores"
        if len(series) < 2:
            raise RecordError(
                f"{path} with {told}", "two rank counts or more with a core for each thread", "measure fewer ranks"
            )
        typer.echo(f"left out: {told}", err=True)
    setting = setting_of(series, results.config, ranks_per_node)
    try:
        parameters = check(results.config["model"]["name"]).parameters
    except (ConfigError, KeyError, TypeError):
        parameters = None
    epochs = results.config.get("train", {}).get("epochs")
    known = replace(setting, bytes=None if parameters is None else 4.0 * parameters)
    return _Basis(points_of(series), known, epochs, series[-1].epoch_images, series[-1].engine)


def _network(text: str | None, engine: str | None) -> tuple[Link | None, int | None]:
    """The link that --network names, and the ranks of a node where it is a site."""
    if text is None:
        return None, None

    from hpcdl.cli.cluster import own_sites
    from hpcdl.slurm.sites import load_site, site_names

    if text not in site_names(own_sites()) and not text.endswith((".yaml", ".yml")):
        return _link(text, "--network", engine), None
    site = load_site(text, own_sites())
    if site.network is None:
        raise ConfigError(
            f"--network {text}, a site that does not tell its network",
            "a site with `network`, or a link",
            "--network 100gbit-ib, or add `network: 100gbit-ib` to a copy of the site's file",
        )
    return _link(site.network, "--network", engine), site.node.gpus or None


def _link(text: str, option: str, engine: str | None) -> Link:
    """The link of a name, of α and β, or of what `hpcdl bench allreduce` measured in a folder."""
    from hpcdl.allreduce import read_allreduce
    from hpcdl.analysis.links import find_link
    from hpcdl.analysis.measured import link_of

    path = Path(text)
    if path.suffix != ".json" and not path.is_dir():
        return find_link(text, option)
    results = read_allreduce(path if path.suffix == ".json" else path / "results.json")
    return link_of(results, text, option, engine)
