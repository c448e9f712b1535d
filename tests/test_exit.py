"""How commands end where the system refuses to write: one line, and an exit code that is not 0."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from beampipe.tracking.data import shipped_path
from tests import in_process

BEAMPIPE = f"{sys.executable} -m beampipe"

PRINTING = [
    ("--version", ">&-", False),
    ("--version", ">/dev/full", True),
    ("tracking --help", ">/dev/full", False),
    ("tracking models --json", ">&-", True),
    ("tracking models --json", ">/dev/full", False),
    ("tracking example new.parquet", ">&-", False),
]
REASONS = {">&-": "it is closed", ">/dev/full": "No space left"}


def run(command: str, folder: Path, *, unbuffered: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command line of a shell."""
    setting = f"PYTHONUNBUFFERED={'1' if unbuffered else ''}"
    return subprocess.run(f"{setting} {command}", shell=True, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("command", "redirection", "unbuffered"), PRINTING)
def test_an_output_that_cannot_be_written_is_one_line(
    command: str, redirection: str, unbuffered: bool, tmp_path: Path
) -> None:
    done = run(f"{BEAMPIPE} {command} {redirection}", tmp_path, unbuffered=unbuffered)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("beampipe: standard output cannot be written"), line
    assert REASONS[redirection] in line


def test_a_closed_output_is_not_taken_by_another_file(tmp_path: Path) -> None:
    done = run(f"{BEAMPIPE} tracking example new.parquet --quiet <&- >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "new.parquet").read_bytes().startswith(b"PAR1")


def test_a_closed_or_full_standard_error_changes_nothing_but_messages(tmp_path: Path) -> None:
    assert run(f"{BEAMPIPE} --version 2>&-", tmp_path).stdout.startswith("beampipe ")
    assert run(f"{BEAMPIPE} track nothing -o out.csv 2>/dev/full", tmp_path).returncode == 2


def test_a_reader_that_ends_early_is_no_error(tmp_path: Path) -> None:
    done = run(f"{BEAMPIPE} tracking models --json | true", tmp_path)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        "tracking example /proc/x.parquet",
        "tracking simulate -n 1 --mu 0 -o /proc/x.parquet",
        "tracking demo --mu 0 -o /proc/x",
        "track EVENTS -o /proc/x.csv",
        "tracking display EVENTS -o /proc/a/x.png",
        "tracking train EVENTS -o /proc/x",
        "serving export -o /proc/x",
        "calibration init /proc/x.toml",
        "calibration simulate -o /proc/x --events 100",
        "analysisops run -t zmumu -a scripted -o /proc/x",
    ],
)
def test_a_folder_that_cannot_be_written_is_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = in_process.run(*(shipped_path(0) if word == "EVENTS" else word for word in command.split()))
    assert done.returncode == 2
    assert re.fullmatch("beampipe: .*/proc.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []
