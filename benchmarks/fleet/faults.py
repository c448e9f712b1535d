"""Faults of a fleet while clients ask: what is lost, what is wrong, and how long until all is well again.

    python benchmarks/fleet/faults.py [--times 20] [--only KIND ...]

A gateway with TLS and tokens, two Tritons, Prometheus. Eight clients ask all the time, half over gRPC, half over HTTP:
four for the tracks of events without pile-up (`module_map`), four for a model of the Python backend. Each asks again
once, a second later, for an event that got no answer. For a stopped gateway or proxy, clients have default options and
do not ask again by themselves. Each kind of fault is done `--times` times:

killed and stopped server, stub      SIGKILL and SIGSTOP of a Triton, and of its model of the Python backend
killed gateway, Prometheus, member   SIGKILL of HAProxy (all its processes), of Prometheus, of what watches a Triton
stopped gateway, master              SIGSTOP of HAProxy's worker, of its master
stopped gateway, killed member       both at once: the member's successor is ready while the gateway hangs or starts
stopped proxy, single proxy          SIGSTOP of a server's reverse proxy: in the fleet, and of a server without a fleet
rotated certificate                  a new one is written into the gateway's file
rolling restart                      `beampipe fleet restart`, all servers one after the other
reloaded gateway                     `beampipe fleet up` with another number in the table ``gateway``

*Flow*: from the fault until each client has got an answer to something that it asked after the fault. *Whole*: until
what was struck has been replaced and every server takes requests.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from fleets import (
    CONSOLE,
    HOSTS,
    Running,
    options_of,
    print_header,
    report,
    running,
    until,
    verdict,
    write_toy,
    write_tracking,
)

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.fleet.security import make_server
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.terminal import make_table
from beampipe.tracking.data import shipped_events
from beampipe.triton import ModelClient
from beampipe.triton.server.access import AccessSettings
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer

MODEL: Final = "module_map"
CLIENTS: Final = 8
LONGEST: Final = 90.0
"""Longest time [s] that the fleet may take to be whole again."""
SURE: Final = 2.5
"""Time [s] for which all has to be well: more than the patience with a server."""
HELD: Final = 0.5
"""Time [s] between two faults, after which a restart is not one in a row."""

Ask = Callable[[int], bool]
"""Asks for one event by its number; whether the answer is right."""


@dataclass(frozen=True)
class Single:
    """One server behind its reverse proxy, asked and examined as a fleet is.

    Attributes:
        server: the server.
    """

    server: TritonServer
    security: Mapping[str, Any] = field(default_factory=dict)

    def url(self, protocol: str) -> str:
        """Public address for ``grpc`` or ``http``."""
        return f"{protocol}://{self.server.grpc_url if protocol == 'grpc' else self.server.http_url}"

    def proxies(self) -> list[int]:
        """Process id of its proxy, if it runs and answers."""
        pid = self.server.access.proxy_pid
        return [] if pid is None else [pid]

    def whole(self) -> bool:
        """Whether it answers through its proxy."""
        ports = self.server.ports
        probed = ((ports.http, False), (ports.grpc, True))
        return all(PublicPort("127.0.0.1", port, grpc, False, "/").answers() for port, grpc in probed)

    def tritons(self) -> list[int]:
        """Process id of the server itself."""
        return [] if self.server.pid is None else [self.server.pid]

    def stubs(self) -> list[int]:
        """Process ids of models of the Python backend."""
        return [stub.pid for stub in self.server.stubs()]

    def status(self) -> list[object]:
        """Its incidents."""
        return list(self.server.incidents)


@contextmanager
def single(fill: Callable[[Path], None]) -> Iterator[Single]:
    """One server without a fleet. Clients of its user go past its proxy over HTTP, and through it over gRPC."""
    with TemporaryDirectory(prefix="single") as folder:
        fill(Path(folder) / "models")
        access = AccessSettings(proxy=True, proxy_grpc=True)
        with TritonServer(ServerSettings(Path(folder) / "models", access=access)) as server:
            yield Single(server)


class Load:
    """Clients that ask all the time, each with one retry of its own unless it has default options; a context manager.

    Args:
        fleet: what is asked.
        default: whether clients have default options, and do not ask again by themselves.

    Attributes:
        answered: number of events that were answered.
        again: number of events that were asked for a second time.
        wrong: number of events with a wrong answer.
        lost: what was said of events that were asked for twice in vain.
        slowest: longest time [s] until an event was answered, with its retry.
    """

    def __init__(self, fleet: Running | Single, *, default: bool) -> None:
        self._options: dict[str, Any] = {} if default else {"timeout": 20.0, "retries": 0}
        self._attempts = (1,) if default else (0, 1)
        self.answered = self.again = self.wrong = 0
        self.lost: list[str] = []
        self.slowest = 0.0
        self._newest = [0.0] * CLIENTS
        self._stack = ExitStack()
        self._ended, self._lock = threading.Event(), threading.Lock()
        asks = self._track_asks(fleet) + [self._toy_ask(fleet, number) for number in range(CLIENTS // 2)]
        self._threads = [
            threading.Thread(target=self._ask_on, args=(number, ask), name=f"client-{number}")
            for number, ask in enumerate(asks)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        self.settle(time.perf_counter())
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._stack.close()

    def settle(self, moment: float) -> float:
        """Time [s] from a moment until each client has an answer to something that it asked later."""
        until(lambda: min(self._newest) > moment, LONGEST, 0.01)
        return time.perf_counter() - moment

    def _track_asks(self, fleet: Running | Single) -> list[Ask]:
        events = [event.hits for event in shipped_events(0)][:20]
        with DirectTrackFinder(MODEL, threads=1) as direct:
            labels = [direct.find(hits).track_id for hits in events]

        def ask_of(protocol: str) -> Ask:
            finder = self._stack.enter_context(
                TritonTrackFinder(fleet.url(protocol), MODEL, protocol=protocol, **self._options, **fleet.security)
            )

            def ask(which: int) -> bool:
                row = which % len(events)
                return np.array_equal(finder.find(events[row]).track_id, labels[row])

            return ask

        return [ask_of("grpc" if number % 2 else "http") for number in range(CLIENTS // 2)]

    def _toy_ask(self, fleet: Running | Single, number: int) -> Ask:
        protocol = "grpc" if number % 2 else "http"
        client = self._stack.enter_context(
            ModelClient(fleet.url(protocol), "toy", protocol=protocol, **self._options, **fleet.security)
        )

        def ask(which: int) -> bool:
            asked = np.array([number, which], np.float32)
            return np.array_equal(client.infer({"X": asked})["Y"], 2 * asked)

        return ask

    def _ask_on(self, number: int, ask: Ask) -> None:
        for which in count(number):
            if self._ended.is_set():
                return
            begin = asked = time.perf_counter()
            for attempt in self._attempts:
                try:
                    asked = time.perf_counter()
                    right = ask(which)
                except BeampipeError as error:
                    with self._lock:
                        self.again += not attempt
                        if attempt:
                            self.lost.append(f"{type(error).__name__}: {error}")
                    time.sleep(1.0)
                    continue
                with self._lock:
                    self.answered += 1
                    self.wrong += not right
                    self.slowest = max(self.slowest, time.perf_counter() - begin)
                self._newest[number] = asked
                break


Fault = Callable[[Any, int], Callable[[], bool]]
"""Does it to a fleet for the n-th time; what it returns tells whether what was struck has been replaced."""


def sent(number: signal.Signals, whose: str) -> Fault:
    """A signal to one of the processes that a method of `Running` names, to each in its turn."""

    def strike(fleet: Running, time_of: int) -> Callable[[], bool]:
        pids = getattr(fleet, whose)()
        pid = pids[time_of % len(pids)]
        os.kill(pid, number)

        def replaced() -> bool:
            now = getattr(fleet, whose)()
            return len(now) == len(pids) and pid not in now

        return replaced

    return strike


def kill_gateway(fleet: Running, time_of: int) -> Callable[[], bool]:
    """All processes of HAProxy at once."""
    pid = fleet.status()["gateway"]["pid"]
    os.killpg(pid, signal.SIGKILL)
    return lambda: fleet.status()["gateway"]["pid"] not in (pid, None)


def stop_gateway(whose: Callable[[int], int]) -> Fault:
    """SIGSTOP of the gateway's master, or of its worker, by the process id of the master."""

    def strike(fleet: Running, time_of: int) -> Callable[[], bool]:
        master = fleet.status()["gateway"]["pid"]
        os.kill(whose(master), signal.SIGSTOP)

        def replaced() -> bool:
            now = fleet.status()["gateway"]
            return now["pid"] not in (master, None) and now["state"] == "running"

        return replaced

    return strike


def both(first: Fault, second: Fault) -> Fault:
    """Two faults at once."""

    def strike(fleet: Any, time_of: int) -> Callable[[], bool]:
        replaced = first(fleet, time_of), second(fleet, time_of)
        return lambda: all(is_replaced() for is_replaced in replaced)

    return strike


def kill_prometheus(fleet: Running, time_of: int) -> Callable[[], bool]:
    """Prometheus, once it runs."""
    until(lambda: fleet.status()["prometheus"]["pid"] is not None)
    pid = fleet.status()["prometheus"]["pid"]
    os.kill(pid, signal.SIGKILL)
    return lambda: fleet.status()["prometheus"]["pid"] not in (pid, None)


def rotate_certificate(fleet: Running, time_of: int) -> Callable[[], bool]:
    """A new certificate of the same authority."""
    assert fleet.authority is not None
    before = serial_of(fleet)
    make_server(fleet.authority.parent, HOSTS)
    return lambda: serial_of(fleet) != before


def serial_of(fleet: Running) -> str:
    """Serial number of the certificate that the gateway shows now."""
    context = ssl.create_default_context(cafile=fleet.authority)
    with (
        socket.create_connection(("127.0.0.1", fleet.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        shown = connection.getpeercert()
    assert shown is not None
    return str(shown["serialNumber"])


def restart_all(fleet: Running, time_of: int) -> Callable[[], bool]:
    """The order returns when it is done."""
    before = set(fleet.tritons())
    fleet.order("restart")
    return lambda: not before & set(fleet.tritons())


def reload_gateway(fleet: Running, time_of: int) -> Callable[[], bool]:
    """Another queue."""
    before = workers_of(fleet)
    fleet.change(f"queue = {64 + time_of % 2}", f"queue = {65 - time_of % 2}")
    return lambda: bool(workers_of(fleet) - before)


def workers_of(fleet: Running) -> set[int]:
    """Process ids of HAProxy's workers."""
    return set(processes.children(fleet.status()["gateway"]["pid"]))


FAULTS: Final[dict[str, Fault]] = {
    "killed server": sent(signal.SIGKILL, "tritons"),
    "stopped server": sent(signal.SIGSTOP, "tritons"),
    "killed stub": sent(signal.SIGKILL, "stubs"),
    "stopped stub": sent(signal.SIGSTOP, "stubs"),
    "killed member": sent(signal.SIGKILL, "members"),
    "killed gateway": kill_gateway,
    "stopped gateway": stop_gateway(lambda master: processes.children(master)[0]),
    "stopped gateway, killed member": both(
        sent(signal.SIGKILL, "members"), stop_gateway(lambda master: processes.children(master)[0])
    ),
    "stopped master": stop_gateway(lambda master: master),
    "stopped proxy": sent(signal.SIGSTOP, "proxies"),
    "killed Prometheus": kill_prometheus,
    "rotated certificate": rotate_certificate,
    "reloaded gateway": reload_gateway,
    "rolling restart": restart_all,
    "stopped single proxy": sent(signal.SIGSTOP, "proxies"),
}

SINGLE: Final = "stopped single proxy"
"""The fault of a server without a fleet."""

BY_DEFAULT: Final = ("stopped gateway", "stopped gateway, killed member", "stopped master", "stopped proxy", SINGLE)
"""Faults that clients with default options have to survive."""


def main() -> None:
    parser = options_of("faults", __doc__)
    parser.add_argument("--times", type=int, default=20, help="number of faults of each kind")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), default=list(FAULTS))
    options = parser.parse_args()
    begun = print_header("faults of a fleet", options)
    rows: list[dict[str, Any]] = []

    def fill(repository: Path) -> None:
        write_tracking(repository, MODEL)
        write_toy(repository, start=0.005)

    def strike(fleet: Running | Single, names: Sequence[str]) -> None:
        for name in names:
            rows.append(row := suffered(fleet, name, options.times))
            CONSOLE.print(f"{name}: {row['answered']} answered, {row['again']} asked again, {len(row['lost'])} lost")
            report(options, begun, {"rows": rows, "summary": []})

    if of_fleet := [name for name in options.only if name != SINGLE]:
        with running(fill, gateway="queue = 64", secure=True, prometheus=True, patience=1.0) as fleet:
            strike(fleet, of_fleet)
    if SINGLE in options.only:
        with single(fill) as server:
            strike(server, [SINGLE])
    CONSOLE.print(table_of(rows))
    report(options, begun, {"rows": rows, "summary": (summary := summary_of(rows))})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def suffered(fleet: Running | Single, name: str, times: int) -> dict[str, Any]:
    """One kind of fault, again and again."""
    flow, whole = [], []
    with Load(fleet, default=name in BY_DEFAULT) as load:
        for time_of in range(times):
            begin = time.perf_counter()
            replaced = FAULTS[name](fleet, time_of)
            flow.append(load.settle(begin))
            whole.append(wait_until_whole(fleet, replaced, name) - begin)
            time.sleep(HELD)
        load.settle(time.perf_counter())
    return {
        "fault": name,
        "times": len(whole),
        "answered": load.answered,
        "again": load.again,
        "lost": load.lost,
        "wrong": load.wrong,
        "flow_s": flow,
        "whole_s": whole,
        "slowest_s": load.slowest,
    }


def wait_until_whole(fleet: Running | Single, replaced: Callable[[], bool], name: str) -> float:
    """The moment from which on what was struck has been replaced, and every server takes requests.

    Raises:
        SystemExit: that takes too long; how the fleet is then is printed.
    """

    def is_well() -> bool:
        return holds(lambda: replaced() and fleet.whole())

    try:
        while True:
            until(is_well, LONGEST)
            moment, who = time.perf_counter(), fleet.tritons() + fleet.stubs()
            time.sleep(SURE)  # a server may not have been found to be ill yet
            if is_well() and fleet.tritons() + fleet.stubs() == who:
                return moment
    except SystemExit:
        CONSOLE.print(fleet.status(), fleet.tritons(), fleet.stubs(), markup=False)
        for log in sorted(fleet.run.logs.glob("cpu-*.log")) if isinstance(fleet, Running) else ():
            said = [line for line in log.read_text(errors="replace").splitlines() if "beampipe: " in line]
            CONSOLE.print(log.name, *said[-12:], sep="\n", markup=False)
        raise SystemExit(f"{name}: the fleet was not whole again within {LONGEST:g} s") from None


def holds(what: Callable[[], bool]) -> bool:
    """Whether something holds; not while nobody can tell."""
    with suppress(BeampipeError, OSError):
        return what()
    return False


def table_of(rows: Sequence[dict[str, Any]]) -> Any:
    numbers = ("times", "answered", "again", "lost", "wrong", "flow [s]", "worst", "whole [s]", "worst", "slowest [s]")
    words = "flow: each client has an answer again; whole: every server takes requests; slowest: of any event"
    table = make_table("faults of a fleet under eight clients", ("fault",), numbers, caption=words)
    for row in rows:
        counts = (row["times"], row["answered"], row["again"], len(row["lost"]), row["wrong"])
        times = [value for key in ("flow_s", "whole_s") for value in (np.median(row[key]), max(row[key]))]
        table.add_row(row["fault"], *map(str, counts), *(f"{value:.2f}" for value in (*times, row["slowest_s"])))
    return table


def summary_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, object]]:
    """Nothing lost, nothing wrong."""
    lines = []
    for row in rows:
        words = f"{row['answered']} answered, {len(row['lost'])} lost, {row['wrong']} wrong in {row['times']} faults"
        words += f"; first: {row['lost'][0][:200]}" if row["lost"] else ""
        lines.append(verdict(row["fault"], not row["lost"] and not row["wrong"] and row["answered"] > 0, words))
    return lines


if __name__ == "__main__":
    main()
