"""One trace from the client through the gateway to the model, as a collector of OpenTelemetry gets it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from beampipe.triton import traced
from beampipe.triton.engine import Engine
from tests.fleet.conftest import RunningFleet, running_fleet
from tests.triton.collector import Collector, Span, collecting
from tests.triton.waiting import wait_until

CLIENT = "00000000000000c1"
MOMENT = 10_000_000
"""Difference of two clocks that is allowed [ns]."""
ALL = {"gateway", "InferRequest", "one", "compute"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced_fleet(engine: Engine, collector: Collector) -> Iterator[RunningFleet]:
    with running_fleet(count=1, gateway=f'in_flight = 1\n[telemetry]\ntraces = "{collector.url}"') as running:
        yield running


def spans(collector: Collector, trace: str, *names: str) -> dict[str, Span]:
    wait_until(lambda: collector.of(trace).keys() >= {*names}, 30.0)
    return collector.of(trace)


def test_a_trace_shows_gateway_and_model(traced_fleet: RunningFleet, collector: Collector) -> None:
    trace = "1" * 32
    with traced_fleet.client("http") as client, traced(f"00-{trace}-{CLIENT}-01"):
        client.infer({"X": np.zeros(1, np.float32)})
    got = spans(collector, trace, *ALL)
    assert got["gateway"].parent == CLIENT
    assert got["InferRequest"].parent == got["gateway"].span
    assert got["one"].parent == got["InferRequest"].span
    # HAProxy reads the clock once for all that has come, and Triton's request ends when it has sent the answer.
    assert got["gateway"].begin - MOMENT <= got["InferRequest"].begin
    assert got["compute"].end <= got["gateway"].end + MOMENT
    assert got["gateway"].resource["service.name"] == "gateway"
    assert {key: got["gateway"].attributes[key] for key in ("model", "server", "status")} == {
        "model": "one",
        "server": "cpu-0",
        "status": "200",
    }


def test_a_wait_for_a_server_is_a_span_of_its_own(traced_fleet: RunningFleet, collector: Collector) -> None:
    """The server has one request at a time, and works on each for 0.2 s: the last of three waits for the others."""
    traces, pending = [digit * 32 for digit in "567"], []
    with traced_fleet.client("http") as client:
        for trace in traces:
            with traced(f"00-{trace}-{CLIENT}-01"):
                pending.append(client.submit({"X": np.array([0.2], np.float32)}))
        for answer in pending:
            answer.result(60)
    got = max((spans(collector, trace, *ALL) for trace in traces), key=lambda one: one["gateway"].end)
    waited = got["wait for a server"]
    assert waited.parent == got["gateway"].span
    assert waited.begin == got["gateway"].begin
    assert 350_000_000 < waited.end - waited.begin < got["gateway"].end - got["gateway"].begin - 150_000_000


def test_a_request_without_a_client_s_span_begins_a_trace(traced_fleet: RunningFleet, collector: Collector) -> None:
    before = {span.trace for span in collector.spans}
    with traced_fleet.client("grpc") as client:
        client.infer({"X": np.zeros(1, np.float32)})

    def roots() -> list[Span]:
        return [one for one in collector.spans if one.trace not in before and one.name == "gateway" and not one.parent]

    wait_until(lambda: any(root.attributes["model"] == "one" for root in roots()), 30.0)


def test_what_is_not_traced_has_no_span(traced_fleet: RunningFleet, collector: Collector) -> None:
    """The client's span is not sampled; a later request, which is, tells that nothing more comes."""
    trace, later = "3" * 32, "4" * 32
    with traced_fleet.client("http") as client:
        for name, flag in ((trace, "00"), (later, "01")):
            with traced(f"00-{name}-{CLIENT}-{flag}"):
                client.infer({"X": np.zeros(1, np.float32)})
    spans(collector, later, "gateway")
    assert "gateway" not in collector.of(trace)
