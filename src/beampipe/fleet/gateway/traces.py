"""Spans of the gateway for traces of requests, made from its access log and sent by OTLP over HTTP.

HAProxy gives each traced request a span, which it passes on in the header ``traceparent``: the spans of Triton become
its children, and it is a child of the client's span, if there is one.
"""

from __future__ import annotations

import json
import urllib.request
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from beampipe.processes import SignalEvent
from beampipe.triton.server.launch import TelemetrySettings

_PERIOD: Final = 1.0
"""Time [s] between two posts."""
_TIMEOUT: Final = 5.0
"""Time limit [s] of the collector."""
_KEPT: Final = 10_000
"""Largest number of spans that wait for the collector; of more, the oldest are lost."""
_NONE: Final = "-"
"""What HAProxy logs in place of a value that there is not."""
_SERVER: Final = 2
"""Kind of a span that answers a request, in OTLP."""


def spans_of(line: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The spans of a request, as OTLP has them in JSON: the whole at the gateway, and its wait for a server.

    Args:
        line: its line of the access log.

    Raises:
        KeyError, ValueError: it is not such a line.
    """
    start = 1000 * int(line["start_us"])
    whole, waited = 1000 * int(line["time_us"]), 1_000_000 * max(0, int(line["waited_ms"]))
    texts = {"model": line["model"], "server": line["server"], "status": line["status"], "refused": line["refused"]}

    def span(name: str, identity: str, parent: str, time: int, kind: int, **more: Any) -> dict[str, Any]:
        ids = {"traceId": line["trace"], "spanId": identity, "parentSpanId": parent}
        times = {"startTimeUnixNano": str(start), "endTimeUnixNano": str(start + time)}
        return {**ids, "name": name, "kind": kind, **times, **more}

    attributes = [{"key": key, "value": {"stringValue": str(text)}} for key, text in texts.items()]
    parent = "" if line["parent"] == _NONE else line["parent"]
    yield span("gateway", line["span"], parent, whole, _SERVER, attributes=attributes)
    if waited:
        yield span("wait for a server", f"{int(line['span'], 16) ^ 1:016x}", line["span"], waited, 1)


class GatewaySpans:
    """Sends the spans of traced requests to a collector, once a second; what it does not take is lost.

    Args:
        fleet: name of the fleet.

    Attributes:
        telemetry: where spans are sent; None for nowhere.
    """

    def __init__(self, fleet: str) -> None:
        self.telemetry: TelemetrySettings | None = None
        self._fleet = fleet
        self._spans: deque[dict[str, Any]] = deque(maxlen=_KEPT)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line of the access log; one of a request that is not traced is ignored."""
        if self.telemetry is not None and line.get("span", _NONE) != _NONE:
            self._spans += spans_of(line)

    def send(self) -> None:
        """Send what has come."""
        if self.telemetry is None or not self._spans:
            return
        spans = [self._spans.popleft() for _ in range(len(self._spans))]
        names = {"service.name": "gateway", "service.instance.id": self._fleet}
        resource = {"attributes": [{"key": key, "value": {"stringValue": text}} for key, text in names.items()]}
        message = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.telemetry.url, json.dumps(message).encode(), headers)
        with suppress(OSError), urllib.request.urlopen(request, timeout=_TIMEOUT):
            pass

    def send_until(self, ended: SignalEvent) -> None:
        """Send what has come once a second, until the end."""
        while not ended.wait(_PERIOD):
            self.send()
        self.send()
