"""The dashboard of a fleet for Grafana; what it shows is in `dashboard.yml`."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from beampipe.fleet.generated_files import render_documents


def grafana_dashboard(name: str = "fleet") -> dict[str, Any]:
    """The dashboard for import into Grafana 9 or later.

    Its Prometheus needs the recording rules that `beampipe fleet rules` prints (`rules.yml`).

    Args:
        name: name of the fleet.
    """
    (dashboard,) = render_documents("monitoring/grafana.yaml.j2", name=name, **dashboard_contents())
    return dashboard


def dashboard_contents() -> dict[str, list[dict[str, Any]]]:
    """The tiles (current numbers, red above 0 if ``bad``) and the panels (plots over time) of `dashboard.yml`."""
    import yaml

    text = (files("beampipe.fleet.monitoring") / "dashboard.yml").read_text(encoding="utf-8")
    contents: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return contents
