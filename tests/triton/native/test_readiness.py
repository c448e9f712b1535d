"""Whether an instance of the native backend is ready, as Triton 26.01 and newer check it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import beampipe

SOURCE = Path(beampipe.__file__).parent

COMPILER = shutil.which("c++")


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_an_instance_whose_call_lasts_too_long_is_not_ready(tmp_path: Path) -> None:
    assert COMPILER is not None
    program = tmp_path / "readiness"
    sources = [Path(__file__).with_name("readiness.cpp"), *SOURCE.glob("native/*.cpp")]
    sources += SOURCE.glob("triton/native/*.cpp")
    # The server's functions that this program never calls are missing.
    options = ["-std=c++17", "-O0", "-pthread", "-no-pie", "-Wl,--unresolved-symbols=ignore-all", f"-I{SOURCE}"]
    subprocess.run([COMPILER, *options, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "ready, hangs, ready\n"
