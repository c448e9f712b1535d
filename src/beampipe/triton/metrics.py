"""Counters of running servers, rates computed from them, and the live table of `beampipe serving top`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from beampipe.errors import BeampipeError, ServiceError, ServiceUnavailableError
from beampipe.terminal import live, make_table
from beampipe.triton.server import management
from beampipe.triton.supervision.stubs import memory_of_stubs

_TRITON: Final = {
    "nv_inference_request_success": "answered",
    "nv_inference_request_failure": "failed",
    "nv_inference_count": "inferences",
    "nv_inference_exec_count": "executions",
    "nv_inference_request_duration_us": "request_us",
    "nv_inference_queue_duration_us": "queue_us",
    "nv_inference_compute_input_duration_us": "compute_us",
    "nv_inference_compute_infer_duration_us": "compute_us",
    "nv_inference_compute_output_duration_us": "compute_us",
    "nv_inference_pending_request_count": "pending",
}

_OURS: Final = "beampipe_"

_STAGE: Final = "beampipe_stage_seconds"


@dataclass(frozen=True)
class Counters:
    """What one model has done since it was loaded, over all its instances and versions.

    Attributes:
        values: Triton's counters by name: ``answered`` and ``failed`` (requests), ``inferences`` (events) and
            ``executions`` (calls of the model), ``request_us``, ``queue_us`` and ``compute_us`` (sums over requests,
            in microseconds), and ``pending``, the number of requests that wait now.
        observed: the model's own counters by name, such as ``events``.
        stages: time [s] spent in each stage of the model, by name.
    """

    values: Mapping[str, float]
    observed: Mapping[str, float]
    stages: Mapping[str, float]


def parse_metrics(text: str) -> dict[str, Counters]:
    """Read the Prometheus text of a Triton.

    Returns:
        The counters by name of the model.

    Raises:
        MissingExtraError: the package `prometheus_client` is not installed.
        ServiceError: the text is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    found: defaultdict[str, tuple[dict[str, float], dict[str, float], dict[str, float]]]
    found = defaultdict(lambda: (defaultdict(float), defaultdict(float), defaultdict(float)))
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values, observed, stages = found[sample.labels.get("model", "")]
                name = sample.name.removesuffix("_total")  # the parser adds it to counters that lack it
                if name in _TRITON:
                    values[_TRITON[name]] += sample.value
                elif name == _STAGE:
                    stages[sample.labels.get("stage", "")] += sample.value
                elif name.startswith(_OURS):
                    observed[name.removeprefix(_OURS)] += sample.value
    except ValueError as error:
        raise ServiceError(f"metrics: got text that cannot be read ({error}), expected Triton's /metrics") from error
    found.pop("", None)  # what is said of no model
    return {model: Counters(*map(dict, sums)) for model, sums in sorted(found.items()) if sums[0] or sums[1]}


def read_metrics(url: str) -> dict[str, Counters]:
    """Ask a server for its counters.

    Args:
        url: address of the server's metrics, ``host:port``.

    Returns:
        The counters by name of the model.

    Raises:
        ServiceUnavailableError: nobody answers at that address.
        ServiceError: somebody else answers.
    """
    try:
        status, body = management.request(url, "GET", "/metrics", timeout=5.0)
    except OSError as error:
        message = f"{url}: got no answer ({error}), expected the metrics port of a Triton"
        raise ServiceUnavailableError(message, url=url) from error
    if status != 200:
        raise ServiceError(f"{url}: got status {status} for /metrics, expected the metrics port of a Triton", url=url)
    return parse_metrics(body.decode(errors="replace"))


@dataclass(frozen=True)
class Rates:
    """What one model does.

    Attributes:
        requests: requests answered per second.
        failures: requests failed per second.
        inferences: events answered per second; a batch holds several.
        batch: mean number of events in one call of the model; None if there was no call.
        latency: mean time of a request in the server [ms]; None if no request was answered.
        queue: mean time that a request waited in the server [ms]; None if no request was answered.
        compute: mean time of a request in the model [ms]; None if no request was answered.
        pending: number of requests that wait now.
        per_event: mean amount in an event of each counter of the model's own; empty if no event was answered.
        stages: mean time of an event in each stage of the model [ms]; empty if no event was answered.
    """

    requests: float
    failures: float
    inferences: float
    batch: float | None
    latency: float | None
    queue: float | None
    compute: float | None
    pending: int
    per_event: Mapping[str, float]
    stages: Mapping[str, float]


def rates_between(before: Counters | None, after: Counters, seconds: float) -> Rates:
    """What was done between two looks.

    Args:
        before: counters at the earlier look; None if all were zero.
        after: counters at the later look.
        seconds: time between the looks [s].
    """
    earlier = before or Counters({}, {}, {})

    def gained(name: str) -> float:
        return _gained(earlier.values, after.values, name)

    def per(total: str, count: str, unit: float = 1.0) -> float | None:
        return gained(total) / gained(count) * unit if gained(count) else None

    events = _gained(earlier.observed, after.observed, "events")
    observed = {name: _gained(earlier.observed, after.observed, name) for name in after.observed if name != "events"}
    stages = {name: _gained(earlier.stages, after.stages, name) for name in after.stages}
    return Rates(
        requests=gained("answered") / seconds,
        failures=gained("failed") / seconds,
        inferences=gained("inferences") / seconds,
        batch=per("inferences", "executions"),
        latency=per("request_us", "answered", 1e-3),
        queue=per("queue_us", "answered", 1e-3),
        compute=per("compute_us", "answered", 1e-3),
        pending=int(after.values.get("pending", 0)),
        per_event={name: amount / events for name, amount in observed.items()} if events else {},
        stages={name: amount / events * 1e3 for name, amount in stages.items()} if events else {},
    )


def _gained(before: Mapping[str, float], after: Mapping[str, float], name: str) -> float:
    """Growth of a counter; one that has shrunk was started again from zero."""
    old, new = before.get(name, 0.0), after.get(name, 0.0)
    return new - old if new >= old else new


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


def watch_twice(urls: Sequence[str], interval: float = 1.0) -> list[ServerWatch]:
    """Servers after two looks at their metrics, from which there are rates.

    Args:
        urls: addresses of the servers' metrics, ``host:port``.
        interval: time between the looks [s].
    """
    watches = [ServerWatch(url) for url in urls]
    _look_at_all(watches)
    time.sleep(interval)
    _look_at_all(watches)
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
    watches = watch_twice(urls, interval)
    if once or not out.is_terminal:
        out.print(rates_table(watches, per_event))
        require_answer(watches)
        return
    try:
        with live(out) as show:
            while True:
                show(rates_table(watches, per_event))
                time.sleep(interval)
                _look_at_all(watches)
    except KeyboardInterrupt:
        return


def _look_at_all(watches: Sequence[ServerWatch]) -> None:
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
