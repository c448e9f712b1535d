"""Arguments by way of a file: a program sees them, its command line does not hold them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from beampipe.tracking.kernels import native
from beampipe.triton.server import access
from beampipe.triton.server.access import hide_arguments

needs_library = pytest.mark.skipif(native() is None, reason="the package was installed without a compiler")


@needs_library
def test_a_program_sees_the_lines_of_the_file(tmp_path: Path) -> None:
    hidden = hide_arguments(["--secret=a b", "", "second"], tmp_path / "arguments")
    assert hidden.command == [f"@{tmp_path / 'arguments'}"]
    assert (tmp_path / "arguments").stat().st_mode & 0o777 == 0o600
    command = ["/usr/bin/env", "printf", "%s|", "first", *hidden.command]
    # `env` is the program; what it starts tells what it saw.
    done = subprocess.run(command, env={**os.environ, **hidden.environ}, capture_output=True, text=True, check=True)
    assert done.stdout == "first|--secret=a b||second|"


@needs_library
def test_what_a_program_starts_inherits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    hidden = hide_arguments([], tmp_path / "arguments")
    done = subprocess.run(
        ["/usr/bin/env"], env={**os.environ, **hidden.environ}, capture_output=True, text=True, check=True
    )
    assert "LD_PRELOAD" not in done.stdout
    assert "BEAMPIPE_STACK" not in done.stdout


@needs_library
def test_other_libraries_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libm.so.6")
    hidden = hide_arguments([], tmp_path / "arguments")
    done = subprocess.run(
        ["/usr/bin/env"], env={**os.environ, **hidden.environ}, capture_output=True, text=True, check=True
    )
    assert "LD_PRELOAD=libm.so.6\n" in done.stdout


@needs_library
def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    hidden = hide_arguments(["x"], tmp_path / "arguments")
    (tmp_path / "arguments").unlink()
    command = ["/usr/bin/env", *hidden.command]
    done = subprocess.run(command, env={**os.environ, **hidden.environ}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be read, expected" in done.stderr


def test_without_the_library_they_stand_in_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "PRELOAD_LIBRARY", None)
    assert hide_arguments(["--a=b"], tmp_path / "arguments") == (["--a=b"], {})
    assert not (tmp_path / "arguments").exists()
