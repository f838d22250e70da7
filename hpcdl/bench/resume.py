"""Going on with a study that was stopped: what was asked, by whom it was measured, and which starts are whole."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from hpcdl.bench.study import Study
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.launch.folder import STUDY, prepare
from hpcdl.launch.hosts import record
from hpcdl.launch.plan import Machine
from hpcdl.records import read_json, write_json
from hpcdl.software import versions


def asked(study: Study, data: Mapping[str, Path], machine: Machine) -> dict[str, Any]:
    """What a study's figures depend on, for study.json."""
    topology, hosts = machine.topology, record(machine.where)
    for passing in ("job", "network"):  # a job's number, and what a made network was measured to be
        hosts.pop(passing, None)
    return {
        "study": {**asdict(study), "config": study.config.model_dump(mode="json")},
        "data": {source: str(place) for source, place in data.items()},
        "versions": versions(),
        "machine": {"host": topology.host, "cpu": topology.model, "cores": topology.cores, "hosts": hosts},
    }


def open_study(folder: Path, now: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Makes a study's folder, or opens an earlier one's to go on in.

    Raises:
        ConfigError: it holds records of something else, or of another study, software or machine.
    """
    earlier = folder / STUDY
    if not (resume and earlier.is_file()):
        prepare(folder, overwrite=overwrite)
        write_json(earlier, dict(now))
        return
    then = read_json(earlier, fix="measure again, with another --out")
    if changed := differing(then, now):
        raise ConfigError(
            f"{folder}, which began with other values: {'; '.join(changed)}",
            "the study, software and machine that it began with",
            "take those back, or measure anew with another --out or --overwrite",
        )


def whole(place: Path, ranks: int) -> bool:
    """Whether a start's records are all there; what is there of one that was cut off goes, to be measured again.

    Raises:
        LaunchError: ranks of it still run, as they do where hpcdl alone was killed: they would be measured with.
    """
    tables = [place / "ranks" / f"{rank}.steps.csv" for rank in range(ranks)]
    if all(path.is_file() for path in (place / "summary.json", *tables)):
        return True
    if place.is_dir():
        if running := _running(place):
            told = ", ".join(map(str, running))
            raise LaunchError(
                f"{place}, which was cut off and whose processes still run: {told}",
                "nothing else to run beside what is measured",
                "wait for their end, or end them",
            )
        shutil.rmtree(place)
    return False


def _running(place: Path) -> list[int]:
    """Processes of this host that were started to train in a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if str(place) in process.cmdline():
                found.append(process.pid)
    return found


def differing(then: Any, now: Any, path: str = "") -> list[str]:
    """Each value that is not as it was, as "study.steps was 20 and is 10". Tuples and lists are alike."""
    if isinstance(then, dict) and isinstance(now, Mapping):
        names = dict.fromkeys([*then, *now])
        inner = f"{path}." if path else ""
        return [each for name in names for each in differing(then.get(name), now.get(name), f"{inner}{name}")]
    one, two = (list(each) if isinstance(each, list | tuple) else each for each in (then, now))
    return [] if one == two else [f"{path} was {_shown(one)} and is {_shown(two)}"]


def _shown(value: Any) -> str:
    return "not there" if value is None else str(value)
