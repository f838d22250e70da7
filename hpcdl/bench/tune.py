"""The fastest of the settings that do not change what is learned: one after the other, in pairs of starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hpcdl.analysis.stats import median, median_interval
from hpcdl.config.schema import RunConfig
from hpcdl.errors import HpcdlError, Interrupted
from hpcdl.records import Interval

PAIRS = 3
"""Starts of a change, each beside one without it, in turn."""
LEAST = 1.02
"""How much faster a change must be, in the median; it must be faster in every pair too."""
HOPELESS = 0.9
"""After a first pair below this there is no second."""

Change = str
"""An override, as on the command line."""
Rate = Callable[[list[Change]], float]
"""Starts the recipe with some changes, and answers with its images/s."""


@dataclass(frozen=True)
class Trial:
    """What came of one change."""

    change: Change
    ratio: Interval | None
    """Images/s with it over images/s without; None where a start failed."""
    kept: bool
    failure: str = ""

    def __str__(self) -> str:
        if self.ratio is None:
            return f"{self.change}: failed, {self.failure}"
        pairs = len(self.ratio.samples)
        interval = f"{self.ratio.median:.3f} [{self.ratio.low:.3f}, {self.ratio.high:.3f}]"
        how = f"in {pairs} pair{'' if pairs == 1 else 's'}"
        return f"{self.change}: {interval} {how}, {'kept' if self.kept else 'not kept'}"


@dataclass(frozen=True)
class Tuned:
    """What was found."""

    changes: list[Change]
    """Those that were kept."""
    trials: list[Trial]
    untried: list[Change]
    """For lack of time."""

    def lines(self) -> Iterator[str]:
        """What came of each change."""
        yield from map(str, self.trials)
        yield from (f"{change}: not tried, for lack of time" for change in self.untried)


def candidates(config: RunConfig, ranks: int, cores: int, engines: Sequence[str], engine: str) -> list[list[Change]]:
    """Changes to try, those of one setting together, the ones that matter most first.

    Args:
        config: the recipe.
        ranks: the world size.
        cores: usable ones, of this machine.
        engines: that are installed.
        engine: the one that the recipe means.
    """
    share = max(1, cores // ranks)
    threads = share if config.launch.threads == "auto" else config.launch.threads
    pools = [many for many in sorted({1, share, 2 * share}) if many != threads and many <= cores]
    alone = [
        [f"launch.threads={many}" for many in pools],
        [f"launch.env.TF_NUM_INTEROP_THREADS={many}" for many in (1, 2) if many != min(threads, 2)],
    ]
    if ranks == 1:
        return [changes for changes in alone if changes]
    bound = ranks <= cores and config.launch.binding in ("auto", "none")
    # Milliseconds, of 1: how long Horovod's thread sleeps before it looks for work again.
    sleep = ["launch.env.HOROVOD_CYCLE_TIME=0.2"] if engine == "horovod" else []
    buckets = (5, 100) if "horovod" in engines or config.engine.compression != "none" else ()
    together = [
        [*(f"engine.name={name}" for name in engines if name != engine), *sleep],
        *alone,
        ["launch.binding=core"] if bound else [],
        [f"engine.bucket_mb={size}" for size in buckets if size != config.engine.bucket_mb],
    ]
    return [changes for changes in together if changes]


def search(
    groups: Sequence[Sequence[Change]],
    rate: Rate,
    clock: Callable[[], float],
    until: float,
    tell: Callable[[Trial], object] = lambda trial: None,
) -> Tuned:
    """Keeps of each group what is faster than what was kept before it.

    Args:
        groups: see `candidates`.
        rate: see Rate.
        clock: the time, in seconds.
        until: no change is begun that would probably end later.
        tell: hears of each trial.
    """
    kept: list[Change] = []
    trials: list[Trial] = []
    longest = 0.0
    for changes in groups:
        best: list[Change] = []
        for change in changes:
            began = clock()
            if began + longest > until:
                break
            trial = _compare(rate, [*kept, *best], [*kept, change], change)
            longest = max(longest, clock() - began)
            trials.append(trial)
            tell(trial)
            best = [change] if trial.kept else best
        kept += best
    tried = {trial.change for trial in trials}
    return Tuned(kept, trials, [change for changes in groups for change in changes if change not in tried])


def _compare(rate: Rate, without: list[Change], with_it: list[Change], change: Change) -> Trial:
    ratios: list[float] = []
    try:
        for _ in range(PAIRS):
            before = rate(without)
            ratios.append(rate(with_it) / before)
            if ratios[0] < HOPELESS:
                break
    except Interrupted:
        raise
    except HpcdlError as error:
        return Trial(change, None, kept=False, failure=error.received)
    faster = len(ratios) == PAIRS and min(ratios) > 1 and median(ratios) >= LEAST
    return Trial(change, median_interval(ratios), kept=faster)
