"""The rule that tells a busy server from a hanging one, fatal signals in a log, and stacks."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from beampipe import processes
from beampipe.triton.supervision import stubs
from beampipe.triton.supervision.hangs import FatalSignalLog, Hang, HangDetector, Observation
from beampipe.triton.supervision.interfaces import Load, Placement
from beampipe.triton.supervision.stubs import Stub, write_stacks
from tests.triton.waiting import wait_until

SERVER, STUB = 10, 11
STEP = 0.5
"""Time [s] between two looks."""


@dataclass
class Scene:
    """A server with one model, looked at twice a second.

    Attributes:
        home: where the model runs.
        spent: processor time [s] that each process has used so far.
        stopped: ids of the stopped processes.
        load: what there is to do for the model.
        canaries_since: since when [s] the canary is waited for.
        responded: whether the door answers.
        signalled: since when [s] the server reports a fatal signal.
        loading: whether the server is loading a model.
    """

    home: Placement = field(default_factory=lambda: Placement(1))
    spent: dict[int, float] = field(default_factory=lambda: {SERVER: 5.0, STUB: 7.0})
    stopped: set[int] = field(default_factory=set)
    load: Load = field(default_factory=lambda: Load(100.0, 0.0))
    asked: float | None = None
    responded: bool = True
    signalled: float | None = None
    loading: bool = False
    now: float = 1000.0
    hangs: HangDetector = field(default_factory=HangDetector)

    def look(self) -> tuple[Hang, ...]:
        self.now += STEP
        stubs = (Stub(STUB, "one", "one_0_0", "region", SERVER),) if self.home.stubs else ()
        request = {} if self.asked is None else {"one": self.asked}
        loads = {"one": self.load} if self.responded else {}
        placements = {"one": self.home}
        return self.hangs.check(
            Observation(
                self.now, SERVER, stubs, placements, self.responded, loads, request, self.signalled, self.loading
            )
        )

    def pass_by(self, seconds: float, use: float = 0.0, by: int = STUB, answers: float = 0.0) -> tuple[Hang, ...]:
        """What hangs first within a time [s], in which a process uses `use` cores and `answers` a second are given."""
        for _ in range(round(seconds / STEP)):
            self.spent[by] += use * STEP
            self.load = Load(self.load.answered + answers * STEP, self.load.waiting)
            if result := self.look():
                return result
        return ()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr(processes, "processor_time", made.spent.get)
    monkeypatch.setattr(processes, "is_stopped", lambda pid: pid in made.stopped)
    assert made.look() == ()
    return made


def test_nobody_waits(scene: Scene) -> None:
    assert scene.pass_by(120) == ()


@pytest.mark.parametrize("why", ["canary", "queue"])
def test_somebody_waits_and_nothing_moves(scene: Scene, why: str) -> None:
    if why == "canary":
        scene.asked = scene.now
    else:
        scene.load = Load(100.0, 3.0)
    begin = scene.now
    (hang,) = scene.pass_by(120)
    assert (hang.model, hang.pids) == ("one", (STUB,))
    assert "no answer and no work" in hang.reason
    assert 3.0 <= scene.now - begin <= 4.0


def test_a_queue_of_honest_work_is_none(scene: Scene) -> None:
    """The canary waits for two minutes; each event takes two seconds, in which the model may even sleep."""
    scene.asked = scene.now
    scene.load = Load(100.0, 64.0)
    assert scene.pass_by(120, answers=0.5) == ()
    assert scene.pass_by(120, use=0.1, answers=0.05) == ()


def test_work_without_end_is_one(scene: Scene) -> None:
    scene.asked = begin = scene.now
    (hang,) = scene.pass_by(120, use=1.0)
    assert "work without an answer" in hang.reason
    assert 60.0 <= scene.now - begin <= 61.0


def test_failures_are_no_answers_and_the_hum_of_an_idle_process_is_no_work(scene: Scene) -> None:
    scene.asked = scene.now
    assert scene.pass_by(10, use=0.02)


def test_a_model_inside_the_server_works_if_the_server_does(scene: Scene) -> None:
    scene.home = Placement(0)
    scene.asked = scene.now
    assert scene.pass_by(30, use=0.5, by=SERVER) == ()
    (hang,) = scene.pass_by(10, use=0.05, by=SERVER)
    assert (hang.model, hang.pids) == (None, (SERVER,))


def test_a_silent_door(scene: Scene) -> None:
    scene.responded = False
    scene.asked = scene.now
    assert scene.pass_by(30, use=0.5, by=SERVER) == (), "it is busy, and the canary may not get through"
    begin = scene.now
    (hang,) = scene.pass_by(30)
    assert (hang.model, hang.pids) == (None, (SERVER,))
    assert scene.now - begin <= 5.0


@pytest.mark.parametrize("pid", [SERVER, STUB])
def test_a_stopped_process(scene: Scene, pid: int) -> None:
    scene.stopped.add(pid)
    assert scene.look() == (), "for a moment"
    (hang,) = scene.pass_by(2)
    assert hang.pids == (pid,)


def test_a_handler_of_signals_that_does_not_end(scene: Scene) -> None:
    scene.signalled = scene.now
    assert scene.pass_by(2, answers=10.0) == ()
    (hang,) = scene.pass_by(1, answers=10.0)
    assert hang.pids == (SERVER,)


def test_a_door_that_is_held_by_loads_is_no_hang_for_a_while(scene: Scene) -> None:
    scene.loading, scene.asked, scene.responded = True, scene.now, False
    assert scene.pass_by(59) == ()
    assert scene.pass_by(2)


def test_looks_too_far_apart_tell_nothing(scene: Scene) -> None:
    """The supervisor was busy with a reload; the first thing that it sees afterwards is a request in its way."""
    scene.asked, scene.responded = scene.now, False
    scene.now += 20.0
    assert scene.look() == ()
    assert scene.pass_by(2.0) == ()
    assert scene.pass_by(2.0)


def test_what_was_ended_gets_its_time_again(scene: Scene) -> None:
    scene.asked = scene.now
    assert scene.pass_by(10)
    scene.hangs.forget()
    assert scene.look() == ()
    begin = scene.now
    assert scene.pass_by(10)
    assert scene.now - begin >= 3.0 - STEP


def test_slow_looks_at_a_silent_server_are_looks() -> None:
    """A look at a stopped server takes its time, longer than a small patience: its clocks must go on all the same."""
    hangs = HangDetector(patience=1.0)
    results = [hangs.check(Observation(1000.0 + 1.5 * look, SERVER, (), {}, False, {}, {})) for look in range(4)]
    assert any(results)


def test_the_line_is_found_even_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Signal (6) received.\n")
    signals = FatalSignalLog(log)
    assert not signals.seen(), "that was another server"
    with log.open("a", buffering=1) as stream:
        stream.write("I1125 started\nSig")
        stream.flush()
        assert not signals.seen()
        stream.write("nal (6) rec")
        stream.flush()
        assert not signals.seen()
        stream.write("eived.\n 0# 0x00005C in tritonserver\n")
        assert signals.seen()
        assert not signals.seen(), "told once"


def test_the_line_is_found_in_a_log_that_has_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(1000 * "x")
    signals = FatalSignalLog(log)
    log.write_text("Signal (11) received.\n")
    assert signals.seen()


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
