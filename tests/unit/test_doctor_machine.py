"""What the doctor makes of a machine; answers that no program gave are named as such."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from doctor_answers import (
    here,
    interface_files,
    states,
)

from hpcdl.answer import Answer
from hpcdl.data.sources import synth
from hpcdl.doctor import containers, cores, data, disk, gpu, network
from hpcdl.doctor.findings import failure, ok, worst
from hpcdl.errors import DataError
from hpcdl.launch.topology import Topology


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
