"""A pipeline in the wrong order is refused when it is built, in a sentence that says what to do."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.tracking import Pipeline, load_pipeline, stages
from beampipe.tracking.stages import Stage


@pytest.fixture(scope="module")
def exatrkx() -> Pipeline:
    return load_pipeline("exatrkx", threads=1)


def of(pipeline: Pipeline, *kinds: type) -> tuple[tuple[str, Stage], ...]:
    """The stages of these kinds, in that order."""
    by_kind = {type(stage): (name, stage) for name, stage in pipeline.stages}
    return tuple(by_kind[kind] for kind in kinds)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (
            (stages.FindNeighbours,),
            "got stage FindNeighbours first, it needs `embedding`, which no earlier stage makes;"
            " put EmbedHits before it",
        ),
        (
            (stages.EmbedHits, stages.FindNeighbours, stages.ScoreEdges),
            "got stage ScoreEdges after FindNeighbours, it needs `pair_features`, which no earlier stage makes;"
            " put PairEdges before it",
        ),
        (
            (stages.EmbedHits, stages.FilterEdges),
            "got stage FilterEdges after EmbedHits, it needs `edge_index`, which no earlier stage makes;"
            " put FindNeighbours or FilterEdges or BuildFromWindows or KeepNeighbours or PairEdges before it",
        ),
        (
            (stages.EmbedHits, stages.FindNeighbours, stages.PairEdges, stages.FilterEdges),
            "got stage FilterEdges after PairEdges, it needs `distance2`, which FindNeighbours made for edges that"
            " PairEdges has changed since; put it before PairEdges",
        ),
        (
            (stages.EmbedHits, stages.FindNeighbours),
            "got EmbedHits, FindNeighbours, expected `track_id` at the end;"
            " add ConnectComponents or WalkByChi2 or WalkByScore",
        ),
        ((), "got no stages, expected `edge_index` at the end"),
    ],
)
def test_a_wrong_order_is_refused(exatrkx: Pipeline, kinds: tuple[type, ...], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        exatrkx.with_stages(of(exatrkx, *kinds))
    assert str(raised.value).startswith(f"pipeline exatrkx: {message}")


def test_a_stage_says_what_it_needs_and_makes(exatrkx: Pipeline) -> None:
    # In a process of its own, where types are not checked as they are in tests.
    code = "from beampipe.tracking import load_pipeline; load_pipeline('exatrkx').with_stages((('mine', print),))"
    output = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr
    assert "ConfigError: pipeline exatrkx: got a stage builtin_function_or_method without `needs` and `makes`" in output

    class Renamed:
        needs = ("position",)
        makes = ("track_id",)

        def __call__(self, hits: ndarray) -> tuple[ndarray]:
            return (hits,)

    with pytest.raises(ConfigError, match="needs position and is called with hits; name its parameters as in `needs`"):
        exatrkx.with_stages((("mine", Renamed()),))


class Steepness:
    """A stage of one's own, which adds an array of its own."""

    needs = ("position", "edge_index")
    makes = ("steepness",)

    def __call__(self, position: ndarray, edge_index: ndarray) -> tuple[ndarray]:
        (r, _, z), (inner, outer) = position.T, edge_index
        return (np.abs(z[outer] - z[inner]) / np.maximum(np.abs(r[outer] - r[inner]), 1),)


class DropSteep:
    needs = ("edge_index", "steepness")
    makes = ("edge_index",)

    def __call__(self, edge_index: ndarray, steepness: ndarray) -> tuple[ndarray]:
        return (np.ascontiguousarray(edge_index[:, steepness < 1]),)


def test_stages_of_ones_own_hand_on_arrays_of_their_own() -> None:
    pipeline = load_pipeline("module_map", threads=1)
    (building, *rest) = pipeline.stages
    own = pipeline.with_stages((building, ("mine", Steepness()), ("mine", DropSteep()), *rest))
    from beampipe.tracking import shipped_events

    hits = shipped_events(0)[0].hits
    before, result = pipeline.find(hits), own.find(hits)
    assert 0 < result.counts["edges"] < before.counts["edges"]
    assert list(result.seconds) == ["building", "mine", "filtering", "labelling"]
    with pytest.raises(ConfigError, match="`steepness`, which no earlier stage makes; put one that makes it before it"):
        pipeline.with_stages((building, ("mine", DropSteep()), *rest))
    twice = (building, ("mine", Steepness()), ("mine", DropSteep()), ("mine", DropSteep()), *rest)
    with pytest.raises(ConfigError, match="Steepness made for edges that DropSteep has changed since"):
        pipeline.with_stages(twice)
