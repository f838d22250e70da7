"""GPUs, their driver and libraries. Judged by recorded answers: not run on a GPU machine."""

from __future__ import annotations

import ctypes.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hpcdl.answer import Answer
from hpcdl.doctor.findings import Finding, failure, ok, warning
from hpcdl.doctor.here import Here, last_line
from hpcdl.doctor.software import Said
from hpcdl.software import installed

FIELDS = (
    "index",
    "name",
    "memory.total",
    "driver_version",
    "compute_mode",
    "ecc.errors.uncorrected.volatile.total",
    "mig.mode.current",
)
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader")
INSTALL = "`make install GPU=1`, with the site's CUDA and NCCL loaded"
DEVICE = re.compile(r"nvidia\d+")


@dataclass(frozen=True)
class Gpu:
    """One line of nvidia-smi."""

    index: str
    name: str
    memory: str
    driver: str
    mode: str
    errors: str
    mig: str


def check(here: Here, packages: Mapping[str, str], said: Said, ranks: int | None) -> list[Finding]:
    """The GPUs' lines.

    Args:
        here: whose device files and programs are looked at.
        packages: from `hpcdl.software.installed`.
        said: of tensorflow and horovod.
        ranks: to be started on this machine, where that is known.
    """
    devices = [name for name in here.names("/dev") if DEVICE.fullmatch(name)]
    answer = here.answer(*QUERY)
    gpus = read_gpus(answer.out) if answer is not None and answer.code == 0 else []
    if not gpus:
        return [judge_none(devices, answer, amd=here.file("/dev/kfd").exists(), rocm=here.which("rocm-smi"))]
    visible = here.environ.get("CUDA_VISIBLE_DEVICES")
    return [
        *(judge_gpu(gpu, len(gpus), ranks) for gpu in gpus),
        *judge_alike(gpus),
        *judge_visible(visible, len(gpus)),
        *judge_share(shown(visible, len(gpus)), ranks),
        *judge_tensorflow(said.get("tensorflow", {}), shown(visible, len(gpus))),
        *judge_horovod(packages, said.get("horovod", {})),
        judge_nccl(nccl()),
    ]


def read_gpus(text: str) -> list[Gpu]:
    """Lines of QUERY; others, as of a driver that does not answer, are no GPUs."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines()]
    return [Gpu(*row) for row in rows if len(row) == len(FIELDS) and row[0].isdigit()]


def nccl() -> str | None:
    """The NCCL that a rank would load: a wheel's, or the machine's."""
    wheels = installed(("nvidia-nccl-cu12", "nvidia-nccl-cu13", "nvidia-nccl-cu11"))
    if wheels:
        return " ".join(next(iter(wheels.items())))
    return ctypes.util.find_library("nccl")


def judge_none(devices: Sequence[str], answer: Answer | None, *, amd: bool, rocm: str | None) -> Finding:
    """No GPU that answers: that is well, unless its device files are there."""
    if devices and answer is None:
        told = f"{', '.join(devices)} in /dev, and no nvidia-smi on the PATH"
        return warning("GPUs", told, "in a container: start it with --nv (Apptainer) or --gpus all (Docker)")
    if devices:
        said = last_line(answer) if answer else ""
        return failure("GPUs", f"{', '.join(devices)} in /dev, and the driver says: {said}", "load or mend its driver")
    if answer is not None:
        told = f"nvidia-smi is here and shows none: {last_line(answer)}"
        return warning(
            "GPUs", told, "ask for one (--gres=gpu:1 of Slurm), or load the driver; else train on processors"
        )
    if amd:
        told = "AMD: not tried with hpcdl; TensorFlow's ROCm build would be needed"
        return ok("GPUs", f"{told}, and rocm-smi is {rocm or 'not on the PATH'}")
    return ok("GPUs", "none (ranks compute on processors)")


def judge_gpu(gpu: Gpu, gpus: int, ranks: int | None) -> Finding:
    """One GPU: its mode, its memory's errors, and whether it is divided."""
    name, told = f"GPU {gpu.index}", f"{gpu.name}, {gpu.memory}, driver {gpu.driver}"
    if gpu.mode == "Prohibited":
        return failure(name, f"{told}; compute mode Prohibited", f"nvidia-smi -i {gpu.index} -c DEFAULT, as root")
    if gpu.errors.isdigit() and int(gpu.errors):
        mend = "drain the node and reset the GPU; take another meanwhile, with CUDA_VISIBLE_DEVICES"
        return warning(name, f"{told}; {gpu.errors} uncorrected memory errors", mend)
    if gpu.mig == "Enabled":
        mend = f"nvidia-smi -i {gpu.index} -mig 0, as root; a process sees one instance, and NCCL joins none of one GPU"
        return warning(name, f"{told}; divided by MIG", mend)
    if gpu.mode == "Exclusive_Process" and (ranks or 0) > gpus:
        mend = f"start {gpus} ranks on this node, or nvidia-smi -i {gpu.index} -c DEFAULT, as root"
        return warning(name, f"{told}; Exclusive_Process takes one rank a GPU, and {ranks} would start", mend)
    mode = "" if gpu.mode == "Default" else f", {gpu.mode}"
    return ok(name, told + mode)


def judge_alike(gpus: Sequence[Gpu]) -> list[Finding]:
    """Ranks wait for the slowest."""
    names = sorted({gpu.name for gpu in gpus})
    if len(names) < 2:
        return []
    return [warning("GPUs", f"differ: {', '.join(names)}", "choose those of one kind with CUDA_VISIBLE_DEVICES")]


def shown(visible: str | None, gpus: int) -> int:
    """How many GPUs CUDA_VISIBLE_DEVICES leaves; CUDA stops reading at the first that is not there."""
    if visible is None:
        return gpus
    count = 0
    for word in visible.split(","):
        word = word.strip()
        if not word or word.startswith("-") or (word.isdigit() and int(word) >= gpus):
            break
        count += 1
    return count


def judge_visible(visible: str | None, gpus: int) -> list[Finding]:
    """What CUDA_VISIBLE_DEVICES hides."""
    if visible is None:
        return []
    told, name = f"{visible!r}: {shown(visible, gpus)} of {gpus} GPUs", "CUDA_VISIBLE_DEVICES"
    words = [word.strip() for word in visible.split(",")]
    if visible.strip() not in ("", "-1") and shown(visible, gpus) < len(words):
        return [
            failure(name, f"{told}; CUDA reads no further than the first that is not there", f"correct or unset {name}")
        ]
    if len(set(words)) < len(words):
        return [failure(name, f"{told}, one of them twice", f"correct or unset {name}")]
    if not shown(visible, gpus):
        return [warning(name, told, f"unset {name}, unless ranks are to compute on processors")]
    return [ok(name, told)]


def judge_share(gpus: int, ranks: int | None) -> list[Finding]:
    """hpcdl gives a rank a GPU of its own."""
    if (
        ranks is None or gpus in (0, 1) or ranks <= gpus
    ):  # where one is visible, the launcher may show each rank its own
        return []
    mend = f"start {gpus} ranks, or hide the GPUs with CUDA_VISIBLE_DEVICES=-1"
    return [failure("ranks a GPU", f"{ranks} ranks and {gpus} visible GPUs: at most one rank a GPU", mend)]


def judge_tensorflow(said: Mapping[str, object], gpus: int) -> list[Finding]:
    """Whether TensorFlow finds the GPUs; its wheel is built with CUDA and may still miss the libraries."""
    if not said or "error" in said or not gpus:
        return []
    if not said.get("cuda"):
        return [warning("TensorFlow's CUDA", "built without CUDA: ranks compute on processors", INSTALL)]
    if said.get("gpus") != gpus:
        told = (
            f"built with CUDA {said['cuda']}, finds {said.get('gpus')} of {gpus} GPUs: its CUDA libraries are missing"
        )
        return [warning("TensorFlow's CUDA", told, INSTALL)]
    return [ok("TensorFlow's CUDA", f"{said['cuda']}, finds {gpus} GPUs")]


def judge_horovod(packages: Mapping[str, str], said: Mapping[str, object]) -> list[Finding]:
    """Without NCCL gradients go through the host's memory."""
    built = said.get("operations")
    if "horovod" not in packages or not isinstance(built, list):
        return []
    if "NCCL" not in built:
        return [warning("Horovod's NCCL", "built without: gradients go through the host's memory", INSTALL)]
    return [ok("Horovod's NCCL", "built in")]


def judge_nccl(found: str | None) -> Finding:
    """There or not."""
    if found is None:
        return warning("NCCL", "none found", "load the site's NCCL module, or pip install nvidia-nccl-cu12")
    return ok("NCCL", found)
