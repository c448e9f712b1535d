"""Who watches a fleet: Prometheus with its rules, a dashboard for Grafana, and a page of our own.

`queries` says once what is shown, `rules.yml` how it is counted; page and dashboard are made of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.fleet.watching.dashboard import grafana_dashboard
    from beampipe.fleet.watching.prometheus import Prometheus, find_prometheus, prometheus_pids, wanted_prometheus
    from beampipe.fleet.watching.rules import rules_text
    from beampipe.fleet.watching.settings import prometheus_settings, write_targets
    from beampipe.fleet.watching.states import fleet_metrics
    from beampipe.fleet.watching.watch_server import WatchServer

__all__ = [
    "Prometheus",
    "WatchServer",
    "find_prometheus",
    "fleet_metrics",
    "grafana_dashboard",
    "prometheus_pids",
    "prometheus_settings",
    "rules_text",
    "wanted_prometheus",
    "write_targets",
]

__getattr__ = loader(
    __name__,
    {
        "dashboard": ("grafana_dashboard",),
        "prometheus": ("Prometheus", "find_prometheus", "prometheus_pids", "wanted_prometheus"),
        "rules": ("rules_text",),
        "settings": ("prometheus_settings", "write_targets"),
        "states": ("fleet_metrics",),
        "watch_server": ("WatchServer",),
    },
)
