"""hpcdl in a script: keras_fit and four lines more."""

from __future__ import annotations

from keras_fit import Ends
from tensorflow_work import images, network, scores, trainable
from work import Clock, read_job, small

import hpcdl


def main() -> None:
    """Trains."""
    world = hpcdl.init()
    job = read_job()
    clock = Clock(job)
    model, optimizer = network(job)
    model.compile(hpcdl.distribute(optimizer), "sparse_categorical_crossentropy", steps_per_execution=job.at_once)
    callbacks = [*hpcdl.callbacks(), Ends(clock)]
    if job.input == "real":
        shard = hpcdl.shard(small(job), job.batch * job.ranks)
        model.fit(shard, epochs=-(-job.all_steps // job.an_epoch), shuffle=False, callbacks=callbacks, verbose=0)
    else:
        model.fit(images(job, world.rank), steps_per_epoch=job.all_steps, callbacks=callbacks, verbose=0)
    if world.is_leader:
        clock.write(trainable(model), scores(model))


if __name__ == "__main__":
    main()
