"""The dashboard of a fleet for Grafana; what it shows is in `dashboard.yml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Final

ALERTS: Final = 'ALERTS{alertstate="firing"}'
"""Query for the firing alerts."""


_UNITS: Final = {"": "short", "/s": "reqps", "ms": "ms"}
"""Our units (a count, a rate, a time) -> Grafana's."""

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


def dashboard_contents() -> dict[str, list[dict[str, Any]]]:
    """The tiles (current numbers, red above 0 if ``bad``) and the panels (plots over time) of `dashboard.yml`."""
    import yaml

    text = (files("beampipe.fleet.monitoring") / "dashboard.yml").read_text(encoding="utf-8")
    contents: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return contents


def _panels() -> Iterator[dict[str, Any]]:
    contents = dashboard_contents()
    width = _WIDTH // len(contents["tiles"])
    for column, tile in enumerate(contents["tiles"]):
        bad = tile.get("bad", False)
        steps = [{"color": "green", "value": None}, *([{"color": "red", "value": 1e-9}] if bad else [])]
        thresholds = {"mode": "absolute", "steps": steps}
        yield {
            "type": "stat",
            "title": tile["title"],
            "datasource": _SOURCE,
            "targets": [_target("A", tile["query"], "")],
            "fieldConfig": {
                "defaults": {"unit": _UNITS[tile["unit"]], "decimals": 1, "thresholds": thresholds},
                "overrides": [],
            },
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value" if bad else "none"},
            "gridPos": {"x": column * width, "y": 0, "w": width, "h": _TILE_HEIGHT},
        }
    half = _WIDTH // 2
    for number, panel in enumerate(contents["panels"]):
        row, column = divmod(number, 2)
        place = {"x": column * half, "y": _TILE_HEIGHT + row * _PANEL_HEIGHT, "w": half, "h": _PANEL_HEIGHT}
        yield _panel(panel) | {"gridPos": place}


def _panel(panel: Mapping[str, Any]) -> dict[str, Any]:
    lines = enumerate(panel["lines"].items())
    return {
        "type": "timeseries",
        "title": panel["title"],
        "description": panel["about"],
        "datasource": _SOURCE,
        "targets": [_target(chr(ord("A") + row), query, legend) for row, (query, legend) in lines],
        "fieldConfig": {"defaults": {"unit": _UNITS[panel["unit"]], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _target(letter: str, query: str, legend: str) -> dict[str, Any]:
    return {"refId": letter, "datasource": _SOURCE, "expr": query, "legendFormat": legend}
