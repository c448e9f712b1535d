"""Every fault of a fleet alone, and every pair of faults at once, while default clients send requests.

    python benchmarks/fleet/faults.py [--times 1] [--only FAULT ...] [--alone | --pairs] [--minutes 60] [--single]

The fleet has a gateway with TLS and tokens, two servers and Prometheus. Eight clients with default options send
requests all the time, half over gRPC, half over HTTP: four for the tracks of events without pile-up (`module_map`, in
the native backend), four for a model of the Python backend.

stopped, killed, terminated PROCESS    SIGSTOP, SIGKILL, SIGTERM of the gateway's worker or master, a server's reverse
                                       proxy, a Triton (server), a process of a Python model (stub), a server's
                                       supervisor, the reconciler, Prometheus. SIGTERM of the reconciler is left out:
                                       it is the command to end the fleet.
full disk                              the file system of run folder and temporary files has no space left
full shared memory                     `/dev/shm` has no space left
no descriptors PROCESS                 a process cannot open any further file or connection
clock jump                             the time of day jumps by a day and back, in all processes but Prometheus
rotated certificate, reloaded gateway, rolling restart    operations; alone only

A signal is sent once; every other fault lasts for `--lasting` seconds. In a pair, both faults strike the same server,
or both servers if they are of the same process. Disk and shared memory are file systems in a mount namespace
of this benchmark, which needs `unshare`; the clock is shifted by a preloaded library, `clock.c`, which needs gcc.

*Lost*: requests that ended with an error. *Flow*: from the fault until each client has an answer to a request sent
after it. *Whole*: until every process runs and answers as wanted, and no other one is left. With `--single`, one server
as by `beampipe serve`, without a fleet, takes the place of the fleet.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Protocol

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from fleets import (
    CONSOLE,
    HOSTS,
    Figure,
    Running,
    begin,
    options_of,
    running,
    until,
    write_result,
    write_toy,
    write_tracking,
)

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.fleet.certificates import make_server
from beampipe.fleet.control.daemon import daemon_pid
from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.tracking.data import shipped_events
from beampipe.triton import ModelClient
from beampipe.triton.server.haproxy import PublicPort
from beampipe.triton.server.launch import ServerSettings, free_ports

MODEL: Final = "module_map"
CLIENTS: Final = 8
PAUSE: Final = 0.02
"""Time [s] between an answer and the next request of a client."""
LONGEST: Final = 90.0
"""Longest time [s] that a fleet may take to be whole again."""
SURE: Final = 2.5
"""Time [s] for which all has to be well: more than the patience with a server."""
NAMESPACE: Final = "BEAMPIPE_BENCH_NAMESPACE"
"""Variable that is set inside of the mount namespace."""
CLOCK: Final = "BEAMPIPE_BENCH_CLOCK"
"""Variable with the path of the file from which `clock.c` reads by how much it shifts the time."""
DAY: Final = 86_400

Pids = Mapping[str, Sequence[int]]
"""Process ids by kind of process, in the order of the servers."""


class Target(Protocol):
    """What is struck: a fleet, or a single server."""

    @property
    def security(self) -> Mapping[str, Any]:
        """Options of its clients."""

    def url(self, protocol: str) -> str:
        """Public address for ``grpc`` or ``http``."""

    def pids(self) -> Pids:
        """The processes that run now."""

    def whole(self) -> bool:
        """Whether everything runs and answers as wanted, and nothing else is left of it."""

    def status(self) -> object:
        """Its state, for a message."""


@dataclass(frozen=True)
class WholeFleet:
    """A running fleet.

    Attributes:
        fleet: the fleet.
    """

    fleet: Running

    @property
    def security(self) -> Mapping[str, Any]:
        """Options of its clients."""
        return self.fleet.security

    def url(self, protocol: str) -> str:
        """Address of its gateway."""
        return self.fleet.url(protocol)

    def status(self) -> object:
        """Its status."""
        return self.fleet.status()

    def pids(self) -> Pids:
        """Its processes."""
        status = self.fleet.status()
        master = status["gateway"]["pid"]
        return {
            "worker": [] if master is None else [*processes.children(master)],
            "master": [] if master is None else [master],
            "proxy": self.fleet.proxies(),
            "server": self.fleet.tritons(),
            "stub": self.fleet.stubs(),
            "supervisor": self.fleet.members(),
            "reconciler": [pid for pid in (daemon_pid(self.fleet.run),) if pid is not None],
            "Prometheus": [pid for pid in (status["prometheus"]["pid"],) if pid is not None],
        }

    def whole(self) -> bool:
        """Whether it has the processes of its specification, and they work."""
        if not self.fleet.whole():
            return False
        pids, count = self.pids(), self.fleet.count
        expected = dict.fromkeys(pids, 1) | dict.fromkeys(("proxy", "server", "stub", "supervisor"), count)
        if {kind: len(group) for kind, group in pids.items()} != expected:
            return False
        if any(processes.is_stopped(pid) for group in pids.values() for pid in group):
            return False
        return len(self._tritons_of_all_times()) == count and self._prometheus_answers()

    def _tritons_of_all_times(self) -> list[int]:
        """Every Triton that serves a snapshot of this fleet, those of lost supervisors included."""
        snapshots = f"--model-repository={self.fleet.run.repositories}"
        lines = processes.command_lines()
        return [pid for pid, line in lines if any(argument.startswith(snapshots) for argument in line)]

    def _prometheus_answers(self) -> bool:
        url = self.fleet.status()["prometheus"]["url"]
        return url is not None and PublicPort("127.0.0.1", int(url.rpartition(":")[2]), False, False, "/").answers()


@dataclass(frozen=True)
class Single:
    """One server in the foreground of a process, as by `beampipe serve`.

    Attributes:
        keeper: process id of the command.
        http: port for HTTP.
        grpc: port for gRPC.
        log: output of the command.
    """

    keeper: int
    http: int
    grpc: int
    log: Path
    security: Mapping[str, Any] = field(default_factory=dict)

    def url(self, protocol: str) -> str:
        """Its public address."""
        return f"{protocol}://127.0.0.1:{self.grpc if protocol == 'grpc' else self.http}"

    def status(self) -> object:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def pids(self) -> Pids:
        """Its processes."""
        supervisors = processes.children(self.keeper)
        programs = {child: processes.arguments(child) for pid in supervisors for child in processes.children(pid)}
        named = {
            name: [pid for pid, line in programs.items() if line and name in Path(line[0]).name]
            for name in ("tritonserver", "haproxy")
        }
        stubs = [pid for server in named["tritonserver"] for pid in processes.children(server)]
        stubs = [pid for pid in stubs if "python_backend_stub" in "".join(processes.arguments(pid)[:1])]
        servers, proxies = named["tritonserver"], named["haproxy"]
        return {"proxy": proxies, "server": servers, "stub": stubs, "supervisor": list(supervisors)}

    def whole(self) -> bool:
        """Whether it answers through its proxy."""
        pids = self.pids()
        if any(len(group) != 1 or processes.is_stopped(group[0]) for group in pids.values()):
            return False
        probed = ((self.http, False, "/v2/health/ready"), (self.grpc, True, "/"))
        return all(PublicPort("127.0.0.1", port, grpc, False, path).answers() for port, grpc, path in probed)


@contextmanager
def single(fill: Callable[[Path], None]) -> Iterator[Single]:
    """One server without a fleet, behind its reverse proxy for HTTP and gRPC."""
    with TemporaryDirectory(prefix="single") as temporary:
        folder = Path(temporary)
        fill(folder / "models")
        ports = free_ports(ServerSettings(folder / "models"))
        command = [sys.executable, "-m", "beampipe", "serve", "--repository", str(folder / "models")]
        command += ["--http-port", str(ports.http), "--grpc-port", str(ports.grpc), "--metrics-port"]
        command += [str(ports.metrics), "--proxy", "--proxy-grpc", "--patience", "1"]
        with (folder / "log").open("wb") as log:
            keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            started = Single(keeper.pid, ports.http, ports.grpc, folder / "log")
            until(started.whole)
            yield started
        finally:
            keeper.terminate()
            keeper.wait(60)


class Load:
    """Clients with default options that send requests all the time; a context manager.

    Args:
        target: where requests are sent.

    Attributes:
        answered: number of requests that were answered.
        wrong: number of requests with a wrong answer.
        lost: errors of requests.
        slowest: longest time [s] until a request was answered.
    """

    def __init__(self, target: Target) -> None:
        self.answered = self.wrong = 0
        self.lost: list[str] = []
        self.slowest = 0.0
        self._newest = [0.0] * CLIENTS
        self._stack = ExitStack()
        self._ended, self._lock = threading.Event(), threading.Lock()
        asks = self._track_asks(target) + [self._toy_ask(target, number) for number in range(CLIENTS // 2)]
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
        """Time [s] from a moment until each client has an answer to a request that it sent later."""
        until(lambda: min(self._newest) > moment, LONGEST, 0.01)
        return time.perf_counter() - moment

    def counts(self) -> dict[str, Any]:
        """Numbers of requests since the last call."""
        with self._lock:
            numbers = {"answered": self.answered, "wrong": self.wrong, "lost": self.lost, "slowest_s": self.slowest}
            self.answered, self.wrong, self.lost, self.slowest = 0, 0, [], 0.0
        return numbers

    def _track_asks(self, target: Target) -> list[Callable[[int], bool]]:
        events = [event.hits for event in shipped_events(0)][:20]
        with DirectTrackFinder(MODEL, threads=1) as direct:
            labels = [direct.find(hits).track_id for hits in events]

        def ask_of(protocol: str) -> Callable[[int], bool]:
            finder = self._stack.enter_context(
                TritonTrackFinder(target.url(protocol), MODEL, protocol=protocol, **target.security)
            )

            def ask(which: int) -> bool:
                row = which % len(events)
                return np.array_equal(finder.find(events[row]).track_id, labels[row])

            return ask

        return [ask_of("grpc" if number % 2 else "http") for number in range(CLIENTS // 2)]

    def _toy_ask(self, target: Target, number: int) -> Callable[[int], bool]:
        protocol = "grpc" if number % 2 else "http"
        client = self._stack.enter_context(
            ModelClient(target.url(protocol), "toy", protocol=protocol, **target.security)
        )

        def ask(which: int) -> bool:
            sent = np.array([number, which], np.float32)
            return np.array_equal(client.infer({"X": sent})["Y"], 2 * sent)

        return ask

    def _ask_on(self, number: int, ask: Callable[[int], bool]) -> None:
        for which in count(number):
            if self._ended.wait(PAUSE):
                return
            begin = time.perf_counter()
            try:
                right = ask(which)
            except BeampipeError as error:
                with self._lock:
                    self.lost.append(f"{threading.current_thread().name}: {type(error).__name__}: {error}")
                self._ended.wait(0.5)
                continue
            with self._lock:
                self.answered += 1
                self.wrong += not right
                self.slowest = max(self.slowest, time.perf_counter() - begin)
            self._newest[number] = begin


Undo = Callable[[], None]
Fault = Callable[[Target, Pids, int], Undo]
"""Strikes a target whose processes are given, at the server with a number; what it returns ends a lasting fault."""


def sent(number: signal.Signals, kind: str) -> Fault:
    """A signal to one process."""

    def strike(target: Target, pids: Pids, which: int) -> Undo:
        pid = pids[kind][which % len(pids[kind])]
        with suppress(ProcessLookupError):  # the other fault of a pair has ended it
            os.kill(pid, number)
        return lambda: None

    return strike


def without_descriptors(kind: str) -> Fault:
    """A process may not open more files than it has open now."""

    def strike(target: Target, pids: Pids, which: int) -> Undo:
        pid = pids[kind][which % len(pids[kind])]
        with suppress(ProcessLookupError, FileNotFoundError):
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            open_now = len(os.listdir(f"/proc/{pid}/fd"))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(open_now, before[0]), before[1]))

            def undo() -> None:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

            return undo
        return lambda: None

    return strike


def filled(folder: Callable[[], Path]) -> Fault:
    """A file system without space."""

    def strike(target: Target, pids: Pids, which: int) -> Undo:
        path = folder() / "filler"
        with path.open("wb", buffering=0) as filler, suppress(OSError):
            free = os.statvfs(path.parent)
            os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_frsize)
            filler.seek(0, os.SEEK_END)
            while True:  # what was freed meanwhile
                filler.write(bytes(1 << 12))
        return lambda: path.unlink(missing_ok=True)

    return strike


def jump(target: Target, pids: Pids, which: int) -> Undo:
    """The time of day, a day ahead."""
    file = Path(os.environ[CLOCK])

    def shift(seconds: int) -> None:
        with file.open("r+b") as stream:
            stream.write(seconds.to_bytes(8, sys.byteorder, signed=True))

    shift(DAY)
    return lambda: shift(0)


def rotate_certificate(target: Target, pids: Pids, which: int) -> Undo:
    """A new certificate of the same authority."""
    fleet = fleet_of(target)
    assert fleet.authority is not None
    before = serial_of(fleet)
    make_server(fleet.authority.parent, HOSTS)
    until(lambda: serial_of(fleet) != before)
    return lambda: None


def serial_of(fleet: Running) -> str:
    """Serial number of the certificate that the gateway shows now."""
    context = ssl.create_default_context(cafile=fleet.authority)
    with (
        socket.create_connection(("127.0.0.1", fleet.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        certificate = connection.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def restart_all(target: Target, pids: Pids, which: int) -> Undo:
    """The command returns when it is done."""
    fleet_of(target).order("restart")
    assert not set(pids["server"]) & set(target.pids()["server"])
    return lambda: None


def reload_gateway(target: Target, pids: Pids, which: int) -> Undo:
    """Another length of the queue."""
    fleet = fleet_of(target)
    old, new = ("64", "65") if "queue = 64" in fleet.specification.read_text(encoding="utf-8") else ("65", "64")
    fleet.change(f"queue = {old}", f"queue = {new}")
    until(lambda: set(target.pids()["worker"]) != set(pids["worker"]))
    return lambda: None


def fleet_of(target: Target) -> Running:
    assert isinstance(target, WholeFleet)
    return target.fleet


SIGNALS: Final = {"stopped": signal.SIGSTOP, "killed": signal.SIGKILL, "terminated": signal.SIGTERM}
PROCESSES: Final = ("worker", "master", "proxy", "server", "stub", "supervisor", "reconciler", "Prometheus")
OF_SINGLE: Final = ("proxy", "server", "stub", "supervisor")
"""Processes of a single server, and of each server of a fleet."""
ORDERLY_END: Final = {"reconciler"}
"""Processes that end all by SIGTERM, as they should; of a single server the supervisor."""
SURVIVED: Final = "terminated stub"
"""A signal that a process may survive: Triton's stubs ignore SIGTERM while they are busy."""
DISK, SHARED_MEMORY, JUMP = "full disk", "full shared memory", "clock jump"

FAULTS: Final[dict[str, Fault]] = {
    **{
        f"{word} {kind}": sent(number, kind)
        for kind in PROCESSES
        for word, number in SIGNALS.items()
        if not (number == signal.SIGTERM and kind in ORDERLY_END)
    },
    **{
        f"no descriptors {kind}": without_descriptors(kind) for kind in ("worker", "server", "supervisor", "reconciler")
    },
    DISK: filled(lambda: Path(os.environ["TMPDIR"])),
    SHARED_MEMORY: filled(lambda: Path("/dev/shm")),
    JUMP: jump,
}
OPERATIONS: Final[dict[str, Fault]] = {
    "rotated certificate": rotate_certificate,
    "reloaded gateway": reload_gateway,
    "rolling restart": restart_all,
}

Case = tuple[str, ...]
"""Names of the faults that strike at once."""


def process_of(fault: str) -> str:
    """Kind of the process that a fault strikes; empty if it strikes none."""
    word = fault.rpartition(" ")[2]
    return word if word in PROCESSES else ""


def cases_of(options: argparse.Namespace) -> list[Case]:
    """The faults alone, and their pairs, in an order that makes any first part of them a fair sample."""
    names = [name for name in options.only or FAULTS if name in FAULTS]
    names = [name for name in names if possible(name, options)]
    alone: list[Case] = [(name,) for name in names]
    alone += [(name,) for name in OPERATIONS if (not options.only or name in options.only) and not options.single]
    twins = set() if options.single else set(OF_SINGLE)
    pairs: list[Case] = []
    for first, second in combinations_with_replacement(names, 2):
        kinds = {process_of(first), process_of(second)}
        if len(kinds) == 2 or kinds <= twins or (kinds == {""} and first != second):
            pairs.append((first, second))
    random.Random(options.seed).shuffle(pairs)
    return [*([] if options.pairs else alone), *([] if options.alone else pairs)]


def possible(name: str, options: argparse.Namespace) -> bool:
    """Whether a fault can be made here."""
    kind = process_of(name)
    if options.single and kind and (kind not in OF_SINGLE or name == "terminated supervisor"):
        return False
    if name in (DISK, SHARED_MEMORY):
        return NAMESPACE in os.environ
    return name != JUMP or CLOCK in os.environ


def main() -> None:
    parser = options_of("faults", __doc__)
    parser.add_argument("--times", type=int, default=1, help="number of times that each case is made")
    parser.add_argument("--only", nargs="+", metavar="FAULT", choices=[*FAULTS, *OPERATIONS], help="faults to make")
    parser.add_argument("--alone", action="store_true", help="no pairs")
    parser.add_argument("--pairs", action="store_true", help="pairs only")
    parser.add_argument("--lasting", type=float, default=4.0, help="time for which a fault that is no signal lasts [s]")
    parser.add_argument("--minutes", type=float, default=60.0, help="time after which no further case begins")
    parser.add_argument("--single", action="store_true", help="one server in place of a fleet")
    options = parser.parse_args()
    if NAMESPACE not in os.environ and can_mount():
        command = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, NAMESPACE: "1"})
    with TemporaryDirectory(prefix="faults") as folder, file_systems(Path(folder)):
        shift_clock_of_children(Path(folder))
        cases = cases_of(options)
        begun = begin(f"faults of a {'server' if options.single else 'fleet'}: {len(cases)} cases")
        for name in (DISK, SHARED_MEMORY, JUMP):
            if not possible(name, options):
                CONSOLE.print(f"left out: {name}, which cannot be made here", style="yellow")
        rows = {case: new_row(case) for case in cases}
        for row in strike_all(cases, options):
            add(rows[tuple(row["faults"])], row)
    done = [row for row in rows.values() if row["times"]]
    figures = []
    for name, size in (("alone", 1), ("pairs", 2)):
        if chosen := [row for row in done if len(row["faults"]) == size]:
            figures += [
                Figure(f"{name}: cases", len(chosen), "", "higher"),
                Figure(f"{name}: answered", sum(row["answered"] for row in chosen), "", "higher"),
                Figure(f"{name}: lost", sum(len(row["lost"]) for row in chosen), "", "equal"),
                Figure(f"{name}: wrong", sum(row["wrong"] for row in chosen), "", "equal"),
                Figure(f"{name}: not as wanted afterwards", sum(len(row["not_whole"]) for row in chosen), "", "equal"),
                Figure(f"{name}: longest flow", max(max(row["flow_s"], default=0.0) for row in chosen), "s"),
            ]
    write_result(options.output, begun, figures, rows=done)
    raise SystemExit(1 if any(figure.value for figure in figures if figure.better == "equal") else 0)


def can_mount() -> bool:
    """Whether this process can have file systems of its own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def file_systems(folder: Path) -> Iterator[None]:
    """File systems of limited size for temporary files and for shared memory, where there is a mount namespace."""
    if NAMESPACE not in os.environ:
        yield
        return
    mounted = {folder: "1g", Path("/dev/shm"): "256m"}
    for path, size in mounted.items():
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        os.environ.pop("LD_PRELOAD", None)
        tempfile.tempdir = None
        for path in mounted:
            subprocess.run(["umount", "--lazy", path], check=False)


def shift_clock_of_children(folder: Path) -> None:
    """Have processes that are started from now on read the time of day through `clock.c`, if it can be compiled."""
    library, file = folder / "clock.so", folder / "clock"
    command = ["gcc", "-O1", "-shared", "-fPIC", "-o", library, Path(__file__).with_name("clock.c")]
    if shutil.which("gcc") is None or subprocess.run(command, check=False).returncode != 0:
        return
    file.write_bytes(bytes(8))
    os.environ |= {CLOCK: str(file), "LD_PRELOAD": str(library)}


def strike_all(cases: Sequence[Case], options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What each case did, once and again. A target that did not become whole is replaced by a new one."""
    end = time.monotonic() + 60 * options.minutes
    remaining = iter([(case, which) for which in range(options.times) for case in cases])

    def fill(repository: Path) -> None:
        write_tracking(repository, MODEL)
        write_toy(repository, start=0.005)

    @contextmanager
    def opened() -> Iterator[Target]:
        if options.single:
            with single(fill) as server:
                yield server
        else:
            with running(fill, gateway="queue = 64", secure=True, prometheus=True, patience=1.0) as fleet:
                yield WholeFleet(fleet)

    going = True
    while going:
        with opened() as target, Load(target) as load:
            until(target.whole)
            for case, which in remaining:
                if time.monotonic() > end:
                    going = False
                    break
                row = suffered(target, load, case, which, options.lasting)
                yield row
                if row["not_whole"]:
                    break
            else:
                going = False


def suffered(target: Target, load: Load, case: Case, which: int, lasting: float) -> dict[str, Any]:
    """One case, once."""
    load.counts()
    pids = target.pids()
    begin = time.perf_counter()
    faults = [(FAULTS | OPERATIONS)[name] for name in case]
    gone = {
        pids[kind][(which + number * twins(case)) % len(pids[kind])]
        for number, name in enumerate(case)
        if name.partition(" ")[0] in SIGNALS and name != SURVIVED and (kind := process_of(name))
    }
    undo = [fault(target, pids, which + number * twins(case)) for number, fault in enumerate(faults)]
    if any(not process_of(name) or name.startswith("no descriptors") for name in case if name in FAULTS):
        time.sleep(lasting)
    for end_fault in undo:
        end_fault()
    flow = whole = None
    state = ""
    try:
        flow = load.settle(begin)
        whole = wait_until_whole(target, gone) - begin
        load.settle(time.perf_counter())
    except SystemExit:
        state = state_of(target)
    counts = load.counts()
    words = f"{counts['answered']} answered, {len(counts['lost'])} lost, {counts['wrong']} wrong"
    words += f", whole after {whole:.1f} s" if whole is not None else f", NOT whole after {LONGEST:g} s: {state}"
    CONSOLE.print(f"{' + '.join(case)}: {words}", markup=False, soft_wrap=True)
    for error in counts["lost"][:3]:
        CONSOLE.print(f"  {error}", markup=False, soft_wrap=True)
    return {"faults": list(case), "flow_s": flow, "whole_s": whole, "not_whole": state, **counts}


def twins(case: Case) -> bool:
    """Whether both faults strike a process of the same kind: then of two servers."""
    return len(case) == 2 and process_of(case[0]) == process_of(case[1]) != ""


def wait_until_whole(target: Target, gone: Set[int]) -> float:
    """The moment from which on every process runs as wanted, and does so for a while.

    Args:
        target: what was struck.
        gone: process ids that must have ended.

    Raises:
        SystemExit: that takes too long.
    """
    deadline = time.perf_counter() + LONGEST
    while True:
        until(lambda: not any(map(processes.is_alive, gone)) and holds(target.whole), deadline - time.perf_counter())
        moment, before = time.perf_counter(), target.pids()
        time.sleep(SURE)  # a fault may not have been noticed yet
        with suppress(BeampipeError, OSError):
            if target.whole() and target.pids() == before:
                return moment


def holds(what: Callable[[], bool]) -> bool:
    """Whether something holds; not while nobody can tell."""
    with suppress(BeampipeError, OSError):
        return what()
    return False


def state_of(target: Target) -> str:
    """The state of a target that is not whole."""
    try:
        return f"{target.status()} {target.pids()}"
    except (BeampipeError, OSError) as error:
        return str(error)


def new_row(case: Case) -> dict[str, Any]:
    """A row without figures."""
    lists: dict[str, list[Any]] = {name: [] for name in ("lost", "not_whole", "flow_s", "whole_s")}
    return {"faults": list(case), "times": 0, "answered": 0, "wrong": 0, "slowest_s": 0.0, **lists}


def add(row: dict[str, Any], once: Mapping[str, Any]) -> None:
    """Add the figures of one time to those of all times."""
    row["times"] += 1
    row["answered"] += once["answered"]
    row["wrong"] += once["wrong"]
    row["slowest_s"] = max(row["slowest_s"], once["slowest_s"])
    row["lost"] += once["lost"]
    for name in ("not_whole", "flow_s", "whole_s"):
        row[name] += [once[name]] if once[name] else []


if __name__ == "__main__":
    main()
