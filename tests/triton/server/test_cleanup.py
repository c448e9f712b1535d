"""Nothing is left of a server whose owner was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from beampipe.files import LOG_SIZE
from beampipe.triton.engine import Engine
from beampipe.triton.server.cleanup import (
    clean_up_after_dead_owners,
    folders_of,
    new_prefix,
    processes_of,
    shared_memory_of,
)
from beampipe.triton.server.watchdog import Watchdog
from beampipe.triton.supervision.stubs import SHARED_MEMORY
from tests.triton.doublers import ask
from tests.triton.waiting import assert_nothing_left, wait_until

OWNER = """
import sys, time
from pathlib import Path
from beampipe.triton.server.server import ServerSettings, TritonServer

server = TritonServer(ServerSettings(Path(sys.argv[1]), models=("one",), triton=Path(sys.argv[2])))
server.start()
print(server.prefix, server.http_url, flush=True)
time.sleep(600)
"""


def watchdogs_of(prefix: str) -> list[int]:
    results = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"beampipe.triton.server.watchdog\0{prefix}" in path.read_text():
                results.append(int(path.parent.name))
    assert results
    return results


def ask_in_vain(url: str) -> None:
    with pytest.raises(OSError, match=r".*"):
        ask(url, "one", 30.0)


def test_nothing_is_left_when_the_owner_is_killed(engine: Engine, doublers: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(doublers), str(engine.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        prefix, url = owner.stdout.readline().split()
        # Busy stubs are what stays behind otherwise: they ignore polite signals.
        busy = threading.Thread(target=ask_in_vain, args=(url,))
        busy.start()
        time.sleep(0.3)
        assert sum(process.program != "haproxy" for process in processes_of(prefix)) == 2
        owner.kill()
        wait_until(lambda: not processes_of(prefix) and not shared_memory_of(prefix) and not folders_of(prefix))
        busy.join()


def test_the_next_start_ends_orphans_when_the_watchdog_is_killed_too(engine: Engine, doublers: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(doublers), str(engine.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        prefix, url = owner.stdout.readline().split()
        for watchdog in watchdogs_of(prefix):
            os.kill(watchdog, signal.SIGSTOP)  # the owner would replace a dead one
        owner.kill()
        owner.wait()
        for watchdog in watchdogs_of(prefix):
            os.kill(watchdog, signal.SIGKILL)
        assert ask(url, "one", 0.0) == (200, [0.0]), "nobody has told it to end"
        assert prefix in clean_up_after_dead_owners()
        assert_nothing_left(prefix)


def test_what_a_dead_owner_left_is_removed_at_the_next_start() -> None:
    mine = new_prefix()
    pid, started, rest = mine.split("_", 3)[1:]
    dead = f"beampipe_{pid}_{int(started) + 1}_{rest}"
    elsewhere = f"beampipe_{pid}_{int(started) + 1}_1_0_"
    for prefix in (mine, dead, elsewhere):
        (SHARED_MEMORY / f"{prefix}region").touch()
    folder = Path(tempfile.mkdtemp(prefix=dead))
    kept = Path(tempfile.mkdtemp(prefix=mine))
    try:
        assert dead in clean_up_after_dead_owners()
        assert not shared_memory_of(dead)
        assert not folder.exists()
        assert kept.exists()
        assert shared_memory_of(mine), "its owner lives"
        assert shared_memory_of(elsewhere), "its owner cannot be seen from here"
    finally:
        kept.rmdir()
        for prefix in (mine, elsewhere):
            (SHARED_MEMORY / f"{prefix}region").unlink()


def test_a_log_that_grows_without_end_begins_anew(tmp_path: Path) -> None:
    log, earlier = tmp_path / "triton.log", tmp_path / "triton.log.1"
    watchdog = Watchdog(new_prefix(), 0.0)
    with log.open("ab", buffering=0) as server:
        watchdog.keep(log)
        try:
            for size in (LOG_SIZE + 1, LOG_SIZE + 2):
                server.truncate(size)
                wait_until(lambda: log.stat().st_size == 0)
                assert earlier.stat().st_size == size
        finally:
            watchdog.dismiss()
