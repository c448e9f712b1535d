"""Every row of the table of foreign data: an error, a warning or the right answer, and never silence."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import LayoutError, LayoutWarning
from beampipe.events import Hits
from beampipe.tracking import load_pipeline

from .table import REFUSED, RIGHT, WARNED, Foreign, usual


def named(rows: tuple[Foreign, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@cache
def usual_tracks() -> Int64[ndarray, " n_hits"]:
    return load_pipeline(threads=1).find(Hits(usual())).track_id


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
        load_pipeline(threads=1).find(hits)
    assert [words for words in row.says if words not in str(refused.value)] == []
    assert refused.value.hits == len(hits)


@named(WARNED)
def test_warned(row: Foreign) -> None:
    finder, hits = load_pipeline(threads=1), Hits(row.make(usual()))
    with pytest.warns(LayoutWarning) as output:
        finder.find(hits)
    assert len(output) == 1
    assert [words for words in row.says if words not in str(output[0].message)] == []
    finder.find(hits)  # warnings are errors here: it says so once


@named(RIGHT)
def test_right(row: Foreign) -> None:
    result = load_pipeline(threads=1).find(Hits(row.make(usual()))).track_id
    assert found_again(usual_tracks(), result[row.row(len(usual()))]) >= row.least


@named((*REFUSED, *WARNED))
def test_forced(row: Foreign) -> None:
    hits = Hits(row.make(usual())[::10].copy())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tracks = load_pipeline(threads=1, check=False).find(hits)
    assert len(tracks.track_id) == len(hits)
    assert tracks.counts["outside"] <= len(hits)


@pytest.mark.parametrize("n", [0, 1, 2, 19])
@pytest.mark.parametrize("kind", ["usual", "elsewhere", "the same"])
def test_a_few_hits_are_not_judged(n: int, kind: str) -> None:
    some = {"usual": usual()[:n], "elsewhere": 1e4 + usual()[:n], "the same": np.repeat(usual()[:1], n, axis=0)}
    tracks = load_pipeline(threads=1).find(Hits(some[kind]))
    assert tracks.counts["outside"] == (n if kind == "elsewhere" else 0)
    assert tracks.n_tracks <= 1
