"""One trace of a run by OpenTelemetry: spans of stages, chunks and events, from all processes.

Without telemetry nothing of OpenTelemetry is imported. A task keeps its spans in memory; when it ends, they are written
to a file of their own in the folder of the run, and sent to the collector if there is one. The program that started the
run joins these files at its end. Requests to servers carry the current span, see `beampipe.triton.traced`.
"""

from __future__ import annotations

import base64
import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from beampipe.chain.settings import ChainSettings
from beampipe.errors import ConfigError, MissingExtraError
from beampipe.files import write_whole

TRACE: Final = "trace.jsonl"
"""Name of the file of the spans in the folder of a chain: OTLP as JSON, one message in a line."""

_PARTS: Final = "traces"
"""Folder of the spans of tasks, until the end of the run."""

_IDS: Final = ("traceId", "spanId", "parentSpanId")
"""Fields that are hexadecimal in OTLP, and base64 in other JSON from protobuf."""

_TIMEOUT: Final = 5.0
"""Longest time to send the spans of a task [s]; the file has them in any case."""


@dataclass(frozen=True)
class TraceTarget:
    """Where the spans of a task go. It is pickled with the task.

    Attributes:
        folder: folder of the run.
        collector: address to which spans are posted; empty for none.
        parent: span that the task belongs to, as in the header ``traceparent``; empty for a new trace.
    """

    folder: Path
    collector: str
    parent: str = ""

    @property
    def trace(self) -> str:
        """Identifier of the trace; empty for a new one."""
        return self.parent.split("-")[1] if self.parent else ""


_RECORDING: ContextVar[tuple[Any, TraceTarget] | None] = ContextVar("beampipe_chain_recording", default=None)
"""The tracer of the task that runs here, and its target."""


def trace_target(settings: ChainSettings) -> TraceTarget | None:
    """Where the spans of a run go; None without telemetry.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
        ConfigError: the collector does not answer.
    """
    if settings.telemetry is None:
        return None
    # Other packages bring the interface of OpenTelemetry alone.
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise MissingExtraError("opentelemetry-sdk", "chain", "a trace of a chain")
    url = settings.telemetry.url
    if url:
        headers = {"Content-Type": "application/x-protobuf"}
        try:
            urllib.request.urlopen(urllib.request.Request(url, b"", headers), timeout=_TIMEOUT).close()
        except urllib.error.HTTPError:  # it answers; it may want a token, which only the exporter knows
            pass
        except OSError as error:
            raise ConfigError(
                f"telemetry: no collector answers at {url} ({error}); start it, or leave `traces` out to have the spans"
                f" in {TRACE} only"
            ) from None
    return TraceTarget(settings.output, url)


@contextmanager
def recorded(target: TraceTarget | None, name: str, **attributes: str | int | float) -> Iterator[TraceTarget | None]:
    """Record the spans of a task in one span, and write and send them when it ends, also by an error.

    Args:
        target: where they go; None to record nothing.
        name: name of the span.
        attributes: its attributes.

    Yields:
        The target of tasks below this span.
    """
    if target is None:
        yield None
        return
    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    spans, provider = InMemorySpanExporter(), TracerProvider(resource=Resource.create({"service.name": "chain"}))
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("beampipe")
    parent = TraceContextTextMapPropagator().extract({"traceparent": target.parent}, Context())
    try:
        with tracer.start_as_current_span(name, parent, attributes=attributes):
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            below = replace(target, parent=carrier["traceparent"])
            token = _RECORDING.set((tracer, below))
            try:
                yield below
            finally:
                _RECORDING.reset(token)
    finally:
        _deliver(target, spans.get_finished_spans())
        provider.shutdown()
        if not target.parent:  # spans of a killed run before this one are joined, too
            parts = target.folder / _PARTS
            lines = [path.read_text(encoding="utf-8") for path in sorted(parts.glob("*.jsonl"))]
            write_whole(target.folder / TRACE, lambda part: part.write_text("".join(lines), encoding="utf-8"))
            shutil.rmtree(parts)


@contextmanager
def span(name: str, **attributes: str | int | float) -> Iterator[None]:
    """A span around a block, if the task that runs here is recorded."""
    recording = _RECORDING.get()
    if recording is None:
        yield
    else:
        with recording[0].start_as_current_span(name, attributes=attributes):
            yield


def note(**attributes: Any) -> None:
    """Add attributes to the current span, if there is one."""
    if _RECORDING.get() is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(attributes)


def target_below() -> TraceTarget | None:
    """The target of tasks that belong to the current span; None if nothing is recorded."""
    recording = _RECORDING.get()
    if recording is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return replace(recording[1], parent=carrier["traceparent"])


def _deliver(target: TraceTarget, spans: Sequence[Any]) -> None:
    """Write spans to a file, whose name is that of the last one, and send them to the collector."""
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    message = MessageToDict(encode_spans(spans), use_integers_for_enums=True)
    for group in message["resourceSpans"]:
        for entry in (entry for scope in group["scopeSpans"] for entry in scope["spans"]):
            entry.update({key: base64.b64decode(entry[key]).hex() for key in _IDS if key in entry})
    path = target.folder / _PARTS / f"{spans[-1].context.span_id:016x}.jsonl"
    write_whole(path, lambda part: part.write_text(json.dumps(message) + "\n", encoding="utf-8"))
    if target.collector:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(target.collector, timeout=_TIMEOUT)
        exporter.export(spans)  # it logs a failure
        exporter.shutdown()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class RecordedSpan:
    """A span in the file of a trace.

    Attributes:
        name: its name.
        identity: its identifier.
        parent: identifier of the span that it belongs to; empty for none.
        begin: time of its begin [s].
        end: time of its end [s].
        attributes: its attributes.
    """

    name: str
    identity: str
    parent: str
    begin: float
    end: float
    attributes: dict[str, Any]


def read_trace(path: Path, trace: str) -> list[RecordedSpan]:
    """The spans of one trace in a file, in the order of their begins."""
    spans = []
    for line in path.read_text(encoding="utf-8").splitlines():
        for group in json.loads(line)["resourceSpans"]:
            for entry in (entry for scope in group["scopeSpans"] for entry in scope["spans"]):
                if entry["traceId"] == trace:
                    spans.append(
                        RecordedSpan(
                            entry["name"],
                            entry["spanId"],
                            entry.get("parentSpanId", ""),
                            int(entry["startTimeUnixNano"]) / 1e9,
                            int(entry["endTimeUnixNano"]) / 1e9,
                            {each["key"]: next(iter(each["value"].values())) for each in entry.get("attributes", ())},
                        )
                    )
    return sorted(spans, key=lambda each: each.begin)
