"""Every collective, with values that tell the ranks apart."""

from __future__ import annotations

import faulthandler
from typing import Any

import numpy as np
import record
import tensorflow as tf

import hpcdl
from hpcdl.training import device, session

DTYPES = ("float16", "float32", "float64", "int32", "int64", "uint8", "bool", "bfloat16")


def started_before_pinning() -> list[bool]:
    """Whether TensorFlow's runtime ran already when the GPU was chosen; it must not."""
    from tensorflow.python.eager import context

    seen: list[bool] = []

    def pin(world: hpcdl.World) -> None:
        seen.append(context.context()._context_handle is not None)
        plain(world)

    plain, session.pin_gpu = device.pin_gpu, pin
    return seen


early = started_before_pinning()
world = hpcdl.init()
engine = session.current().engine


def place() -> record.Findings:
    again = hpcdl.init()
    facts = [world.rank, world.size, world.local_rank, world.node, world.nodes, early == [False], again is world]
    return {"world": np.array(facts)}


def arrays() -> record.Findings:
    found: dict[str, Any] = {}
    for name in DTYPES:
        dtype = tf.as_dtype(name).as_numpy_dtype
        values = np.asarray(np.array([1, 0, 2], dtype) * np.array(world.rank + 1, dtype), dtype)
        found[f"sum {name}"] = engine.sum_array(values).astype(np.float64)
        found[f"broadcast {name}"] = engine.broadcast_array(values, world.size - 1).astype(np.float64)
    found["scalar"] = engine.broadcast_array(np.array(world.rank), world.size - 1)
    found["gathered"] = [item["rank"] for item in hpcdl.allgather_object({"rank": world.rank, "text": "ü"})]
    found["mean of booleans"] = hpcdl.allreduce([True, False])
    found["mean of bytes"] = hpcdl.allreduce(np.array([200], np.uint8))
    found["sum of bytes"] = hpcdl.allreduce(np.array([200], np.uint8), op="sum")
    found["mean"] = hpcdl.allreduce([1.0, world.rank])
    found["mean of integers"] = hpcdl.allreduce(np.array([world.rank, 1]))
    hpcdl.barrier()
    return found


def tensors(bucket_bytes: int) -> record.Findings:
    """In a graph and eagerly, with buffers of that size."""

    @tf.function
    def fused(scale: tf.Tensor) -> list[tf.Tensor]:
        mixed = [tf.ones([2, 3]) * scale, tf.constant([1, 2], tf.int64), tf.ones([], tf.float64)]
        return engine.sum_tensors(
            [*mixed, tf.ones([1, 4]) * 2 * scale, tf.zeros([0]), tf.ones([2], tf.bfloat16), tf.range(9.0) * scale]
        )

    usual, engine.bucket_bytes = engine.bucket_bytes, bucket_bytes
    sums = fused(tf.constant(world.rank + 1.0))
    found = {f"{place}": tf.cast(total, tf.float64).numpy() for place, total in enumerate(sums)}
    engine.bucket_bytes = usual
    eager = engine.sum_tensors([tf.ones([2]), tf.ones([1], tf.int32)])
    return found | {f"eager {place}": total.numpy() for place, total in enumerate(eager)}


def idle() -> record.Findings:
    """Rank 0 has nothing to add, so that its part is a constant of the graph; call after call, others do."""
    own = tf.Variable([world.rank + 1.0, 1.0])

    @tf.function
    def total() -> tf.Tensor:
        return engine.sum_tensors([own.value() if world.rank else tf.zeros([2])], "idle")[0]

    found = {}
    faulthandler.dump_traceback_later(30, exit=True)  # a rank that takes no part leaves the others waiting
    for call in range(3):
        found[f"{call}"] = total().numpy()
        own.assign(2 * own)
    faulthandler.cancel_dump_traceback_later()
    return found


def large() -> record.Findings:
    """Elements that are wrong in sums of many pieces, of a length that no number of ranks divides; mpi also where
    ranks are on several nodes, alike and not."""

    def values(rank: int) -> Any:
        return np.random.default_rng(rank).integers(-1000, 1000, 2_100_001).astype(np.float32)

    own, total = values(world.rank), sum(map(values, range(world.size)))
    found = {"engine": np.sum(tf.function(engine.sum_tensors)([tf.constant(own)])[0].numpy() != total)}
    if engine.name == "mpi":
        from mpi4py import MPI

        from hpcdl.engine.nodewise import NodeWise

        for ranks in (2, 3):
            came = np.zeros_like(own)
            NodeWise(MPI.COMM_WORLD, MPI.COMM_WORLD.Split(world.rank // ranks)).sum(own, came)
            found[f"{ranks} on a node"] = np.sum(came != total)
    return found


def compressed(wire: tf.DType) -> record.Findings:
    """A sum that travels in 16 bits, of a length that no number of ranks divides."""
    own = np.random.default_rng(world.rank).standard_normal(101).astype(np.float32)
    whole, count = engine.sum_tensors([tf.constant(own), tf.constant([world.rank + 1])], "compressed", wire)
    return {"own": own, "sum": whole.numpy(), "count": count.numpy()}


record.save(
    world.rank,
    {
        "place": place,
        "arrays": arrays,
        "one buffer": lambda: tensors(2**20),
        "small buffers": lambda: tensors(20),
        "idle": idle,
        "large": large,
        "float16": lambda: compressed(tf.float16),
        "bfloat16": lambda: compressed(tf.bfloat16),
    },
)
