"""Ctrl-C, SIGTERM and SIGKILL while Pythia or ACTS work: in calls of C++ that Python cannot leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.simulation.pythia import CollisionPool

pytest.importorskip("acts")
pytest.importorskip("pythia8mc")


@pytest.mark.parametrize(
    ("workers", "interrupt", "number", "text"),
    [
        (1, os.killpg, signal.SIGINT, "beampipe: interrupted\n"),
        (2, os.killpg, signal.SIGINT, "beampipe: interrupted\n"),
        (2, os.kill, signal.SIGINT, "beampipe: interrupted\n"),
        (1, os.kill, signal.SIGTERM, "beampipe: ended by SIGTERM\n"),
        (2, os.kill, signal.SIGKILL, "not written"),
    ],
)
def test_a_signal_ends_a_simulation_and_leaves_nothing(
    workers: int, interrupt: Callable[[int, int], None], number: signal.Signals, text: str, tmp_path: Path
) -> None:
    """With an empty cache, Pythia starts first: one call of many seconds, which a signal to the parent does not end."""
    (tmp_path / "here").mkdir()
    words = ["tracking", "simulate", "-o", "events.parquet", "-n", "4", "--workers", str(workers)]
    command = subprocess.Popen(
        [sys.executable, "-m", "beampipe", *words],
        cwd=tmp_path / "here",
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a group of processes of its own, as of a terminal
    )
    deadline = time.monotonic() + 120
    while not any((processes.processor_time(pid) or 0.0) > 3.0 for pid in processes.children(command.pid)):
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = processes.children(command.pid)
    interrupt(command.pid, number)
    output = command.communicate(timeout=300)
    killed = number == signal.SIGKILL
    assert command.returncode == (-number if killed else 128 + number)
    if not killed:  # a killed command cannot remove its own partial file
        assert output == ("", text)
        assert not list((tmp_path / "here").iterdir())
        for path in (tmp_path / "cache").rglob("*.*"):  # nothing half made is left there
            assert len(CollisionPool.load(path)) in (4, 200)
    # Python's own tracker of resources ends when it sees that all others have.
    deadline = time.monotonic() + 300
    while any(processes.is_alive(pid) for pid in children):
        assert time.monotonic() < deadline, children
        time.sleep(0.02)
