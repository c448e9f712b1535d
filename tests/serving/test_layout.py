"""Foreign hits at served models: the same errors and warnings as here, over each protocol, from both backends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from beampipe.errors import LayoutError, LayoutWarning
from beampipe.events import Hits
from beampipe.serving.finders import FallbackTrackFinder, TritonTrackFinder
from beampipe.serving.models import ServingSettings, named_models, native_libraries, tracking_model
from beampipe.serving.tracking_model import TrackingModel
from beampipe.tracking import load_pipeline
from beampipe.triton.client.fake import FakeTransport
from beampipe.triton.client.model_client import ModelClient
from beampipe.triton.engine import Engine
from beampipe.triton.metrics import read_metrics
from beampipe.triton.model.contract import Instance
from beampipe.triton.server.server import TritonServer
from tests.serving.conftest import served
from tests.tracking.foreign.table import REFUSED, WARNED, Foreign, noise, usual

BACKENDS = ("python", "native") if native_libraries() else ("python",)
STRICT = tuple(f"{backend}_strict" for backend in BACKENDS)


@pytest.fixture(scope="module")
def server(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """One pipeline by each backend, strict, lenient and, natively, in batches."""
    models = []
    for backend in BACKENDS:
        for check in (True, False) if backend == "native" else (True,):
            (model,) = named_models(ServingSettings(("module_map",), threads=1, backend=backend, check=check))
            models.append(replace(model, name=f"{backend}_{'strict' if check else 'lenient'}"))
    models += named_models(ServingSettings(("module_map_ragged",), threads=1))
    with served(engine, tmp_path_factory.mktemp("layout"), models) as running:
        yield running


def url_of(server: TritonServer, scheme: str) -> str:
    return server.grpc_url if scheme == "grpc" else f"http://{server.http_url}"


def here(hits: Hits) -> LayoutError:
    with pytest.raises(LayoutError) as refused:
        load_pipeline("module_map", threads=1).find(hits)
    return refused.value


@pytest.mark.parametrize(
    ("model", "scheme"), list(zip((*STRICT, "module_map_ragged"), ("grpc", "http", "grpc"), strict=False))
)
def test_the_error_is_the_one_of_the_pipeline(server: TritonServer, model: str, scheme: str) -> None:
    with TritonTrackFinder(url_of(server, scheme), model) as finder:
        for row in REFUSED[::18]:
            hits = Hits(row.make(usual()))
            expected = here(hits)
            with pytest.raises(LayoutError) as refused:
                finder.find(hits)
            with pytest.raises(LayoutError):
                finder.submit(hits).result()
            got = refused.value
            assert str(expected) in str(got)
            assert (got.hits, got.outside, got.hint) == (expected.hits, expected.outside, expected.hint)


@pytest.mark.parametrize(("model", "protocol"), list(zip(STRICT, ("grpc", "shm"), strict=False)))
def test_the_warning_is_the_one_of_the_pipeline(server: TritonServer, model: str, protocol: str) -> None:
    url = url_of(server, protocol)
    # Where the beam line lies is known to who finds the tracks; labels alone do not tell.
    for row in [row for row in WARNED if not any("tracks come from" in words for words in row.says)][1::9]:
        hits = Hits(row.make(usual()))
        with pytest.warns(LayoutWarning) as expected:
            direct = load_pipeline("module_map", threads=1).find(hits)
        with TritonTrackFinder(url, model, protocol=protocol) as finder:  # type: ignore[arg-type]
            with pytest.warns(LayoutWarning) as output:
                tracks = finder.find(hits)
            finder.find(hits)  # says it once
        assert [str(w.message).replace(model, "module_map") for w in output] == [str(w.message) for w in expected]
        assert tracks.track_id.tobytes() == direct.track_id.tobytes()
        assert {name: tracks.counts[name] for name in ("outside", "unfilled_layers")}.items() <= direct.counts.items()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "native"])
def test_a_lenient_model_answers(server: TritonServer, backend: str) -> None:
    hits = Hits(REFUSED[0].make(usual()))
    expected = load_pipeline("module_map", threads=1, check=False).find(hits)
    with ModelClient(server.grpc_url, f"{backend}_lenient") as client:
        answer = client.infer({"FEATURES": hits.position}, {"LABELS": None, "LAYOUT": None})
    assert answer["LABELS"].tobytes() == expected.track_id.tobytes()
    assert answer["LAYOUT"].tolist() == [expected.counts["outside"], expected.counts["unfilled_layers"]]


def test_a_foreign_event_in_a_batch_costs_no_other(server: TritonServer) -> None:
    good, bad = Hits(usual()), Hits(usual() * np.float32(0.1))
    expected = load_pipeline("module_map", threads=1).find(good).track_id.tobytes()
    with ModelClient(server.grpc_url, "module_map_ragged", in_flight=64) as client:
        answers = [client.submit({"FEATURES": hits.position}, {"LABELS": None}) for hits in [good, good, bad] * 8]
        for row, answer in enumerate(answers):
            if row % 3 == 2:
                with pytest.raises(LayoutError, match="in cm they fit"):
                    answer.result()
            else:
                assert answer.result()["LABELS"].tobytes() == expected


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name == "native"])
def test_what_is_foreign_stands_among_the_metrics(server: TritonServer, backend: str) -> None:
    def counted() -> dict[str, float]:
        observed = read_metrics(server.metrics_url)[f"{backend}_strict"].observed
        return {name: observed.get(name, 0.0) for name in ("hits_outside", "events_refused", "events")}

    some = usual()[:1000].copy()
    some[:30, 0] = 5000
    before = counted()
    with ModelClient(server.grpc_url, f"{backend}_strict") as client:
        client.infer({"FEATURES": some}, {"LABELS": None})
        with pytest.raises(LayoutError):
            client.infer({"FEATURES": some * np.float32(0.1)}, {"LABELS": None})
    after = counted()
    assert {name: after[name] - before[name] for name in after} == {
        "hits_outside": 30,
        "events_refused": 1,
        "events": 1,
    }


@pytest.mark.parametrize("row", [REFUSED[7], WARNED[0]], ids=lambda row: row.name)
def test_the_python_model_counts_likewise(row: Foreign) -> None:
    seen: dict[str, float] = {}

    def observe(name: str, amount: float, step: str) -> None:
        seen[name] = seen.get(name, 0) + amount

    settings = tracking_model("m", "module_map", ragged=True)
    model = TrackingModel(Instance(weights=settings.weights[0].parent, parameters=settings.parameters, observe=observe))
    event = row.make(usual())
    if row in REFUSED:
        good, bad = model.run([{"FEATURES": usual()}, {"FEATURES": event}])
        assert isinstance(bad, LayoutError)
        assert not isinstance(good, Exception)
        assert (seen["events_refused"], seen["events"]) == (1, 1)
    else:
        with pytest.warns(LayoutWarning):
            model.run([{"FEATURES": event}])
        assert seen["hits_outside"] == 0
        assert "events_refused" not in seen


def test_a_model_of_others_is_watched_by_its_labels() -> None:
    def nothing(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"LABELS": np.full(len(arrays["FEATURES"]), -1, np.int64)}

    transport = FakeTransport(nothing, TrackingModel.inputs, TrackingModel.outputs[:1])
    with (
        TritonTrackFinder("http://fake:1", "theirs", transport=transport) as finder,
        pytest.warns(LayoutWarning, match=r"0 of 2000 hits \(0.0%\) are on tracks.*theirs was made for"),
    ):
        finder.find(Hits(noise(usual(), 2000)))


def test_no_other_finder_is_asked_for_foreign_hits() -> None:
    def refuses(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise here(hits)

    hits = Hits(REFUSED[7].make(usual()))
    transport = FakeTransport(refuses, TrackingModel.inputs, TrackingModel.outputs[:1])
    served = TritonTrackFinder("http://fake:1", transport=transport)
    with FallbackTrackFinder(served, lambda: pytest.fail("asked")) as finder, pytest.raises(LayoutError):
        finder.find(hits)
