"""The same pipeline in Triton with our model, in Ray Serve, in LitServe and in BentoML: throughput and latency.

    pip install 'beampipe[tracking,serving,bench]'
    python benchmarks/serving/peers.py --mu 0 60 200 --concurrency 1 4 16 --seconds 5 --json runs/bench/peers.json

Every server holds the pipeline in as many processes, one thread each, gets float32 and gives int64 as bytes, and is
asked by the same HTTP client (only the frame around the bytes differs: Triton's is the binary KServe v2 protocol). Ours
is measured once more through `TritonTrackFinder`. One server runs at a time; the order turns round at each repeat.
Each label of each answer is compared with the direct ones: a server that gives a wrong one gets no figures.

Ratios are ours / theirs by the plain HTTP client, one event at a time against one at a time and batching against
batching: throughput above 1, latency and processor time below 1 are good. On a machine that is not idle only the ratio
of processor times means much.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final, Self

import beampipe.terminal.scripts  # noqa: F401

from hosts import HOSTS, Host, SenderMaker, Settings
from rich.table import Table

from beampipe.errors import BeampipeError, WrongLabelsError
from beampipe.serving.load import (
    Summary,
    Workload,
    closed_loop,
    direct_workload,
    open_loop,
    summarise,
    verify,
)
from beampipe.tracking import load_pipeline
from beampipe.tracking.data import shipped_events

sys.path.insert(0, str(Path(__file__).parents[1]))  # the benchmarks beside this folder share their report
from recording import CONSOLE, conditions, print_conditions, write_result

OURS: Final = {False: "triton", True: "triton batching"}
COMPARED: Final = ("throughput", "p50", "p99", "cpu")
CAPTION: Final = (
    "medians over the repeats; others: cores busy with other programs; cpu: server and client, per event;"
    " last four: ours / theirs"
)
IN_FLIGHT: Final = 64
"""Connections of the open loop."""


@dataclass(frozen=True)
class Load:
    """One kind of load.

    Attributes:
        mu: pile-up of the events.
        concurrency: requests in flight, or None for an open loop.
        rate: events per second, or None for a closed loop.
    """

    mu: int
    concurrency: int | None
    rate: float | None

    def __str__(self) -> str:
        return f"mu={self.mu}, " + (f"{self.concurrency} in flight" if self.concurrency else f"{self.rate:g} events/s")


@dataclass(frozen=True)
class Point:
    """A measured point.

    Attributes:
        host: name of the server.
        client: name of the way in which the server was asked.
        load: how much the server was asked.
        repeat: number of the repeat.
        load_average_before: load average of the machine just before.
        others: number of cores that other programs kept busy meanwhile; where they are many, times are worth little.
        cpu: processor time of server and client per event [s], which other programs disturb less.
        summary: what was measured.
    """

    host: str
    client: str
    load: Load
    repeat: int
    load_average_before: float
    others: float
    cpu: float
    summary: Summary


@dataclass(frozen=True)
class Watch:
    """Who used the processor since the start.

    Attributes:
        pid: process id of the server.
        load_average: load average of one minute, at the start.
        busy: processor time of the machine [s].
        ours: processor time of the server and of this process [s].
        time: wall clock [s].
    """

    pid: int
    load_average: float
    busy: float
    ours: float
    time: float

    @classmethod
    def start(cls, pid: int) -> Self:
        """Begin now."""
        return cls(pid, os.getloadavg()[0], _busy_seconds(), _family_seconds(pid), monotonic())

    def stop(self) -> tuple[float, float]:
        """Processor time of the server and this process [s], and cores that anything else kept busy, on average."""
        used = _family_seconds(self.pid) - self.ours
        rest = _busy_seconds() - self.busy - used
        return used, max(0.0, rest / (monotonic() - self.time))


def _busy_seconds() -> float:
    import psutil

    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def _family_seconds(pid: int) -> float:
    import psutil

    own = psutil.Process()
    total = sum(own.cpu_times()[:2])
    server = psutil.Process(pid)
    for process in (server, *server.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return float(total)


def main() -> None:
    options = parse()
    # So that a server is stopped, too, when this is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = Settings(options.pipeline, options.replicas, options.python)
    hosts = available(options.hosts, options.python)
    loads = [Load(mu, concurrency, None) for mu in options.mu for concurrency in options.concurrency]
    loads += [Load(0, 64, None)] if 0 in options.mu and 64 not in options.concurrency else []
    loads += [Load(mu, None, rate) for mu in options.mu for rate in options.rate]
    direct = load_pipeline(options.pipeline, threads=1)
    workloads = {mu: direct_workload(events(mu, options.events), direct.find) for mu in options.mu}
    begun = conditions(replicas=options.replicas, threads_per_replica=1, peers=versions(options.python))
    print_conditions("peers", begun)
    points: list[Point] = []
    failed: dict[str, str] = {}
    for repeat in range(options.repeats):
        for name in hosts if repeat % 2 == 0 else reversed(hosts):
            try:
                for point in measure_host(name, settings, loads, workloads, repeat, options.seconds):
                    CONSOLE.print(line(point), markup=False, highlight=False)
                    points.append(point)
            except (BeampipeError, TimeoutError) as error:
                failed[name] = str(error)
                CONSOLE.print(f"{name} FAILED: {error}", style="red", markup=False)
            if options.json:
                write_result(options.json, begun, {"points": [asdict(point) for point in points], "failed": failed})
    # What failed once has no figures.
    CONSOLE.print(table([point for point in points if point.host not in failed], loads))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measure_host(
    name: str,
    settings: Settings,
    loads: Sequence[Load],
    workloads: dict[int, Workload],
    repeat: int,
    seconds: float,
) -> Iterator[Point]:
    """All points of one server, which runs meanwhile."""
    with HOSTS[name].start(settings) as server:
        for client, maker in server.clients.items():
            for load in loads:
                watch = Watch.start(server.pid)
                summary = measure(maker, load, workloads[load.mu], repeat, seconds)
                seconds_used, others = watch.stop()
                cpu = seconds_used / (summary.sent + len(workloads[load.mu]))
                yield Point(name, client, load, repeat, watch.load_average, others, cpu, summary)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pipeline", default="exatrkx")
    add("--hosts", nargs="+", choices=HOSTS, default=[name for name in HOSTS if name != "ray default"], metavar="NAME")
    add("--mu", nargs="+", type=int, default=[0, 60, 200], help="pile-up of the events")
    add("--concurrency", nargs="+", type=int, default=[1, 4, 16], help="closed loop: requests in flight; mu=0 also 64")
    add("--rate", nargs="*", type=float, default=[], help="open loop: events per second")
    add("--seconds", type=float, default=5.0, help="length of one measurement, at least")
    add("--repeats", type=int, default=2)
    add("--replicas", type=int, default=len(os.sched_getaffinity(0)), help="processes per server; one thread each")
    add("--events", type=Path, help="folder with test0.parquet, test60.parquet, ...; the shipped events if not given")
    add("--python", type=Path, default=Path(sys.executable), help="interpreter that has the peers")
    add("--json", type=Path, help="file to write")
    return parser.parse_args()


def available(names: Sequence[str], python: Path) -> list[str]:
    """Those whose packages the interpreter has; the others are named in a line."""
    results = []
    for name in names:
        code = "import importlib.util as u, sys; sys.exit(any(u.find_spec(n) is None for n in sys.argv[1:]))"
        if subprocess.run([python, "-c", code, *HOSTS[name].packages], check=False).returncode == 0:
            results.append(name)
        else:
            CONSOLE.print(f"skipped: {name}: not installed: pip install 'beampipe[bench]'", markup=False)
    return results


def events(mu: int, folder: Path | None) -> list[Any]:
    """Hits of the events to cycle through."""
    if folder is None:
        return [event.hits for event in shipped_events(mu)]
    from beampipe.simulation.degradation import DEFAULT, degrade
    from beampipe.tracking.formats import open_events

    read = islice(open_events(folder / f"test{mu}.parquet"), {0: 200, 60: 20}.get(mu, 8))
    return [degrade(event, DEFAULT, 1, run_seed=1).hits for event in read]


def measure(maker: SenderMaker, load: Load, workload: Workload, repeat: int, seconds: float) -> Summary:
    """One point, its labels compared before and during it."""
    sender = maker(workload, load.concurrency or IN_FLIGHT)
    try:
        verify(sender, workload)
        if load.concurrency is not None:
            run = closed_loop(sender, workload, load.concurrency, seconds=seconds)
        else:
            assert load.rate is not None
            run = open_loop(sender, workload, load.rate, seconds=seconds, in_flight=IN_FLIGHT, seed=repeat)
    finally:
        sender.close()
    if run.wrong:
        raise WrongLabelsError(f"{load}: got {next(iter(run.faults))}, expected the direct labels")
    return summarise(run)


def line(point: Point) -> str:
    """A point in words, as it is measured."""
    one = point.summary
    faults = f", {one.faults} FAILED" if one.faults else ""
    return (
        f"{point.host:17s} {point.client:11s} {point.load!s:24s} {one.throughput:8.1f} /s"
        f"  p50 {one.p50 * 1e3:8.2f}  p95 {one.p95 * 1e3:8.2f}  p99 {one.p99 * 1e3:8.2f} ms"
        f"  (n {one.requests}, client {one.generator * 1e6:.0f} us each,"
        f" cpu {point.cpu * 1e3:.2f} ms, others {point.others:.2f} cores){faults}"
    )


def figure(points: Iterable[Point], host: str, client: str, load: Load, name: str) -> float | None:
    """Median over the repeats."""
    values = [
        getattr(point if name in ("others", "cpu") else point.summary, name)
        for point in points
        if (point.host, point.client, point.load) == (host, client, load)
    ]
    return statistics.median(values) if values else None


def table(points: Sequence[Point], loads: Sequence[Load]) -> Table:
    """All points; ratios are ours / theirs by the plain client."""
    out = Table(title="one pipeline, several servers", caption=CAPTION)
    for name in ("load", "server", "client"):
        out.add_column(name)
    for name in (
        "events/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "failed",
        "others",
        "cpu ms",
        "throughput",
        "p50",
        "p99",
        "cpu",
    ):
        out.add_column(name, justify="right")
    kinds = list(dict.fromkeys((point.host, point.client) for point in points))
    for load in loads:
        for host, client in kinds:
            out.add_row(*_row(points, host, client, load))
        out.add_section()
    return out


def _row(points: Sequence[Point], host: str, client: str, load: Load) -> list[str]:
    def number(name: str) -> float:
        value = figure(points, host, client, load, name)
        return float("nan") if value is None else value

    row = [str(load), host, client, f"{number('throughput'):.1f}"]
    row += [f"{number(name) * 1e3:.2f}" for name in ("p50", "p95", "p99")]
    row += [f"{number('faults'):.0f}", f"{number('others'):.2f}", f"{number('cpu') * 1e3:.2f}"]
    host_kind: Host = HOSTS[host]
    if host_kind.ours:
        return [*row, "", "", "", ""]
    ours = [figure(points, OURS[host_kind.batching], "http", load, name) for name in COMPARED]
    return row + [
        "-" if mine is None else _ratio(mine / number(name), more_is_better=name == "throughput")
        for name, mine in zip(COMPARED, ours, strict=True)
    ]


def _ratio(value: float, *, more_is_better: bool) -> str:
    behind = value < 1 if more_is_better else value > 1
    return f"[red]{value:.2f}[/red]" if behind else f"{value:.2f}"


def versions(python: Path) -> dict[str, str | None]:
    """Versions of the peers, as their interpreter sees them."""
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    runs = {
        name: subprocess.run([python, "-c", code, name], check=False, capture_output=True, text=True)
        for name in ("ray", "litserve", "bentoml")
    }
    return {name: run.stdout.strip() or None for name, run in runs.items()}


if __name__ == "__main__":
    main()
