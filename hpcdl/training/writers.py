"""Keras's callbacks that write files write once: on rank 0."""

from __future__ import annotations

import keras

EPOCH = ("on_epoch_end", "on_train_batch_end", "on_train_end")
EVERY = tuple(name for name in dir(keras.callbacks.Callback) if name.startswith("on_"))
WRITERS = {
    keras.callbacks.ModelCheckpoint: EVERY,
    keras.callbacks.CSVLogger: EVERY,
    keras.callbacks.TensorBoard: (*EVERY, "set_model"),
    keras.callbacks.RemoteMonitor: EVERY,
    # It reads at the start what a run before has left: every rank must go on from there.
    keras.callbacks.BackupAndRestore: EPOCH,
}


def only_leader_writes(is_leader: bool) -> None:
    """Makes these callbacks silent on this rank, unless it is the leader.

    Keras does not tell a callback of the others in a `fit`, so the classes themselves lose what
    they do at the end of a batch or an epoch. What they would decide has no effect but files.
    """
    if is_leader:
        return
    for writer, methods in WRITERS.items():
        for name in methods:
            setattr(writer, name, getattr(keras.callbacks.Callback, name))
