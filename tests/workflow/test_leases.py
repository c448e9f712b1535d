"""Leases between real processes, some of which are killed or stopped while they hold one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.errors import BusyError
from beampipe.workflow import leases
from beampipe.workflow.leases import EXPIRY, leased, sweep_leases

HOLD = """
import sys, time
from pathlib import Path
from beampipe.workflow.leases import leased
with leased(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

COUNT = """
import sys
from pathlib import Path
from beampipe.workflow.leases import leased
number = Path(sys.argv[1])
for _ in range(20):
    with leased(number.with_name("lease"), wait=True):
        number.write_text(str(int(number.read_text()) + 1))
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lease."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def is_free(path: Path) -> bool:
    try:
        with leased(path):
            return True
    except BusyError:
        return False


def aged(path: Path, seconds: float) -> None:
    """As if nobody had touched it for so long."""
    os.utime(path, (time.time() - seconds,) * 2)


def test_one_holds_it_and_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with leased(path):
        assert not is_free(path)
        assert not is_free(path), "asking does not end it"
    assert is_free(path)
    with pytest.raises(ZeroDivisionError), leased(path):
        _ = 1 // 0
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with holder(path) as process:
        assert not is_free(path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        assert is_free(path)


def test_a_holder_that_was_stopped_loses_it_and_does_not_end_that_of_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with holder(path) as process:
        process.send_signal(signal.SIGSTOP)
        assert not is_free(path)
        aged(path, EXPIRY + 1)
        with leased(path):
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait()
            assert not is_free(path)
        assert is_free(path)


@pytest.mark.parametrize("name", ["00000000.1-1-1-1", ""], ids=["another machine", "not yet named"])
def test_one_that_cannot_be_asked_ends_when_nobody_touches_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "lease"
    path.write_text(name)
    aged(path, EXPIRY - 20)
    assert not is_free(path)
    aged(path, EXPIRY + 1)
    assert is_free(path)


def test_its_holder_touches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_BEAT", 0.01)
    monkeypatch.setattr(leases, "_renewer", leases._Renewer())  # whose thread does not sleep yet
    path = tmp_path / "lease"
    with leased(path):
        aged(path, EXPIRY + 1)
        deadline = time.monotonic() + 300
        while time.time() - path.stat().st_mtime > EXPIRY and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not is_free(path)


def test_without_memory_for_a_thread_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with leased(tmp_path / "lease"):
        assert not is_free(tmp_path / "lease")
    assert is_free(tmp_path / "lease")


def test_of_many_who_take_over_one_succeeds(tmp_path: Path) -> None:
    """Again and again, all at the same time."""
    path = tmp_path / "lease"
    for _ in range(30):
        path.write_text("00000000.1-1-1-1")
        aged(path, EXPIRY + 1)
        together, done = threading.Barrier(4), threading.Event()
        got: list[int] = []

        def take(together: threading.Barrier = together, got: list[int] = got, done: threading.Event = done) -> None:
            together.wait()
            try:
                with leased(path):
                    got.append(1)
                    done.wait(300)
            except BusyError:
                pass

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 300
        while sum(thread.is_alive() for thread in threads) > 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        done.set()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        path.unlink(missing_ok=True)


def test_processes_that_wait_come_one_after_the_other(tmp_path: Path) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    counters = [subprocess.Popen([sys.executable, "-c", COUNT, str(number)]) for _ in range(2)]
    assert [counter.wait(timeout=300) for counter in counters] == [0, 0]
    assert number.read_text() == "40"


def test_one_that_was_killed_while_it_took_over_stops_nobody(tmp_path: Path) -> None:
    path, guard = tmp_path / "lease", tmp_path / ".lease.taken"
    path.write_text(f"{processes.pid_scope()}-{os.getpid()}-1-0")
    guard.touch()
    assert not is_free(path), "somebody takes it now"
    aged(guard, EXPIRY + 1)
    assert not is_free(path)
    assert is_free(path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    assert sweep_leases(tmp_path / "nothing") == 0
    dead = tmp_path / "dead"
    dead.write_text(f"{processes.pid_scope()}-{os.getpid()}-1-0")
    with leased(tmp_path / "mine"):
        assert sweep_leases(tmp_path) == 1
        assert not is_free(tmp_path / "mine")
    assert not dead.exists()
