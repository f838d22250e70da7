"""Every problem with compile and fit as the README shows, from a start that differs by rank."""

from __future__ import annotations

import keras
import record
from problems import EPOCHS, PROBLEMS, Problem, judged

import hpcdl
from hpcdl.training import session

world = hpcdl.init()


def fit(problem: Problem, distribute: bool = True) -> record.Findings:
    """Weights and history."""
    held_out = problem.validation
    model = problem.compiled(hpcdl.distribute, seed=world.rank)
    options = {"epochs": EPOCHS, "verbose": 0, **problem.fit}
    history = model.fit(
        hpcdl.shard(problem.data(), problem.batch, shuffle=False),
        validation_data=None if held_out is None else hpcdl.shard(held_out, 8, shuffle=False),
        callbacks=hpcdl.callbacks(check_every=1 if distribute and problem.validate else None),
        **options,
    ).history
    found = {f"history {name}": values for name, values in history.items()}
    if problem is PROBLEMS["sequential"] and world.is_leader and distribute:
        model.save(record.out() / "fitted.keras")
    return found | record.weights_of(model)


def apart() -> record.Findings:
    """The fault that Horovod's wrapper has under Keras 3: a reduction that reduces nothing."""
    engine = session.current().engine
    engine.sum_tensors = lambda tensors, *_, **__: [each * world.size for each in tensors]  # type: ignore[method-assign]
    try:
        return fit(PROBLEMS["even"], distribute=False)
    finally:
        del engine.sum_tensors


works = {name: lambda problem=problem: fit(problem) for name, problem in judged(world.size).items()}
record.save(world.rank, {**works, "apart": apart, "keras": lambda: {"version": keras.__version__}})
