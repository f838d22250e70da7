"""What a scaling study measures: its starts, in their order, each as a recipe. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from hpcdl.config.checks import check_ranks
from hpcdl.config.schema import CheckpointConfig, RunConfig
from hpcdl.errors import ConfigError
from hpcdl.launch.hosts import HERE, Where, fullest

MODES = ("weak", "strong", "both")
INPUTS = ("real", "synthetic")
AUTO = "auto"
"""Of --warmup: found from each start's step times."""
ALLOWANCE = 10
"""Steps that a start makes besides the measured ones where its warm-up is to be found; it is at most half of all."""
ACCURACY = "accuracy"
"""The mode, in the names of folders, of starts that train to an accuracy."""
ALONE = "single"
"""The engine of one rank, which reduces nothing: its starts serve every engine."""
SYNTHETIC_UPDATES = 4
"""Of an epoch of synthetic images."""
FOR_EVER = 1_000_000
"""Epochs of a benchmark run, which ends by its steps."""


@dataclass(frozen=True)
class Study:
    """What is measured.

    Attributes:
        config: the recipe.
        engines: of the points with several ranks.
        ranks: world sizes.
        modes: "weak", "strong" or both.
        repeats: starts of each point.
        steps: measured steps of each start.
        warmup: steps before them, which are dropped; None: found from the data.
        inputs: "real" (what is there), "synthetic" or both.
        target: test accuracy that other starts train to; None: none do.
        accuracy_repeats: of those.
    """

    config: RunConfig
    engines: tuple[str, ...]
    ranks: tuple[int, ...]
    modes: tuple[str, ...]
    repeats: int
    steps: int
    warmup: int | None
    inputs: tuple[str, ...] = ("real",)
    target: float | None = None
    accuracy_repeats: int = 1


@dataclass(frozen=True)
class Start:
    """One start of all ranks. `mode` is "weak", "strong" or ACCURACY; `engine` is ALONE for one rank."""

    mode: str
    input: str
    engine: str
    ranks: int
    repeat: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.mode}-{self.input}-{self.engine}-{self.ranks}-{self.repeat + 1}"


def starts(study: Study) -> list[Start]:
    """Every start of a study, in order.

    One repetition goes over all points before the next begins, so that a machine that drifts does not look like a
    trend over ranks, engines or inputs.
    """
    found = list[Start]()
    for repeat in range(max(study.repeats, study.accuracy_repeats if study.target else 0)):
        if repeat < study.repeats:
            points = [(mode, source) for mode in study.modes for source in study.inputs]
            found += [each for mode, source in points for each in _worlds(study, mode, source, repeat)]
        if study.target and repeat < study.accuracy_repeats:
            found += _worlds(study, ACCURACY, INPUTS[0], repeat)
    return found


def _worlds(study: Study, mode: str, source: str, repeat: int) -> list[Start]:
    """Of one mode and input: each engine at each world size, one rank alone once."""
    worlds = [(ranks, engine if ranks > 1 else ALONE) for ranks in study.ranks for engine in study.engines]
    return [Start(mode, source, engine, ranks, repeat) for ranks, engine in dict.fromkeys(worlds)]


def parse_counts(text: str, option: str) -> tuple[int, ...]:
    """World sizes, or numbers of nodes, from "1,2,4", sorted; `option` names them in the error.

    Raises:
        ConfigError: not whole numbers from 1, or one twice.
    """
    try:
        ranks = sorted(int(part) for part in text.split(","))
    except ValueError:
        ranks = []
    if not ranks or ranks[0] < 1 or len(set(ranks)) != len(ranks):
        raise ConfigError(
            f"{option} {text}", "different whole numbers from 1, with commas between", f"for example {option} 1,2,4"
        )
    return tuple(ranks)


def parse_inputs(text: str) -> tuple[str, ...]:
    """What --input says: "real", "synthetic" or "real,synthetic".

    Raises:
        ConfigError: another word, or one twice.
    """
    words = tuple(text.split(","))
    if not set(words) <= set(INPUTS) or len(set(words)) != len(words):
        raise ConfigError(f"--input {text}", "real, synthetic or real,synthetic", "use --input real,synthetic")
    return words


def parse_warmup(text: str) -> int | None:
    """What --warmup says: a number of steps, or auto, which is None.

    Raises:
        ConfigError: something else.
    """
    if text == AUTO:
        return None
    if not text.isascii() or not text.isdigit():
        raise ConfigError(f"--warmup {text}", "auto, or a whole number of steps from 0", "use --warmup auto")
    return int(text)


def start_config(study: Study, start: Start, cores: int, where: Where = HERE) -> RunConfig:
    """The recipe of one start, on hosts with so many cores each.

    weak: each rank keeps one micro-batch an update, so the global batch grows with the ranks.
    strong: the global batch stays, and each rank has the same share of it, in equal micro-batches
    of at most the recipe's size.
    accuracy: the recipe as it is, with a target; nothing is kept.
    In every mode a rank has the threads that it has where a host is fullest, which on one machine is at the
    largest world size, so that one rank is one rank's share of the machine. Of a recipe with phases the last, which
    mostly trains all layers, is measured.

    Raises:
        ConfigError: strong scaling with a global batch that the ranks do not divide, or fewer micro-batches than ranks.
    """
    config = study.config
    threads = config.launch.threads
    if threads == "auto":
        threads = max(1, cores // max(fullest(where, size) for size in study.ranks))
    shared = {
        "checkpoint": CheckpointConfig(every_seconds=None),
        "launch": config.launch.model_copy(update={"threads": threads}),
        "engine": config.engine.model_copy(update={"name": start.engine if start.ranks > 1 else "auto"}),
    }
    if start.mode == ACCURACY:
        goal = {"target": study.target, "patience": None, "evaluate": True, "save": False}
        check_ranks(config, start.ranks)
        return config.model_copy(update={**shared, "train": config.train.model_copy(update=goal)})
    batch, micro = _batches(config, start)
    data = config.data
    if start.input == "synthetic":
        random = {"synthetic": SYNTHETIC_UPDATES * batch, "augment": [], "validation": 0.0, "path": None}
        data = data.model_copy(update=random)
    sizes = {"global_batch": batch, "micro_batch": micro}
    train = config.train.model_copy(update=sizes)
    steps = study.steps + (ALLOWANCE if study.warmup is None else study.warmup)
    return timed(config.model_copy(update={**shared, "train": train, "data": data}), steps)


def timed(config: RunConfig, steps: int) -> RunConfig:
    """A recipe that ends after so many updates, and neither evaluates nor keeps anything.

    Of a recipe with phases the last, which mostly trains all layers.
    """
    train = {
        "steps": steps,
        "epochs": FOR_EVER,
        "evaluate": False,
        "patience": None,
        "target": None,
        "time_limit": None,
        "save": False,
    }
    phases = [phase.model_copy(update={"epochs": FOR_EVER}) for phase in config.phases[-1:]]
    nothing = CheckpointConfig(every_seconds=None)
    return config.model_copy(
        update={"train": config.train.model_copy(update=train), "phases": phases, "checkpoint": nothing}
    )


def _batches(config: RunConfig, start: Start) -> tuple[int, int]:
    """The global and the micro-batch."""
    train, ranks = config.train, start.ranks
    if start.mode == "weak":
        return train.micro_batch * ranks, train.micro_batch
    if train.global_batch % ranks:
        raise ConfigError(
            f"strong scaling of global_batch {train.global_batch} on {ranks} ranks",
            "a global batch that every rank count divides",
            "set train.global_batch, or choose other --ranks",
        )
    share = train.global_batch // ranks
    return train.global_batch, max(size for size in range(1, min(train.micro_batch, share) + 1) if share % size == 0)
