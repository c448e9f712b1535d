"""Traces of a server: settings, and the options of Triton that switch them on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from beampipe.errors import ConfigError

_PATH: Final = "/v1/traces"
"""Path of traces on a collector, by the protocol OTLP."""

_DELAY: Final = 1000
"""Longest time [ms] that a span waits in the server before it is sent."""


@dataclass(frozen=True)
class TelemetrySettings:
    """Traces of requests, sent to a collector of OpenTelemetry.

    A request has one span for its way through the server, one for the model, with an event at the end of each stage of
    a native pipeline, and one for its computation. The first is a child of the span that the client states in the
    header ``traceparent``. Over gRPC, Triton 2.51 ignores up to a third of these headers; clients of beampipe send the
    same as id of the request, which is the attribute ``triton.request_id`` of the model's span.

    Attributes:
        traces: address of the collector, for OTLP over HTTP, such as ``http://127.0.0.1:4318``.
        rate: each request of this many is traced, with or without a client's span.
    """

    traces: str
    rate: int = 1

    def __post_init__(self) -> None:
        parts = urlsplit(self.traces)
        if parts.scheme not in ("http", "https") or not parts.hostname or any(sign in self.traces for sign in " \n\t"):
            raise ConfigError(
                f"traces: got {self.traces!r}, expected the URL of a collector, such as http://127.0.0.1:4318"
            )
        if self.rate < 1:
            raise ConfigError(f"trace rate: got {self.rate}, expected 1 (each request) or more (one of so many)")

    @property
    def url(self) -> str:
        """Address to which spans are posted."""
        return self.traces if urlsplit(self.traces).path.strip("/") else self.traces.rstrip("/") + _PATH

    def arguments(self, server: str) -> list[str]:
        """Options of Triton.

        Args:
            server: name of the server, by which a span tells where it was made.
        """
        values = (
            "mode=opentelemetry",
            "level=TIMESTAMPS",
            f"rate={self.rate}",
            f"opentelemetry,url={self.url}",
            "opentelemetry,resource=service.name=triton",
            f"opentelemetry,resource=service.instance.id={server}",
            f"opentelemetry,bsp_schedule_delay={_DELAY}",
        )
        return [f"--trace-config={value}" for value in values]
