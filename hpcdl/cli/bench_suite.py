"""hpcdl bench suite: several scaling studies, as a file lists them; what was measured is not measured again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpcdl.cli.options import Overwrite

File = Annotated[Path, typer.Argument(metavar="FILE", help="A suite in YAML, as those in benchmarks/suites.")]
SuiteOut = Annotated[Path, typer.Option("--out", help="Folder of the records; a study's are in one of its name.")]


def suite(
    file: File,
    out: SuiteOut,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the starts, and start nothing.")] = False,
) -> None:
    """Measure every study of a suite; the same command goes on after a kill, and measures nothing twice.

    Data are looked for in the recipes' data.path, HPCDL_DATA and ./data. Where a study asks for real and synthetic
    input and there are no real images, synthetic input is measured alone, and that is said.

    \b
    Example:
      hpcdl bench suite benchmarks/suites/this-machine.yaml --out runs/suite
    """
    from hpcdl.bench.scaling import plans
    from hpcdl.bench.study import Study, starts
    from hpcdl.bench.suite import SuiteStudy, load_suite, open_suite
    from hpcdl.cli import prepare
    from hpcdl.cli.bench_study import data_of, make_study, measure, tell_results
    from hpcdl.launch import folder as folders
    from hpcdl.launch.tuning import check_slots

    listed = load_suite(file)

    def study_of(asked: SuiteStudy) -> Study:
        recipe = prepare.recipe(asked.recipe, asked.overrides, max(asked.ranks))
        real = "synthetic" not in asked.input or prepare.has_data(recipe)
        if not real:
            typer.echo(f"{asked.name}: no {recipe.data.source} here, so synthetic input is measured alone", err=True)
        return make_study(
            recipe,
            tuple(sorted(asked.ranks)),
            mode=asked.mode,
            engines=asked.engines,
            inputs=tuple(each for each in asked.input if real or each != "real"),
            repeats=asked.repeats,
            steps=asked.steps,
            warmup=None if asked.warmup == "auto" else asked.warmup,
            target=asked.to_accuracy if real else None,
            accuracy_repeats=asked.accuracy_repeats,
        )

    # Whatever can be refused is refused before the first start.
    studies = []
    for asked in listed.studies:
        study, machine = study_of(asked), prepare.machine(max(asked.ranks), prepare.place(None, None))
        check_slots(machine.topology, max(asked.ranks), oversubscribe=asked.oversubscribe, where=machine.where)
        folder = (out / asked.name).absolute()
        data = data_of(study, None)
        plans(study, folder, data, machine)
        studies.append((study, folder, data, machine))
    if dry_run:
        for study, folder, _, _ in studies:
            typer.echo("\n".join(f"{folder.name}/{start.name}" for start in starts(study)))
        return
    open_suite(out, listed, overwrite=overwrite)
    for _, folder, _, _ in studies:
        if overwrite and folder.exists():  # all at once: what is there after a kill is of this time
            folders.prepare(folder, overwrite=True)
    command = ["hpcdl", *sys.argv[1:]]
    for study, folder, data, machine in studies:
        tell_results(measure(study, folder, data, machine, command, quiet=False, resume=True, overwrite=False))
    names = " ".join(shlex.quote(str(out / asked.name)) for asked in listed.studies)
    typer.echo(f"next: hpcdl report {names} --out {shlex.quote(str(out / 'report'))}")
