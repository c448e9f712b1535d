"""Finders that ask a server: a real Triton, and fakes."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import InputError, ServiceError, UnknownModelError
from beampipe.events import Hits, Tracks, scale_named
from beampipe.serving.contract import FEATURES, GEOMETRY_ID, LABELS, LOCAL, STAGES, VARIANCE
from beampipe.serving.finders import (
    DirectTrackFinder,
    FallbackTrackFinder,
    TrackingRequest,
    TritonTrackFinder,
    tracking_contract,
)
from beampipe.tracking.data import shipped_events
from beampipe.triton.client import FakeTransport
from beampipe.triton.client.endpoint import WireProtocol
from beampipe.triton.client.signature import signature_of
from beampipe.triton.server import management
from beampipe.triton.server.server import TritonServer
from tests.serving.finders.events import hits
from tests.triton.client.servers import CONFIG, SERVERS, Fake, Server, grpc_server, labels_of

STAGED: dict[str, Any] = {
    **CONFIG,
    "max_batch_size": 64,
    "output": [*CONFIG["output"], {"name": "STAGES", "data_type": "TYPE_FP64", "dims": [-1]}],
    "parameters": {
        "FEATURE_SCALE": {"string_value": "exatrkx"},
        "STAGE_NAMES": {"string_value": "embedding,gnn"},
        "COUNT_NAMES": {"string_value": "hits"},
    },
}
MORE = [
    {"name": spec.name, "data_type": f"TYPE_{spec.triton_type}", "dims": list(spec.dims)}
    for spec in (GEOMETRY_ID, LOCAL, VARIANCE)
]
ACTS = {**CONFIG, "input": [*CONFIG["input"], *MORE]}


def test_millimetres_go_out_bit_for_bit() -> None:
    event, signature = hits(9), signature_of(CONFIG, "s")
    question = TrackingRequest(event, stages=True)
    assert question.inputs(signature)["FEATURES"] is event.position
    assert question.outputs(signature) == {"LABELS": (9,)}
    (tensor,) = signature.request(question.inputs(signature), question.outputs(signature)).inputs
    assert tensor.array is event.position


def test_scale_batch_axis_and_stages_come_from_the_configuration() -> None:
    event = hits(4)
    seen = []

    def answer(arrays: Mapping[str, ndarray]) -> dict[str, ndarray]:
        seen.append(arrays["FEATURES"])
        return {"LABELS": np.arange(4), "STAGES": np.array([0.5, 0.25, 4.0])}

    parameters = {key: value["string_value"] for key, value in STAGED["parameters"].items()} | {"MAGNETIC_FIELD": "3"}

    def found(stages: bool) -> Tracks:
        transport = FakeTransport(answer, [FEATURES], [LABELS, STAGES], batched=True, parameters=parameters)
        with TritonTrackFinder("fake:1", transport=transport, stages=stages) as finder:
            return finder.find(event)

    tracks = found(stages=True)
    np.testing.assert_array_equal(seen[0], scale_named("exatrkx").from_mm(event.position))
    assert tracks.track_id.tolist() == [0, 1, 2, 3]
    assert tracks.seconds == {"embedding": 0.5, "gnn": 0.25}
    assert tracks.counts == {"hits": 4}
    assert found(stages=False).seconds == {}
    assert (tracks.magnetic_field, found(stages=False).magnetic_field) == (3.0, 3.0)
    signature = signature_of(STAGED, "s")
    assert list(TrackingRequest(event).outputs(signature)) == ["LABELS"]
    assert TrackingRequest(event, stages=True).outputs(signature) == {"LABELS": (4,), "STAGES": (3,)}
    (tensor,) = signature.request(TrackingRequest(event).inputs(signature), {"LABELS": (4,)}).inputs
    assert tensor.array.shape == (1, 4, 3)


def test_hits_that_are_no_columns_in_a_row_are_made_so() -> None:
    position = np.asfortranarray(hits(6).position)
    signature = signature_of(CONFIG, "s")
    (tensor,) = signature.request(TrackingRequest(Hits(position)).inputs(signature), {}).inputs
    assert tensor.array.flags.c_contiguous
    np.testing.assert_array_equal(tensor.array, position)


def test_a_model_that_takes_more_gets_more_or_says_what_is_missing() -> None:
    signature = signature_of(ACTS, "s")
    bare = hits(3)
    with pytest.raises(InputError, match="without geometry_id"):
        TrackingRequest(bare).inputs(signature)
    pair = np.ones((3, 2), np.float32)
    full = Hits(bare.position, np.arange(3, dtype=np.uint64), pair, pair)
    assert list(TrackingRequest(full).inputs(signature)) == ["FEATURES", "GEOMETRY_ID", "LOCAL", "VARIANCE"]
    optional = {**ACTS, "input": [ACTS["input"][0], *({**tensor, "optional": True} for tensor in ACTS["input"][1:])]}
    assert list(TrackingRequest(bare).inputs(signature_of(optional, "s"))) == ["FEATURES"]


@pytest.mark.parametrize(
    "change",
    [
        {"input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"input": [*CONFIG["input"], {"name": "MAGNET", "data_type": "TYPE_FP32", "dims": [-1]}]},
        {"parameters": {"FEATURE_SCALE": {"string_value": "furlong"}}},
    ],
)
def test_a_model_that_finds_no_tracks_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ServiceError, match="expected") as caught:
        tracking_contract(signature_of({**CONFIG, **change}, "s"))
    assert (caught.value.url, caught.value.model) == ("s", "exatrkx")


def test_the_configuration_is_read_once() -> None:
    signature = signature_of(CONFIG, "s")
    assert tracking_contract(signature) is tracking_contract(signature)
    assert tracking_contract(signature_of(CONFIG, "s")) is not tracking_contract(signature)


SHARED = Path("/dev/shm")

CLIENT = """
import sys
from beampipe.serving.finders import TritonTrackFinder
from beampipe.tracking.data import shipped_events

finder = TritonTrackFinder(sys.argv[1], "module_map", protocol="shm")
hits = shipped_events(0)[0].hits
finder.find(hits)
print("found", flush=True)
while True:
    finder.find(hits)
"""


@pytest.fixture(scope="package")
def events() -> list[Hits]:
    """Empty, one hit, two hits, some without pile-up, one with."""
    small = [event.hits for event in islice(shipped_events(0), 4)]
    sizes = [small[0].take(np.arange(n, dtype=np.int64)) for n in (0, 1, 2)]
    return [*sizes, *small, shipped_events(60)[0].hits]


@pytest.fixture(scope="package")
def found(events: list[Hits]) -> dict[str, list[Tracks]]:
    """What the pipelines find here."""
    tracks = {}
    for name in ("exatrkx", "module_map"):
        with DirectTrackFinder(name, threads=1) as finder:
            tracks[name] = [finder.find(hits) for hits in events]
    assert tracks["exatrkx"][-1].n_tracks > 100
    return tracks


def url_of(server: TritonServer, scheme: str) -> str:
    return f"{scheme}://{server.grpc_url if scheme == 'grpc' else server.http_url}"


def regions(server: TritonServer) -> list[str]:
    _, body = management.request(server.http_url, "GET", "/v2/systemsharedmemory/status")
    return [region["name"] for region in json.loads(body)]


@pytest.mark.parametrize(
    ("model", "scheme", "protocol"),
    [
        ("exatrkx", "grpc", "auto"),
        ("exatrkx", "http", "shm"),
        ("exatrkx_ragged", "grpc", "grpc"),
        ("exatrkx_ragged", "http", "auto"),
        ("module_map", "http", "http"),
        ("module_map", "grpc", "shm"),
    ],
)
def test_labels_are_those_of_the_pipeline_here(
    tracking_server: TritonServer,
    events: list[Hits],
    found: dict[str, list[Tracks]],
    model: str,
    scheme: str,
    protocol: WireProtocol,
) -> None:
    expected = [tracks.track_id.tobytes() for tracks in found[model.removesuffix("_ragged")]]
    with TritonTrackFinder(url_of(tracking_server, scheme), model, protocol=protocol) as finder:
        assert [finder.find(hits).track_id.tobytes() for hits in events] == expected
        futures = [finder.submit(hits) for hits in events]
        assert [future.result(60).track_id.tobytes() for future in futures] == expected
        shared = {name for name in regions(tracking_server) if name.startswith(f"beampipe_client_{os.getpid()}_")}
        assert bool(shared) == (protocol in ("shm", "auto"))
        assert not list(SHARED.glob(f"beampipe_client_{os.getpid()}_*"))  # unlinked although in use
    assert not shared & set(regions(tracking_server))


@pytest.mark.parametrize(("scheme", "protocol"), [("grpc", "auto"), ("http", "shm")])
def test_stages_have_the_names_of_the_pipeline_here(
    tracking_server: TritonServer,
    events: list[Hits],
    found: dict[str, list[Tracks]],
    scheme: str,
    protocol: WireProtocol,
) -> None:
    here = found["exatrkx"][-1]
    with TritonTrackFinder(url_of(tracking_server, scheme), "exatrkx", protocol=protocol, stages=True) as finder:
        there = finder.find(events[-1])
    assert there.counts == here.counts
    assert list(there.seconds) == list(here.seconds)
    assert all(seconds > 0 for seconds in there.seconds.values())


def test_a_region_that_the_server_forgot_costs_no_event(tracking_server: TritonServer, events: list[Hits]) -> None:
    with TritonTrackFinder(url_of(tracking_server, "grpc"), "module_map") as finder:
        expected = finder.find(events[-1]).track_id.tobytes()
        assert regions(tracking_server)
        management.request(tracking_server.http_url, "POST", "/v2/systemsharedmemory/unregister", {})
        assert finder.find(events[-1]).track_id.tobytes() == expected


def test_a_killed_client_leaves_nothing(tracking_server: TritonServer, events: list[Hits]) -> None:
    url = url_of(tracking_server, "grpc")
    with subprocess.Popen([sys.executable, "-c", CLIENT, url], stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "found\n"
        client.kill()
    name = f"beampipe_client_{client.pid}_"
    assert not list(SHARED.glob(f"{name}*"))
    with TritonTrackFinder(url, "module_map", protocol="shm") as finder:  # lets go of what the server still maps
        finder.find(events[-1])
    assert not [region for region in regions(tracking_server) if region.startswith(name)]


def test_what_the_model_refuses_is_an_input_error(tracking_server: TritonServer, events: list[Hits]) -> None:
    nan = Hits(events[3].position.copy())
    nan.position[3] = np.nan  # after the check
    fallback = DirectTrackFinder("module_map", threads=1)
    for scheme in ("grpc", "http"):
        first = TritonTrackFinder(url_of(tracking_server, scheme), "module_map")
        with FallbackTrackFinder(first, fallback) as finder:
            with pytest.raises(InputError, match="at row 3, expected finite"):
                finder.find(nan)
            assert finder.answered == (0, 0)
            finder.find(events[3])
            assert finder.answered == (1, 0)


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_model_that_is_not_there(tracking_server: TritonServer, events: list[Hits], scheme: str) -> None:
    url = url_of(tracking_server, scheme)
    with TritonTrackFinder(url, "exatrk") as finder, pytest.raises(UnknownModelError, match="'exatrk' is not found"):
        finder.find(events[3])


def test_the_wrong_port_is_told(tracking_server: TritonServer, events: list[Hits]) -> None:
    for url in (f"http://{tracking_server.grpc_url}", f"grpc://{tracking_server.http_url}"):
        with TritonTrackFinder(url, timeout=1.0) as finder, pytest.raises(ServiceError, match="another protocol"):
            finder.find(events[3])


@pytest.fixture(params=list(SERVERS))
def serve(request: pytest.FixtureRequest) -> Server:
    return SERVERS[request.param]


def assert_right(finder: TritonTrackFinder, n: int = 5) -> None:
    event = hits(n)
    track_id = finder.find(event).track_id
    assert track_id.tobytes() == labels_of(event.position).tobytes()
    assert track_id.flags.writeable


@pytest.mark.parametrize("n", [0, 20_000])
def test_labels_come_back_by_each_way_of_asking(serve: Server, n: int) -> None:
    event = hits(n)
    with serve(Fake()) as url, TritonTrackFinder(url) as finder:
        expected = labels_of(event.position).tobytes()
        assert finder.find(event).track_id.tobytes() == expected
        assert finder.submit(event).result(60).track_id.tobytes() == expected
        assert asyncio.run(finder.find_async(event)).track_id.tobytes() == expected


def test_a_pickled_finder_asks_the_same() -> None:
    with grpc_server(Fake()) as url, TritonTrackFinder(url) as finder:
        assert_right(finder)
        with pickle.loads(pickle.dumps(finder)) as copy:
            assert_right(copy)
        assert_right(finder)
