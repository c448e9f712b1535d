"""Every row of the table of foreign data: an error, a warning or the right answer, and never silence."""

from __future__ import annotations

import pickle
import warnings
from functools import cache

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import InputError, LayoutError, LayoutWarning, from_wire, to_wire
from beampipe.events import Hits
from beampipe.tracking import load_pipeline
from beampipe.tracking.pipeline import Pipeline

from .table import REFUSED, RIGHT, WARNED, Foreign, calorimeter, usual


def named(rows: tuple[Foreign, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@cache
def finder() -> Pipeline:
    return load_pipeline("module_map", threads=1)


@cache
def lenient() -> Pipeline:
    """One that takes hits of any detector."""
    return load_pipeline("module_map", threads=1, check=False)


@cache
def usual_tracks() -> Int64[ndarray, " n_hits"]:
    return finder().find(Hits(usual())).track_id


def found_again(usual_id: Int64[ndarray, " n"], track_id: Int64[ndarray, " n"]) -> float:
    """Share of the usual tracks of which more than half of the hits are together on one track."""
    again = 0
    for track in range(usual_id.max() + 1):
        hits = track_id[usual_id == track]
        again += int(np.bincount(hits[hits >= 0], minlength=1).max() > len(hits) / 2)
    return float(again / (usual_id.max() + 1))


def test_the_usual_event_is_worth_looking_at() -> None:
    assert 10_000 < len(usual()) < 20_000
    assert usual_tracks().max() > 150


def test_no_row_comes_twice() -> None:
    names = [row.name for row in (*REFUSED, *WARNED, *RIGHT)]
    assert len(set(names)) == len(names) > 90


@named(REFUSED)
def test_refused(row: Foreign) -> None:
    hits = Hits(row.make(usual()))
    with pytest.raises(LayoutError) as refused:
        finder().find(hits)
    assert [words for words in row.says if words not in str(refused.value)] == []
    assert refused.value.hits == len(hits)


@named(WARNED)
def test_warned(row: Foreign) -> None:
    watched, hits = load_pipeline(threads=1), Hits(row.make(usual()))
    with pytest.warns(LayoutWarning) as output:
        watched.find(hits)
    assert len(output) == 1
    assert [words for words in row.says if words not in str(output[0].message)] == []
    watched.find(hits)  # warnings are errors here: it says so once


@named(RIGHT)
def test_right(row: Foreign) -> None:
    result = finder().find(Hits(row.make(usual()))).track_id
    assert found_again(usual_tracks(), result[row.row(len(usual()))]) >= row.least


@named((*REFUSED, *WARNED))
def test_forced(row: Foreign) -> None:
    hits = Hits(row.make(usual())[::10].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracks = lenient().find(hits)
    assert len(tracks.track_id) == len(hits)
    assert tracks.counts["outside"] <= len(hits)


@pytest.mark.parametrize("n", [0, 1, 2, 19])
@pytest.mark.parametrize("kind", ["usual", "elsewhere", "the same"])
def test_a_few_hits_are_not_judged(n: int, kind: str) -> None:
    some = {"usual": usual()[:n], "elsewhere": 1e4 + usual()[:n], "the same": np.repeat(usual()[:1], n, axis=0)}
    tracks = finder().find(Hits(some[kind]))
    assert tracks.counts["outside"] == (n if kind == "elsewhere" else 0)
    assert tracks.n_tracks <= 1


def test_half_of_the_hits_may_lie_outside() -> None:
    hits = usual()[:21].copy()
    hits[:10, 0] = 5000
    assert finder().check_hits([Hits(hits)])[0][0] == 10
    hits[10, 0] = 5000
    with pytest.raises(LayoutError, match="got 11 of 21 hits"):
        finder().check_hits([Hits(hits)])


def test_layers_without_hits_and_half_filled_ones_are_counted() -> None:
    hits, boxes = usual(), finder().windows.layers
    r_min, r_max, z_min, z_max = boxes[np.argmin(np.abs(boxes[:, 0] - 31) + np.abs(boxes[:, 2] + 491))]
    on_it = (hits[:, 0] >= r_min) & (hits[:, 0] <= r_max) & (hits[:, 2] >= z_min) & (hits[:, 2] <= z_max)
    assert on_it.sum() > 200
    without, halved, few = hits[~on_it], hits[~on_it | (hits[:, 2] > 10)], hits[~on_it | (np.cumsum(on_it) < 20)]
    unfilled = [fit[1] for fit in finder().check_hits([Hits(some) for some in (hits, without, halved, few)])]
    assert unfilled == [0, 1, 1, 0]
    ((outside, _),) = finder().check_hits([Hits(calorimeter(hits[:1000], 0.25))])
    assert outside == 250


def test_the_event_at_fault_is_named_and_its_error_survives_the_wire() -> None:
    good, bad, small = Hits(usual()), Hits(usual() * np.float32(0.1)), Hits(usual()[:5])
    with pytest.raises(LayoutError, match=r"on no layer of module_map in event 2 of 3, expected most") as raised:
        finder().find_many([good, small, bad])
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
