"""Tracks compared with both measurements of the space points on double-sided modules."""

from pathlib import Path

import numpy as np
import pytest

from beampipe.events import NO_TRACK, Event, Hits, Tracks
from beampipe.simulation.detector import Modules, detector_modules, read_layout
from beampipe.tracking.finder import InOneThread
from beampipe.tracking.strips import STRIPS, StripChecked, checked_points, with_strips
from tests.simulation.layouts import shot

pytestmark = pytest.mark.acts


@pytest.fixture(scope="module")
def modules() -> Modules:
    return detector_modules(read_layout(Path("odd")))


@pytest.fixture(scope="module")
def muons() -> Event:
    return shot(read_layout(Path("odd")), 3, 400, (1.0, 10.0), 2.5)


class Given(InOneThread):
    """A finder of these labels."""

    def __init__(self, track_id: np.ndarray) -> None:
        self.track_id = track_id

    def find(self, hits: Hits, /) -> Tracks:
        return Tracks(self.track_id)


def test_wrong_points_are_replaced_by_right_ones(modules: Modules, muons: Event) -> None:
    assert muons.truth is not None
    assert muons.hits.geometry_id is not None
    assert modules.stereo is not None
    true = muons.truth.particle_id - 1
    is_point = np.isfinite(modules.stereo[modules.rows(muons.hits.geometry_id)])
    # No point has a track, or the one of another muon.
    rng = np.random.default_rng(4)
    labels = np.where(is_point, rng.choice([NO_TRACK, 5, 6, 7], len(true)), true)
    checked = checked_points(muons.hits, labels, modules)
    np.testing.assert_array_equal(checked[~is_point], true[~is_point])
    points = np.flatnonzero(is_point)
    n_hits = np.bincount(true[~is_point], minlength=400)
    wanted = points[(true[points] >= 0) & (n_hits[true[points]] >= 7)]
    assert len(wanted) > 600
    assert (checked[wanted] == true[wanted]).mean() > 0.97
    on_track = points[checked[points] != NO_TRACK]
    assert (checked[on_track] == true[on_track]).mean() > 0.99


def test_short_tracks_and_bare_hits_stay_as_they_are(modules: Modules, muons: Event) -> None:
    assert muons.hits.geometry_id is not None
    assert modules.stereo is not None
    is_point = np.isfinite(modules.stereo[modules.rows(muons.hits.geometry_id)])
    labels = np.full(len(is_point), NO_TRACK, np.int64)
    labels[np.flatnonzero(~is_point)[:4]] = 0
    labels[np.flatnonzero(is_point)[:3]] = 0
    np.testing.assert_array_equal(checked_points(muons.hits, labels, modules), labels)
    bare = Hits(muons.hits.position)
    np.testing.assert_array_equal(checked_points(bare, labels, modules), labels)
    tracks = StripChecked(Given(labels), modules).find(muons.hits)
    np.testing.assert_array_equal(tracks.track_id, labels)
    assert list(tracks.seconds) == ["strips"]


def test_acts_measures_each_strip_itself(modules: Modules) -> None:
    given = Given(np.empty(0, np.int64))
    assert [name for name, _ in with_strips("acts-fast", given, modules)] == ["acts-fast"]
    assert [name for name, _ in with_strips("module_map", given, modules)] == ["module_map", "module_map" + STRIPS]
