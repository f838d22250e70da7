"""Each optimizer of Keras, on batches that ranks share unevenly."""

from __future__ import annotations

import formulas
import record

import hpcdl

world = hpcdl.init()


def train(name: str) -> record.Findings:
    model = formulas.network()
    model.compile(optimizer=hpcdl.distribute(formulas.CASES[name].make()), loss="mse")
    data = hpcdl.shard(formulas.data(), formulas.BATCH, shuffle=False)
    model.fit(data, callbacks=hpcdl.callbacks(check_every=None), verbose=0)
    return record.weights_of(model)


record.save(world.rank, {name: lambda name=name: train(name) for name in formulas.CASES})
