"""Runs a planned recipe: writes what was asked, starts it, and answers its summary or its first failure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

from hpcdl.config.load import dump
from hpcdl.config.schema import RunConfig
from hpcdl.errors import HpcdlError, Interrupted, LaunchError, StallError
from hpcdl.launch.folder import prepare
from hpcdl.launch.hostcheck import fetch, open_folders
from hpcdl.launch.hosts import Listed, Where, record
from hpcdl.launch.plan import Machine, Plan
from hpcdl.launch.supervisor import inherited, run
from hpcdl.records import append_event, dated, read_json, write_json, write_text

LOG_LINES = 8
LOOK_SECONDS, END_SECONDS = 2.0, 15.0
PROBE = 2**16


def run_recipe(
    plan: Plan,
    config: RunConfig,
    folder: Path,
    machine: Machine,
    environ: Mapping[str, str],
    watch: Callable[[], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Starts the ranks of a plan in a prepared folder and waits.

    A signal is passed on as SIGUSR2: the ranks write a checkpoint and leave. A second one ends them.

    Args:
        plan: from plan_recipe.
        config: the recipe, written as the run's config.yaml.
        folder: empty and writable, or an earlier run's that was opened again.
        machine: written into launch.json.
        environ: of this process.
        watch: called while the ranks run.
        tell: hears what a signal leads to.
        overwrite: replace an earlier run's records on hosts that do not see this folder.

    Returns:
        The run's summary.

    Raises:
        Interrupted: a signal or a limit of time stopped the ranks in order.
        HpcdlError: what the first failing rank said, or how the ranks ended.
    """
    write_text(folder / "config.yaml", dump(config))
    return run_ranks(plan, "config.yaml", folder, machine, environ, watch, tell, overwrite=overwrite)


def run_ranks(
    plan: Plan,
    asked: str,
    folder: Path,
    machine: Machine,
    environ: Mapping[str, str],
    watch: Callable[[], None] | None = None,
    tell: Callable[[str], None] = lambda text: None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Starts ranks that read what they shall do in a file of their folder and leave summary.json there.

    Args: as `run_recipe`, and
        asked: name of that file, which is in the folder.

    Returns, Raises: as `run_recipe`.
    """
    (folder / "ranks").mkdir(exist_ok=True)
    write_json(folder / "launch.json", launch_record(plan, machine))
    apart = _open(plan.where, asked, folder, environ, overwrite=overwrite)
    events = folder / "events.jsonl"
    append_event(events, dated({"event": "launch", "ranks": plan.ranks}))
    code = run(
        plan.argv, inherited(environ), log=folder / "mpirun.log", watch=watch, in_order=tell, over=Overdue(folder)
    )
    if isinstance(plan.where, Listed):
        with suppress(*([HpcdlError] if code else [])):  # what ended the ranks is told before what came of it
            fetch(plan.where, apart, folder, environ)
    if code == 0 and (folder / "summary.json").exists():
        summary: dict[str, Any] = read_json(folder / "summary.json", fix="run again")
        return summary
    if (folder / "stopped.json").exists():
        told = read_json(folder / "stopped.json", fix="run again")
        stopped = Interrupted(*told["told"])
        stopped.exit_code = told["exit_code"]
        raise stopped
    failure = _failure(folder, code)
    with suppress(OSError):
        append_event(events, dated({"event": "failure", "told": failure.received}))
    raise failure


class Overdue:
    """Whether a rank has failed long ago, and the launcher, which should have ended all, is still there."""

    def __init__(self, folder: Path) -> None:
        self._ranks, self._looked, self._since = folder / "ranks", 0.0, float("inf")

    def __call__(self) -> bool:
        now = monotonic()
        if now - self._looked > LOOK_SECONDS:  # the folder may lie on a busy file server
            self._looked = now
            if any(self._ranks.glob("*.failure.json")):
                self._since = min(self._since, now)
        return now - self._since > END_SECONDS


def _open(where: Where, asked: str, folder: Path, environ: Mapping[str, str], *, overwrite: bool) -> tuple[str, ...]:
    if not isinstance(where, Listed):
        return ()
    try:
        return open_folders(where, folder, (asked, "launch.json"), environ, overwrite=overwrite)
    except HpcdlError:
        if not (folder / "events.jsonl").exists():  # nothing has run here: the folder is as it was
            prepare(folder, overwrite=True)
        raise


def launch_record(plan: Plan, machine: Machine) -> dict[str, Any]:
    """What was started, where and when."""
    tuning = {**asdict(plan.tuning), "env": dict(plan.tuning.env)}
    started = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "argv": list(plan.argv),
        "ranks": plan.ranks,
        "started": started,
        "tuning": tuning,
        "topology": asdict(machine.topology),
        "hosts": record(plan.where),
    }


def failure_record(error: BaseException, rank: int, trace: str) -> dict[str, Any]:
    """What a failing rank leaves as ranks/RANK.failure.json."""
    known: dict[str, Any] = {"rank": rank, "time": datetime.now(UTC).isoformat(), "trace": trace, "exit_code": 1}
    if isinstance(error, StallError):
        known["silent"] = True
    if isinstance(error, HpcdlError):
        return {
            **known,
            "exit_code": error.exit_code,
            "lasting": error.lasting,
            "told": [error.received, error.expected, error.fix],
        }
    return {**known, "told": [f"{type(error).__name__}: {error}", "every rank to reach the end", ""]}


def _stalled(folder: Path, records: list[dict[str, Any]]) -> HpcdlError:
    """No rank has failed: one has said nothing, and the others have waited for it."""
    told: dict[str, list[int]] = {}
    for each in sorted(records, key=lambda each: int(each["rank"])):
        told.setdefault(each["told"][0], []).append(each["rank"])
    ranks = read_json(folder / "launch.json", fix="run again")["ranks"]
    heard = {int(each["rank"]) for each in records}
    lines = [f"{_named(those)}: {what}" for what, those in told.items()]
    if missing := [rank for rank in range(ranks) if rank not in heard]:
        lines.append(f"{_named(missing)}: not a word, so it was stopped, or stuck in a library")
    _, expected, fix = records[0]["told"]
    return StallError("\n          ".join(lines), expected, fix.replace("ranks/", f"{folder}/ranks/"))


def _named(ranks: list[int]) -> str:
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _failure(folder: Path, code: int) -> HpcdlError:
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "ranks").glob("*.failure.json")]
    if records and all(record.get("silent") for record in records):
        return _stalled(folder, records)
    if records:
        first = min(records, key=lambda record: str(record["time"]))
        received, expected, fix = first["told"]
        log = folder / "ranks" / f"{first['rank']}.log"
        if not fix:  # nobody foresaw it: the stack is all there is to say
            received += "".join(f"\n          {line}" for line in first["trace"].strip().splitlines()[:-1])
        error = LaunchError(f"rank {first['rank']}: {received}", expected, fix or f"see {log}")
        error.exit_code, error.lasting = first["exit_code"], first.get("lasting", False)
        return error
    how = f"signal {-code}" if code < 0 else f"code {code}"
    try:  # as a rank that fails does; it may have had something to say
        write_text(folder / ".writable", "." * PROBE)
        (folder / ".writable").unlink()
    except OSError as error:
        return LaunchError(
            f"the ranks ended with {how}, and {folder} cannot be written: {error.strerror}",
            "a folder that is there and can be written, with room in it",
            "make room, then go on with --resume auto",
        )
    log = folder / "mpirun.log"
    text = log.read_text(encoding="utf-8", errors="replace").strip() if log.exists() else ""
    said = "".join(f"\n          {line}" for line in text.splitlines()[-LOG_LINES:])
    rank = re.search(r"process rank (\d+)", text)
    place = f"{folder}/ranks/{rank[1] if rank else '*'}.log"
    killed = "; a rank that is killed has often used up the memory" if "signal 9" in text or code == -9 else ""
    return LaunchError(
        f"the ranks ended with {how} and no word from any of them{said}",
        "every rank to reach the end",
        f"see {place}{killed}",
    )
