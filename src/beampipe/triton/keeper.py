"""A small parent process that starts a server's supervisor again if something kills it.

The keeper does nothing but wait, so there is nothing in it that could fail. It is for a server without systemd, which
does the same and more (`unit`). The supervisor's own end, in order or with an error at its first start, is its end too.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Final

from beampipe.triton.pausing import RestartPause
from beampipe.triton.server.cleanup import clean_up_after_dead_owners
from beampipe.triton.server.launch import Ports, ServerSettings

__all__ = ["keep"]

_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PARENT_DEATH: Final = 1
"""Number of the option of ``prctl`` that asks for a signal when the parent is gone (``PR_SET_PDEATHSIG``)."""


def keep(settings: ServerSettings, say: Callable[[str], None]) -> tuple[ServerSettings, Callable[[Ports], None]]:
    """Go on in a child process, and in another one each time that one is killed.

    The calling process stays in this function, hands signals on, and leaves by `SystemExit` with the exit code of the
    last child. It must have no other threads.

    Args:
        settings: what the server is to be.
        say: told when a child was killed.

    Returns:
        Twice, in the child: the settings, with the ports that an earlier child has chosen, and a function that must be
        called with the ports once the server is ready. A child that ends before is not started again.

    Raises:
        SystemExit: in the calling process, when the service has ended.
    """
    signals, pauses, chosen = _Signals(), RestartPause(), None
    before = {number: signal.signal(number, signals) for number in _FORWARDED}
    while True:
        read, write = os.pipe()
        keeper = os.getpid()
        child = signals.child = os.fork()
        if child == 0:
            os.close(read)
            _become_child(keeper, before)
            return settings, partial(_report, write)
        os.close(write)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        signals.child = None
        chosen = _reported(read) or chosen
        if code == 0 or chosen is None or signals.ended.is_set():
            raise SystemExit(code if code >= 0 else 128 - code)
        settings = replace(settings, http_port=chosen.http, grpc_port=chosen.grpc, metrics_port=chosen.metrics)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        pause = pauses.before_next(time.monotonic())
        say(f"supervisor died: process {child}, {how}; starting another{f' in {pause:g} s' if pause else ''}")
        clean_up_after_dead_owners()  # its watchdog would let the server finish, but the ports are needed now
        if signals.ended.wait(pause):
            raise SystemExit(0)
        pauses.started(time.monotonic())


class _Signals:
    """Hands signals on to the child, if there is one."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.child: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.ended.set()
        if self.child:
            with suppress(ProcessLookupError):
                # A terminal that is gone is no reason to end at once, which a second signal is.
                os.kill(self.child, signal.SIGTERM if number == signal.SIGHUP else number)


def _become_child(keeper: int, handlers: Mapping[signal.Signals, Any]) -> None:
    """Leave the terminal's signals to the keeper, and end in order if the keeper is gone."""
    for number, handler in handlers.items():
        signal.signal(number, handler)
    os.setpgid(0, 0)
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGTERM)
    if os.getppid() != keeper:  # gone before that was asked for
        os.kill(os.getpid(), signal.SIGTERM)


def _report(pipe: int, ports: Ports) -> None:
    os.write(pipe, json.dumps(ports).encode())


def _reported(pipe: int) -> Ports | None:
    """The ports that a child that has ended had reported, None if it had not."""
    with os.fdopen(pipe) as stream:
        text = stream.read()
    return Ports(*json.loads(text)) if text else None
