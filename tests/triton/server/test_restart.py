"""A kept server: its supervisor may be killed, and comes back on the same ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.triton.engine import Engine
from tests.triton.doublers import BROKEN, ask, write_model
from tests.triton.foreground import part, prefix_of, serving
from tests.triton.waiting import assert_nothing_left, wait_until


def test_a_killed_supervisor_comes_back_on_the_same_ports(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "one", restart=True) as (keeper, summary):
        url = part(summary, r"http://(\S+:\d+)\s")
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        supervisor = int(part(summary, r"watched\s+by process (\d+)"))
        assert processes.children(keeper.pid) == (supervisor,)
        assert keeper.stdout is not None
        os.kill(supervisor, signal.SIGKILL)
        output = ""
        for line in keeper.stdout:
            output += line
            if line.startswith("to stop"):  # before its summary a signal would end the next one as it starts
                break
        assert supervisor not in processes.children(keeper.pid)
        assert ask(url, "one", 0.0) == (200, [0.0])
        wait_until(lambda: not processes.is_alive(supervisor))
        assert_nothing_left(prefix)
        keeper.send_signal(signal.SIGINT)
        output += keeper.stdout.read()
        assert f"supervisor died: process {supervisor}, signal 9; starting another" in output
        assert output.splitlines()[-1] == "stopped"
        assert keeper.wait(60) == 0


SERVICE = """
import os, signal, sys
from beampipe.triton.server import watchdog
watchdog._SILENCE, watchdog._BEAT = 2.0, 0.2
child = watchdog.restart_when_killed(lambda text: print(text, flush=True), ends_with_parent=sys.argv[1] == "True")
child.ready([os.getpid(), 0])
print(f"child {os.getpid()} after {child.state}", flush=True)
signal.pause()
"""


@pytest.fixture
def kept(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A service that does nothing, in the child of a process that restarts it."""
    command = [sys.executable, "-c", SERVICE, str(getattr(request, "param", True))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        yield keeper
        keeper.terminate()


def next_line(keeper: subprocess.Popen[str]) -> str:
    assert keeper.stdout is not None
    return keeper.stdout.readline()


@pytest.mark.parametrize(("number", "reason"), [(signal.SIGKILL, "signal 9"), (signal.SIGSTOP, "hung")])
def test_a_killed_or_stopped_child_has_a_successor_with_its_state(
    kept: subprocess.Popen[str], number: signal.Signals, reason: str
) -> None:
    state = None
    for _ in range(2):
        (child,) = processes.children(kept.pid) if state else (int(part(next_line(kept), r"child (\d+) after None")),)
        os.kill(child, number)
        assert next_line(kept) == f"supervisor died: process {child}, {reason}; starting another\n"
        state = f"[{child}, 0]"
        assert state in next_line(kept)
        assert not processes.is_alive(child)


@pytest.mark.parametrize("kept", [False], indirect=True)
def test_a_child_may_outlive_its_parent(kept: subprocess.Popen[str]) -> None:
    child = int(part(next_line(kept), r"child (\d+) after None"))
    kept.kill()
    kept.wait()
    try:
        assert processes.is_alive(child)
        os.kill(child, signal.SIGTERM)
        wait_until(lambda: not processes.is_alive(child))
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


FORK = """
import os, signal, sys
from beampipe.triton.server import watchdog
pipe, fork, where = os.pipe, os.fork, sys.argv[1]

def end(here):
    if where == here:
        os.kill(os.getpid(), signal.SIGTERM)

def signalled_pipe():
    end("before")
    return pipe()

def signalled_fork():
    pid = fork()
    end("parent" if pid else "child")
    return pid

os.pipe, os.fork = signalled_pipe, signalled_fork
watchdog.restart_when_killed(print)
signal.pause()
"""


@pytest.mark.parametrize(("where", "code"), [("before", 0), ("parent", 128 + 15), ("child", 128 + 15)])
def test_a_signal_around_the_fork_ends_the_service(where: str, code: int) -> None:
    assert subprocess.run([sys.executable, "-c", FORK, where], timeout=60, check=False).returncode == code


def test_without_its_keeper_it_ends_in_order(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "one", restart=True) as (keeper, summary):
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        keeper.kill()
        assert keeper.stdout is not None
        assert keeper.stdout.read().splitlines()[-1] == "stopped"
        assert_nothing_left(prefix)


def test_what_cannot_start_is_not_tried_again(engine: Engine, tmp_path: Path) -> None:
    write_model(tmp_path, "broken", BROKEN)
    with serving(tmp_path, engine, restart=True) as (keeper, output):
        assert keeper.wait(60) == 2
        assert output.count("Triton: got exit code 1") == 1
        assert "weights are from Mars" in output
        assert "Traceback" not in output


def test_a_manager_is_the_keeper_where_there_is_one(
    engine: Engine, doublers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(20.0)

        def told_until(fact: str) -> str:
            while fact not in (output := manager.recv(4096).decode()):
                pass
            return output

        with serving(doublers, engine, "one", restart=True) as (started, summary):
            assert int(part(summary, r"watched\s+by process (\d+)")) == started.pid
            assert told_until("READY=1") == "READY=1\nSTATUS=serves one"
            told_until("WATCHDOG=1")
            os.kill(int(part(summary, r"process (\d+)")), signal.SIGKILL)
            told_until("STATUS=server back")
            told_until("WATCHDOG=1")
            started.terminate()
            told_until("STOPPING=1")
            assert started.wait(60) == 0
