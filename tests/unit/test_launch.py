"""From values to the exact line: nothing is started here."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import pytest

from hpcdl.config.load import load
from hpcdl.config.schema import LaunchConfig
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.launch import folder as folders
from hpcdl.launch import supervisor
from hpcdl.launch.hosts import HERE, Allocation, Host, Listed, Where
from hpcdl.launch.mpirun import find_mpirun, mpirun_argv
from hpcdl.launch.plan import Machine, plan_recipe, plan_script
from hpcdl.launch.topology import Topology, computes_bfloat16, cpu_quota, siblings, usable_cores
from hpcdl.launch.tuning import CHOSEN, check_slots, tune

BTL = "OMPI_MCA_btl"
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
        "--map-by",
        "slot:OVERSUBSCRIBE",
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
        "-P",
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
    plan = plan_script(Path("a.py"), ["-x", "1"], 1, "auto", LaunchConfig(), Machine(NODE, None, root=True))
    assert plan.argv[0] == "env" and plan.argv[-4:] == (sys.executable, "a.py", "-x", "1")
    argv = plan_script(Path("a.py"), [], 2, "mpi", LaunchConfig(threads=3), MACHINE).argv
    assert argv[-4:] == (sys.executable, "-m", "mpi4py.run", "a.py")
    assert {"HPCDL_ENGINE=mpi", "TF_NUM_INTRAOP_THREADS=3"} <= set(argv)


@pytest.mark.parametrize(
    ("where", "ranks", "told"),
    [
        (HERE, 2, True),
        (HERE, 1, False),
        (Allocation("7", (2,)), 2, True),
        (Allocation("7", (1, 1)), 2, False),
        (Listed((Host("a", 1), Host("b", 1))), 2, False),
    ],
)
def test_ranks_of_one_node_look_for_no_network(where: Where, ranks: int, told: bool) -> None:
    machine = Machine(NODE, "mpirun", root=False, where=where)
    assert (plan_script(Path("a.py"), [], ranks, "auto", LaunchConfig(), machine).tuning.env.get(BTL) == "^ofi") == told
    own = Machine(NODE, "mpirun", root=False, env={BTL: "self,tcp"}, where=where)
    assert plan_script(Path("a.py"), [], ranks, "auto", LaunchConfig(), own).tuning.env[BTL] == "self,tcp"
    assert BTL in CHOSEN  # what the user has set of these is in Machine.env


def test_what_the_user_has_set_wins_over_what_is_chosen_and_the_recipe_over_both(tmp_path: Path) -> None:
    own = Machine(NODE, "mpirun", root=False, env={"TF_NUM_INTRAOP_THREADS": "5", "OMP_NUM_THREADS": "7"})
    plan = plan_script(Path("a.py"), [], 2, "auto", LaunchConfig(), own)
    assert plan.tuning.threads == 5 and "OMP_NUM_THREADS=7" in plan.argv
    config = load("cifar10-cnn", ["launch.env.OMP_NUM_THREADS=9"])
    assert "OMP_NUM_THREADS=9" in plan_recipe(config, 2, tmp_path, Path("/sets"), own).argv


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
    ("cores", "quota", "usable"), [(2, None, 2), (8, 2.5, 2), (8, 0.5, 1), (1, None, 1), (2, 16.0, 2)]
)
def test_cores_are_what_can_be_used(cores: int, quota: float | None, usable: int) -> None:
    assert usable_cores(cores, quota) == usable


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu avx2 avx512_bf16", True),
        ("amx_bf16 amx_tile", True),
        ("asimd bf16 i8mm", True),
        ("fpu avx2", False),
        ("", False),
    ],
)
def test_bfloat16_is_a_flag_of_the_processor(flags: str, has: bool) -> None:
    assert computes_bfloat16(flags) == has


def test_hardware_threads_of_a_core_count_once(tmp_path: Path) -> None:
    for cpu, threads in enumerate(["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"]):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{threads}\n", encoding="ascii")
    assert len(siblings(range(8), tmp_path)) == 4
    assert len(siblings([0, 1, 2, 3], tmp_path)) == 4  # a mask of four whole cores
    assert len(siblings([0, 4], tmp_path)) == 1
    assert len(siblings([0, 9], tmp_path)) == 2


@pytest.mark.parametrize(
    ("groups", "files", "quota"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "max 100000"}, 4.0),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "200000 100000"}, 2.0),
        ("4:cpu,cpuacct:/job\n1:memory:/x\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "-1"}, None),
        (
            "4:cpu,cpuacct:/job\n",
            {"cpu,cpuacct/job/cpu.cfs_quota_us": "300000", "cpu,cpuacct/job/cpu.cfs_period_us": "100000"},
            3.0,
        ),
    ],
)
def test_the_control_groups_quota_is_read(
    tmp_path: Path, groups: str, files: dict[str, str], quota: float | None
) -> None:
    (tmp_path / "self").write_text(groups, encoding="ascii")
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(f"{text}\n", encoding="ascii")
    assert cpu_quota(tmp_path / "self", tmp_path / "root") == quota


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
    (folder / "launch.json").touch()
    (folder / "notes.txt").touch()
    with pytest.raises(ConfigError, match="holds an earlier run"):
        folders.prepare(folder, overwrite=False)
    folders.prepare(folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = []
    for _ in range(3):
        named.append(folders.default_folder("small", datetime(2026, 11, 25, 19, 37, 5)))
        folders.prepare(named[-1], overwrite=False)
    assert [path.name for path in named] == [f"small-20261125-193705{more}" for more in ("", "-2", "-3")]


def test_an_older_benchmark_goes_with_its_report(tmp_path: Path) -> None:
    start = tmp_path / "runs" / "weak-2-1"
    start.mkdir(parents=True)
    for path in (start / "launch.json", tmp_path / "results.json", tmp_path / "report.html", tmp_path / "other"):
        path.touch()
    folders.prepare(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_overwrite_deletes_nothing_that_hpcdl_did_not_write(tmp_path: Path) -> None:
    """--out . in a project that has a config.yaml of its own, and runs beside it."""
    kept = [tmp_path / "config.yaml", tmp_path / "runs" / "a" / "summary.json"]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for _ in kept:
        with pytest.raises(ConfigError, match="that no run left there"):
            folders.prepare(tmp_path, overwrite=True)
        assert all(path.exists() for path in kept)
        (tmp_path / "results.json").touch()  # even beside a benchmark's results


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
        "SLURM_PROCID": "1",
        "PMI_RANK": "1",
        "OMPI_COMM_WORLD_RANK": "1",
        "PMIX_RANK": "1",
        "HOROVOD_RANK": "0",
        "OMPI_MCA_btl": "self",
        "HOROVOD_CYCLE_TIME": "5",
        "A": "b",
    }
    assert supervisor.inherited(outer) == {"OMPI_MCA_btl": "self", "HOROVOD_CYCLE_TIME": "5", "A": "b"}


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """nohup hpcdl run … survives the end of its session."""
    ready = tmp_path / "ready"
    sent: list[int] = []

    def watch() -> None:
        if ready.exists() and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGHUP)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert supervisor.run(["sh", "-c", f"touch {ready}; sleep 1; exit 0"], os.environ, watch=watch) == 0
        assert sent
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_that_a_signal_stops_in_order_keeps_its_code(tmp_path: Path) -> None:
    ready = tmp_path / "ready"

    def watch() -> None:
        if ready.exists():
            os.kill(os.getpid(), signal.SIGTERM)

    script = f"trap 'exit 75' TERM; touch {ready}; while :; do sleep 0.05; done"
    assert supervisor.run(["sh", "-c", script], os.environ, watch=watch) == 75
