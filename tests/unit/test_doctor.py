"""What the doctor makes of software and MPI; answers that no program gave are named as such."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from doctor_answers import (
    HYDRA,
    HYDRA_RUN,
    OPEN,
    OPEN_RUN,
    here,
    states,
)
from typer.testing import CliRunner

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.cli import doctor as command
from hpcdl.cli.app import app
from hpcdl.doctor import mpi, software
from hpcdl.doctor.findings import Finding, Section, as_json, failure, ok, warning, worst
from hpcdl.doctor.here import this_machine
from hpcdl.mpi import Mpi, read_mpi


def test_the_worst_finding_is_the_answer_and_json_has_them_all() -> None:
    sections = [
        Section("A", (ok("one", "1"), warning("two", "2", "mend two"))),
        Section("B", (failure("three", "3", "mend three"),)),
    ]
    answer = json.loads(json.dumps(as_json(sections)))
    assert answer["worst"] == "failure"
    assert answer["findings"][1] == {
        "section": "A",
        "name": "two",
        "state": "warning",
        "told": "2",
        "mend": "mend two",
    }
    assert worst([]) == "ok" and worst(sections[0].findings) == "warning"


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("failure", 1)])
def test_the_exit_code_tells_a_failure_alone(monkeypatch: pytest.MonkeyPatch, state: str, code: int) -> None:
    section = Section("Theme", (ok("short", "1.0"), Finding("a long name", state, "told", "do this")))  # type: ignore[arg-type]
    monkeypatch.setattr(command, "_sections", lambda *asked: iter([section]))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == code
    assert "ok       short        1.0" in done.output and "fix: do this" in done.output
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == code and json.loads(done.output)["worst"] == state


def test_a_real_machine_reads_files_and_asks_programs(tmp_path: Path) -> None:
    machine = this_machine({"PATH": os.environ["PATH"], "OMPI_COMM_WORLD_RANK": "1"})
    told = machine.answer("sh", "-c", "echo ${OMPI_COMM_WORLD_RANK:-forgotten}")
    assert told == Answer(0, "forgotten\n", "")
    assert machine.answer("no-such-program-of-hpcdl") is None
    assert machine.read("/proc/self/maps") and machine.read("/nowhere") == "" and machine.names("/nowhere") == []


def test_parts_that_load_answer_and_one_that_dies_is_named() -> None:
    said = software.read_said(
        Answer(0, 'noise\n{"part": "tensorflow", "version": "2.18.1"}\n', ""), ("tensorflow", "horovod")
    )
    assert said["tensorflow"]["version"] == "2.18.1"
    assert "ended its process with code 0" in said["horovod"]["error"]
    died = software.read_said(Answer(-11, "", "E0000 cuda\nSegmentation fault\n"), ("tensorflow",))
    assert "code -11: Segmentation fault" in died["tensorflow"]["error"]
    slow = software.read_said(Answer(NO_ANSWER, "", "python: no answer in 180 s"), ("tensorflow",))
    assert "did not load in 180 s" in slow["tensorflow"]["error"]


def test_mpi_really_answers_in_a_process_of_its_own() -> None:
    said = software.inquire(this_machine(os.environ), "mpi")
    library = read_mpi(said["mpi"]["library"], said["mpi"]["path"])
    assert library is not None and library.version and Path(library.path).exists()


@pytest.mark.parametrize(
    ("numbers", "horovod", "state"),
    [
        ((3, 10), True, "failure"),
        ((3, 11), True, "ok"),
        ((3, 12), True, "ok"),
        ((3, 13), True, "warning"),
        ((3, 13), False, "ok"),
    ],
)
def test_python(numbers: tuple[int, int], horovod: bool, state: str) -> None:
    assert software.judge_python(numbers, ".".join(map(str, numbers)), horovod).state == state


@pytest.mark.parametrize(
    ("packages", "said", "state", "word"),
    [
        ({"tensorflow": "2.18.1"}, {"version": "2.18.1"}, "ok", "2.18.1"),
        ({"tensorflow": "2.18.1"}, {"error": "ImportError: libm.so"}, "failure", "libm.so"),
        ({"tensorflow": "2.17.0"}, {}, "failure", "older"),
        ({}, {"error": "ModuleNotFoundError: No module named 'tensorflow'"}, "failure", "No module"),
        ({}, {"version": "2.18.0"}, "ok", "2.18.0"),  # a build whose package has another name
    ],
)
def test_tensorflow(packages: dict[str, str], said: dict[str, str], state: str, word: str) -> None:
    found = software.judge_tensorflow(packages, said)
    assert found.state == state and word in found.told


@pytest.mark.parametrize(
    ("packages", "backend", "state"),
    [
        ({"keras": "3.15.1"}, None, "ok"),
        ({"keras": "3.15.1"}, "tensorflow", "ok"),
        ({"keras": "3.15.1"}, "jax", "failure"),
        ({"keras": "2.15.0"}, None, "failure"),
        ({}, None, "failure"),
    ],
)
def test_keras(packages: dict[str, str], backend: str | None, state: str) -> None:
    assert software.judge_keras(packages, backend).state == state


@pytest.mark.parametrize(
    ("packages", "said", "state", "word"),
    [
        ({}, {}, "ok", "none"),
        ({"horovod": "0.28.1", "tensorflow": "2.18.1"}, {"operations": ["MPI", "Gloo"]}, "ok", "MPI, Gloo"),
        ({"horovod": "0.28.1", "tensorflow": "2.19.1"}, {"error": "x"}, "failure", "fits 2.18 alone"),
        ({"horovod": "0.28.1", "tensorflow": "2.18.1"}, {"error": "ImportError: libmpi.so.40"}, "failure", "libmpi"),
        ({"horovod": "0.28.1", "tensorflow": "2.18.1"}, {"operations": ["Gloo"]}, "failure", "alone"),
    ],
)
def test_horovod(packages: dict[str, str], said: dict[str, object], state: str, word: str) -> None:
    found = software.judge_horovod(packages, said)
    assert found.state == state and word in found.told and bool(found.mend) == (state != "ok")


@pytest.mark.parametrize(
    ("launcher", "library", "state"),
    [
        (OPEN_RUN, OPEN, "ok"),
        (HYDRA_RUN, OPEN, "failure"),
        (OPEN_RUN, Mpi("MPICH", (4, 0, 2)), "failure"),
        (Mpi("Open MPI", (4, 1, 4)), OPEN, "warning"),
        (OPEN_RUN, Mpi("Open MPI", (4, 1, 4)), "failure"),
        (HYDRA_RUN, Mpi("Intel MPI", (2021, 8)), "ok"),
    ],
)
def test_a_launcher_that_leaves_ranks_alone_is_found_before_it_starts(launcher: Mpi, library: Mpi, state: str) -> None:
    found = mpi.judge_fit(launcher, library, "mpi")
    assert found.state == state
    if state != "ok":
        assert "alone" in found.told and found.mend
    if library is OPEN and state != "ok":
        assert "/venv/bin" in found.mend
    assert ("older" in found.told) == (state == "warning")


def test_launchers_are_asked_and_a_strange_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "venv" / "python"))
    for name in ("mpirun", "venv/mpirun"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(0o755)
    said = {"mpi": {"library": "Open MPI v5.0.11, package: …", "path": OPEN.path}}
    both = {str(tmp_path / "venv"): Answer(0, "mpirun (Open MPI) 5.0.11", ""), str(tmp_path): Answer(0, HYDRA, "")}
    found = mpi.find(here(both, environ={"PATH": str(tmp_path)}), said)
    assert found.launcher is not None and found.launcher.family == "Open MPI"
    assert found.outer is not None and found.outer.family == "MPICH"
    assert found.libraries == {"mpi": OPEN}
    (told,) = mpi.judge_outer(found)
    assert told.state == "warning" and "alone" in told.told and "hpcdl run" in told.mend
    older = replace(found, outer=Mpi("Open MPI", (4, 1, 4)))
    assert "may be alone" in mpi.judge_outer(older)[0].told
    (tmp_path / "venv" / "mpirun").unlink()
    strange = mpi.find(here({str(tmp_path): Answer(0, "prun 1", "")}, environ={"PATH": str(tmp_path)}), said)
    assert strange.launcher is not None and mpi.judge_launcher(strange.launcher, False).state == "failure"
    nothing = mpi.find(here(environ={"PATH": ""}), said)
    assert nothing.launcher is None and mpi.judge_launcher(None, False).state == "warning"
    assert mpi.judge_launcher(OPEN_RUN, True).state == "ok" and "root" in mpi.judge_launcher(OPEN_RUN, True).told


def test_two_libraries_in_one_process_are_told() -> None:
    assert mpi.judge_libraries({"mpi": OPEN, "horovod": OPEN}) == []
    other = Mpi("Open MPI", (4, 1, 4), "/usr/lib/libmpi.so.40")
    assert states(mpi.judge_libraries({"mpi": OPEN, "horovod": other})) == {"MPI libraries": "warning"}
    copy = Mpi("Open MPI", (5, 0, 11), "/opt/lib/libmpi.so.40")
    assert states(mpi.judge_libraries({"mpi": OPEN, "horovod": copy})) == {"MPI libraries": "ok"}


def test_variables_of_an_outer_launcher_and_of_binding_are_told() -> None:
    assert mpi.judge_world({}) == []
    assert mpi.judge_world({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}) == []  # srun --pty bash
    (told,) = mpi.judge_world({"PMI_RANK": "1", "PMI_SIZE": "2"})
    assert told.state == "warning" and "rank 1 of 2 of pmi" in told.told
    (told,) = mpi.judge_world({"OMPI_COMM_WORLD_RANK": "x", "OMPI_COMM_WORLD_SIZE": "2"})
    assert told.state == "failure"
    (told,) = mpi.judge_binding({"OMPI_MCA_hwloc_base_binding_policy": "core"})
    assert told.mend == "unset OMPI_MCA_hwloc_base_binding_policy"
    assert mpi.judge_mpi4py(None, {}, None).state == "failure"
    assert "cannot load" in mpi.judge_mpi4py("4.1.2", {"error": "RuntimeError: cannot load MPI library"}, None).told
