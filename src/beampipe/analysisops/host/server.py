"""The host as an A2A server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from beampipe.analysisops.agents.wire.server import a2a_app, listen, serve, serving
from beampipe.analysisops.host.card import host_card
from beampipe.analysisops.host.executor import Assess, AssessmentExecutor
from beampipe.analysisops.host.messages import HostSettings

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["Address", "host_app", "serve_host", "serving_host"]


@dataclass(frozen=True)
class Address:
    """Where a host listens, and how it is reached.

    Attributes:
        host: name or number of the interface to listen at.
        port: port to listen at; 0 takes a free one.
        card_url: address under which clients reach it; empty if it is the one where it listens.
    """

    host: str = "127.0.0.1"
    port: int = 9009
    card_url: str = ""


def host_app(assess: Assess, host: HostSettings, url: str) -> Starlette:
    """The application of a host.

    Args:
        assess: has an agent solve one instance and grades it.
        host: what is offered.
        url: address under which clients reach it.
    """
    return a2a_app(AssessmentExecutor(assess, host), host_card(url))


def serve_host(assess: Assess, host: HostSettings, address: Address | None = None) -> None:
    """Serve until the process is told to stop.

    Args:
        assess: has an agent solve one instance and grades it.
        host: what is offered.
        address: where to listen.
    """
    address = address or Address()
    listener = listen(address.host, address.port)
    url = address.card_url or f"http://{address.host}:{listener.getsockname()[1]}/"
    serve(host_app(assess, host, url), listener)


@contextmanager
def serving_host(assess: Assess, host: HostSettings) -> Iterator[str]:
    """A host on loopback while the block runs.

    Yields:
        Its address.
    """
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with serving(host_app(assess, host, url), listener) as url:
        yield url
