"""Tracks of EDM4hep, read back by uproot and by our reader of hits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import InputError
from beampipe.events import Event, FitStatus, Hits, Tracks, hit_lists, split_hit_lists
from beampipe.tracking import (
    FittedFinder,
    load_pipeline,
    load_track_fitter,
    open_events,
    shipped_events,
    write_tracks,
)
from beampipe.tracking.formats.edm4hep import track_states


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Event, Tracks]]:
    finder = FittedFinder(load_pipeline(threads=1), load_track_fitter(threads=1))
    nothing = Event(9, Hits(np.empty((0, 3), np.float32)))
    return [(event, finder.find(event)) for event in (shipped_events(60)[0], nothing, shipped_events(0)[1])]


@pytest.fixture(scope="module")
def path(pairs: list[tuple[Event, Tracks]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("edm4hep") / "tracks.root"
    assert write_tracks(path, pairs, "edm4hep") == 3
    return path


def branch(path: Path, name: str, entry: int = 0) -> Any:
    with uproot.open(path) as file:
        return np.asarray(file["events"][name].array(library="np")[entry])


def state(path: Path, member: str) -> Float64[ndarray, " n"]:
    return np.asarray(branch(path, f"_Tracks_trackStates.{member}"), np.float64)


def test_the_hits_are_read_back(path: Path, pairs: list[tuple[Event, Tracks]]) -> None:
    events = open_events(path)
    assert [event.event_id for event in events] == [event.event_id for event, _ in pairs]
    for event, (written, _) in zip(events, pairs, strict=True):
        np.testing.assert_allclose(event.hits.xyz, written.hits.xyz, atol=1e-3)
        if len(written.hits):
            assert written.hits.geometry_id is not None
            assert event.source is not None
            np.testing.assert_array_equal(event.source.extra["cellID"], written.hits.geometry_id)


def test_relations_give_the_labels(path: Path, pairs: list[tuple[Event, Tracks]]) -> None:
    for entry, (event, tracks) in enumerate(pairs):
        begin, end = (branch(path, f"Tracks.trackerHits_{which}", entry) for which in ("begin", "end"))
        rows = branch(path, "_Tracks_trackerHits.index", entry)
        labels = np.full(len(event.hits), -1, np.int64)
        for number, (first, last) in enumerate(zip(begin, end, strict=True)):
            labels[rows[first:last]] = number
        assert labels.tobytes() == tracks.track_id.tobytes()
        assert set(branch(path, "_Tracks_trackerHits.collectionID", entry)) <= {1}


def test_hits_lie_on_the_helix_of_their_state(path: Path, pairs: list[tuple[Event, Tracks]]) -> None:
    """Circle and line in the convention of LCIO (LC-DET-2006-004): centre, radius and signs from the state alone."""
    event, tracks = pairs[0]
    assert tracks.parameters is not None
    good = tracks.parameters.status == FitStatus.FITTED
    fitted = np.flatnonzero(tracks.parameters.fitted)
    assert branch(path, "_Tracks_trackStates.location").tolist() == [1] * len(fitted)
    d0, phi, omega, z0, slope = (state(path, name) for name in ("D0", "phi", "omega", "Z0", "tanLambda"))
    centre = np.stack([(1 / omega - d0) * np.sin(phi), -(1 / omega - d0) * np.cos(phi)])
    rows_of_tracks = split_hit_lists(*hit_lists(event.hits, tracks))
    assert good.sum() > 500
    across, along = [], []
    for at, track in enumerate(fitted):
        if not good[track]:
            continue
        x, y, z = event.hits.xyz[rows_of_tracks[track]].T
        pixels = np.hypot(x, y) < 180  # strips measure z coarsely
        x, y = x - centre[0, at], y - centre[1, at]
        radius = 1 / abs(omega[at])
        # Turned from the perigee to the hit, in the sense of the charge.
        start = -d0[at] * np.sin(phi[at]) - centre[0, at], d0[at] * np.cos(phi[at]) - centre[1, at]
        angle = np.arctan2(y, x) - np.arctan2(start[1], start[0])
        turned = np.remainder(-np.sign(omega[at]) * angle + np.pi, 2 * np.pi) - np.pi
        across.append(np.abs(np.hypot(x, y) - radius).max())
        if pixels.any():
            along.append(np.abs(z - z0[at] - turned * radius * slope[at])[pixels].max())
        assert turned.min() > 0
    assert len(along) > 500
    assert np.median(across) < 1.0
    assert np.median(along) < 1.0


def test_the_covariance_is_transformed_by_the_derivatives(pairs: list[tuple[Event, Tracks]]) -> None:
    parameters = pairs[0][1].parameters
    assert parameters is not None
    rows = np.flatnonzero(parameters.fitted)[:20]
    names = ("values", "covariance", "chi2", "n_hits", "status", "outliers")
    one = replace(parameters, **{name: getattr(parameters, name)[rows] for name in names})
    _, lower = track_states(one)
    steps = np.sqrt(np.diagonal(one.covariance, axis1=1, axis2=2))

    def exact(values: Float64[ndarray, "n 5"]) -> Float64[ndarray, "n 6"]:
        d0, z0, phi, theta, q_over_p = values.T
        omega = 0.299792458e-3 * one.field * q_over_p / np.sin(theta)
        return np.stack([d0, phi, omega, z0, 1 / np.tan(theta), 0 * d0], axis=1)

    derivative = np.empty((len(rows), 6, 5))
    for column in range(5):
        step = np.zeros((len(rows), 5))
        step[:, column] = 1e-3 * steps[:, column]
        up, down = exact(one.values + step), exact(one.values - step)
        derivative[:, :, column] = (up - down) / (2 * step[:, column, np.newaxis])
    want = derivative @ one.covariance @ derivative.transpose(0, 2, 1)
    scale = np.sqrt(np.einsum("nii->ni", want))
    i, j = np.tril_indices(6)
    got = lower.astype(np.float64)
    np.testing.assert_allclose(got, want[:, i, j], rtol=1e-4, atol=1e-5 * (scale[:, i] * scale[:, j]).max())
    assert (got[:, -6:] == 0).all()  # of the time


def test_tracks_without_a_fit_have_no_states(pairs: list[tuple[Event, Tracks]], tmp_path: Path) -> None:
    event, tracks = pairs[0]
    path = tmp_path / "tracks.root"
    write_tracks(path, [(event, replace(tracks, parameters=None))], "edm4hep")
    assert len(branch(path, "_Tracks_trackStates.D0")) == 0
    assert len(branch(path, "Tracks.chi2")) == tracks.n_tracks


def test_a_fit_in_an_unknown_field_is_refused(pairs: list[tuple[Event, Tracks]], tmp_path: Path) -> None:
    event, tracks = pairs[0]
    assert tracks.parameters is not None
    elsewhere = replace(tracks, parameters=replace(tracks.parameters, field=float("nan")))
    with pytest.raises(InputError, match="magnetic field is not known"):
        write_tracks(tmp_path / "tracks.root", [(event, elsewhere)], "edm4hep")
    assert not list(tmp_path.iterdir())
