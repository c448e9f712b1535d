"""What is shown of a fleet: one list, of which the page and the dashboard for Grafana are made.

Queries ask for the series that `rules.yml` records, so that both show the same numbers as the alerts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["ALERTS", "PANELS", "TILES", "Line", "Panel", "Tile", "Unit"]

Unit = Literal["", "/s", "ms"]
"""Unit of the numbers of a panel: a count, a rate, or a time."""


@dataclass(frozen=True)
class Line:
    """A query, and the name of each line that it gives.

    Attributes:
        query: query in the language of Prometheus.
        legend: name of a line; ``{{label}}`` stands for the value of a label.
    """

    query: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A picture over time.

    Attributes:
        name: name for programs.
        title: heading.
        about: what is shown, in a sentence.
        unit: unit of the axis.
        lines: what is drawn.
    """

    name: str
    title: str
    about: str
    unit: Unit
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Tile:
    """A number of the present.

    Attributes:
        name: name for programs.
        title: heading.
        unit: unit of the number.
        query: query that gives one number.
        bad: whether any number above 0 is bad news.
    """

    name: str
    title: str
    unit: Unit
    query: str
    bad: bool = False


TILES: Final = (
    Tile("events", "Events", "/s", "fleet:events:rate"),
    Tile("latency", "Mean time", "ms", "fleet:latency_ms:mean"),
    Tile("waiting", "Waiting requests", "", "all:waiting:sum"),
    Tile("up", "Servers up", "", "fleet:servers_up:sum"),
    Tile("down", "Servers down", "", "fleet:servers:count - fleet:servers_up:sum", bad=True),
    Tile("failures", "Failures", "/s", "fleet:failures:rate + (gateway:failures:rate or vector(0))", bad=True),
    Tile("refused", "Refusals", "/s", "gateway:refused:rate", bad=True),
)
"""Numbers at the top."""

PANELS: Final = (
    Panel(
        "throughput",
        "Throughput",
        "Events answered by each server.",
        "/s",
        (Line("fleet:events:rate", "all"), Line("server:events:rate", "{{server}}")),
    ),
    Panel(
        "latency",
        "Latency",
        "Mean time of a request in a server, and its parts.",
        "ms",
        (
            Line("fleet:latency_ms:mean", "whole request"),
            Line("fleet:queue_ms:mean", "in the queue"),
            Line("fleet:compute_ms:mean", "in the model"),
        ),
    ),
    Panel(
        "waiting",
        "Waiting requests",
        "Requests that wait in each server, and in the gateway.",
        "",
        (Line("gateway:waiting:sum", "gateway"), Line("server:waiting:sum", "{{server}}")),
    ),
    Panel(
        "stages",
        "Stages",
        "Mean time of each stage of a model for one event.",
        "ms",
        (Line("stage:time_ms:mean", "{{model}}: {{stage}}"),),
    ),
    Panel(
        "server_latency",
        "Latency of each server",
        "Mean time of a request in each server.",
        "ms",
        (Line("server:latency_ms:mean", "{{server}}"),),
    ),
    Panel(
        "working",
        "Instances at work",
        "Instances of models that are at work in each server, on average.",
        "",
        (Line("server:working:mean", "{{server}}"),),
    ),
    Panel(
        "servers",
        "Servers",
        "Servers that there should be, that answer Prometheus, and that the gateway asks.",
        "",
        (
            Line("fleet:servers:count", "there should be"),
            Line("fleet:servers_up:sum", "answer"),
            Line("gateway:servers_up:count", "in the gateway"),
        ),
    ),
    Panel(
        "failures",
        "Failures and refusals",
        "Requests that failed, were refused or sent once more; events refused by a model.",
        "/s",
        (
            Line("fleet:failures:rate", "failed in a server"),
            Line("gateway:failures:rate", "failed in the gateway"),
            Line("gateway:refused:rate", "refused"),
            Line("gateway:retries:rate", "sent once more"),
            Line("model:refused_events:rate", "{{model}}: other detector"),
        ),
    ),
)
"""Pictures over time."""

ALERTS: Final = 'ALERTS{alertstate="firing"}'
"""Query for the alerts that are on."""
