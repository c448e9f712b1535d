"""Clients against the real server: the labels are those of the pipeline here, byte for byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import InputError, ServiceError, UnknownModelError
from beampipe.events import Hits, Tracks
from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.tracking.data import shipped_events
from beampipe.triton.client.endpoint import WireProtocol
from beampipe.triton.server import management
from beampipe.triton.server.server import TritonServer

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
