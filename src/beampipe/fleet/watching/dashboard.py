"""A dashboard for sites that have Grafana, with the same queries as the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from beampipe.fleet.watching.queries import PANELS, TILES, Panel, Tile, Unit

__all__ = ["grafana_dashboard"]

_UNITS: Final[dict[Unit, str]] = {"": "short", "/s": "reqps", "ms": "ms"}
"""Our units -> Grafana's."""
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
_WIDTH: Final = 24
"""Number of columns of a dashboard."""
_TILE_HEIGHT: Final = 4
_PANEL_HEIGHT: Final = 8


def grafana_dashboard(name: str = "fleet") -> dict[str, Any]:
    """The dashboard as Grafana imports it, in the schema of Grafana 9 and later.

    It shows series that `rules.yml` records: its Prometheus needs these rules, which `beampipe fleet rules` prints.

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
        yield _tile(tile) | {"gridPos": {"x": column * width, "y": 0, "w": width, "h": _TILE_HEIGHT}}
    half = _WIDTH // 2
    for number, panel in enumerate(PANELS):
        row, column = divmod(number, 2)
        place = {"x": column * half, "y": _TILE_HEIGHT + row * _PANEL_HEIGHT, "w": half, "h": _PANEL_HEIGHT}
        yield _panel(panel) | {"gridPos": place}


def _tile(tile: Tile) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}, *([{"color": "red", "value": 1e-9}] if tile.bad else [])]
    return {
        "type": "stat",
        "title": tile.title,
        "datasource": _SOURCE,
        "targets": [_target("A", tile.query, "")],
        "fieldConfig": {
            "defaults": {"unit": _UNITS[tile.unit], "decimals": 1, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value" if tile.bad else "none"},
    }


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
