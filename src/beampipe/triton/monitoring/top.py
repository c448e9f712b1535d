"""Live rates of servers and their models: as a table of all, and as one line for a single server."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from beampipe.errors import BeampipeError, ServiceUnavailableError
from beampipe.terminal import live, make_table
from beampipe.triton.monitoring.counters import Counters, read_metrics
from beampipe.triton.monitoring.rates import Rates, rates_between
from beampipe.triton.supervision.stubs import memory_of_stubs

__all__ = ["ServerWatch", "rates_facts", "rates_table", "require_answer", "show_rates", "status_line", "two_looks"]

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
)


class ServerWatch:
    """Rates of one server, from one look at its metrics to the next.

    Args:
        url: address of the server's metrics, ``host:port``.

    Attributes:
        counters: counters at the last look that was answered, by model.
        rates: rates between the last two looks, by model; empty unless both were answered.
        error: reason why the last look was not answered; None if it was.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.counters: Mapping[str, Counters] = {}
        self.rates: Mapping[str, Rates] = {}
        self.error: str | None = None
        self._time = 0.0

    def look(self) -> None:
        """Ask the server once; if it does not answer, its reason is kept in `error`."""
        try:
            after = read_metrics(self.url)
        except BeampipeError as error:
            self.error, self.rates = str(error), {}
            return
        now = time.monotonic()
        if self._time:
            seconds = max(now - self._time, 1e-3)
            self.rates = {
                model: rates_between(self.counters.get(model), count, seconds) for model, count in after.items()
            }
        self.error, self.counters, self._time = None, after, now


def status_line(watch: ServerWatch) -> str:
    """The rates of all busy models of a server in one line."""
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
    failed = sum(count.values.get("failed", 0.0) for count in watch.counters.values())
    answered = sum(count.values.get("answered", 0.0) for count in watch.counters.values())
    return " | ".join([*parts, f"{answered:.0f} answered, {failed:.0f} failed so far"])


def rates_table(watches: Sequence[ServerWatch], per_event: Sequence[str] = ()) -> Table:
    """All servers and models, one row each, with the mean time in each stage below the name of the model.

    Args:
        watches: the servers.
        per_event: names of counters of the models' own, of which the mean amount in an event gets a column.
    """
    caption = "latency: in the server, queue + compute; memory: of the models' processes"
    table = make_table("", ("server", "model"), (*_COLUMNS, *per_event), caption=caption)
    for watch in watches:
        if watch.error is not None:
            table.add_row(watch.url, "no answer", style="red")
        memory = memory_of_stubs(watch.url)
        for number, (model, one) in enumerate(watch.rates.items()):
            own = [_text(one.per_event.get(name), 0) for name in per_event]
            row = (_with_stages(model, one), *_cells(one, memory.get(model)), *own)
            table.add_row(watch.url if number == 0 else "", *row)
    return table


def rates_facts(watches: Sequence[ServerWatch]) -> list[dict[str, Any]]:
    """What `rates_table` shows, for a script: each server, and of each model its `Rates` and its memory [MB]."""
    facts = []
    for watch in watches:
        memory = memory_of_stubs(watch.url)
        models = {model: {**asdict(one), "memory": memory.get(model)} for model, one in watch.rates.items()}
        facts.append({"server": watch.url, "error": watch.error, "models": models})
    return facts


def two_looks(urls: Sequence[str], interval: float = 1.0) -> list[ServerWatch]:
    """Servers after two looks at their metrics, from which there are rates.

    Args:
        urls: addresses of the servers' metrics, ``host:port``.
        interval: time between the looks [s].
    """
    watches = [ServerWatch(url) for url in urls]
    _look(watches)
    time.sleep(interval)
    _look(watches)
    return watches


def require_answer(watches: Sequence[ServerWatch]) -> None:
    """Refuse what no server has answered.

    Raises:
        ServiceUnavailableError: no server answers.
    """
    if all(watch.error is not None for watch in watches):
        raise ServiceUnavailableError("; ".join(watch.error or "" for watch in watches), url=watches[0].url)


def show_rates(
    urls: Sequence[str], out: Console, *, interval: float = 1.0, once: bool = False, per_event: Sequence[str] = ()
) -> None:
    """Show the table of rates, again and again on a terminal until Ctrl-C.

    Args:
        urls: addresses of the servers' metrics, ``host:port``.
        out: where the table is shown.
        interval: time between two looks [s].
        once: show one table only, as is done in any case where `out` is no terminal.
        per_event: names of counters of the models' own, as `rates_table` takes them.

    Raises:
        ServiceUnavailableError: one table was to be shown, and no server answers.
    """
    watches = two_looks(urls, interval)
    if once or not out.is_terminal:
        out.print(rates_table(watches, per_event))
        require_answer(watches)
        return
    try:
        with live(out) as show:
            while True:
                show(rates_table(watches, per_event))
                time.sleep(interval)
                _look(watches)
    except KeyboardInterrupt:
        return


def _look(watches: Sequence[ServerWatch]) -> None:
    for watch in watches:
        watch.look()


def _with_stages(model: str, one: Rates) -> str:
    stages = ", ".join(f"{name} {value:.2f} ms" for name, value in one.stages.items())
    return f"{model}\n  [dim]{stages}[/dim]" if stages else model


def _cells(one: Rates, memory: float | None) -> list[str]:
    return [
        _text(one.requests),
        _text(one.inferences),
        _text(one.batch),
        _text(one.latency, 2),
        _text(one.queue, 2),
        _text(one.compute, 2),
        f"[red]{one.failures:.1f}[/red]" if one.failures else "0.0",
        str(one.pending),
        _text(memory, 0),
    ]


def _text(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"
