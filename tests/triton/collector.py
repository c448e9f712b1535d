"""A collector of OpenTelemetry on loopback: takes spans by OTLP over HTTP, as JSON from Triton, or as protobuf."""

from __future__ import annotations

import base64
import gzip
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


def from_protobuf(body: bytes) -> dict[str, Any]:
    """A message as in JSON of OTLP, where identifiers are hexadecimal."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    message: dict[str, Any] = MessageToDict(ExportTraceServiceRequest.FromString(body))
    for group in message.get("resourceSpans", ()):
        for span in (span for scope in group["scopeSpans"] for span in scope["spans"]):
            for key in ("traceId", "spanId", "parentSpanId"):
                span[key] = base64.b64decode(span.get(key, "")).hex()
    return message


def texts(attributes: Iterable[dict[str, Any]]) -> dict[str, str]:
    return {entry["key"]: str(entry["value"].get("stringValue")) for entry in attributes}


def spans_in(message: dict[str, Any]) -> Iterator[Span]:
    for group in message.get("resourceSpans", ()):
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
            if self.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            if self.path == "/v1/traces":
                is_binary = self.headers["Content-Type"] == "application/x-protobuf"
                collector.spans += spans_in(from_protobuf(body) if is_binary else json.loads(body))
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
