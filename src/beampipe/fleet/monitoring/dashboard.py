"""The dashboard of a fleet for Grafana.

Its queries use the series that `rules.yml` records, so that dashboard and alerts show the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

Unit = Literal["", "/s", "ms"]
"""Unit of the numbers of a panel: a count, a rate, or a time."""


@dataclass(frozen=True)
class Line:
    """A query, and the name of each resulting line.

    Attributes:
        query: query in PromQL.
        legend: name of a line; ``{{label}}`` stands for the value of a label.
    """

    query: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """A plot over time.

    Attributes:
        title: heading.
        about: description in one sentence.
        unit: unit of the axis.
        lines: the plotted queries.
    """

    title: str
    about: str
    unit: Unit
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Tile:
    """A current number.

    Attributes:
        title: heading.
        unit: unit of the number.
        query: query that gives one number.
        bad: whether a number above 0 is a problem, shown in red.
    """

    title: str
    unit: Unit
    query: str
    bad: bool = False


TILES: Final = (
    Tile("Events", "/s", "fleet:events:rate"),
    Tile("Mean time", "ms", "fleet:latency_ms:mean"),
    Tile("p99 at the gateway", "ms", "gateway:latency_ms:p99"),
    Tile("Waiting requests", "", "all:waiting:sum"),
    Tile("Servers up", "", "fleet:servers_up:sum"),
    Tile("Servers down", "", "fleet:servers:count - fleet:servers_up:sum", bad=True),
    Tile("Failures", "/s", "fleet:failures:rate + (gateway:failures:rate or vector(0))", bad=True),
    Tile("Refusals", "/s", "gateway:refused:rate", bad=True),
)
"""Numbers at the top."""

PANELS: Final = (
    Panel(
        "Throughput",
        "Events answered by each server.",
        "/s",
        (Line("fleet:events:rate", "all"), Line("server:events:rate", "{{server}}")),
    ),
    Panel(
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
        "Time at the gateway",
        "Percentiles of the time of a request to a model, from its arrival at the gateway to its answer.",
        "ms",
        tuple(Line(f"gateway:latency_ms:p{share}", f"p{share}") for share in (50, 95, 99)),
    ),
    Panel(
        "Waiting requests",
        "Requests that wait in each server, and in the gateway.",
        "",
        (Line("gateway:waiting:sum", "gateway"), Line("server:waiting:sum", "{{server}}")),
    ),
    Panel(
        "Stages",
        "Mean time of each stage of a model for one event.",
        "ms",
        (Line("stage:time_ms:mean", "{{model}}: {{stage}}"),),
    ),
    Panel(
        "Latency of each server",
        "Mean time of a request in each server, and its percentiles at the gateway.",
        "ms",
        (
            Line("server:latency_ms:mean", "{{server}}"),
            *(Line(f"server:latency_ms:p{share}", f"{{{{server}}}}: p{share}") for share in (50, 95, 99)),
        ),
    ),
    Panel(
        "Instances at work",
        "Instances of models that are at work in each server, on average.",
        "",
        (Line("server:working:mean", "{{server}}"),),
    ),
    Panel(
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
    Panel(
        "Refusals",
        "Requests that the gateway refused, by reason.",
        "/s",
        (Line("gateway:refusals:rate", "{{reason}}"),),
    ),
)
"""Plots over time."""

ALERTS: Final = 'ALERTS{alertstate="firing"}'
"""Query for the firing alerts."""


_UNITS: Final[dict[Unit, str]] = {"": "short", "/s": "reqps", "ms": "ms"}
"""Our units -> Grafana's."""

_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}

_WIDTH: Final = 24
"""Number of columns of a dashboard."""

_TILE_HEIGHT: Final = 4

_PANEL_HEIGHT: Final = 8


def grafana_dashboard(name: str = "fleet") -> dict[str, Any]:
    """The dashboard for import into Grafana 9 or later.

    Its Prometheus needs the recording rules that `beampipe fleet rules` prints (`rules.yml`).

    Args:
        name: name of the fleet.
    """
    return {
        "uid": f"beampipe-{name}",
        "title": f"beampipe: {name}",
        "tags": ["beampipe", "triton"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "annotations": {"list": []},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_panels(), 1)],
    }


def _panels() -> Iterator[dict[str, Any]]:
    width = _WIDTH // len(TILES)
    for column, tile in enumerate(TILES):
        steps = [{"color": "green", "value": None}, *([{"color": "red", "value": 1e-9}] if tile.bad else [])]
        yield {
            "type": "stat",
            "title": tile.title,
            "datasource": _SOURCE,
            "targets": [_target("A", tile.query, "")],
            "fieldConfig": {
                "defaults": {
                    "unit": _UNITS[tile.unit],
                    "decimals": 1,
                    "thresholds": {"mode": "absolute", "steps": steps},
                },
                "overrides": [],
            },
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value" if tile.bad else "none"},
        } | {"gridPos": {"x": column * width, "y": 0, "w": width, "h": _TILE_HEIGHT}}
    half = _WIDTH // 2
    for number, panel in enumerate(PANELS):
        row, column = divmod(number, 2)
        place = {"x": column * half, "y": _TILE_HEIGHT + row * _PANEL_HEIGHT, "w": half, "h": _PANEL_HEIGHT}
        yield _panel(panel) | {"gridPos": place}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": [_target(chr(ord("A") + row), line.query, line.legend) for row, line in enumerate(panel.lines)],
        "fieldConfig": {"defaults": {"unit": _UNITS[panel.unit], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _target(letter: str, query: str, legend: str) -> dict[str, Any]:
    return {"refId": letter, "datasource": _SOURCE, "expr": query, "legendFormat": legend}
