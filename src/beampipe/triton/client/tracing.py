"""The trace of a request: the header ``traceparent`` of the W3C, from the program or from OpenTelemetry."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from beampipe.errors import ConfigError

TRACEPARENT: Final = "traceparent"
"""Name of the header."""

_FORM: Final = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_GIVEN: Final[ContextVar[str | None]] = ContextVar("beampipe_traceparent", default=None)


@contextmanager
def traced(parent: str) -> Iterator[None]:
    """Requests that are made inside the block belong to this span.

    Without such a block they belong to the current span of OpenTelemetry, if the program has one.

    Args:
        parent: the span as in the header ``traceparent``, ``00-TRACE-SPAN-FLAGS`` in hexadecimal digits.

    Raises:
        ConfigError: it has another form.
    """
    if not _FORM.fullmatch(parent):
        raise ConfigError(
            f"traceparent: got {parent!r}, expected 00-TRACE-SPAN-FLAGS with 32, 16 and 2 hexadecimal digits in small"
            " letters, neither TRACE nor SPAN zero"
        )
    token = _GIVEN.set(parent)
    try:
        yield
    finally:
        _GIVEN.reset(token)


def current_parent() -> str | None:
    """The span that a request made now belongs to, in the form of the header; None for none."""
    parent = _GIVEN.get()
    if parent is not None:
        return parent
    trace = sys.modules.get("opentelemetry.trace")  # a program without it has no span
    if trace is None:
        return None
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
