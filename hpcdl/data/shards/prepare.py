"""Images of any source into shards, by several processes; what is done stays done, whenever it is stopped.

Which images a shard gets depends on the source and the request alone. A process writes a whole shard beside its
place, renames it, and then writes its rows of the index and a record of it to `.parts`, which makes it count. When all
are there, the index and the manifest are put together and `.parts` is removed. So the files are the same, to the byte,
however many processes wrote them and however often they were stopped.

    Request ─► settings ─► Job ─► shards and their Parts ─► index and Manifest
        request           plan     writing, by workers            finish

`resume` tells what earlier calls have done or planned, `folder` guards the place, `files` writes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from hpcdl.data.shards.finish import finish
from hpcdl.data.shards.folder import clear, locked, refuse_foreign
from hpcdl.data.shards.manifest import Manifest
from hpcdl.data.shards.plan import count_shards, plan_job
from hpcdl.data.shards.request import Request, settings_of
from hpcdl.data.shards.resume import finished, planned, write_plan
from hpcdl.data.shards.source import load_source
from hpcdl.data.shards.workers import Counts, spread
from hpcdl.data.shards.writing import write_shard
from hpcdl.data.sources.registry import SOURCES


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    manifest: Manifest
    before: bool
    """All was there before this call."""
    kept: int
    """Images in shards that an earlier call wrote."""


def prepare(request: Request, watch: Callable[[Counts, int], None]) -> Outcome:
    """Writes a source's images to a folder of shards, or goes on where an earlier call with equal arguments stopped.

    Args:
        request: what is wanted.
        watch: is told now and then how far the work is, and of how many images.

    Raises:
        ConfigError: `out` holds other files, or what other arguments made; a value that cannot be used.
        DataError: of the source; damaged images; the disk is full. Finished shards stay, and a later call goes on.
    """
    SOURCES[request.source].check(request.path)
    images = load_source(request.source, request.path, request.subset)
    try:
        settings = settings_of(request, images)
        if not request.overwrite and (manifest := finished(request.out, settings)):
            return Outcome(manifest, before=True, kept=manifest.train.samples + manifest.test.samples)
        counts = None if request.overwrite else planned(request.out, settings)
        if counts is None:
            counts = count_shards(request, images, settings)
        job = plan_job(request, images, settings, counts)
        refuse_foreign(request, job)
        with locked(request.out):
            if request.overwrite:
                clear(request.out)
            write_plan(request.out, counts, settings)
            total = sum(job.samples.values())
            done = spread(partial(write_shard, job), job.tasks, request.workers, lambda counts: watch(counts, total))
            manifest = finish(job, settings, images, [part for part, _ in done])
        return Outcome(manifest, before=False, kept=sum(part.shard.samples for part, kept in done if kept))
    finally:
        load_source.cache_clear()
