"""What Prometheus is told: its settings, and the servers that it looks at.

The servers stand in a file of their own that Prometheus reads again when it changes, so they come and go while it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from beampipe.files import write_whole
from beampipe.fleet.registry import Record
from beampipe.fleet.specification import Fleet
from beampipe.fleet.watching.roles import role_relabelings
from beampipe.fleet.watching.rules import interval_text, rules_text
from beampipe.triton.hosts import LOOPBACK, authority

__all__ = ["RULES", "SETTINGS", "prometheus_settings", "write_settings", "write_targets"]

SETTINGS: Final = "prometheus.yml"
"""Name of the file of settings."""
RULES: Final = "rules.yml"
"""Name of the file of rules, beside the settings."""
_TARGETS: Final = "servers.json"
_FORGOTTEN: Final = 600.0
"""Time [s] after which a server that says nothing is no longer looked for: until then it counts as down."""

_GATEWAY_SERIES: Final = (
    "haproxy_frontend_(http_responses_total|intercepted_requests_total|requests_denied_total)",
    "haproxy_backend_(current_queue|retry_warnings_total|redispatch_warnings_total)",
    "haproxy_server_status",
)
"""Series of the gateway that are kept: HAProxy has some hundred for each server."""


def prometheus_settings(
    fleet: Fleet, folder: Path, *, status_port: int | None = None, page_port: int | None = None
) -> str:
    """The settings of Prometheus as YAML.

    Args:
        fleet: the fleet that is watched.
        folder: folder of the settings, with the servers' file of `write_targets`.
        status_port: port on loopback for the gateway's metrics; None if there is no gateway.
        page_port: port on loopback of the page (`WatchServer`), which says what the registry knows; None for no page.
    """
    return "\n".join(_lines(fleet, folder, status_port, page_port)) + "\n"


def write_settings(fleet: Fleet, folder: Path, *, status_port: int | None = None, page_port: int | None = None) -> Path:
    """Write settings and rules into a folder, and an empty list of servers if there is none yet.

    Args:
        fleet: the fleet that is watched.
        folder: where to write; it is made if it is not there.
        status_port: port on loopback for the gateway's metrics; None if there is no gateway.
        page_port: port on loopback of the page; None for no page.

    Returns:
        The file of settings.

    Raises:
        FileError: something cannot be written.
    """
    text = prometheus_settings(fleet, folder, status_port=status_port, page_port=page_port)
    rules = rules_text(fleet.monitoring.interval)
    write_whole(folder / RULES, lambda part: part.write_text(rules, encoding="utf-8"))
    if not (folder / _TARGETS).exists():
        write_targets(folder, {})
    return write_whole(folder / SETTINGS, lambda part: part.write_text(text, encoding="utf-8"))


def write_targets(folder: Path, records: Mapping[str, Record]) -> Path:
    """Write the servers that Prometheus looks at, unless the file says so already.

    A server that ends in order is left out. One that is silent stays for ten minutes: it counts as down.

    Args:
        folder: folder of the settings.
        records: the registry's records, by name of the server.

    Returns:
        The file of servers.

    Raises:
        FileError: it cannot be written.
    """
    now = time.time()
    targets = [
        {
            "targets": [authority(record.host, record.metrics)],
            "labels": {"server": record.server, "group": record.group},
        }
        for _, record in sorted(records.items())
        if record.state != "ending" and now - record.beat < _FORGOTTEN
    ]
    path, text = folder / _TARGETS, json.dumps(targets, indent=1) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return path
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _lines(fleet: Fleet, folder: Path, status_port: int | None, page_port: int | None) -> Iterator[str]:
    interval = interval_text(fleet.monitoring.interval)
    yield "# Made by `beampipe fleet` from the specification of the fleet; not to be edited."
    yield "global:"
    yield f"  scrape_interval: {interval}"
    yield f"  scrape_timeout: {interval}"
    yield f"  evaluation_interval: {interval}"
    yield f"  external_labels: {{fleet: {json.dumps(fleet.name)}}}"
    yield f"rule_files: [{json.dumps(str(folder.resolve() / RULES))}]"
    yield "scrape_configs:"
    yield "  - job_name: triton"
    yield "    file_sd_configs:"
    yield f"      - files: [{json.dumps(str(folder.resolve() / _TARGETS))}]"
    yield "        refresh_interval: 10s"
    if roles := role_relabelings(fleet.repository):
        yield "    metric_relabel_configs:"
        yield from (f"      - {json.dumps(role)}" for role in roles)
    if status_port is not None:
        yield "  - job_name: gateway"
        yield "    params:"
        yield "      scope: [frontend, backend, server]"
        yield "      no-maint: ['']"
        yield f"    static_configs: [{{targets: ['{LOOPBACK}:{status_port}']}}]"
        yield "    metric_relabel_configs:"
        yield f"      - {{source_labels: [__name__], regex: '{'|'.join(_GATEWAY_SERIES)}', action: keep}}"
    if page_port is not None:
        yield "  - job_name: fleet"
        yield "    honor_labels: true"
        yield f"    static_configs: [{{targets: ['{LOOPBACK}:{page_port}']}}]"
