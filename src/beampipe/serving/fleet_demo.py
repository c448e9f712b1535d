"""Demo of a fleet of tracking servers: events flow while one server is killed, one hangs and one is drained."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from beampipe import processes
from beampipe.errors import BeampipeError, ServiceError
from beampipe.terminal import console, make_table, say
from beampipe.terminal.commands import Json, print_json

_CLIENTS: Final = 3
_MODEL: Final = "module_map"
_MU: Final = 60
_EACH: Final = 3
"""Events without pile-up that are sent in turn, and as many with it."""
_LOOK: Final = 0.1
_LONGEST: Final = 60.0
"""Longest time [s] that the fleet may take to recover from one fault."""
_FLOW: Final = 4
"""Number of answers to each client between two faults."""
_SPECIFICATION: Final = """
name = "demo"
repository = "{repository}"

[servers.cpu]
count = 2
threads = 1

[gateway]
port = {port}

[monitoring]
interval = 1.0
"""


@dataclass
class FleetDemoResult:
    """Results of the demo.

    Attributes:
        events: number of events that were answered.
        repeated: number of events that a client had to send again.
        lost: errors of events without an answer.
        wrong: number of events whose labels were not those of the pipeline run here.
        faults: each fault, and the time [s] until every server accepted requests again.
        left: processes of the fleet that still ran at the end.
    """

    events: int = 0
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: int = 0
    faults: list[tuple[str, float]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def run_fleet_demo(progress: Callable[[str], None] = lambda text: None) -> FleetDemoResult:
    """Start a fleet of two servers, send it events from three clients, and cause typical faults.

    Args:
        progress: function that is called with a message for each step.

    Raises:
        BeampipeError: the fleet does not start, or does not recover.
    """
    from beampipe.fleet.control.daemon import start_fleet, stop_fleet
    from beampipe.fleet.run_folder import RunFolder
    from beampipe.serving.models import ServingSettings
    from beampipe.serving.server import generated_repository
    from beampipe.triton.engine import find_engine
    from beampipe.triton.server.launch import free_port

    find_engine()

    result = FleetDemoResult()
    serving = ServingSettings((_MODEL,), threads=1)
    # A short path, since it contains sockets.
    with (
        processes.ending_with_this_process(),
        TemporaryDirectory(prefix="fleet") as temporary,
        generated_repository(serving) as (repository, _),
    ):
        specification = Path(temporary) / "fleet.toml"
        specification.write_text(_SPECIFICATION.format(repository=repository, port=free_port()), encoding="utf-8")
        run = RunFolder(Path(temporary) / "run")
        progress("starting gateway, two Tritons, Prometheus and the page")
        try:
            status = start_fleet(specification, run.path, progress)
            with _clients(status["gateway"]["port"], result):
                _strike(run, result, progress)
        finally:
            progress("ending")
            stop_fleet(specification, run.path)
        result.left = [" ".join(words) for _, words in processes.command_lines() if temporary in " ".join(words)]
    return result


@contextmanager
def _clients(port: int, result: FleetDemoResult) -> Iterator[None]:
    """Clients that send events until the end, and compare each answer with the pipeline run here."""
    from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
    from beampipe.serving.load import direct_workload
    from beampipe.tracking.data import shipped_events

    events = [*islice(shipped_events(0), _EACH), *islice(shipped_events(_MU), _EACH)]
    with DirectTrackFinder(_MODEL) as direct:
        workload = direct_workload([event.hits for event in events], direct.find)
    ended, lock = threading.Event(), threading.Lock()

    def send(number: int) -> None:
        def repeat(error: ServiceError) -> None:
            result.repeated += 1

        url = f"{'http' if number == 0 else 'grpc'}://127.0.0.1:{port}"
        with TritonTrackFinder(url, _MODEL, timeout=30.0, on_failure=repeat) as finder:
            for event in count(number):
                if ended.is_set():
                    return
                try:
                    tracks = finder.find(workload.hits[event % len(workload)])
                except BeampipeError as error:
                    result.lost.append(str(error))
                else:
                    with lock:
                        result.events += 1
                        result.wrong += workload.difference(event % len(workload), tracks.track_id) is not None

    threads = [threading.Thread(target=send, args=(number,), name=f"client-{number}") for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _strike(run: Any, result: FleetDemoResult, progress: Callable[[str], None]) -> None:
    """Kill, stop and drain servers, and wait each time until the fleet has recovered and events flow."""
    from beampipe.fleet.control.control_socket import send_command

    def status() -> dict[str, Any]:
        return dict(send_command(run.socket, {"do": "status"}))

    def strike(number: signal.Signals, server: int) -> None:
        os.kill(_triton_of(status()["servers"][server]["pid"]), number)

    def take_out() -> None:
        send_command(run.socket, {"do": "drain", "server": "cpu-0"})
        send_command(run.socket, {"do": "resume", "server": "cpu-0"})

    faults: Sequence[tuple[str, Callable[[], None]]] = (
        ("one server killed", lambda: strike(signal.SIGKILL, 0)),
        ("one server hung", lambda: strike(signal.SIGSTOP, 1)),
        ("one server taken out and in", take_out),
    )
    for what, act in faults:
        _wait_for_events(result)
        progress(what)
        begin, before = time.monotonic(), [_triton_of(row["pid"]) for row in status()["servers"]]
        act()

        def is_whole(replaced: bool = act is not take_out, before: list[int] = before) -> bool:
            rows = status()["servers"]
            with suppress(ServiceError):
                changed = not replaced or [_triton_of(row["pid"]) for row in rows] != before
                return changed and all(row["gateway"] == "UP" for row in rows)
            return False

        _wait_until(is_whole, f"{what}: the fleet was not whole again")
        result.faults.append((what, time.monotonic() - begin))
    _wait_for_events(result)


def _wait_for_events(result: FleetDemoResult) -> None:
    expected = result.events + _FLOW * _CLIENTS
    _wait_until(lambda: result.events >= expected, "events: got too few")


def _wait_until(holds: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _LONGEST
    while not holds():
        if time.monotonic() > deadline:
            raise ServiceError(f"{problem} within {_LONGEST:g} s")
        time.sleep(_LOOK)


def _triton_of(member: int | None) -> int:
    """Process id of the Triton of a server."""
    for child in () if member is None else processes.children(member):
        words = processes.arguments(child)
        if words and words[0].endswith("tritonserver"):
            return child
    raise ServiceError(f"process {member}: got no Triton below it, expected one")


def fleet_demo_command(as_json: Json = False) -> None:
    """Start a fleet, send it events, kill, hang and drain servers meanwhile, count what was lost, end."""
    say("takes about 30 s on two idle cores", err=True)
    result = run_fleet_demo(lambda text: say(text, err=True))
    if as_json:
        print_json(result)
    else:
        table = make_table("a fleet of two servers under three clients", ("what was done",), ("whole again after [s]",))
        for fault, seconds in result.faults:
            table.add_row(fault, f"{seconds:.1f}")
        out = console()
        out.print(table)
        out.print(
            f"{result.events} events, {result.repeated} sent again, {len(result.lost)} lost,"
            f" {result.wrong} with other labels than the pipeline run here"
        )
    for what, wrong in (("lost events", result.lost), ("wrong labels", result.wrong), ("left behind", result.left)):
        if wrong:
            raise BeampipeError(f"{what}: got {wrong}, expected none")
