"""From values to the exact line: nothing is started here."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from hpcdl.config.load import load
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.launch import folder as folders
from hpcdl.launch import supervisor
from hpcdl.launch.mpirun import find_mpirun, mpirun_argv
from hpcdl.launch.plan import Machine, plan_recipe, plan_script
from hpcdl.launch.topology import Topology, cpu_quota, usable_cores
from hpcdl.launch.tuning import check_slots, tune

NODE = Topology("node1", tuple(range(8)), 8, "a processor", 64.0)
MACHINE = Machine(NODE, "/opt/mpi/bin/mpirun", root=False)


@pytest.mark.parametrize(("ranks", "threads"), [(1, 8), (2, 4), (3, 2), (8, 1), (16, 1)])
def test_ranks_divide_the_cores(ranks: int, threads: int) -> None:
    tuning = tune(NODE, ranks)
    assert tuning.threads == threads
    assert tuning.env["TF_NUM_INTRAOP_THREADS"] == tuning.env["OMP_NUM_THREADS"] == str(threads)
    assert tuning.env["OMPI_MCA_mpi_yield_when_idle"] == "1"
    assert tuning.binding == "none"
    assert tuning.oversubscribed == (ranks > 8)


def test_every_choice_can_be_overridden() -> None:
    tuning = tune(NODE, 2, threads=3, binding="core", env={"OMPI_MCA_mpi_yield_when_idle": "0", "A": "b"})
    assert tuning.threads == 3 and tuning.binding == "core"
    assert tuning.env["OMPI_MCA_mpi_yield_when_idle"] == "0" and tuning.env["A"] == "b"


def test_the_mpirun_line_is_exact() -> None:
    tuning = tune(NODE, 2)
    assert mpirun_argv("/opt/mpi/bin/mpirun", 2, tuning, ["python", "x y.py"], as_root=True) == [
        "/opt/mpi/bin/mpirun",
        "--allow-run-as-root",
        "-np",
        "2",
        "--host",
        "localhost:2",
        "--bind-to",
        "none",
        *[part for name in sorted(tuning.env) for part in ("-x", f"{name}={tuning.env[name]}")],
        "python",
        "x y.py",
    ]
    assert "--allow-run-as-root" not in mpirun_argv("mpirun", 2, tuning, ["true"], as_root=False)


def test_a_recipe_takes_its_launch_section_along(tmp_path: Path) -> None:
    config = load("cifar10-cnn", ["launch.threads=2", "launch.binding=core", "launch.env.X=1"])
    plan = plan_recipe(config, 4, tmp_path, Path("/sets"), MACHINE)
    line = list(plan.argv)
    assert line[line.index("--bind-to") + 1] == "core"
    assert "TF_NUM_INTRAOP_THREADS=2" in line and "X=1" in line
    end = [
        sys.executable,
        "-m",
        "hpcdl",
        "train",
        f"{tmp_path}/config.yaml",
        "--out",
        str(tmp_path),
        "--data",
        "/sets",
        "--prepared",
    ]
    assert line[-len(end) :] == end
    assert not list(tmp_path.iterdir())


def test_one_rank_needs_no_mpirun() -> None:
    plan = plan_script(Path("a.py"), ["-x", "1"], 1, "auto", Machine(NODE, None, root=True))
    assert plan.argv[0] == "env" and plan.argv[-4:] == (sys.executable, "a.py", "-x", "1")
    assert plan_script(Path("a.py"), [], 2, "mpi", MACHINE).argv[-4:] == (sys.executable, "-m", "mpi4py.run", "a.py")
    assert "HPCDL_ENGINE=mpi" in plan_script(Path("a.py"), [], 2, "mpi", MACHINE).argv


def test_ranks_that_have_no_place_are_refused(tmp_path: Path) -> None:
    check_slots(NODE, 8, oversubscribe=False)
    check_slots(NODE, 9, oversubscribe=True)
    with pytest.raises(ConfigError, match="8 slots") as caught:
        check_slots(NODE, 9, oversubscribe=False)
    assert "--oversubscribe" in caught.value.fix
    for ranks in (0, -1):
        with pytest.raises(ConfigError, match=f"-n {ranks}"):
            check_slots(NODE, ranks, oversubscribe=True)
    with pytest.raises(ConfigError, match="micro-batches"):
        plan_recipe(load("cifar10-cnn"), 5, tmp_path, Path("/sets"), MACHINE)


@pytest.mark.parametrize(
    ("allowed", "logical", "physical", "quota", "cores"),
    [
        (2, 2, 2, None, 2),
        (8, 8, 4, None, 4),  # two hardware threads a core
        (4, 64, 32, None, 2),  # an affinity mask of two cores
        (8, 8, 8, 2.5, 2),  # a container's share
        (8, 8, 8, 0.5, 1),
        (1, None, None, None, 1),
    ],
)
def test_cores_are_what_can_be_used(
    allowed: int, logical: int | None, physical: int | None, quota: float | None, cores: int
) -> None:
    assert usable_cores(allowed, logical, physical, quota) == cores


def test_the_control_groups_quota_is_read(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="ascii")
    assert cpu_quota(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n", encoding="ascii")
    assert cpu_quota(tmp_path) == 1.5


def test_mpirun_is_found_or_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(LaunchError, match="no mpirun"):
        find_mpirun("")
    other = tmp_path / "bin"
    other.mkdir()
    (other / "mpirun").touch(0o755)
    assert find_mpirun(str(other)) == str(other / "mpirun")
    (tmp_path / "mpirun").touch(0o755)
    assert find_mpirun(str(other)) == str(tmp_path / "mpirun")


def test_a_folder_is_never_mixed_with_an_older_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    folders.prepare(folder, overwrite=False)
    folders.prepare(folder, overwrite=False)  # empty still
    (folder / "ranks").mkdir()
    (folder / "summary.json").touch()
    (folder / "notes.txt").touch()
    with pytest.raises(ConfigError, match="holds an earlier run"):
        folders.prepare(folder, overwrite=False)
    folders.prepare(folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="--out") as caught:
        folders.prepare(tmp_path / "file" / "run", overwrite=False)
    assert caught.value.exit_code == 2


def test_the_supervisor_answers_the_exit_code_and_keeps_the_output(tmp_path: Path) -> None:
    calls: list[int] = []
    log = tmp_path / "log"
    code = supervisor.run(
        ["sh", "-c", "echo out; echo err >&2; sleep 0.5; exit 3"], os.environ, log=log, watch=lambda: calls.append(1)
    )
    assert code == 3 and log.read_text(encoding="utf-8") == "out\nerr\n"
    assert len(calls) >= 2
    with pytest.raises(LaunchError):
        supervisor.run([str(tmp_path / "nothing")], os.environ)


def test_a_signal_reaches_the_ranks(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    sent: list[int] = []

    def watch() -> None:
        if ready.exists() and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGTERM)

    marks = tmp_path / "marks"
    script = f"trap 'echo term >> {marks}; exit 9' TERM; touch {ready}; while :; do sleep 0.05; done"
    with pytest.raises(LaunchError, match="SIGTERM"):
        supervisor.run(["sh", "-c", script], os.environ, watch=watch)
    assert marks.read_text(encoding="utf-8") == "term\n"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_ranks_of_an_outer_launcher_are_forgotten() -> None:
    outer = {
        "OMPI_COMM_WORLD_RANK": "1",
        "PMIX_RANK": "1",
        "HOROVOD_RANK": "0",
        "OMPI_MCA_btl": "self",
        "HOROVOD_CYCLE_TIME": "5",
        "A": "b",
    }
    assert supervisor.inherited(outer) == {"OMPI_MCA_btl": "self", "HOROVOD_CYCLE_TIME": "5", "A": "b"}
