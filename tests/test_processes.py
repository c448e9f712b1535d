"""Looks at processes: living ones, zombies, ids that are used again."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import psutil
import pytest

from beampipe import processes

GONE = 2**22 + 1
"""Above the largest process id of Linux."""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with an odd name in its command line, which waits for its standard input to close."""
    command = [sys.executable, "-c", "input()", "a) b", ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        while not processes.arguments(process.pid):  # the kernel shows them a moment after the start
            time.sleep(0.01)
        yield process
        process.kill()


def test_a_living_process(child: subprocess.Popen[bytes]) -> None:
    started = processes.start_time(child.pid)
    assert started is not None
    assert processes.is_alive(child.pid)
    assert processes.is_same(child.pid, started)
    assert processes.arguments(child.pid) == (sys.executable, "-c", "input()", "a) b", "")
    assert child.pid in processes.children(os.getpid())
    assert dict(processes.command_lines())[child.pid] == processes.arguments(child.pid)
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert boot + started / os.sysconf("SC_CLK_TCK") == pytest.approx(psutil.Process(child.pid).create_time(), abs=2)


def test_a_zombie_is_there_and_has_ended(child: subprocess.Popen[bytes]) -> None:
    started = processes.start_time(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started is not None
    assert not processes.is_alive(child.pid)
    assert not processes.is_same(child.pid, started)  # what it held is free before its parent waits for it
    assert processes.start_time(child.pid) == started
    assert processes.is_used(child.pid)
    assert processes.arguments(child.pid) == ()
    child.wait()
    assert processes.start_time(child.pid) is None
    assert not processes.is_used(child.pid)


def test_an_id_that_is_used_again_is_another_process() -> None:
    started = processes.start_time(os.getpid())
    assert started is not None
    assert processes.is_same(os.getpid(), started)
    assert not processes.is_same(os.getpid(), started - 1)


def test_no_such_process() -> None:
    assert processes.start_time(GONE) is None
    assert not processes.is_used(GONE)
    assert not processes.is_alive(GONE)
    assert not processes.is_same(GONE, 0)
    assert processes.arguments(GONE) == ()
    assert processes.children(GONE) == ()
    assert processes.processor_time(GONE) is None
    assert processes.resident_memory(GONE) is None


def test_a_process_that_may_not_be_looked_at_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int) -> list[str]:
        raise PermissionError

    monkeypatch.setattr(processes, "_stat", refuse)
    assert processes.is_same(1, 0)


def test_a_look_that_fails_is_no_dead_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("pathlib.Path.read_text", fail)
    with pytest.raises(OSError, match="Too many open files"):
        processes.is_alive(os.getpid())


def test_a_name_with_parentheses_does_not_shift_the_fields() -> None:
    code = (
        "from pathlib import Path; from beampipe import processes; import os\n"
        "before = processes.start_time(os.getpid())\n"
        "Path('/proc/self/comm').write_text('a) Z 1 (b')\n"
        "assert processes.start_time(os.getpid()) == before and processes.is_alive(os.getpid())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_children_of_another_thread_are_found() -> None:
    started, end = threading.Event(), threading.Event()
    result: list[int] = []

    def start() -> None:
        with subprocess.Popen(["sleep", "600"]) as process:
            result.append(process.pid)
            started.set()
            end.wait()
            process.kill()

    thread = threading.Thread(target=start)
    thread.start()
    started.wait()
    try:
        assert result[0] in processes.children(os.getpid())
    finally:
        end.set()
        thread.join()


def test_what_a_process_uses() -> None:
    before = processes.processor_time(os.getpid())
    assert before is not None
    assert before == pytest.approx(sum(os.times()[:2]), abs=0.1)
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    after = processes.processor_time(os.getpid())
    assert after is not None
    assert 0.05 < after - before < 1
    assert processes.resident_memory(os.getpid()) == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)


def test_ids_are_unique_within_a_boot_and_a_namespace() -> None:
    boot, _, namespace = processes.pid_scope().partition(".")
    assert len(boot) == 8
    assert int(boot, 16) >= 0
    assert int(namespace) == processes.namespace() == os.stat("/proc/self/ns/pid").st_ino


def test_ctrl_c_is_held_back_also_where_another_thread_takes_it() -> None:
    """As one of a library of linear algebra does: the signal is for the whole process."""
    before, ended, reached = signal.signal(signal.SIGINT, signal.default_int_handler), threading.Event(), []
    thread = threading.Thread(target=ended.wait)
    thread.start()

    def interrupted() -> None:
        with processes.holding_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
            reached.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        ended.set()
        signal.signal(signal.SIGINT, before)
    assert reached


def test_a_signal_ends_the_wait_for_its_event_at_any_instruction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that takes a lock of the event waits forever where the interrupted `wait` holds it."""
    monkeypatch.setattr(processes, "_LONGEST_CALL", 0.0)  # so that the instructions of `wait` have no end
    before, traced = signal.getsignal(signal.SIGUSR1), sys.gettrace()
    left = 0

    def trace(frame: FrameType, what: str, argument: object) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        if what == "opcode":
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGUSR1)
        return trace

    try:
        for at in range(1, 200):
            event, left = processes.SignalEvent(), at
            event.set_on(signal.SIGUSR1)
            sys.settrace(trace)
            ended = event.wait(60.0)
            sys.settrace(traced)
            assert ended
    finally:
        sys.settrace(traced)
        signal.signal(signal.SIGUSR1, before)
    assert left <= 0, "all signals came before the end"
    assert not processes.SignalEvent().wait(0.01)


def half_a_result(begun: Path) -> NoReturn:
    """A task whose worker sends a part of a result, and then works on."""
    frame = sys._getframe()
    while "result_queue" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    os.write(frame.f_locals["result_queue"]._writer.fileno(), struct.pack("!i", 1000) + b"half")
    begun.touch()
    time.sleep(600)
    raise AssertionError


def test_workers_end_with_an_error_and_others_stay(tmp_path: Path) -> None:
    """Even if one ends in the middle of its result, for whose rest the pool waits."""
    other = get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    workers: list[int] = []

    def failed() -> NoReturn:
        with processes.worker_pool(2) as pool:
            pool.submit(half_a_result, tmp_path / "begun")
            while not (tmp_path / "begun").exists():
                time.sleep(0.01)
            workers.extend(set(processes.children(os.getpid())) - {other.pid})
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            failed()
        command_lines = dict(processes.command_lines())
        assert len(workers) >= 2
        assert not [pid for pid in workers if "--multiprocessing-fork" in command_lines.get(pid, ())]
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def test_a_managed_process_is_started_stopped_and_started_again(tmp_path: Path) -> None:
    process = processes.ManagedProcess(tmp_path / "log")
    assert (process.pid, process.exit_code, process.last_lines()) == (None, None, [])
    process.stop(1.0)  # nothing to stop
    process.start(shell("echo first; echo $NAME >&2; exec sleep 60"), {**os.environ, "NAME": "me"})
    assert process.wait_until(lambda: len(process.last_lines()) == 2, 30.0)
    assert process.last_lines() == ["first", "me"]
    assert os.getpgid(process.pid or 0) == process.pid
    assert not process.wait(0.05)
    process.stop(30.0)
    assert process.exit_code == -signal.SIGTERM
    process.start(shell("for n in 1 2 3 4 5; do echo $n; done; exit 3"))
    assert process.wait(30.0)
    assert (process.exit_code, process.last_lines(2), process.last_lines(9)) == (3, ["4", "5"], list("12345"))
    assert not process.wait_until(lambda: False, 30.0)  # as it has ended
    (tmp_path / "log").write_text("anew\n")  # shorter than at the last start
    assert process.last_lines() == ["anew"]


def test_a_managed_process_that_ignores_the_signal_is_killed_with_its_group(tmp_path: Path) -> None:
    process = processes.ManagedProcess(tmp_path / "log")
    process.start(shell("trap '' TERM; sleep 60 & echo $!; wait"))
    assert process.wait_until(lambda: bool(process.last_lines()), 30.0)
    child = int(process.last_lines()[0])
    process.stop(0.1)
    assert process.exit_code == -signal.SIGKILL
    deadline = time.monotonic() + 300
    while processes.is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_of_an_earlier_process_is_adopted(child: subprocess.Popen[bytes]) -> None:
    process = processes.ManagedProcess()
    assert not process.adopt(GONE)
    assert process.adopt(child.pid)
    assert (process.pid, process.exit_code, process.last_lines()) == (child.pid, None, [])
    assert not process.wait(0.05)
    process.stop(30.0)
    assert process.pid is None
    assert not process.adopt(child.pid)  # a zombie until its parent waits for it


def test_a_pool_of_workers_gives_results_and_ends_with_an_error() -> None:
    with processes.worker_pool(2) as pool:
        assert [pool.submit(pow, 2, n).result() for n in range(3)] == [1, 2, 4]

    def failed() -> NoReturn:
        with processes.worker_pool(1) as pool:
            pool.submit(time.sleep, 600)
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        failed()
    assert time.monotonic() - begin < 60


OWNER = """
import os, subprocess, sys, time
from beampipe.processes import ending_with_this_process

how, ready = sys.argv[1:]
program = f"open({ready!r}, 'w').close(); import time; time.sleep(600)"
if how == "SIGKILL":
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + program
with ending_with_this_process():
    start = f"import subprocess; subprocess.Popen([{sys.executable!r}, '-c', {program!r}])"
    subprocess.run([sys.executable, "-c", start])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    while not os.path.exists(ready):
        time.sleep(0.01)
    print(os.environ["BEAMPIPE_TIED_TO"], flush=True)
    if how != "end":
        time.sleep(600)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "end"])
def test_what_was_started_ends_with_whoever_started_it(how: str, tmp_path: Path) -> None:
    """Orphans, groups of their own and, in one case, a process that ignores SIGTERM."""
    command = [sys.executable, "-c", OWNER, how, str(tmp_path / "ready")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        marks = owner.stdout.readline().strip()
        mark = marks[marks.rindex("[") :]
        assert mark.startswith(f"[{owner.pid}.")
        if how == "end":
            assert owner.wait() == 0
            assert processes.tied_to(mark) == []
        else:
            assert len(processes.tied_to(mark)) == 2
            owner.send_signal(signal.Signals[how])
            deadline = time.monotonic() + 60.0
            while processes.tied_to(mark) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert processes.tied_to(mark) == []
