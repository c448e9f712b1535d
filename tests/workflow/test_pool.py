"""Workers of a pool: where they come from, and what they keep between two tasks."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import distributed
import pytest

from beampipe import processes
from beampipe.errors import MismatchError
from beampipe.workflow import Task, fork_processes, installed, open_pool, run
from beampipe.workflow.pools import _forked, call_checked
from tests.workflow import toys

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, os, sys
from beampipe.workflow import Task, fork_processes, open_pool, prepare_processes, run
from tests.workflow import toys
fork_processes(2, ("not_installed_anywhere", "colorsys"))
if __name__ == "__main__":
    print(json.dumps([os.getpid(), "colorsys" in sys.modules]), flush=True)
"""


def started(program: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM + program, *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(program: str, *words: str) -> list[Any]:
    """What a program prints after it has forked two workers, each line as JSON; it must end well."""
    with started(program, *words) as running:
        out, err = running.communicate(timeout=300)
    assert (running.returncode, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


def test_a_worker_keeps_nothing_of_what_a_task_has_left() -> None:
    gc.disable()
    try:
        toys.RINGS.clear()
        assert [toys.leave_a_ring(k) for k in range(3)] == [0, 1, 2], "without a collection rings would be there"
    finally:
        gc.enable()
    with open_pool("processes", 1) as pool:
        assert run([Task(str(k), toys.leave_a_ring, (k,)) for k in range(5)], pool) == [0] * 5


def test_workers_are_copies_of_a_program_that_says_so() -> None:
    (pid, loaded), children = said("""
    prepare_processes(("this",))  # of a server, which prints: it is not needed
    with open_pool("processes", 2) as pool:
        print(json.dumps(run([Task(str(k), toys.whose_child, (k,)) for k in range(8)], pool)))
""")
    assert not loaded
    assert children == [[pid, True]] * 8


def test_a_copy_that_dies_is_replaced_from_a_server(tmp_path: Path) -> None:
    (pid, _), parents = said(
        """
    with open_pool("processes", 2) as pool:
        print(json.dumps(run([Task(str(k), toys.die_once, (sys.argv[1],)) for k in range(4)], pool)))
""",
        str(tmp_path / "mark"),
    )
    assert len(parents) == 4
    assert set(parents) - {pid, 0}, "some are the server's"


def test_copies_end_with_their_program_however_it_dies() -> None:
    with started("""
    with open_pool("processes", 2) as pool:
        run([Task(str(k), toys.square_slowly, (k,)) for k in range(10_000)], pool)
""") as running:
        assert running.stdout is not None
        pid, _ = json.loads(running.stdout.readline())
        deadline = time.monotonic() + 300
        while len(workers := processes.children(pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        running.wait()
    while any(map(processes.is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(processes.is_alive, workers))


def test_a_process_with_threads_is_not_copied() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        fork_processes(1)
        assert _forked == []
    finally:
        stop.set()
        thread.join()


def test_a_worker_of_another_version_ends_the_run_with_one_error() -> None:
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=None, host="127.0.0.1") as cluster,  # type: ignore[no-untyped-call]
        distributed.Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        client.run(toys.pretend_other_versions)
        log: list[str] = []
        with (
            pytest.raises(MismatchError, match=r"^worker on .*: got beampipe 0\.0\.1, numpy 0\.0\.1, expected beam"),
            open_pool(f"dask={cluster.scheduler_address}") as pool,
        ):
            run(
                [Task(str(number), toys.square, (number,)) for number in range(50)],
                pool,
                progress=lambda task: log.append(task.label),
            )
        assert log == []


def test_what_a_worker_computes_with_names_the_code() -> None:
    result = installed()
    assert result["python"] == ".".join(map(str, sys.version_info[:2]))
    assert re.fullmatch("[0-9a-f]{12}", result["code of beampipe"])
    assert installed() == result
    expected = {**result, "numpy": "0.1"}
    with pytest.raises(MismatchError, match=r"got numpy [\d.]+, expected numpy 0\.1 as in"):
        call_checked(installed, expected, pickle.loads, b"no pickle: it is not unpacked")
    assert call_checked(installed, result, pickle.loads, pickle.dumps((pow, (2, 3)))) == 8


@pytest.mark.parametrize("error", [EOFError("unexpected EOF"), ConnectionRefusedError()])
def test_the_death_of_the_fork_server_starts_another_one(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """As an EOFError it would end a command as if Ctrl-C had been pressed."""
    original, deaths = forkserver.connect_to_new_process, [error]

    def connect(descriptors: Any) -> Any:
        if deaths:
            raise deaths.pop()
        return original(descriptors)

    monkeypatch.setattr(forkserver, "connect_to_new_process", connect)
    with open_pool("processes", 1) as pool:
        assert run([Task("a", abs, (-3,))], pool) == [3]
    assert not deaths
