"""A server in the foreground of a process: what it prints, and how signals end it."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

import pytest

from beampipe.triton.engine import Engine
from beampipe.triton.server.cleanup import processes_of, shared_memory_of
from tests.triton.doublers import BROKEN, ask, write_model
from tests.triton.foreground import part, prefix_of, serving
from tests.triton.waiting import wait_until


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(engine: Engine, doublers: Path, number: signal.Signals) -> None:
    with serving(doublers, engine, "one") as (
        started,
        summary,
    ):
        url = part(summary, r"http://(\S+:\d+)\s")
        assert "one (1 instance)" in summary
        assert ask(url, "one", 0.0) == (200, [0.0])
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        idle = http.client.HTTPConnection(url, timeout=60)
        idle.request("GET", "/v2/health/ready")
        idle.getresponse().read()
        started.send_signal(number)
        assert started.stdout is not None
        assert started.stdout.read().splitlines()[-1] == "stopped"
        assert started.wait(60) == 0
        idle.close()
        assert not processes_of(prefix)
        assert not shared_memory_of(prefix)


def test_the_second_signal_does_not_wait(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "one") as (
        started,
        summary,
    ):
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        assert started.stdout is not None
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline().startswith("stopping")
        started.send_signal(signal.SIGTERM)
        assert started.wait(60) == 0
        assert not processes_of(prefix)
        assert not shared_memory_of(prefix)


def test_what_happens_is_printed(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "two") as (
        started,
        summary,
    ):
        os.kill(int(part(summary, r"process (\d+)")), signal.SIGKILL)
        assert started.stdout is not None
        assert "server died: the server died; starting it again with two" in started.stdout.readline()
        assert "server back" in started.stdout.readline()
        started.terminate()
        assert started.wait(60) == 0


def test_a_server_that_cannot_start_is_one_error(engine: Engine, tmp_path: Path) -> None:
    write_model(tmp_path, "broken", BROKEN)
    with serving(tmp_path, engine) as (started, output):
        assert started.wait(60) == 2
        assert "weights are from Mars" in output
        assert "Traceback" not in output


def test_the_owner_can_be_killed(engine: Engine, doublers: Path) -> None:
    with serving(doublers, engine, "one") as (
        started,
        summary,
    ):
        prefix = prefix_of(int(part(summary, r"process (\d+)")))
        started.kill()
        wait_until(lambda: not processes_of(prefix) and not shared_memory_of(prefix))
