"""What the registry knows of the servers, as metrics: Prometheus then keeps it and alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, Literal, get_args

from beampipe.errors import FileError, MissingExtraError
from beampipe.fleet.registry import Record, State
from beampipe.fleet.security.certificates import ends
from beampipe.fleet.specification import GatewaySettings

__all__ = ["SILENT", "Shown", "certificate_end", "fleet_metrics", "shown_state"]

SILENT: Final = "silent"
"""State of a server whose record is old: it is gone, or its node is."""
Shown = State | Literal["silent"]
"""State of a server as others see it."""


def shown_state(record: Record, now: float | None = None) -> Shown:
    """The state of a server as others see it.

    Args:
        record: what it said last.
        now: the time [s since 1970], None for the present.
    """
    return record.state if record.lives(now) else SILENT


def certificate_end(gateway: GatewaySettings) -> float | None:
    """When the gateway's certificate ends [s since 1970]; None if it has none, or it cannot be read here."""
    if gateway.tls is None:
        return None
    try:
        return ends(gateway.tls.certificate).timestamp()
    except (FileError, MissingExtraError):
        return None


def fleet_metrics(records: Mapping[str, Record], certificate_end: float | None = None) -> str:
    """The states of the servers in Prometheus's text format.

    Args:
        records: the registry's records, by name of the server.
        certificate_end: when the gateway's certificate ends [s since 1970]; None if it has none.
    """
    return "".join(f"{line}\n" for line in _lines(records, certificate_end))


def _lines(records: Mapping[str, Record], certificate_end: float | None) -> Iterator[str]:
    yield "# HELP beampipe_fleet_server_state Whether a server is in a state, 0 or 1."
    yield "# TYPE beampipe_fleet_server_state gauge"
    for record in records.values():
        for state in (*get_args(State), SILENT):
            labels = f'server="{_escaped(record.server)}",group="{_escaped(record.group)}",state="{state}"'
            yield f"beampipe_fleet_server_state{{{labels}}} {int(shown_state(record) == state)}"
    if certificate_end is not None:
        yield "# HELP beampipe_fleet_certificate_end_seconds When the gateway's certificate ends [s since 1970]."
        yield "# TYPE beampipe_fleet_certificate_end_seconds gauge"
        yield f"beampipe_fleet_certificate_end_seconds {certificate_end:.0f}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
