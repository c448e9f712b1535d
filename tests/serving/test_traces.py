"""Traces from a client to the stages of the native backend, as a collector of OpenTelemetry gets them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beampipe.serving.finders import TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models
from beampipe.tracking.data import shipped_events
from beampipe.tracking.kernels import native
from beampipe.tracking.loading import load_pipeline
from beampipe.triton import TelemetrySettings, TritonServer, traced
from beampipe.triton.engine import Engine
from tests.serving.conftest import served
from tests.triton.collector import Collector, collecting
from tests.triton.waiting import wait_until

pytestmark = pytest.mark.skipif(native() is None, reason="the package was installed without a compiler")

SPANS = ("InferRequest", "module_map", "compute")


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def server(engine: Engine, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    models = named_models(ServingSettings(("module_map",), backend="native"))
    telemetry = TelemetrySettings(collector.url)
    with served(engine, tmp_path_factory.mktemp("traced"), models, telemetry=telemetry) as running:
        yield running


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_one_trace_leads_from_the_client_to_the_stages(server: TritonServer, collector: Collector, scheme: str) -> None:
    hits = shipped_events(0)[0].hits
    trace, client = f"{scheme.encode().hex():0>32}", "00000000000000c1"
    url = server.grpc_url if scheme == "grpc" else server.http_url
    with TritonTrackFinder(f"{scheme}://{url}", "module_map") as finder:
        with traced(f"00-{trace}-{client}-01"):
            finder.submit(hits).result()
        finder.find(hits)  # not part of the trace
    if scheme == "grpc":  # Triton 2.51 ignores some headers, but not the request's id
        wait_until(lambda: collector.model_span(f"00-{trace}-{client}-01") is not None)
        model = collector.model_span(f"00-{trace}-{client}-01")
        assert model is not None
        trace, client = model.trace, client if model.trace == trace else ""
    wait_until(lambda: collector.of(trace).keys() >= set(SPANS))
    spans = collector.of(trace)
    request, model, compute = (spans[name] for name in SPANS)
    assert (request.parent, model.parent, compute.parent) == (client, request.span, model.span)
    others = [span for span in collector.spans if span.trace == trace and span.name not in SPANS]
    stages = sorted(others, key=lambda span: span.end)
    names = dict.fromkeys(span.name for span in stages)  # the last one twice: paths, and their completion
    assert tuple(names) == load_pipeline("module_map").steps
    assert {span.parent for span in stages} == {model.span}
    times = [time for span in stages for time in (span.begin, span.end)]
    assert times == sorted(times), "one after the other"
    assert compute.begin <= times[0] <= times[-1] <= compute.end
    assert request.resource["service.name"] == "triton"
    assert request.resource["service.instance.id"] == server.grpc_url


def test_the_address_of_a_collector_may_have_a_path() -> None:
    assert TelemetrySettings("http://host:4318/").url == "http://host:4318/v1/traces"
    assert TelemetrySettings("http://host/otlp/v1/traces").url == "http://host/otlp/v1/traces"
