"""Records of scaling studies made by hand, for the tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdl.allreduce import AllreduceResults, Estimate, Fit, Sample
from hpcdl.allreduce import Point as Sum
from hpcdl.analysis.stats import rate_interval, ratio_interval
from hpcdl.records import (
    SCHEMA,
    Measurement,
    RankTiming,
    Repetition,
    Results,
    StepSeconds,
    ToAccuracy,
    Usage,
    write_json,
)
from hpcdl.report.content import Content, content
from hpcdl.report.merge import Source

INPUT, OTHER = 0.001, 0.002
"""Seconds of each step."""


def repetition(
    index: int, ranks: int, batch: int, step: float, communication: float, *, uneven: float = 0.0, gpu: bool = False
) -> Repetition:
    """Three steps; each repetition is 1 % slower than the one before, the last rank computes `uneven` longer."""
    slower = step * (1.0 + 0.01 * index)
    waits = [communication + uneven * (rank < ranks - 1) for rank in range(ranks)]
    timings = [
        RankTiming(
            rank=rank,
            host="n1",
            node=0,
            local_rank=rank,
            cpus=[rank],
            step=[slower] * 3,
            input=[INPUT] * 3,
            compute=[slower - INPUT - OTHER - wait] * 3,
            communication=[wait] * 3,
            cpu=[slower] * 3,
        )
        for rank, wait in enumerate(waits)
    ]
    seconds = 3 * slower
    usage = Usage(
        node=0,
        host="n1",
        cpu_percent=100.0 * ranks,
        memory_gib=0.5 * ranks,
        gpu_percent=60.0 if gpu else None,
        gpu_memory_gib=4.0 * ranks if gpu else None,
        energy_joules=300.0 * ranks * seconds if gpu else None,
        absent=[] if gpu else ["energy: no RAPL counter in /sys/class/powercap", "GPU: no NVML library"],
    )
    return Repetition(
        index=index,
        run=f"runs/{ranks}-{index}",
        started="2026-01-01T00:00:00Z",
        warmup_steps=5,
        steps=3,
        seconds=seconds,
        images=3 * batch,
        images_per_s=3 * batch / seconds,
        allreduce_bytes=1_000_000 if ranks > 1 else 0,
        usage=[usage],
        ranks=timings,
    )


def measurement(
    repetitions: Sequence[Repetition],
    base: Measurement | None,
    *,
    engine: str = "horovod",
    mode: str = "weak",
    recipe: str = "cifar10-cnn",
    source: str = "synthetic",
    cores: int = 2,
    nodes: int = 1,
) -> Measurement:
    """The point of these repetitions; its own base where there is none."""
    ranks, batch = len(repetitions[0].ranks), repetitions[0].images // 3
    rate = rate_interval([each.images_per_s for each in repetitions])
    speedup, ends, base_ranks = 1.0, (1.0, 1.0), ranks
    if base:
        speedup = rate.median / base.images_per_s.median
        ends, base_ranks = ratio_interval(rate.samples, base.images_per_s.samples), base.ranks
    scale = ranks / base_ranks
    timings = [timing for each in repetitions for timing in each.ranks]
    parts = {
        name: np.array([second for timing in timings for second in getattr(timing, name)])
        for name in ("step", "input", "compute", "communication")
    }
    other = parts["step"] - parts["input"] - parts["compute"] - parts["communication"]
    return Measurement(
        engine=engine,
        ranks=ranks,
        nodes=nodes,
        mode=mode,
        recipe=recipe,
        input=source,
        global_batch=batch,
        micro_batch=32,
        threads=1,
        cores=cores,
        images_per_s=rate,
        speedup=speedup,
        speedup_interval=ends,
        efficiency=speedup / scale,
        efficiency_interval=(ends[0] / scale, ends[1] / scale),
        base_ranks=base_ranks,
        step_seconds=StepSeconds(
            median=float(np.median(parts["step"])),
            p95=float(np.percentile(parts["step"], 95)),
            other=float(np.median(other)),
            **{name: float(np.median(parts[name])) for name in ("input", "compute", "communication")},
        ),
        communication_share=float(parts["communication"].sum() / parts["step"].sum()),
        allreduce_bytes=repetitions[0].allreduce_bytes,
        epoch_images=None if source == "synthetic" else 50_000,
        repetitions=list(repetitions),
    )


def results(
    *,
    engines: Sequence[str] = ("horovod", "mpi"),
    ranks: Sequence[int] = (1, 2, 4),
    repeats: int = 5,
    recipe: str = "cifar10-cnn",
    sources: Sequence[str] = ("synthetic",),
    mode: str = "weak",
    cores: int = 2,
    loss: float = 0.02,
    compute: float = 0.1,
    uneven: float = 0.0,
    gpu: bool = False,
    accuracy: bool = False,
) -> Results:
    """A study in which each rank beyond the first adds `loss` seconds of communication to a step."""
    points: list[Measurement] = []
    for shift, (engine, source) in enumerate((engine, source) for engine in engines for source in sources):
        base = None
        for count in ranks:
            batch = 64 * count if mode == "weak" else 64 * max(ranks)
            waits = loss * (count - 1)
            lasts = compute * (1.0 if mode == "weak" else max(ranks) / count) + waits + 0.001 * shift
            lasts += uneven if count > 1 else 0.0
            own = [
                repetition(at, count, batch, lasts, waits, uneven=uneven if count > 1 else 0.0, gpu=gpu)
                for at in range(repeats)
            ]
            words = {"engine": engine, "mode": mode, "recipe": recipe, "source": source}
            point = measurement(own, base, cores=cores, **words)
            base = base or point
            points.append(point)
    return Results(
        schema=SCHEMA,
        results=points,
        accuracy=[to_accuracy(count, recipe, engines[0]) for count in ranks] if accuracy else [],
        environment={"host": "n1", "versions": {"python": "3.11"}, "data": "made from seed 0", "gpus": []},
        command=["hpcdl", "bench", "scaling", "--ranks", "1,2,4", "name=a b"],
        created="2026-01-01T00:00:00Z",
        config={"name": recipe, "data": {"source": "cifar10", "augment": ["flip"], "path": None}},
    )


def to_accuracy(ranks: int, recipe: str, engine: str) -> ToAccuracy:
    """Two of three starts reached it; on 4 ranks none did."""
    seconds = [] if ranks == 4 else [600.0 / ranks, 660.0 / ranks]
    return ToAccuracy(
        engine=engine,
        ranks=ranks,
        nodes=1,
        recipe=recipe,
        input="real",
        global_batch=256,
        target=0.9,
        reached=len(seconds),
        seconds=rate_interval(seconds) if seconds else None,
        epochs=[9.0, 10.0][: len(seconds)],
        best=[0.91, 0.9, 0.88],
        runs=[f"runs/accuracy-{ranks}-{at}" for at in range(3)],
    )


def sums() -> AllreduceResults:
    """Plain MPI and a copy on 2 ranks: 10 us and 1 ns a byte."""
    points = []
    for size in (1000, 100_000, 10_000_000):
        for engine, took in (("memory", size * 1e-10), ("plain", 2e-5 + size * 1e-9)):
            bandwidth = rate_interval([size / took] * 3)
            points.append(
                Sum(
                    engine=engine,
                    compression="none",
                    ranks=2,
                    nodes=1,
                    bytes=size,
                    seconds=rate_interval([took] * 3),
                    algorithm_bandwidth=bandwidth,
                    bus_bandwidth=None if engine == "memory" else bandwidth,
                    starts=[Sample(index=0, run="runs/plain-2-1", started="2026-01-01T00:00:00Z", seconds=[[took]])],
                )
            )
    return AllreduceResults(
        schema=1,
        model="ring",
        warmup_calls=3,
        points=points,
        fits=[
            Fit(
                engine="plain",
                compression="none",
                ranks=2,
                nodes=1,
                sizes=3,
                alpha=Estimate(value=1e-5, low=9e-6, high=1.1e-5),
                beta=Estimate(value=1e-9, low=-1e-9, high=2e-9),
                error=0.01,
            )
        ],
        environment={},
        command=["hpcdl", "bench", "allreduce"],
        created="2026-01-01T00:00:00Z",
    )


def save(folder: Path, document: Results | AllreduceResults) -> Path:
    """A benchmark's folder."""
    folder.mkdir(parents=True)
    write_json(folder / "results.json", document)
    return folder


def shown(*documents: Results, place: Path = Path("/nowhere")) -> Content:
    """What a report of these documents shows."""
    names = ["study"] if len(documents) == 1 else [f"study-{at + 1}" for at in range(len(documents))]
    sources = [Source(name, place / name, document) for name, document in zip(names, documents, strict=True)]
    return content(sources, [], ["hpcdl", "report", *names], (place / "out").absolute())
