"""A server in the foreground of a process: what it prints, and how signals end it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from beampipe.triton.engine import Engine
from tests.triton.foreground import part, prefix_of, serving
from tests.triton.waiting import assert_nothing_left


def test_what_happens_is_printed_and_the_second_signal_does_not_wait(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "two") as (started, summary):
        first = int(part(summary, r"process (\d+)"))
        prefix = prefix_of(first)
        os.kill(first, signal.SIGKILL)
        assert started.stdout is not None
        assert "server died: the server died; starting it again with two" in started.stdout.readline()
        assert "server back" in started.stdout.readline()
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline().startswith("stopping")
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
        assert_nothing_left(prefix)
