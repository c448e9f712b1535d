from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from beampipe.triton.supervision import stubs
from beampipe.triton.supervision.stubs import write_stacks
from tests.triton.waiting import wait_until


@pytest.fixture
def sleeper() -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"], stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    started.stdout.readline()
    wait_until(lambda: ") S " in Path(f"/proc/{started.pid}/stat").read_text())
    return started


def test_every_thread_is_told_of(sleeper: subprocess.Popen[str], tmp_path: Path) -> None:
    with sleeper:
        threads = os.listdir(f"/proc/{sleeper.pid}/task")
        write_stacks([sleeper.pid, 2**22 + 1], tmp_path / "log")
        sleeper.kill()
    output = (tmp_path / "log").read_text()
    assert f"stacks of process {sleeper.pid} (python" in output
    assert all(f"thread {number} python" in output for number in threads)
    assert "state S" in output
    assert "nanosleep" in output or not os.access("/proc/self/stack", os.R_OK)


def test_a_debugger_that_takes_long_is_cut_off(
    sleeper: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stubs, "_DEBUGGERS", (("sh", "-c", 'echo "debugs $0"; exec sleep 60'),))
    with sleeper:
        write_stacks([sleeper.pid], tmp_path / "log", limit=0.5)
        assert f"debugs {sleeper.pid}" in (tmp_path / "log").read_text()
        sleeper.kill()
