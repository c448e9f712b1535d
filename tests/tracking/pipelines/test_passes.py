"""Pipelines of several passes: each works on the hits that those before left over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from beampipe.events import NO_TRACK, Hits
from beampipe.tracking import build_pipeline, shipped_events
from beampipe.tracking.catalogue import PIPELINES
from beampipe.tracking.kernels import number_by_first_hit
from beampipe.tracking.pipeline import Pipeline

NAMES = [name for name, spec in PIPELINES.items() if spec.after is not None]


@cache
def found_by(name: str) -> Pipeline:
    return build_pipeline(PIPELINES[name], 1, check=False)


@cache
def dense() -> Hits:
    """A part of an event of 60 collisions."""
    hits = shipped_events(60)[0].hits
    return hits.take(np.abs(hits.position[:, 1]) < 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_tracks_of_the_first_pass_stay(name: str) -> None:
    spec = PIPELINES[name]
    assert spec.after is not None
    first = build_pipeline(spec.after, 1, check=False).find(dense())
    both = found_by(name).find(dense())
    assert both.n_tracks > first.n_tracks > 20
    of_first = first.track_id >= 0
    np.testing.assert_array_equal(number_by_first_hit(both.track_id[of_first]), first.track_id[of_first])
    shared = np.intersect1d(both.track_id[of_first], both.track_id[~of_first & (both.track_id >= 0)])
    assert len(shared) == 0  # no later pass adds hits to them


@pytest.mark.parametrize("name", NAMES)
def test_the_last_pass_is_its_windows_on_what_is_left(name: str) -> None:
    spec = PIPELINES[name]
    assert spec.after is not None
    left = build_pipeline(spec.after, 1, check=False).find(dense()).track_id == NO_TRACK
    alone = build_pipeline(replace(spec, after=None), 1, check=False).find(dense().take(left))
    both = found_by(name).find(dense())
    assert alone.n_tracks > 0
    np.testing.assert_array_equal(number_by_first_hit(both.track_id[left]), alone.track_id)


@pytest.mark.parametrize("name", NAMES)
def test_times_and_counts_are_of_all_passes(name: str) -> None:
    passes = PIPELINES[name].passes
    tracks = found_by(name).find(dense())
    steps = []
    for number, one in enumerate(passes, start=1):
        alone = build_pipeline(replace(one, after=None), 1, check=False).find(dense())
        steps += [step if number == 1 else f"{step}_{number}" for step in alone.seconds]
    assert list(tracks.seconds) == steps
    assert all(taken > 0 for taken in tracks.seconds.values())
    assert tracks.counts["hits"] == len(dense())
    assert tracks.counts["edges"] > build_pipeline(passes[0], 1, check=False).find(dense()).counts["edges"]


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_look_inside_sees_every_pass(name: str) -> None:
    sizes: list[int] = []
    steps: list[str] = []

    def look(step: str, arrays: Mapping[str, Any] | None) -> None:
        steps.append(step)
        if arrays is not None and "position" in arrays:
            sizes.append(len(arrays["position"]))

    found_by(name).staged().find(dense(), hook=look)
    assert tuple(dict.fromkeys(steps)) == found_by(name).steps
    assert sizes[0] == len(dense()) > sizes[-1] > 0
    assert sizes == sorted(sizes, reverse=True)
