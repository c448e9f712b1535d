"""What tracks say of their hits: rows, transverse momenta, jagged arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from beampipe.errors import ConfigError, InputError, MissingExtraError, ShapeError
from beampipe.tracking import Hits, Tracks, load_track_fitter
from beampipe.tracking.display import estimate_pt
from tests.tracking.display.toy import toy_event

ARC_RADIUS = 1000.0
"""Radius of the circle that the hits of `arc` lie on [mm]."""


def arc(n: int) -> Hits:
    """Hits of a particle from the beam line on a circle."""
    s = np.linspace(0.1, 0.6, n)
    return Hits.from_xyz(np.stack([ARC_RADIUS * np.sin(s), ARC_RADIUS * (1 - np.cos(s)), 200 * s], axis=1))


def test_the_hits_of_a_track() -> None:
    tracks = Tracks(np.array([0, -1, 1, 0, 1, 1]))
    assert [rows.tolist() for rows in tracks.rows] == [[0, 3], [2, 4, 5]]
    assert tracks[-1].rows.tolist() == [2, 4, 5]
    shared = replace(tracks, candidates=[np.array([5, 2]), np.array([2, 4, 0]), np.array([1])])
    assert len(shared) == 3
    assert shared[1].rows.tolist() == [0, 2, 4]
    for wrong in (-3, 2):
        with pytest.raises(IndexError, match=rf"tracks: got row {wrong}, but there are 2"):
            tracks[wrong]
    with pytest.raises(IndexError, match="there are 0"):
        Tracks(np.array([-1, -1]))[0]


def test_some_of_the_tracks() -> None:
    event, tracks, _ = toy_event(60, n_noise=20, seed=3)
    fitted = load_track_fitter().add(event.hits, tracks).found_in(event)
    assert fitted.parameters is not None
    chosen = fitted.pt > np.median(fitted.pt)
    part = fitted[chosen]
    assert 3 < len(part) == chosen.sum() < len(fitted)
    for name in ("pt", "d0", "z0", "phi", "theta", "eta", "charge", "chi2", "n_hits"):
        np.testing.assert_array_equal(getattr(part, name), getattr(fitted, name)[chosen])
    turned = fitted[[5, 2]]
    assert [rows.tolist() for rows in turned.rows] == [fitted[5].rows.tolist(), fitted[2].rows.tolist()]
    assert turned.event is event
    lists = replace(tracks, candidates=tracks.rows)[3:5]
    assert [rows.tolist() for rows in lists.rows] == [tracks[3].rows.tolist(), tracks[4].rows.tolist()]
    np.testing.assert_allclose(np.sinh(fitted.eta), 1 / np.tan(fitted.theta), rtol=1e-9)
    with pytest.raises(InputError, match="got one of them twice"):
        tracks[[1, 1]]
    with pytest.raises(ConfigError, match="these were not fitted"):
        _ = tracks.eta


def test_pt_of_a_circle() -> None:
    """pT = 0.3 B R: 0.3 GeV per T and m."""
    hits = arc(10)
    tracks = Tracks(np.zeros(10, np.int64), magnetic_field=2.0)
    pt = tracks.found_in(hits).pt
    np.testing.assert_allclose(pt, [0.299792458 * 2.0 * ARC_RADIUS / 1000], rtol=1e-4)
    stronger = replace(tracks, magnetic_field=3.8).found_in(hits)
    np.testing.assert_allclose(stronger.pt / pt, 1.9, rtol=1e-6)
    np.testing.assert_array_equal(estimate_pt(hits, tracks), estimate_pt(hits, tracks.track_id, 2.0))
    assert np.isnan(Tracks(np.array([0, 0]), magnetic_field=2.0).found_in(hits[[0, 9]]).pt).all()
    with pytest.raises(ConfigError, match=r"got no magnetic field, expected .* magnetic_field=2\.0"):
        _ = replace(tracks, magnetic_field=None).found_in(hits).pt
    with pytest.raises(ShapeError, match="got labels of 3 hits, expected 10"):
        Tracks(np.zeros(3, np.int64)).found_in(hits)


def test_pt_of_tracks_that_share_hits_is_by_their_lists() -> None:
    hits = arc(10)
    half = [np.arange(6), np.arange(4, 10), np.arange(2)]
    pt = Tracks(np.zeros(10, np.int64), candidates=half, magnetic_field=2.0).found_in(hits).pt
    np.testing.assert_allclose(pt, [0.5996, 0.5996, np.nan], rtol=1e-3)


def test_pt_of_a_fit_comes_first() -> None:
    event, tracks, _ = toy_event(60, seed=3)
    fitted = load_track_fitter().add(event.hits, tracks)
    assert fitted.parameters is not None
    is_fitted = fitted.parameters.fitted
    assert is_fitted.any()
    np.testing.assert_array_equal(
        fitted.found_in(event).pt,
        np.where(is_fitted, fitted.parameters.pt, tracks.found_in(event).pt).astype(np.float32),
    )


def test_tracks_as_an_array_of_awkward() -> None:
    ak = pytest.importorskip("awkward")
    event, tracks, _ = toy_event(60, n_noise=20, seed=3)
    array = tracks.found_in(event).to_awkward()
    assert ak.fields(array) == ["n_hits", "pt", "hits"]
    assert len(array) == tracks.n_tracks > 10
    np.testing.assert_array_equal(ak.to_numpy(array.pt), tracks.found_in(event).pt)
    for track in range(tracks.n_tracks):
        rows = ak.to_numpy(array.hits.row[track])
        assert sorted(rows) == tracks[track].rows.tolist()
        r, z = event.hits.position[rows, 0], event.hits.position[rows, 2]
        assert (np.diff(r**2 + z**2) >= 0).all()
        np.testing.assert_array_equal(ak.to_numpy(array.hits.r[track]), r)
    fitted = load_track_fitter().add(event.hits, tracks)
    assert fitted.parameters is not None
    np.testing.assert_array_equal(ak.to_numpy(fitted.found_in(event).to_awkward().z0), fitted.parameters.values[:, 1])
    assert len(Tracks(np.full(len(event.hits), -1)).found_in(event).to_awkward()) == 0
    with pytest.raises(TypeError, match=r"have no event; call tracks.found_in\(event\)"):
        Tracks(np.array([-1])).to_awkward()


def test_without_awkward_the_extra_is_named(hide: Callable[[str], None]) -> None:
    hide("awkward")
    with pytest.raises(MissingExtraError, match=r"needs awkward.*beampipe\[tracking\]"):
        Tracks(np.zeros(10, np.int64)).found_in(arc(10)).to_awkward()
