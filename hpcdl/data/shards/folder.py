"""The folder that gets the shards: nobody else's files are in it, one process at a time writes there."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpcdl.data.shards.files import not_written, remove_unfinished
from hpcdl.data.shards.format import DIGEST, MANIFEST, PARTS, PLAN, SPLITS, index_name
from hpcdl.data.shards.manifest import find
from hpcdl.data.shards.plan import Job
from hpcdl.data.shards.request import Request
from hpcdl.errors import ConfigError

OURS = re.compile(
    r"(train|test)-\d{5}-of-\d{5}\.tfrecord|(train|test)\.index\.npy|manifest\.(json|sha256)|" + re.escape(PARTS)
)
"""What `prepare` may leave in its folder."""
LOCK = "lock"
"""Among the parts; who holds it writes."""


def refuse_foreign(request: Request, job: Job) -> None:
    """Refuses a folder that holds anything that this job, or with --overwrite any other, does not write.

    Raises:
        ConfigError: as said, or it cannot be read.
    """
    try:
        names = sorted(entry.name for entry in request.out.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _not_writable(request.out, error) from None
    if request.overwrite and find(request.out):
        foreign = [name for name in names if not OURS.fullmatch(name)]
    else:
        begun = (request.out / PARTS / PLAN).exists()
        ours = {job.shard(task).name for task in job.tasks} | {index_name(name) for name in SPLITS} | {DIGEST}
        foreign = [name for name in names if name != PARTS and not (begun and name in ours)]
    if foreign:
        raise ConfigError(
            f"--out {request.out}, which holds other files ({foreign[0]})",
            "a new or empty folder",
            "choose another --out",
        )


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """The folder, made and locked; files that were not finished are removed at the end, whatever comes.

    Raises:
        ConfigError: it cannot be made, or another process writes there.
        DataError: a file in it cannot be written.
    """
    parts = out / PARTS
    try:
        parts.mkdir(parents=True, exist_ok=True)
        lock = (parts / LOCK).open("w")
    except OSError as error:
        raise _not_writable(out, error) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"--out {out}, where another `hpcdl data prepare` writes", "one at a time", "wait for it"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            remove_unfinished(parts)
            yield
        except OSError as error:
            raise not_written(Path(error.filename or out), error) from None
        finally:
            remove_unfinished(parts)


def clear(out: Path) -> None:
    """Deletes what `prepare` has left; what tells that the folder is its own goes last."""
    parts = [path for path in (out / PARTS).iterdir() if path.name not in (PLAN, LOCK)]
    others = [path for path in out.iterdir() if path.name not in (MANIFEST, PARTS)]
    for path in (*others, *parts, out / MANIFEST, out / PARTS / PLAN):
        path.unlink(missing_ok=True)


def _not_writable(out: Path, error: OSError) -> ConfigError:
    return ConfigError(f"--out {out}: {error.strerror}", "a folder that can be written", "choose another --out")
