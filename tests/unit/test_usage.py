"""What a node uses: counters in a root of our own, a pretended NVML, and sums worked out by hand."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hpcdl.bench.usage import Sample, power, read_samples, summarise
from hpcdl.records import RankTiming
from hpcdl.training.nvml import NONE, Nvml
from hpcdl.training.rapl import Rapl
from hpcdl.training.usage import HEADER, Meters, Sampler

SPAN = 1_000_000_000


def zone(root: Path, folder: str, name: str, microjoules: int) -> Path:
    place = root / folder
    place.mkdir(exist_ok=True)
    for file, text in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", SPAN)):
        (place / file).write_text(f"{text}\n", encoding="ascii")
    return place / "energy_uj"


def test_packages_and_memory_count_once_and_counters_go_around(tmp_path: Path) -> None:
    one = zone(tmp_path, "intel-rapl:0", "package-0", 100)
    cores = zone(tmp_path, "intel-rapl:0:0", "core", 0)
    dram = zone(tmp_path, "intel-rapl:0:1", "dram", SPAN - 1_000_000)
    two = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    every = zone(tmp_path, "intel-rapl:2", "psys", 0)
    same = zone(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    rapl = Rapl(tmp_path)
    assert rapl.absent == "" and rapl.joules() == 0.0
    for counter, value in ((one, 5_000_100), (dram, 2_000_000), (two, 7_000_000)):
        counter.write_text(str(value), encoding="ascii")
    for ignored in (cores, every, same):
        ignored.write_text(str(SPAN // 2), encoding="ascii")
    assert rapl.joules() == pytest.approx(5 + 3 + 7)
    two.write_text("8000000", encoding="ascii")
    assert rapl.joules() == pytest.approx(16)


def test_counters_that_are_not_there_or_not_for_us_are_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = Rapl(tmp_path)
    assert none.joules() is None and none.absent == f"no RAPL counter in {tmp_path}"
    zone(tmp_path, "intel-rapl:0", "package-0", 1).unlink()
    gone = Rapl(tmp_path)
    assert gone.joules() is None and "cannot be read (No such file" in gone.absent
    zone(tmp_path, "intel-rapl:0", "package-0", 1).write_text("much", encoding="ascii")
    assert "cannot be read" in Rapl(tmp_path).absent
    there = Rapl(tmp_path) if zone(tmp_path, "intel-rapl:0", "package-0", 1) else none
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert there.absent == "" and there.joules() is None  # it vanished meanwhile


class NoAnswer(Exception):
    """As pynvml.NVMLError."""


def library(count: int, **refused: bool) -> Any:
    """As pynvml, with GPUs of 50, 60, … % use, 2 GiB and 1 kJ each."""

    def answer(name: str, value: Any) -> Any:
        def ask(*arguments: Any) -> Any:
            if refused.get(name):
                raise NoAnswer("Not Supported")
            return value(*arguments)

        return ask

    return SimpleNamespace(
        NVMLError=NoAnswer,
        nvmlInit=answer("init", lambda: None),
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUtilizationRates=answer("use", lambda gpu: SimpleNamespace(gpu=50 + 10 * gpu)),
        nvmlDeviceGetMemoryInfo=answer("memory", lambda gpu: SimpleNamespace(used=2 * 2**30)),
        nvmlDeviceGetTotalEnergyConsumption=answer("energy", lambda gpu: 1_000_000),
    )


def test_gpus_are_added_up() -> None:
    found = Nvml(library(3)).read()
    assert (found.percent, found.memory_gib, found.joules) == (60.0, 6.0, 3000.0)
    old = Nvml(library(2, energy=True))
    assert old.absent == "" and old.read().joules is None and old.read().percent == 55.0


def test_a_node_without_gpus_says_why(tmp_path: Path) -> None:
    assert Nvml(devices=tmp_path).absent == "no GPU" and Nvml(devices=tmp_path).read() == NONE
    assert Nvml(library(0)).absent == "NVML tells of no GPU"
    assert Nvml(library(2, init=True)).absent == "NVML: Not Supported"
    meters = Meters(Rapl(tmp_path), Nvml(devices=tmp_path))
    assert meters.absent == [f"energy of processors: no RAPL counter in {tmp_path}", "GPU: no GPU"]
    assert meters.read() == [None] * 4


def test_samples_are_written_until_the_end_and_read_back(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meters, path = Meters(Rapl(tmp_path), Nvml(library(1))), tmp_path / "0.usage.csv"
    with Sampler(path, meters, [os.getpid(), 2**22 + 1], lambda: 7, seconds=60.0):
        pass
    text = path.read_text(encoding="ascii")
    assert text.startswith(HEADER) and len(text.splitlines()) == 2
    path.write_text(text + "17,oops\n3", encoding="ascii")
    notes: list[str] = []
    (sample,) = read_samples(path, notes.append)
    assert sample["steps"] == 7 and sample["memory_gib"] > 0.01 and sample["gpu_percent"] == 50.0
    assert sample["energy_joules"] == 0.0 and "2 torn lines" in notes[0]
    assert read_samples(tmp_path / "none.csv", notes.append) == [] and "cannot be read" in notes[1]


def timing(rank: int, seconds: float, cpu: float) -> RankTiming:
    parts = {part: [0.0, 0.0] for part in ("input", "compute", "communication")}
    return RankTiming(
        rank=rank, host="n", node=3, local_rank=rank, cpus=[0], step=[seconds] * 2, cpu=[cpu] * 2, **parts
    )


def test_only_measured_steps_count() -> None:
    joules, gpu = "energy_joules", "gpu_joules"
    samples: list[Sample] = [
        {"time": 10.0, "steps": 0, "memory_gib": 9.0, joules: 0.0, "gpu_percent": 0.0, gpu: 0.0},
        {"time": 12.0, "steps": 5, "memory_gib": 3.0, joules: 900.0, "gpu_percent": 80.0, gpu: 100.0},
        {
            "time": 14.0,
            "steps": 9,
            "memory_gib": 4.0,
            joules: 1000.0,
            "gpu_percent": 90.0,
            gpu: 140.0,
        },
    ]
    usage = summarise(samples, [timing(0, 2.5, 2.0), timing(1, 2.4, 3.0)], 5, [])
    assert (usage.node, usage.memory_gib, usage.gpu_percent, usage.gpu_memory_gib) == (3, 4.0, 85.0, None)
    assert usage.cpu_percent == pytest.approx(100 * 10 / 5)
    assert usage.energy_joules == pytest.approx((100 / 2 + 40 / 2) * 5) and usage.absent == []  # watts times seconds
    early = summarise(samples[:2], [timing(0, 2.5, 2.0)], 6, ["GPU: no GPU"])
    assert early.memory_gib is early.energy_joules is None and early.absent[0] == "GPU: no GPU"
    assert [line.split(":")[0] for line in early.absent[1:]] == ["energy", "memory"]
    assert power(samples, "energy_joules") == 250.0 and power(samples[:1], "energy_joules") is None
