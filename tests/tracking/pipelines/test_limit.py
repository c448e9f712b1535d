"""Events that are denser than a pipeline is made for: refused here, in C++ and over the wire in the same words."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from beampipe.errors import TooLargeError, from_wire, to_wire
from beampipe.events import Hits
from beampipe.tracking import build_pipeline, load_pipeline, shipped_events
from beampipe.tracking.catalogue import PIPELINES, Limit
from beampipe.tracking.pipeline import Pipeline

SMALL = replace(PIPELINES["exatrkx_soft"], limit=Limit(hits=300, instead="module_map_soft"))
LIMITED = [name for name, spec in PIPELINES.items() if spec.limit is not None]


@cache
def event() -> Hits:
    """More hits than SMALL takes."""
    return next(event.hits for event in shipped_events(0) if len(event.hits) > 800)


@cache
def lines(*, check: bool = True) -> list[Pipeline]:
    """SMALL as it is built, which is composed in C++ where that is there, and stage by stage."""
    whole = build_pipeline(SMALL, 1, check=check)
    return [whole, whole.staged()]


@pytest.mark.parametrize("staged", [False, True])
def test_more_hits_than_the_limit_are_refused(staged: bool) -> None:
    line = lines()[staged]
    few = event().take(np.arange(300))
    assert line.find(few).counts["hits"] == 300
    output = (
        f"^exatrkx_soft: got {len(event())} hits, expected at most 300: .*use module_map_soft, or go on with --force"
    )
    with pytest.raises(TooLargeError, match=output):
        line.find(event())
    with pytest.raises(TooLargeError, match=f"got {len(event())} hits in event 1 of 3, expected at most 300: "):
        line.find_many([few, event(), few])


def test_without_checks_it_goes_on() -> None:
    composed, by_stages = (line.find(event()) for line in lines(check=False))
    assert composed.n_tracks > 3
    np.testing.assert_array_equal(composed.track_id, by_stages.track_id)


@pytest.mark.parametrize("name", LIMITED)
def test_the_soft_networks_are_for_60_collisions_and_not_for_200(name: str) -> None:
    limit = PIPELINES[name].limit
    assert limit is not None
    assert all(len(event.hits) <= limit.hits for event in shipped_events(60))
    with pytest.raises(TooLargeError, match=f"^{name}: got 134690 hits, expected at most {limit.hits}: "):
        load_pipeline(name, threads=1).find(shipped_events(200)[0].hits)
    assert PIPELINES[limit.instead].limit is None


def test_the_error_survives_the_wire_and_the_way_between_processes() -> None:
    with pytest.raises(TooLargeError) as raised:
        lines()[0].find(event())
    for copy in (from_wire(to_wire(raised.value)), pickle.loads(pickle.dumps(raised.value))):
        assert type(copy) is TooLargeError
        assert str(copy) == str(raised.value)


def test_a_dense_event_is_searched_from_fewer_layers() -> None:
    (event,) = shipped_events(200)[:1]
    assert event.truth is not None
    r, phi, z = event.hits.position.T
    turned = [np.stack([r, np.mod(phi + turn, 2 * np.pi) - np.pi, z], axis=1) for turn in (0.0, 1.0, 2.0, 3.0)]
    dense = Hits(np.concatenate(turned).astype(np.float32))
    alone = load_pipeline("module_map", threads=1).find(Hits(turned[0].astype(np.float32)))
    result = load_pipeline("module_map", threads=2).find(dense)
    assert 3.8 * alone.n_tracks < result.n_tracks < 4.6 * alone.n_tracks
    # Of the hits of the tracks that are found in the single event, nearly all are on tracks here.
    again = np.count_nonzero(result.track_id.reshape(4, -1)[0][alone.track_id >= 0] >= 0)
    assert again > 0.97 * np.count_nonzero(alone.track_id >= 0)
