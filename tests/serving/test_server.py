"""A server for a program or a notebook: `with serve(...) as server`."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.errors import ServiceUnavailableError, UnknownNameError
from beampipe.serving import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder, serve
from beampipe.tracking import shipped_events
from beampipe.triton import FakeTransport
from beampipe.triton.engine import Engine

HITS = [event.hits for event in shipped_events(0)][-1]


def test_it_serves_for_as_long_as_the_block_runs(engine: Engine) -> None:
    server = serve("module_map", "exatrkx")
    with server as running:
        assert running is server
        assert running.start() is server  # it runs already
        assert server.models == ("module_map", "exatrkx")
        finder = server.finder(parameters=True)
        tracks = finder.find(HITS)
        np.testing.assert_array_equal(tracks.track_id, DirectTrackFinder("module_map").find(HITS).track_id)
        assert tracks.n_tracks > 0
        assert tracks.parameters is not None
        assert server.finder("exatrkx", stages=True).find(HITS).seconds
        with TritonTrackFinder(server.http_url, "exatrkx") as other:
            assert other.find(HITS).n_tracks > 0
        assert f"gRPC: {server.url}" in repr(server)
        assert server.metrics_url in server._repr_html_()
        assert max(len(repr(server)), len(repr(finder))) <= 200
        with pytest.raises(UnknownNameError, match="did you mean 'module_map'"):
            server.finder("module_maps")
    server.stop()
    assert repr(server) == "TrackingServer(models: module_map, exatrkx, state: not running)"
    with pytest.raises(ServiceUnavailableError, match="with serve"):
        server.finder()


def test_names_are_checked_at_the_start() -> None:
    with pytest.raises(UnknownNameError, match="unknown model: got 'exatrx'"):
        serve("exatrx").start()


def test_finders_are_said_in_a_line() -> None:
    direct = DirectTrackFinder("module_map", parameters=True)
    request = TritonTrackFinder(
        [f"grpc://host{n}.example:8001" for n in range(50)], transport=FakeTransport(lambda arrays: arrays)
    )
    with FallbackTrackFinder(request, direct) as both:
        for finder in (direct, request, both):
            assert len(repr(finder)) <= 300
            assert len(finder._repr_html_()) <= 2000
        assert repr(direct).startswith("DirectTrackFinder(runs: Pipeline(name: module_map, steps: ")
        assert repr(request).startswith("TritonTrackFinder(model: module_map, servers: grpc://host0.example:8001, ")
        assert "answered: 0, 0" in repr(both)
