"""Demo of a fleet of tracking servers: events flow while one server is killed, one hangs and one is drained.

The picture shows the rate of answers over time, with the faults; matplotlib draws it, without a browser.
"""

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
from typing import Any, Final, NamedTuple

from beampipe import processes
from beampipe.errors import BeampipeError, ServiceError
from beampipe.files import check_folder_outputs, make_folder
from beampipe.terminal import console, make_table, say
from beampipe.terminal.commands import Json, Replace, print_json

DEMO_FILES: Final = ("rate.png",)
"""Names of the files that the demo writes."""

_CLIENTS: Final = 3
_MODEL: Final = "module_map"
_MU: Final = 60
_EACH: Final = 3
"""Events without pile-up that are sent in turn, and as many with it."""
_LOOK: Final = 0.1
_LONGEST: Final = 60.0
"""Longest time [s] that the fleet may take to recover from one fault."""
_FLOW: Final = 12
"""Number of answers to each client between two faults."""
_BIN: Final = 0.25
"""Time [s] over which the picture averages the rate."""
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


class Fault(NamedTuple):
    """Something that was done to the fleet.

    Attributes:
        what: what was done.
        begin: when, after the first event was sent [s].
        seconds: time until every server accepted requests again [s].
    """

    what: str
    begin: float
    seconds: float


@dataclass
class FleetDemoResult:
    """Results of the demo.

    Attributes:
        start: when the first event was sent, on the clock `time.monotonic` [s].
        answered: when each event was answered, after the first one was sent [s].
        repeated: number of events that a client had to send again.
        lost: errors of events without an answer.
        wrong: number of events whose labels were not those of the pipeline run here.
        faults: what was done to the fleet.
        left: processes of the fleet that still ran at the end.
    """

    start: float = 0.0
    answered: list[float] = field(default_factory=list)
    repeated: int = 0
    lost: list[str] = field(default_factory=list)
    wrong: int = 0
    faults: list[Fault] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def run_fleet_demo(folder: Path, progress: Callable[[str], None] = lambda text: None) -> FleetDemoResult:
    """Start a fleet of two servers, send it events from three clients, cause typical faults, and draw the rate.

    Args:
        folder: folder for `DEMO_FILES`.
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
    make_folder(folder)
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
    _draw(result, folder / DEMO_FILES[0])
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
                        result.answered.append(time.monotonic() - result.start)
                        result.wrong += workload.difference(event % len(workload), tracks.track_id) is not None

    threads = [threading.Thread(target=send, args=(number,), name=f"client-{number}") for number in range(_CLIENTS)]
    result.start = time.monotonic()
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
    from beampipe.triton.server.management import is_ready

    def status() -> dict[str, Any]:
        return dict(send_command(run.socket, {"do": "status"}))

    def strike(number: signal.Signals, server: int) -> None:
        os.kill(_triton_of(status()["servers"][server]["pid"]), number)

    def take_out() -> None:
        send_command(run.socket, {"do": "drain", "server": "cpu-0"})
        send_command(run.socket, {"do": "resume", "server": "cpu-0"})

    faults: Sequence[tuple[str, Callable[[], None]]] = (
        ("killed", lambda: strike(signal.SIGKILL, 0)),
        ("hung", lambda: strike(signal.SIGSTOP, 1)),
        ("taken out and in", take_out),
    )
    for what, act in faults:
        _wait_for_events(result)
        progress(f"one server {what}")
        begin, before = time.monotonic(), [_triton_of(row["pid"]) for row in status()["servers"]]
        act()

        def is_whole(replaced: bool = act is not take_out, before: list[int] = before) -> bool:
            rows = status()["servers"]
            with suppress(ServiceError):
                changed = not replaced or [_triton_of(row["pid"]) for row in rows] != before
                # A server that starts again quickly may stay up for the gateway, which checks it at intervals.
                up = all(row["gateway"] == "UP" for row in rows)
                return changed and up and all(is_ready("http://{}:{}".format(*row["address"])) for row in rows)
            return False

        _wait_until(is_whole, f"one server {what}: the fleet was not whole again")
        result.faults.append(Fault(what, begin - result.start, time.monotonic() - begin))
    _wait_for_events(result)


def _wait_for_events(result: FleetDemoResult) -> None:
    expected = len(result.answered) + _FLOW * _CLIENTS
    _wait_until(lambda: len(result.answered) >= expected, "events: got too few")


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


def _draw(result: FleetDemoResult, path: Path) -> None:
    """Rate of answers over time; each fault as a band that lasts until the fleet is whole again."""
    import numpy as np
    from matplotlib import rc_context

    from beampipe.figures import PALETTE, ground, new_figure, save_figure

    with rc_context(ground()):
        figure, ((axis,),) = new_figure(size=(6.6, 3.8))
    edges = np.arange(int(max(result.answered) / _BIN) + 1) * _BIN  # without the last bin, which clients left early
    axis.stairs(np.histogram(result.answered, edges)[0] / _BIN, edges, baseline=None, linewidth=1.6)
    for fault, colour in zip(result.faults, PALETTE[1:], strict=False):
        label = f"{fault.what}: {fault.seconds:.1f} s"
        axis.axvspan(fault.begin, fault.begin + fault.seconds, color=colour, alpha=0.25, linewidth=0, label=label)
    counted = f"{len(result.answered)} events, {len(result.lost)} lost, {result.wrong} wrong"
    title = f"Fleet of two servers under {_CLIENTS} clients: {counted}"
    axis.set(xlabel="time [s]", ylabel="events / s", title=title, xlim=(0, edges[-1]), ylim=(0, None))
    whole = "what was done to a server, and time until both take requests again"
    figure.legend(loc="outside lower center", ncols=len(result.faults), frameon=False, title=whole)
    save_figure(figure, path)


def fleet_demo_command(output: Path = Path("demo/fleet"), force: Replace = False, as_json: Json = False) -> None:
    """Start a fleet, send it events, kill, hang and drain servers meanwhile, count what was lost, draw the rate, end.

    Args:
        output: Folder for the picture.
    """
    check_folder_outputs(output, DEMO_FILES, force=force)
    say("takes about 15 s on two idle cores", err=True)
    result = run_fleet_demo(output, lambda text: say(text, err=True))
    if as_json:
        print_json(result)
    else:
        table = make_table(
            "a fleet of two servers under three clients", ("what was done to a server",), ("whole again after [s]",)
        )
        for fault in result.faults:
            table.add_row(fault.what, f"{fault.seconds:.1f}")
        out = console()
        out.print(table)
        out.print(
            f"{len(result.answered)} events, {result.repeated} sent again, {len(result.lost)} lost,"
            f" {result.wrong} with other labels than the pipeline run here"
        )
        say(f"{output / DEMO_FILES[0]} shows the rate; `beampipe fleet watch` opens the page of a fleet of your own")
    for what, wrong in (("lost events", result.lost), ("wrong labels", result.wrong), ("left behind", result.left)):
        if wrong:
            raise BeampipeError(f"{what}: got {wrong}, expected none")
