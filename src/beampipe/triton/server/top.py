"""`beampipe serving top` and the status line of `beampipe serve`: live rates of servers and their models."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.table import Table

from beampipe import processes
from beampipe.errors import BeampipeError
from beampipe.terminal import make_table
from beampipe.triton.server.scrape import Counters, Rates, rates, read_metrics

__all__ = ["Watch", "status_line", "stub_memory", "table"]

_COLUMNS: Final = (
    "requests/s",
    "events/s",
    "batch",
    "latency ms",
    "queue ms",
    "compute ms",
    "failures/s",
    "pending",
    "memory MB",
    "hits",
    "tracks",
)


class Watch:
    """Rates of one server, from one look at its metrics to the next.

    Args:
        url: ``host:port`` of its metrics.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.totals: Mapping[str, Counters] = {}
        self.rates: Mapping[str, Rates] = {}
        self.error: str | None = None
        self._time = 0.0

    def look(self) -> None:
        """Ask once; a server that does not answer leaves its reason in `error`."""
        try:
            after = read_metrics(self.url)
        except BeampipeError as error:
            self.error, self.rates = str(error), {}
            return
        now = time.monotonic()
        if self._time:
            seconds = max(now - self._time, 1e-3)
            self.rates = {model: rates(self.totals.get(model), count, seconds) for model, count in after.items()}
        self.error, self.totals, self._time = None, after, now


def status_line(watch: Watch) -> str:
    """The rates of all models in one line."""
    if watch.error is not None:
        return "no answer from the server"
    busy = {name: one for name, one in watch.rates.items() if one.requests or one.failures or one.pending}
    total = sum(one.requests for one in busy.values())
    parts = [f"{total:.1f} requests/s"]
    for name, one in busy.items():
        latency = "" if one.latency is None else f" {one.latency:.1f} ms (queue {one.queue:.1f})"
        batch = f" batch {one.batch:.1f}" if one.batch is not None and one.batch > 1.05 else ""
        errors = f" {one.failures:.1f} failures/s" if one.failures else ""
        pending = f" {one.pending} pending" if one.pending else ""
        parts.append(f"{name} {one.requests:.1f}/s{latency}{batch}{pending}{errors}")
    failed = sum(count.values.get("failed", 0.0) for count in watch.totals.values())
    answered = sum(count.values.get("answered", 0.0) for count in watch.totals.values())
    return " | ".join([*parts, f"{answered:.0f} answered, {failed:.0f} failed so far"])


def table(watches: Sequence[Watch]) -> Table:
    """All servers and models, one row each; mean time in each step of the pipeline below the model's name."""
    caption = "latency: in the server, queue + compute; memory: of the models' processes"
    made = make_table("", ("server", "model"), _COLUMNS, caption=caption)
    for watch in watches:
        if watch.error is not None:
            made.add_row(watch.url, "no answer", style="red")
        memory = stub_memory(watch.url)
        for number, (model, one) in enumerate(watch.rates.items()):
            made.add_row(watch.url if number == 0 else "", _cell(model, one), *_cells(one, memory.get(model)))
    return made


def _cell(model: str, one: Rates) -> str:
    stages = ", ".join(f"{name} {value:.2f} ms" for name, value in one.stages.items())
    return f"{model}\n  [dim]{stages}[/dim]" if stages else model


def _cells(one: Rates, memory: float | None) -> list[str]:
    def text(value: float | None, digits: int = 1) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return [
        text(one.requests),
        text(one.inferences),
        text(one.batch),
        text(one.latency, 2),
        text(one.queue, 2),
        text(one.compute, 2),
        f"[red]{one.failures:.1f}[/red]" if one.failures else "0.0",
        str(one.pending),
        text(memory, 0),
        text(one.hits, 0),
        text(one.tracks, 0),
    ]


def stub_memory(metrics_url: str) -> dict[str, float]:
    """Resident memory of the stubs of each model [MB], for a server of this machine; else empty."""
    host, _, port = metrics_url.rpartition(":")
    found: dict[str, float] = {}
    if host.removeprefix("http://") not in ("127.0.0.1", "localhost", "[::1]"):
        return found
    commands = dict(processes.command_lines())
    servers = {pid for pid, line in commands.items() if f"--metrics-port={port}" in line}
    for pid, line in commands.items():
        # A stub's command line: model file, region, sizes, process of the server, ...
        if len(line) > 8 and line[0].endswith("_stub") and line[5].isdigit() and int(line[5]) in servers:
            model = Path(line[1]).parts[-3]
            found[model] = found.get(model, 0.0) + (processes.resident_memory(pid) or 0) / 1e6
    return found
