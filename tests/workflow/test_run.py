from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import distributed
import psutil
import pytest

from beampipe.errors import (
    ColumnError,
    ConfigError,
    MissingExtraError,
    ServiceUnavailableError,
    UnknownNameError,
    WorkflowError,
)
from beampipe.workflow import EventLog, Pool, SlurmOptions, Store, Task, open_pool, run
from tests.workflow import toys
from tests.workflow.conftest import ROOT
from tests.workflow.slurm import jobs


def logged(log: EventLog, event: str) -> list[dict[str, object]]:
    return [each for each in log.read() if each["event"] == event]


def squares(count: int) -> list[Task[int]]:
    return [Task(f"square {number}", toys.square, (number,)) for number in range(count)]


class Shuffled:
    """A pool that finishes the tasks in its hands in random order, and counts how many it holds."""

    workers = 2
    lost: tuple[type[Exception], ...] = ()

    def __init__(self) -> None:
        self.held: list[tuple[Future[Any], Any]] = []
        self.most = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._work)
        self.thread.start()

    def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.held.append((future, function(*arguments)))
        self.most = max(self.most, len(self.held))
        return future

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        for future in futures:
            future.cancel()

    def restart(self) -> None:
        raise AssertionError("nothing is lost")

    def _work(self) -> None:
        chance = random.Random(3)
        while not self.stopped.is_set():
            if self.held:
                future, value = self.held.pop(chance.randrange(len(self.held)))
                future.set_result(value)
            time.sleep(0.001)


def test_results_come_in_the_order_of_the_tasks_and_few_are_in_flight() -> None:
    pool = Shuffled()
    seen: list[str] = []
    try:
        results = run(iter(squares(50)), pool, progress=lambda task: seen.append(task.label))
    finally:
        pool.stopped.set()
        pool.thread.join()
    assert results == [number * number for number in range(50)]
    assert seen != sorted(seen, key=lambda label: int(label.split()[1]))
    assert len(seen) == 50
    assert pool.most <= 6


@pytest.mark.parametrize("spec", ["inline", "processes"])
def test_every_pool_runs_tasks(spec: str) -> None:
    with open_pool(spec, 2) as pool:
        assert run(squares(20), pool) == [number * number for number in range(20)]
        assert run([], pool) == []


def test_any_executor_is_a_pool() -> None:
    with ThreadPoolExecutor(3) as executor, open_pool(executor) as pool:
        assert pool.workers == 3
        assert run(squares(20), pool) == [number * number for number in range(20)]


def test_a_pool_that_is_none_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'processes'"), open_pool("process"):
        pass
    with pytest.raises(ConfigError, match="at least 1"), open_pool("inline", 0):
        pass


def test_a_missing_dask_is_named(hide: Callable[[str], None]) -> None:
    hide("dask")
    for spec in ("dask", "slurm"):
        with pytest.raises(MissingExtraError, match=r"beampipe\[calibration\]"), open_pool(spec, 1):
            pass


def test_workers_are_replaced_after_some_tasks() -> None:
    with open_pool("processes", 2, recycle=5) as pool:
        pids = run([Task(str(number), toys.who_am_i, (number,)) for number in range(30)], pool)
    assert 3 <= len(set(pids)) <= 6


def test_all_errors_are_collected_and_the_rest_is_done(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    tasks: list[Task[int]] = [
        Task("first", toys.refuse, (1,)),
        *squares(10),
        Task("second", toys.refuse_name, ("dijets",)),
        Task("third", toys.fail_by_mistake, (3,)),
    ]
    done: list[str] = []
    with open_pool("processes", 2) as pool, pytest.raises(WorkflowError) as caught:
        run(tasks, pool, log=log, progress=lambda task: done.append(task.label))
    assert len(done) == 10
    assert str(caught.value).splitlines() == [
        "3 of 13 tasks failed; the others are done and kept, a rerun does only what is left",
        "  first: column 1 is missing",
        "  second: unknown sample: got 'dijets', expected one of dijet; did you mean 'dijet'?",
        "  third: ZeroDivisionError: mistake 3",
        f"  (tracebacks: {log.path})",
    ]
    assert [type(error) for _, error in caught.value.errors] == [ColumnError, UnknownNameError, ZeroDivisionError]
    assert "toys.py" in str(logged(log, "failed")[-1]["traceback"])
    assert logged(log, "retry") == []


@pytest.mark.parametrize(("times", "succeeds"), [(2, True), (3, False)])
def test_what_the_system_failed_at_is_tried_again(tmp_path: Path, times: int, succeeds: bool) -> None:
    folder, log = tmp_path / "tries", EventLog(tmp_path / "events.jsonl")
    folder.mkdir()
    tasks = [Task("busy", toys.fail_until, (folder, times)), *squares(3)]
    with open_pool("inline") as pool:
        if succeeds:
            assert run(tasks, pool, log=log, pause=0.001) == [2, 0, 1, 4]
        else:
            with pytest.raises(WorkflowError, match=r"busy: OSError: \[Errno 5\] busy"):
                run(tasks, pool, log=log, pause=0.001)
    assert [each["pause"] for each in logged(log, "retry")] == [0.001, 0.002]


def test_a_task_that_kills_its_worker_costs_no_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    tasks = [*squares(10), Task("poison", toys.die, (0,)), *squares(10)]
    with (
        open_pool("processes", 2) as pool,
        pytest.raises(WorkflowError, match=r"1 of 21 .*\n  poison: its worker died"),
    ):
        run(tasks, pool, log=log)
    assert len(logged(log, "failed")) == 1
    assert len(logged(log, "pool-broken")) <= 8


def test_a_pool_whose_workers_cannot_live_is_given_up() -> None:
    tasks = [Task(str(number), toys.die, (number,)) for number in range(100)]
    with open_pool("processes", 2) as pool, pytest.raises(WorkflowError, match="finished no task"):
        run(tasks, pool)


def test_an_interrupt_ends_the_workers_at_once() -> None:
    def interrupt(_: Task[None]) -> None:
        raise KeyboardInterrupt

    tasks = [Task("short", time.sleep, (0.0,)), *(Task("long", time.sleep, (600.0,)) for _ in range(5))]
    with pytest.raises(KeyboardInterrupt), open_pool("processes", 2) as pool:
        run(tasks, pool, progress=interrupt)
    assert workers_of(os.getpid()) == []


def workers_of(pid: int) -> list[psutil.Process]:
    """Living workers: children of the server that they are forked from, which is a child of the driver."""
    results = []
    for server in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):
            results += [child for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]
    return results


COUNT, KILLS, WORKERS = 60, 5, 2


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Payloads of the toy workflow when nothing goes wrong."""
    store = toys.open_store(tmp_path_factory.mktemp("reference"))
    with open_pool("inline") as pool:
        toys.run_toy(store, pool, COUNT, 0.0)
    return payloads(store)


def payloads(store: Store) -> dict[str, bytes]:
    parts, total = toys.recipes(COUNT)
    result = {recipe.label: store.load(recipe) for recipe in [*parts, total]}
    return {label: path.read_bytes() for label, path in result.items() if path is not None}


def committed(store: Store) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in store.root.glob("*/?/*.about.json")}


def check(store: Store, reference: dict[str, bytes], kills: int) -> None:
    """The same bytes; nothing made again after it was done; at most one task per worker and kill done again."""
    assert payloads(store) == reference
    assert store.log is not None
    done: set[object] = set()
    starts = 0
    for event in store.log.read():
        if event["event"] == "start":
            starts += 1
            assert event["key"] not in done
        elif event["event"] == "done":
            done.add(event["key"])
    assert starts <= COUNT + 1 + kills * WORKERS
    store.sweep()
    assert list((store.root / ".parts").iterdir()) == []


def test_killed_workers_cost_their_own_tasks_only(tmp_path: Path, reference: dict[str, bytes]) -> None:
    store, chance, killed = toys.open_store(tmp_path), random.Random(11), [0]
    over = threading.Event()

    def killer() -> None:
        before = 0
        while killed[0] < KILLS and not over.wait(chance.uniform(0.0, 0.1)):
            # However slow the machine: only workers that have got somewhere since the last time.
            workers, now = workers_of(os.getpid()), len(committed(store))
            if workers and now > before:
                before = now
                with suppress(psutil.NoSuchProcess):
                    chance.choice(workers).kill()
                    killed[0] += 1

    thread = threading.Thread(target=killer)
    thread.start()
    try:
        with open_pool("processes", WORKERS) as pool:
            toys.run_toy(store, pool, COUNT)
    finally:
        over.set()
        thread.join()
    assert killed[0] >= 3, "the premise: workers were killed on the way"
    check(store, reference, killed[0])


def test_a_killed_driver_costs_what_was_in_hand_only(tmp_path: Path, reference: dict[str, bytes]) -> None:
    store, chance = toys.open_store(tmp_path), random.Random(12)
    command = [sys.executable, "-m", "tests.workflow.toys", str(tmp_path), str(COUNT)]
    kept: dict[Path, int] = {}
    met_workers = 0
    for number in range(KILLS):
        driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        # Every other time at any moment, be it before there are workers; else after they have got somewhere.
        time.sleep(chance.uniform(0.1, 0.6))
        while number % 2 and len(committed(store)) <= len(kept) and driver.poll() is None:
            time.sleep(0.001)
        orphans = workers_of(driver.pid)
        met_workers += len(orphans)
        driver.kill()
        driver.wait()
        _, alive = psutil.wait_procs(orphans, timeout=120)
        assert not alive, "orphans end by themselves"
        now = committed(store)
        assert kept.items() <= now.items(), "what was committed is still there, untouched"
        kept = now
    assert met_workers >= KILLS // 2, "the premise: there were workers to orphan"
    assert len(kept) > 0, "the premise: some work was done"
    last = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert last.stdout.encode().strip() == reference["sum"]
    assert kept.items() <= committed(store).items()
    check(store, reference, KILLS)


def test_dask_runs_the_same_workflow_and_survives_a_task_that_kills_its_workers(
    tmp_path: Path, reference: dict[str, bytes]
) -> None:
    store = toys.open_store(tmp_path)
    with open_pool("dask", 2) as pool:
        toys.run_toy(store, pool, COUNT, 0.0)
        assert run([Task(str(number), toys.square, (number,)) for number in range(10)], pool)[-1] == 81
        with pytest.raises(WorkflowError, match=r"1 of 1 .*\n  name: unknown sample: got 'x'"):
            run([Task("name", toys.refuse_name, ("x",))], pool)
        tasks = [Task("poison", toys.die, (0,)), *squares(20)]
        with pytest.raises(WorkflowError, match=r"1 of 21 .*\n  poison: its worker died"):
            run(tasks, pool, log=EventLog(tmp_path / "poison.jsonl"))
    check(store, reference, 0)


def test_a_running_dask_is_found_by_its_address_only() -> None:
    with (
        distributed.LocalCluster(n_workers=1, dashboard_address=None, host="127.0.0.1") as cluster,  # type: ignore[no-untyped-call]
        open_pool(f"dask={cluster.scheduler_address}") as pool,
    ):
        assert run(squares(5), pool) == [0, 1, 4, 9, 16]
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "0.5s"}),
        pytest.raises(ServiceUnavailableError, match="no dask scheduler at 'tcp://127"),
        open_pool("dask=tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.slurm
def test_slurm_runs_the_same_workflow_and_replaces_a_lost_job(
    tmp_path: Path, reference: dict[str, bytes], slurm: Path
) -> None:
    store = toys.open_store(tmp_path)
    options = SlurmOptions(
        queue="main",
        memory="1GiB",
        walltime="00:05:00",
        host="127.0.0.1",
        folder=slurm,
        prologue=(f"export PYTHONPATH={ROOT}",),
    )

    def nodes(pool: Pool) -> set[str]:
        return set(run([Task(str(number), toys.node_name, (number,)) for number in range(20)], pool))

    def wait_for(condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < end, what
            time.sleep(0.1)

    # How long dask waits before it asks for another job.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1s"}):
        with open_pool("slurm", WORKERS, slurm=options) as pool:
            toys.run_toy(store, pool, COUNT, 0.0)
            wait_for(lambda: nodes(pool) == {"n1", "n2"}, "both jobs run")
            lost = jobs()[0]
            subprocess.run(["scancel", "--signal=KILL", "--full", lost], check=True)
            assert nodes(pool) <= {"n1", "n2"}, "the other job goes on"
            wait_for(lambda: lost not in jobs() and len(jobs()) == WORKERS, "the lost job is replaced")
            wait_for(lambda: nodes(pool) == {"n1", "n2"}, "and its successor works")
        wait_for(lambda: not jobs(), "no job is left behind")
    check(store, reference, 0)


@pytest.mark.parametrize("spec", ["inline", "processes"])
def test_what_a_task_makes_possible_comes_before_other_tasks(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the given tasks no more are under way than there are workers; every result comes back."""
    given: list[Future[int]] = []
    enabled: list[int] = []
    followed: list[int] = []

    def follow(task: Task[int], result: int) -> list[Task[int]]:
        if not task.label.startswith("first"):
            return []
        enabled.append(result)
        return [Task(f"then {result}", toys.square, (result,))]

    numbers = range(3, 9)
    tasks = [Task(f"first {number}", toys.square, (number,)) for number in numbers]
    with open_pool(spec, 2) as pool:
        submit = pool.submit

        def watched(function: Callable[[int], int], number: int) -> Future[int]:
            future = submit(function, number)
            if number in numbers:
                assert followed == enabled, "what is possible was submitted before"
                given.append(future)
                assert sum(not future.done() for future in given) <= pool.workers
            else:
                followed.append(number)
            return future

        monkeypatch.setattr(pool, "submit", watched)
        results = run(tasks, pool, follow=follow)
    assert sorted(results) == sorted([n**2 for n in numbers] + [n**4 for n in numbers])
    assert len(given) == len(enabled) == len(followed) == len(numbers)
