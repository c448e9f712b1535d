"""The gateway in a container: the same rules as on one machine, other places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from beampipe.fleet.containers.server import fleet_models
from beampipe.fleet.gateway.configuration import configuration
from beampipe.fleet.gateway.plan import GatewayPlan, Place
from beampipe.fleet.specification import Fleet, TlsSettings
from beampipe.triton.hosts import LOOPBACK

__all__ = ["CLIENTS", "STATUS", "Papers", "gateway_text"]

CLIENTS: Final = 8443
"""Port of the gateway in its container for clients."""
STATUS: Final = 8404
"""Port of the gateway in its container for its metrics, and for whether it is healthy."""

_EVERYWHERE: Final = "0.0.0.0"
_SOCKET: Final = Path("/tmp/haproxy.sock")
_THREADS: Final = 2
_NOBODYS: Final = "none"
"""What the gateway sends for a secret: in containers the servers tell which models they have without one."""


@dataclass(frozen=True)
class Papers:
    """Files of the gateway in its container.

    Attributes:
        certificate: certificate, with its key in the same file or beside it in ``.key``; None for plain connections.
        client_ca: certificate of the authority of the clients; None if they need not show one.
        tokens: file of tokens; None if none are asked for.
    """

    certificate: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None


def gateway_text(fleet: Fleet, places: Sequence[Place], papers: Papers) -> str:
    """The text of HAProxy's configuration.

    Args:
        fleet: the specification.
        places: the servers, by names that the network of the containers knows.
        papers: files of the gateway.
    """
    tls = TlsSettings(papers.certificate, papers.client_ca) if papers.certificate else None
    # Whether others reach the gateway is up to who publishes its port. The notes of each folder say what is left out.
    gateway = replace(
        fleet.gateway,
        port=CLIENTS,
        tls=tls,
        tokens=papers.tokens,
        rate=fleet.gateway.rate if papers.tokens else None,
        balancing="round_robin" if fleet.gateway.balancing == "round_robin" else "least_connections",
        athena=None,
        host=LOOPBACK,
    )
    plan = GatewayPlan(
        replace(fleet, gateway=gateway),
        tuple(places),
        _SOCKET,
        STATUS,
        fleet_models(fleet),
        _NOBODYS,
        papers.tokens,
        host=_EVERYWHERE,
        status_host=_EVERYWHERE,
        resolved=True,
        threads=_THREADS,
    )
    return configuration(plan)
