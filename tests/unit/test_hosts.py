"""Hosts and allocations as values, and the lines that start ranks on them: nothing is contacted here."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from hpcdl.config.schema import LaunchConfig
from hpcdl.errors import ConfigError, LaunchError
from hpcdl.launch.hosts import (
    HERE,
    Allocation,
    Host,
    Listed,
    allocation,
    check_interface,
    describe,
    forwarded,
    fullest,
    parse_hosts,
    parse_ssh,
)
from hpcdl.launch.mpirun import mpirun_argv
from hpcdl.launch.plan import Machine, plan_script
from hpcdl.launch.topology import Topology
from hpcdl.launch.tuning import check_slots, tune

NODE = Topology("node1", tuple(range(8)), 8, "a processor", 64.0)
TWO = Listed((Host("a", 4), Host("b", 4)))


def placed(where: Listed | Allocation, ranks: int) -> list[str]:
    """What mpirun is told between -np and --bind-to."""
    argv = mpirun_argv("mpirun", ranks, tune(NODE, 1), ["true"], as_root=False, where=where)
    return argv[argv.index("-np") + 2 : argv.index("--bind-to")]


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("a:4,b:4", [("a", 4), ("b", 4)]),
        ("a", [("a", 1)]),
        ("b:2, a", [("b", 2), ("a", 1)]),
        ("a:1,b:2,a:3", [("a", 4), ("b", 2)]),
        ("10.0.0.1:2,node-1.cluster_x", [("10.0.0.1", 2), ("node-1.cluster_x", 1)]),
    ],
)
def test_hosts_are_names_and_slots(text: str, hosts: list[tuple[str, int]]) -> None:
    assert parse_hosts(text) == tuple(Host(name, slots) for name, slots in hosts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,",
        ":4",
        "a:",
        "a:0",
        "a:-1",
        "a:x",
        "a:1.5",
        "a:²",
        "-oProxyCommand=reboot:1",
        "-a",
        "a b",
        "a;b",
        "$(b)",
        "a|b",
        "root@a",
        "fe80::1",
        "á",
    ],
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--hosts") as caught:
        parse_hosts(text)
    assert caught.value.exit_code == 2 and "--hosts" in caught.value.fix


def test_ssh_is_words_without_spaces() -> None:
    assert parse_ssh(None) == ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5")
    assert parse_ssh("ssh -F 'x' -p 22")[:5] == ("ssh", "-F", "x", "-p", "22")
    for text in ("", " ", "ssh -F 'a b'", "ssh 'a"):
        with pytest.raises(ConfigError, match="HPCDL_SSH"):
            parse_ssh(text)


def test_an_interface_is_a_name() -> None:
    assert check_interface("ib0") == "ib0" and check_interface(None) is None
    for name in ("-x", "eth0 eth1", ""):
        with pytest.raises(ConfigError, match="--interface"):
            check_interface(name)


def test_what_decides_how_ranks_find_their_programs_goes_along() -> None:
    kept = {"PATH": "/b", "PYTHONPATH": "/p", "HPCDL_ENGINE": "mpi", "NCCL_X": "1"}
    assert forwarded({**kept, "HPCDL_SSH": "ssh", "HOME": "/h", "TF_TOKEN": "secret"}) == kept


@pytest.mark.parametrize(
    ("tasks", "nodes", "slots"),
    [
        ("2(x3),1", "4", (2, 2, 2, 1)),
        ("4", "1", (4,)),
        ("1,2(x2)", "3", (1, 2, 2)),
        (None, "2", (1, 1)),
    ],
)
def test_an_allocation_is_read(tasks: str | None, nodes: str, slots: tuple[int, ...]) -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": nodes}
    assert allocation({**environ, **({"SLURM_TASKS_PER_NODE": tasks} if tasks else {})}) == Allocation("7", slots)


def test_outside_of_a_job_there_is_no_allocation() -> None:
    assert allocation({}) is None
    assert allocation({"SLURM_JOB_ID": "7"}) is None
    for wrong in ({"SLURM_TASKS_PER_NODE": "2(x"}, {"SLURM_TASKS_PER_NODE": "2(x3)"}, {"SLURM_JOB_NUM_NODES": "x"}):
        with pytest.raises(LaunchError, match="Slurm job 7"):
            allocation({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", **wrong})


def test_ranks_fill_named_hosts_in_their_order() -> None:
    ssh = "ssh -o BatchMode=yes -o ConnectTimeout=5"
    reached = ["--prtemca", "plm", "ssh", "--prtemca", "plm_ssh_agent", ssh, "--prtemca", "ras", "^slurm"]
    filled = ["--host", "a:4,b:4", "--map-by", "slot:OVERSUBSCRIBE"]
    assert placed(TWO, 8) == [*reached, *filled]
    through = Listed(TWO.hosts, interface="ib0")
    assert placed(through, 8) == [*reached, "--prtemca", "prte_if_include", "ib0", *filled]


@pytest.mark.parametrize(
    ("slots", "ranks", "told"),
    [
        ((4, 4), 8, "ppr:4:node:OVERSUBSCRIBE"),
        ((4, 4), 2, "ppr:1:node:OVERSUBSCRIBE"),
        ((4, 4), 3, "slot:OVERSUBSCRIBE"),
        ((4, 4), 1, "slot:OVERSUBSCRIBE"),
        ((3, 1), 4, "slot:OVERSUBSCRIBE"),
        ((1, 1), 4, "ppr:2:node:OVERSUBSCRIBE"),
        ((2,), 2, "ppr:2:node:OVERSUBSCRIBE"),
    ],
)
def test_ranks_spread_over_the_nodes_of_a_job(slots: tuple[int, ...], ranks: int, told: str) -> None:
    assert placed(Allocation("7", slots), ranks) == ["--map-by", told]


@pytest.mark.parametrize(
    ("where", "ranks", "most"),
    [
        (HERE, 3, 3),
        (TWO, 8, 4),
        (TWO, 5, 4),
        (TWO, 2, 2),
        (TWO, 10, 5),
        (Listed((Host("a", 1), Host("b", 3))), 4, 3),
        (Allocation("7", (4, 4)), 2, 1),
        (Allocation("7", (4, 4)), 3, 3),
        (Allocation("7", (3, 1)), 4, 3),
        (Allocation("7", (1, 1)), 4, 2),
    ],
)
def test_threads_are_those_of_the_fullest_host(where: Listed | Allocation, ranks: int, most: int) -> None:
    assert fullest(where, ranks) == most
    machine = Machine(NODE, "mpirun", root=False, where=where)
    assert plan_script(Path("a.py"), [], ranks, "mpi", LaunchConfig(), machine).tuning.threads == 8 // most


def test_ranks_on_other_hosts_get_this_shells_variables_and_their_interface() -> None:
    where = Listed(TWO.hosts, interface="ib0", env={"PYTHONPATH": "/p q", "OMP_NUM_THREADS": "1"})
    machine = Machine(NODE, "mpirun", root=False, where=where, env={"OMP_NUM_THREADS": "3"})
    argv = plan_script(Path("a.py"), ["b"], 2, "mpi", LaunchConfig(env={"X": "1"}), machine).argv
    told = {"PYTHONPATH=/p q", "OMP_NUM_THREADS=3", "X=1", "HPCDL_ENGINE=mpi"}
    network = {"OMPI_MCA_btl_tcp_if_include=ib0", "NCCL_SOCKET_IFNAME=ib0", "HOROVOD_GLOO_IFACE=ib0"}
    assert told | network <= set(argv)
    assert argv[-5:] == (sys.executable, "-m", "mpi4py.run", str(Path("a.py").absolute()), "b")


def test_one_rank_goes_to_its_host_and_stays_here_in_a_job() -> None:
    far = Machine(NODE, "/bin/mpirun", root=False, where=Listed((Host("b", 1),)))
    assert plan_script(Path("a.py"), [], 1, "mpi", LaunchConfig(), far).argv[0] == "/bin/mpirun"
    job = Machine(NODE, None, root=False, where=Allocation("7", (1, 1)))
    plan = plan_script(Path("a.py"), [], 1, "mpi", LaunchConfig(), job)
    assert plan.argv[0] == "env" and plan.where == HERE


def test_more_ranks_than_slots_are_refused_with_the_hosts_names() -> None:
    check_slots(NODE, 8, oversubscribe=False, where=TWO)
    check_slots(NODE, 9, oversubscribe=True, where=TWO)
    with pytest.raises(ConfigError, match=r"-n 9 on a, b, which offer 8 slots \(4 \+ 4\)"):
        check_slots(NODE, 9, oversubscribe=False, where=TWO)
    with pytest.raises(ConfigError, match="2 nodes of Slurm job 7, which offer 2 slots") as caught:
        check_slots(NODE, 3, oversubscribe=False, where=Allocation("7", (1, 1)))
    assert "--ntasks-per-node" in caught.value.fix
    check_slots(NODE, 8, oversubscribe=False, where=Allocation("7", (1,)))
    with pytest.raises(ConfigError, match="node1, which offers 8 slots"):
        check_slots(NODE, 9, oversubscribe=False, where=Allocation("7", (16,)))


def test_a_person_reads_where() -> None:
    assert describe(TWO, "me") == "a, b" and describe(HERE, "me") == "me"
    assert describe(Allocation("7", (1,)), "me") == "1 node of Slurm job 7"
