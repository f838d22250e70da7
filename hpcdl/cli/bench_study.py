"""A scaling study, from checked words to results: what `bench scaling` and `bench suite` share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdl.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from hpcdl.bench.accuracy import Trained
    from hpcdl.bench.study import Start, Study
    from hpcdl.config.schema import RunConfig
    from hpcdl.launch.plan import Machine
    from hpcdl.records import Repetition, Results, ToAccuracy


def make_study(
    recipe: RunConfig,
    ranks: tuple[int, ...],
    *,
    mode: str,
    engines: Sequence[str] | None,
    inputs: tuple[str, ...],
    repeats: int,
    steps: int,
    warmup: int | None,
    target: float | None,
    accuracy_repeats: int,
) -> Study:
    """The study of these values; engines None: the recipe's own.

    Raises:
        ConfigError: an engine that is not usable, or twice the same; a target that cannot be trained to.
    """
    from hpcdl.bench.study import Study

    names = engine_names(recipe, engines, max(ranks))
    check_target(recipe, target, inputs)
    modes = ("weak", "strong") if mode == "both" else (mode,)
    return Study(recipe, names, ranks, modes, repeats, steps, warmup, inputs, target, accuracy_repeats)


def engine_names(recipe: RunConfig, engines: Sequence[str] | None, ranks: int) -> tuple[str, ...]:
    """What a study's engines are called; None: the recipe's own.

    Raises:
        ConfigError: one that is not usable, or twice the same.
    """
    from hpcdl.config.engines import resolve

    names = tuple(resolve(name, ranks) for name in (engines or [recipe.engine.name]))
    if len(set(names)) < len(names):
        raise ConfigError(f"engines {','.join(engines or [])}", "each engine once", "use mpi,horovod")
    return names


def check_target(recipe: RunConfig, target: float | None, inputs: Sequence[str]) -> None:
    """Refuses a test accuracy that cannot be trained to.

    Raises:
        ConfigError: it says why.
    """
    if target is None:
        return
    if not 0 < target <= 1:
        raise ConfigError(f"--to-accuracy {target:g}", "a test accuracy above 0 and up to 1", "for example 0.8")
    if "real" not in inputs or recipe.data.synthetic:
        raise ConfigError("--to-accuracy with synthetic images alone", "images to learn from", "add real to --input")
    if recipe.phases:
        raise ConfigError(f"--to-accuracy with {recipe.name}, which trains in phases", "one phase", "phases=[]")


def data_of(study: Study, option: str | None) -> dict[str, Path]:
    """Where the images of each input are.

    Raises:
        DataError: the real ones are not there.
    """
    from hpcdl.cli import prepare
    from hpcdl.data.images import MEMORY

    return {
        source: prepare.data_path(study.config, option) if source == "real" else Path(MEMORY) for source in study.inputs
    }


def measure(
    study: Study,
    folder: Path,
    data: Mapping[str, Path],
    machine: Machine,
    command: Sequence[str],
    *,
    quiet: bool,
    resume: bool,
    overwrite: bool,
) -> Results:
    """Measures what is not measured yet, and tells each start.

    Args:
        study: what to measure.
        folder: of its records.
        data: of each input.
        machine: where.
        command: to repeat it.
        quiet: stdout is for a program.
        resume: go on in the folder.
        overwrite: replace what is in it.
    """
    from rich.console import Console

    from hpcdl.bench.resume import asked, open_study
    from hpcdl.bench.scaling import run_study
    from hpcdl.bench.study import ALLOWANCE, starts
    from hpcdl.cli import prepare
    from hpcdl.records import Repetition

    if "real" in data:
        prepare.check(machine, prepare.needed(study.config, data["real"]))
    open_study(folder, asked(study, data, machine), resume=resume, overwrite=overwrite)
    console = Console(stderr=quiet, soft_wrap=True, markup=False, emoji=False, highlight=False)
    total = len(starts(study))
    before = f"{ALLOWANCE} (warm-up is found)" if study.warmup is None else str(study.warmup)
    console.print(
        f"{study.config.name}, {'and '.join(f'{one} ' for one in study.engines)}on "
        f"{', '.join(str(size) for size in study.ranks)} ranks, {' and '.join(study.modes)} scaling, "
        f"{' and '.join(study.inputs)} input; {total} starts of {before} + {study.steps} steps\nrecords: {folder}"
    )
    if study.config.phases:
        console.print(f"of {len(study.config.phases)} phases the last is measured")
    made = 0

    def done(start: Start, told: Repetition | Trained, earlier: bool) -> None:
        nonlocal made
        made += 1
        _tell_start(console, f"{made:>3}/{total}", start, told, earlier=earlier)
        if study.warmup is None and isinstance(told, Repetition) and _unsettled(told):
            console.print(f"     {start.name} did not settle in the first half of its steps: raise --steps")

    return run_study(study, folder, data, machine, os.environ, command, done, console.print, overwrite=overwrite)


def _tell_start(console: Console, place: str, start: Start, told: Repetition | Trained, *, earlier: bool) -> None:
    from hpcdl.records import Repetition

    if isinstance(told, Repetition):
        what = f"{told.images_per_s:>9,.1f} images/s  {told.steps} steps after {told.warmup_steps} of warm-up"
    else:
        what = f"{told.seconds:>9,.1f} s, {told.epochs} epochs, best accuracy {told.best:.4f}"
        what += "" if told.reached else ", target not reached"
    also = "  (measured before)" if earlier else ""
    console.print(f"{place}  {start.mode:8} {start.input:9} {start.engine:7} {start.ranks:>3} ranks  {what}{also}")


def _unsettled(told: Repetition) -> bool:
    """Whether the warm-up that was found is the most there may be."""
    return told.warmup_steps == (told.warmup_steps + told.steps) // 2


def tell_results(results: Results) -> None:
    """Prints each point."""
    for point in results.results:
        rate = point.images_per_s
        told = f"{rate.median:>9,.1f} images/s [{rate.low:,.1f}, {rate.high:,.1f}]  speedup {point.speedup:.2f}"
        share = f"efficiency {point.efficiency:.0%}  communication {point.communication_share:.1%}"
        print(f"{point.mode:6} {point.input:9} {point.engine:7} {point.ranks:>3} ranks  {told}  {share}")
    for goal in results.accuracy:
        print(f"accuracy {goal.target:g}  {goal.engine:7} {goal.ranks:>3} ranks  {_to_goal(goal)}")
    usages = [usage for point in results.results for each in point.repetitions for usage in each.usage]
    for absent in dict.fromkeys(line for usage in usages for line in usage.absent):
        print(f"not measured: {absent}")


def _to_goal(goal: ToAccuracy) -> str:
    starts = len(goal.best)
    if goal.seconds is None:
        return f"not reached in {starts} start{'' if starts == 1 else 's'}; best {max(goal.best):.4f}"
    missed = f"; {starts - goal.reached} of {starts} starts did not reach it" if goal.reached < starts else ""
    return f"{goal.seconds.median:,.1f} s [{goal.seconds.low:,.1f}, {goal.seconds.high:,.1f}]{missed}"
