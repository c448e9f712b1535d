"""The comparison of hits with the layers: the same in C++ and in numpy, and where its limits lie."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from beampipe.errors import InputError, LayoutError, from_wire, to_wire
from beampipe.events import Hits
from beampipe.tracking import kernels, load_pipeline
from beampipe.tracking.pipeline import Pipeline

from ..foreign.table import REFUSED, RIGHT, WARNED, Foreign, calorimeter, usual
from ..pipelines.hard_events import KINDS, absurd
from .reference import FEWEST_HITS, LayerCheck


@cache
def composed() -> Pipeline:
    if kernels.native() is None:
        pytest.skip("the kernels were not compiled")
    return load_pipeline("module_map", threads=1)


def layout() -> LayerCheck:
    return LayerCheck(composed().name, composed().windows)


def judged_here(*events: Hits) -> object:
    """What the numpy twin says of events: their fits, or the error with its numbers."""
    try:
        return layout().check(events)
    except LayoutError as error:
        return str(error), error.hits, error.outside, error.hint


def judged_in_c(*events: Hits) -> object:
    try:
        result = composed().find_many(events)
    except LayoutError as error:
        return str(error), error.hits, error.outside, error.hint
    fits = [(tracks.counts["outside"], tracks.counts["unfilled_layers"]) for tracks in result]
    assert fits == composed().check_hits(events)
    return fits


def assert_same(*events: Hits) -> None:
    assert judged_in_c(*events) == judged_here(*events)


@pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")
@pytest.mark.parametrize("row", [*REFUSED, *WARNED, *RIGHT], ids=lambda row: row.name)
def test_foreign_events(row: Foreign) -> None:
    assert_same(Hits(np.ascontiguousarray(row.make(usual())[::7])))


@pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_absurd_events(kind: str) -> None:
    assert_same(Hits(absurd(kind, 500)))


@pytest.mark.filterwarnings("ignore::beampipe.errors.LayoutWarning")
@pytest.mark.parametrize("seed", range(20))
def test_random_events(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.uniform(-4, 4, 3)
    event = usual()[rng.integers(len(usual()), size=300)][:, rng.permutation(3)] * scale
    assert_same(Hits(event.astype(np.float32)))


def test_the_event_at_fault_is_named_among_several() -> None:
    good, bad, small = Hits(usual()), Hits(usual() * np.float32(0.1)), Hits(usual()[:5])
    assert_same(good, small, bad)
    with pytest.raises(LayoutError, match=r"on no layer of module_map in event 2 of 3, expected most"):
        composed().find_many([good, small, bad])


@pytest.mark.parametrize("n_outside", [0, 10, 11])
def test_half_of_the_hits_may_lie_outside(n_outside: int) -> None:
    hits = usual()[: FEWEST_HITS + 1].copy()
    hits[:n_outside, 0] = 5000
    assert_same(Hits(hits))
    refused = isinstance(judged_here(Hits(hits)), tuple)
    assert refused == (n_outside > len(hits) / 2)


def test_hits_outside_are_counted() -> None:
    some = Hits(calorimeter(usual()[:1000], 0.25))
    (fit,) = layout().check([some])
    assert fit.outside == 250
    assert_same(some)


def test_layers_without_hits_and_half_filled_ones() -> None:
    hits = usual()
    (fit,) = layout().check([Hits(hits)])
    assert fit.unfilled == 0
    boxes = layout().windows.layers
    r_min, r_max, z_min, z_max = boxes[np.argmin(np.abs(boxes[:, 0] - 31) + np.abs(boxes[:, 2] + 491))]
    on_it = (hits[:, 0] >= r_min) & (hits[:, 0] <= r_max) & (hits[:, 2] >= z_min) & (hits[:, 2] <= z_max)
    assert on_it.sum() > 200
    without, halved, few = hits[~on_it], hits[~on_it | (hits[:, 2] > 10)], hits[~on_it | (np.cumsum(on_it) < 20)]
    assert [layout().check([Hits(some)])[0].unfilled for some in (without, halved, few)] == [1, 1, 0]
    for some in (without, halved, few):
        assert_same(Hits(some))


def test_whoever_does_not_refuse_still_counts() -> None:
    lenient = replace(layout(), refuses=False)
    foreign = Hits(usual()[:1000] * np.float32(0.1))
    assert lenient.check([foreign])[0].outside > 900
    tracks = load_pipeline("module_map", threads=1, check=False).find(foreign)
    assert tracks.counts["outside"] == lenient.check([foreign])[0].outside


@pytest.mark.parametrize("row", REFUSED[::5], ids=lambda row: row.name)
def test_an_error_survives_the_wire_and_the_way_between_processes(row: Foreign) -> None:
    with pytest.raises(LayoutError) as raised:
        composed().find(Hits(row.make(usual())))
    error = raised.value
    for copy in (from_wire(to_wire(error)), pickle.loads(pickle.dumps(error))):
        assert type(copy) is LayoutError
        assert (str(copy), copy.hits, copy.outside, copy.hint) == (str(error), error.hits, error.outside, error.hint)


@pytest.mark.parametrize(
    "text",
    ["", "hits: got [nan, 0, 0] at row 1", "layout: got nothing", 'got {"error": 7}', 'got {"error": "FileError"}'],
)
def test_other_texts_are_errors_as_they_stand(text: str) -> None:
    error = from_wire(text)
    assert type(error) is InputError
    assert str(error) == text
