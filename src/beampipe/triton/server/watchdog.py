"""Two small processes: a parent that restarts a killed or hung service, and one that cleans up after a dead owner.

The parent only waits, so that there is little in it that could fail. The cleanup process waits until its standard input
ends or its parent changes: either means that the owner has ended. It then ends the server with its prefix and removes
shared memory and folders. Until then it keeps the server's log short, supervised or not. A stored process group would
not suffice (the server may have been restarted since), nor would the kernel's parent-death signal (it depends on the
thread that started the child).
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from beampipe.files import shorten_log
from beampipe.processes import SignalEvent
from beampipe.triton.backoff import RestartPause
from beampipe.triton.server.cleanup import clean_up_after_dead_owners, remove

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PARENT_DEATH: Final = 1
"""``PR_SET_PDEATHSIG`` of ``prctl``: request a signal when the parent is gone."""
_PERIOD: Final = 0.5
"""Time [s] between two checks of the parent."""
_BEAT: Final = 1.0
"""Time [s] between two signs of life of a child."""
_SILENCE: Final = 10.0
"""Time [s] without a sign of life after which a child hangs."""


class RestartedChild:
    """A service in a child process, as the child itself sees it.

    Args:
        pipe: file descriptor of the pipe to the parent.
        state: what an earlier child has passed to `ready`; None in the first child.
    """

    def __init__(self, pipe: int, state: Any) -> None:
        self.state = state
        self._pipe = pipe
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def ready(self, state: Any) -> None:
        """Report that the service is ready.

        Args:
            state: values of JSON for the next child, such as ports.
        """
        os.write(self._pipe, json.dumps(state).encode() + b"\n")

    def _beat(self) -> None:
        with suppress(OSError):  # the parent has ended
            while os.write(self._pipe, b"\n"):
                time.sleep(_BEAT)


def restart_when_killed(note: Callable[[str], None], *, ends_with_parent: bool = True) -> RestartedChild:
    """Continue in a child process, and in another one each time that one is killed or hangs.

    For a service without systemd, which does the same and more. The calling process only waits, forwards signals, and
    leaves by `SystemExit` with the exit code of the last child. It must have no other threads.

    Args:
        note: function that is called with a message when a child was killed.
        ends_with_parent: whether the child gets SIGTERM when the calling process is killed.

    Returns:
        In the child: a handle, whose `ready` must be called once the service is ready. The first child is not restarted
        if it ends or hangs before.

    Raises:
        SystemExit: in the calling process, when the service has ended.
    """
    signals, pauses, messages = _ForwardedSignals(), RestartPause(), list[str]()
    handlers = {number: signal.signal(number, signals) for number in _FORWARDED}
    while True:
        read, write = os.pipe()
        parent = os.getpid()
        # A signal in between would not be forwarded, or in the child be taken for one of the parent.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        if signals.ended.is_set():
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            raise SystemExit(0)
        child = signals.child = os.fork()
        if child == 0:
            os.close(read)
            # The terminal's signals go to the parent; the child ends in order if the parent is gone.
            for number, handler in handlers.items():
                signal.signal(number, handler)
            os.setpgid(0, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            if ends_with_parent:
                ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)
                if os.getppid() != parent:  # the parent ended before the request
                    os.kill(os.getpid(), signal.SIGTERM)
            return RestartedChild(write, json.loads(messages[-1]) if messages else None)
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        os.close(write)
        hung = _hangs(read, messages)
        if hung:
            os.kill(child, signal.SIGKILL)
        os.close(read)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        signals.child = None
        if code == 0 or not messages or signals.ended.is_set():
            raise SystemExit(code if code >= 0 else 128 - code)
        reason = "hung" if hung else f"signal {-code}" if code < 0 else f"exit code {code}"
        pause = pauses.before_next(time.monotonic())
        note(f"supervisor died: process {child}, {reason}; starting another{f' in {pause:g} s' if pause else ''}")
        clean_up_after_dead_owners()  # its watchdog would let the server finish, but the ports are needed now
        signals.ended.wait(pause)
        pauses.started(time.monotonic())


def _hangs(pipe: int, messages: list[str]) -> bool:
    """Read the messages of a child until it ends, or has been silent for too long.

    Args:
        pipe: where it writes.
        messages: list to which they are added.

    Returns:
        Whether it is silent.
    """
    while select.select([pipe], [], [], _SILENCE)[0]:
        block = os.read(pipe, 1 << 16)
        if not block:
            return False
        messages += filter(None, block.decode().split("\n"))
    return True


class _ForwardedSignals:
    """Forwards signals to the child, if there is one."""

    def __init__(self) -> None:
        self.ended = SignalEvent()
        self.child: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.ended.set()
        if self.child:
            with suppress(ProcessLookupError):
                # A closed terminal must not count as a second signal, which ends the server at once.
                os.kill(self.child, signal.SIGTERM if number == signal.SIGHUP else number)


class Watchdog:
    """The owner's handle of the cleanup process for servers with one prefix.

    Args:
        prefix: prefix of the server, from `new_prefix`.
        grace: time [s] for the server to end after SIGTERM when its owner has ended.
    """

    def __init__(self, prefix: str, grace: float) -> None:
        self._command = [sys.executable, "-m", __name__, prefix, str(grace), str(os.getpid())]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the watchdog, None before it is started and after it is dismissed."""
        return None if self._process is None else self._process.pid

    def keep(self, log: Path) -> None:
        """Start the process, unless it runs.

        Args:
            log: log of the server, which begins anew when it has become large.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.dismiss()
        self._process = subprocess.Popen(
            [*self._command, str(log.absolute())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # shields it from Ctrl-C in the terminal
        )

    def dismiss(self) -> None:
        """End the process without cleanup, which the owner has done."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process = None


def watch_owner(prefix: str, grace: float, owner: int, log: Path) -> None:
    """Main function of the process: wait until the owner has ended, then clean up.

    Args:
        prefix: prefix of the server.
        grace: time [s] for the server to end after SIGTERM.
        owner: process id of the owner.
        log: log of the server.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Forked children of the owner may keep the pipe open, so the parent is checked, too.
    while os.getppid() == owner:
        readable, _, _ = select.select([0], [], [], _PERIOD)
        if readable and not os.read(0, 64):
            break
        shorten_log(log)
    remove(prefix, grace, orphaned=True)


if __name__ == "__main__":
    watch_owner(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
