"""A collector of OpenTelemetry on loopback: takes spans by OTLP over HTTP as JSON, which is what Triton posts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Span:
    """A span: its times [ns], names of its events in the order of their times, its attributes, those of the program."""

    trace: str
    span: str
    parent: str
    name: str
    begin: int
    end: int
    events: tuple[str, ...]
    attributes: dict[str, str]
    resource: dict[str, str]


@dataclass
class Collector:
    """The spans that came so far.

    Attributes:
        url: address for OTLP over HTTP.
    """

    url: str
    spans: list[Span] = field(default_factory=list)

    def model_span(self, identity: str) -> Span | None:
        """The model's span of the request with that id, None if it did not come yet."""
        return next((span for span in self.spans if span.attributes.get("triton.request_id") == identity), None)

    def of(self, trace: str) -> dict[str, Span]:
        """Spans of one trace, by name."""
        return {span.name: span for span in self.spans if span.trace == trace}


def texts(attributes: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {entry["key"]: str(entry["value"].get("stringValue")) for entry in attributes}


def spans_in(message: dict[str, Any]) -> Iterator[Span]:
    for group in message["resourceSpans"]:
        for scope in group["scopeSpans"]:
            for span in scope["spans"]:
                events = sorted(span.get("events", ()), key=lambda event: int(event["timeUnixNano"]))
                yield Span(
                    span["traceId"],
                    span["spanId"],
                    span.get("parentSpanId", ""),
                    span["name"],
                    int(span["startTimeUnixNano"]),
                    int(span["endTimeUnixNano"]),
                    tuple(event["name"] for event in events),
                    texts(span.get("attributes", ())),
                    texts(group["resource"]["attributes"]),
                )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.spans += spans_in(json.loads(body))
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
