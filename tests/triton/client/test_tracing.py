"""The span that a request belongs to."""

from __future__ import annotations

import pytest
from opentelemetry import context, trace

from beampipe.errors import ConfigError
from beampipe.triton.client.transports import current_parent, traced

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_program_without_a_span_has_none() -> None:
    assert current_parent() is None


def test_the_span_that_the_program_names() -> None:
    other = PARENT.replace("b7", "00")
    with traced(PARENT):
        with traced(other):
            assert current_parent() == other
        assert current_parent() == PARENT
    assert current_parent() is None


def test_the_current_span_of_opentelemetry() -> None:
    span = trace.SpanContext(0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, False, trace.TraceFlags(1))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        assert current_parent() == PARENT
        with traced(PARENT.replace("01", "00")):
            assert current_parent() != PARENT
    finally:
        context.detach(token)
    assert current_parent() is None


@pytest.mark.parametrize(
    "parent",
    [
        "",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}-00",
        f"01{PARENT[2:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        "é" * 55,
    ],
)
def test_another_form_is_refused(parent: str) -> None:
    with pytest.raises(ConfigError, match=r"traceparent: got .*expected 00-TRACE-SPAN-FLAGS"), traced(parent):
        pass
