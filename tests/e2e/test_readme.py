"""What the README prints, run as it is printed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

GROUPS = {"bench", "container", "data", "jobs", "models", "recipes", "sites"}
README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_example_script_runs(
    hpcdl: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, ranks: int
) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    done = hpcdl("run", "script.py", "-n", str(ranks), "--oversubscribe")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "validation accuracy" in line]
    assert line.startswith(f"{ranks} ranks: ")
    assert float(line.split()[-1]) > 0.85
    assert (tmp_path / "model.keras").exists()


def test_the_commands_of_the_readme_exist() -> None:
    """Each `hpcdl …` of the README names a command and options that `--help` knows."""
    from typer.testing import CliRunner

    from hpcdl.cli.app import app

    text = README.read_text(encoding="utf-8")
    commands = set(re.findall(r"^hpcdl (.+)$|`hpcdl ([a-z][^`…]+)`", text, re.MULTILINE))
    assert len(commands) > 5
    for command in {one or other for one, other in commands}:
        words = command.split()
        path = words[:2] if words[0] in GROUPS else words[:1]
        done = CliRunner().invoke(app, [*path, "--help"])
        assert done.exit_code == 0, command
        for option in re.findall(r"--[a-z-]+", command):
            assert option in done.output, command


def test_files_that_the_readme_links_to_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / target).exists(), target
