"""The command as a user meets it: help, errors in one line, exit codes. What it calls is tested elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from beampipe import __version__


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "beampipe", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_version() -> None:
    assert run("--version").stdout == f"beampipe {__version__}\n"


@pytest.mark.parametrize("command", [[], ["track"], *(["tracking", name] for name in ("demo", "evaluate", "display"))])
def test_help(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert "Usage" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["track", "gone.parquet", "-o", "{tmp}/out.parquet"], "gone.parquet: no such file"),
        (["track", "a", "-o", "b", "--scale", "exatrk"], "did you mean 'exatrkx'"),
        (["track", "a", "b", "-o", "out.csv"], "got the file out.csv for 2 inputs, expected a folder"),
        (["track", "a", "-o", "b", "--pipeline", "exatrk"], "unknown pipeline: got 'exatrk'"),
        (["tracking", "display", "gone.parquet", "out.png"], "gone.parquet: no such file"),
        (["tracking", "demo", "--mu", "140", "{tmp}"], "unknown shipped sample: got '140'"),
        (["tracking", "evaluate", "gone.parquet", "--degradation", "defalt"], "did you mean 'default'"),
    ],
)
def test_an_error_is_one_line_and_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith("beampipe: ") for line in done.stderr.splitlines())


def test_the_command_starts_at_once() -> None:
    # Not a benchmark: a stray `import torch` costs seconds, the command itself a third of one.
    code = "import time; t = time.process_time(); import beampipe.cli; print(time.process_time() - t)"
    start = time.perf_counter()
    seconds = float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
    assert 0 < seconds < min(1.0, time.perf_counter() - start + 1e-3)
