"""The pipelines composed in C++ against the line of Python stages: the same labels, counts, errors and calls."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy import ndarray
from safetensors.numpy import load_file, save_file

from beampipe.errors import TooLargeError
from beampipe.events import Hits, Tracks
from beampipe.tracking import build_pipeline, load_pipeline, shipped_events
from beampipe.tracking.catalogue import PIPELINES, Components, PipelineSpec, Walk
from beampipe.tracking.kernels import _native
from beampipe.tracking.loading import DEFAULT_MODEL_FOLDER
from beampipe.tracking.pipeline import Pipeline
from tests.tracking.digests import renew_digests

from ..kernels.toy_map import helix_hits, toy_hits
from .hard_events import KINDS, absurd, outcome

SCORED_WINDOWS = replace(PIPELINES["exatrkx"], name="scored_windows", graph="windows")
"""Kinds of pipelines that none of the named ones is."""
SPECS: dict[str, PipelineSpec] = {
    **PIPELINES,
    "scored_windows": SCORED_WINDOWS,
    "scored_windows_walk": replace(SCORED_WINDOWS, segmentation=Walk(4, 0.25, 0.9)),
    "neighbours_walk": replace(PIPELINES["exatrkx"], scored=False, segmentation=Walk(6, 0.5)),
    "small_components": replace(PIPELINES["exatrkx"], segmentation=Components(0)),
}


DIFFERENT = ("exatrkx", "exatrkx_walk", "module_map", "neighbours_walk", "scored_windows")
"""Names of `SPECS` that differ by more than their weights or numbers."""


@cache
def composed(name: str, threads: int = 1) -> Pipeline:
    """It takes any hits: what it makes of foreign ones is compared, too."""
    return build_pipeline(SPECS[name], threads, check=False)


@cache
def line(name: str, threads: int = 1) -> Pipeline:
    """The same pipeline, run stage by stage in Python."""
    return composed(name, threads).staged()


@cache
def events(mu: int) -> tuple[Hits, ...]:
    return tuple(event.hits for event in shipped_events(mu))


def facts(tracks: Tracks | tuple[object, ...]) -> tuple[object, ...]:
    """All of a result but its times."""
    if isinstance(tracks, tuple):
        return tracks
    assert tracks.track_id.dtype == np.int64
    return tracks.track_id.tobytes(), list(tracks.counts.items()), list(tracks.seconds), tracks.n_tracks


def assert_same(name: str, some: Sequence[Hits], threads: int = 1) -> None:
    """Both find the same in events alone and in all together."""
    one, other = composed(name, threads), line(name, 1)
    for hits in some:
        assert facts(outcome(lambda: one.find(hits))) == facts(outcome(lambda: other.find(hits)))  # noqa: B023
    result, expected = outcome(lambda: one.find_many(some)), outcome(lambda: other.find_many(some))
    if isinstance(result, list) and isinstance(expected, list):
        result, expected = [facts(tracks) for tracks in result], [facts(tracks) for tracks in expected]
    assert result == expected


@pytest.fixture(params=SPECS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("threads", [1, 3])
def test_shipped_events(name: str, threads: int) -> None:
    assert composed(name).facts()["runs"] == "in C++"
    assert line(name).facts()["runs"] == "stage by stage"
    some = [events(0)[0], *events(0)[3:9], events(0)[0].take(np.arange(1)), events(0)[0].take(np.arange(0))]
    assert line(name).find(some[0]).n_tracks > 3
    assert_same(name, some, threads)


def test_a_large_event(name: str) -> None:
    hits = events(60)[1]
    hits = hits.take(np.abs(hits.position[:, 1]) < 1)
    assert len(hits) > 8000  # more than one thread is worth
    assert_same(name, [events(0)[0], hits], 2)


@pytest.mark.parametrize("seed", range(2))
def test_random_events(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spread = np.stack([rng.uniform(30, 1000, 400), rng.uniform(-9, 9, 400), rng.uniform(-900, 900, 400)], axis=1)
    some = [Hits(toy_hits(300, seed)), Hits(helix_hits(40, seed)), Hits(spread.astype(np.float32))]
    assert_same(name, some, 2)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("kind", KINDS)
def test_absurd_events(name: str, kind: str) -> None:
    assert_same(name, [events(0)[1], Hits(absurd(kind, 500)), events(0)[2]], 2)


def test_some_events_are_refused() -> None:
    crowd = Hits(absurd("one line", 40_000))
    with pytest.raises(
        TooLargeError, match=r"^hits: got at least \d+ million .*, expected at most \d+ million; so many"
    ):
        composed("exatrkx").find(crowd)


@pytest.mark.parametrize("turns", [-1000, 1])
def test_phi_counted_from_anywhere(name: str, turns: int) -> None:
    position = events(0)[0].position.copy()
    position[::2, 1] += np.float32(turns * 2 * np.pi)
    assert (np.abs(position[:, 1]) > np.pi).mean() > 0.4
    before = position.copy()
    assert_same(name, [Hits(position), events(0)[1], Hits(position)])
    np.testing.assert_array_equal(position, before)


def test_hits_that_lie_anyhow_in_memory() -> None:
    position = np.asfortranarray(events(0)[0].position)
    position.flags.writeable = False
    result = composed("exatrkx").find(Hits(position))
    np.testing.assert_array_equal(result.track_id, line("exatrkx").find(events(0)[0]).track_id)


@pytest.mark.parametrize("name", DIFFERENT)
@pytest.mark.parametrize("sizes", [[4_000_000], [10, 4_000_000], [600_000] * 20])
def test_memory_is_refused_with_the_same_words(name: str, sizes: list[int]) -> None:
    spec = replace(SPECS[name], bytes_per_hit=2000.0, bytes_per_hit2=1e-3)
    hits = [Hits(np.broadcast_to(np.zeros(3, np.float32), (n, 3))) for n in sizes]
    position, offsets = np.zeros((sum(sizes), 3), np.float32), np.array([0, *sizes]).cumsum()
    with pytest.raises(TooLargeError) as expected:
        build_pipeline(spec, 1).find_many(hits)
    with pytest.raises(TooLargeError) as result:
        _native.TrackFinder(spec.to_json(), str(DEFAULT_MODEL_FOLDER)).find(
            position, offsets, (0.0, 0.0, 0.0, 0.0), 1, True, None
        )
    assert str(result.value) == str(expected.value)


def test_memory_is_the_same(name: str) -> None:
    native = _native.TrackFinder(SPECS[name].to_json(), str(DEFAULT_MODEL_FOLDER))
    for n_hits in (0, 1, 300, 123_457, 10**9):
        assert native.memory(n_hits) == composed(name).memory(n_hits)


def test_the_hook_is_called_after_each_stage(name: str) -> None:
    calls: list[list[str]] = [[], []]
    for finder, called in zip((composed(name), line(name)), calls, strict=True):
        finder.find(events(0)[0], hook=lambda step, _: called.append(step))  # noqa: B023
        finder.find(events(0)[0].take(np.arange(1)), hook=lambda step, _: called.append(step))  # noqa: B023
    if SPECS[name].graph == "windows":
        assert calls[0] == calls[1]
    assert tuple(dict.fromkeys(calls[0])) == tuple(dict.fromkeys(calls[1])) == line(name).steps == composed(name).steps
    assert len(calls[0]) == len(calls[1]) == sum(map(len, line(name).passes))


@pytest.mark.parametrize("after", [0, 2])
def test_the_hook_may_end_the_work_at_any_stage(after: int) -> None:
    called: list[int] = []

    def stop(step: str, arrays: Mapping[str, Any] | None) -> None:
        called.append(1)
        if len(called) > after:
            raise KeyError("nobody waits")

    for finder in (composed("exatrkx"), line("exatrkx")):
        called.clear()
        with pytest.raises(KeyError, match="nobody waits"):
            finder.find(events(0)[0], hook=stop)
        assert len(called) == after + 1
        assert finder.find(events(0)[0]).n_tracks > 3


class NoEdges:
    """Drops all edges."""

    needs: ClassVar = ("edge_index",)
    makes: ClassVar = ("edge_index",)

    def __call__(self, edge_index: ndarray) -> tuple[ndarray]:
        return (edge_index[:, :0].copy(),)


def test_stages_of_ones_own_are_run() -> None:
    building, *rest = composed("module_map").stages
    own = composed("module_map").with_stages((building, ("dropping", NoEdges()), *rest))
    tracks = own.find(events(0)[0])
    assert tracks.n_tracks == 0
    assert "dropping" in tracks.seconds


def test_a_composed_pipeline_can_be_pickled() -> None:
    finder = load_pipeline("exatrkx", threads=2)
    copy = pickle.loads(pickle.dumps(finder))
    assert copy.facts() == finder.facts()
    assert facts(copy.find(events(0)[0])) == facts(finder.find(events(0)[0]))


def test_networks_that_read_no_pair_features(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_MODEL_FOLDER, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "exatrkx.safetensors")
    tensors["gnn.edge_encoder.0.weight"] = tensors["gnn.edge_encoder.0.weight"][:, :6].copy()
    save_file(tensors, tmp_path / "exatrkx.safetensors")
    card = json.loads((tmp_path / "exatrkx.json").read_text())
    card["config"]["pair_features"] = False
    del card["sha256"]
    (tmp_path / "exatrkx.json").write_text(json.dumps(card))
    finder = build_pipeline(PIPELINES["exatrkx"], 1, renew_digests(tmp_path))
    assert facts(finder.find(events(0)[0])) == facts(finder.staged().find(events(0)[0]))
    assert facts(finder.find(events(0)[0])) != facts(composed("exatrkx").find(events(0)[0]))
