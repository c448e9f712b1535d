"""The fit: exact helices, honest errors, and which hits are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, FileError, InputError, ShapeError
from beampipe.events import FitStatus, Hits, TrackParameters, Tracks
from beampipe.tracking import load_pipeline
from beampipe.tracking.data import shipped_events
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.helix import cartesian, cross, from_acts
from beampipe.tracking.fitting.tables import (
    FitTables,
    layer_of,
    load_fit_tables,
    measurements,
    path_through,
    save_fit_tables,
)
from beampipe.tracking.loading import load_track_fitter
from tests.tracking.unchecked import unchecked

from .toy import BARREL, DISCS, Shot, shoot, toy_tables

COIL = (0.004, 0.001, -0.012, 0.0005, -0.0006, 0.003, 0.0, 0.004, 0.001)
"""A field that is 6 to 7 % weaker along the way to the last disc."""

FORWARD = {"cot": (2.6, 3.4), "pt": (0.8, 4.0)}
"""Particles that cross all discs."""


def differences(fitted: TrackParameters | ndarray, true: ndarray) -> ndarray:
    values = fitted if isinstance(fitted, ndarray) else fitted.values
    away: ndarray = values - true
    away[:, 2] -= 2 * np.pi * np.round(away[:, 2] / (2 * np.pi))
    return away


def sigmas(fitted: TrackParameters) -> ndarray:
    return np.asarray(np.sqrt(np.diagonal(fitted.covariance, axis1=1, axis2=2)))


@pytest.mark.parametrize(("layers", "options"), [(BARREL, {}), (DISCS, FORWARD)], ids=["barrel", "discs"])
@pytest.mark.parametrize(("field", "shape"), [(2.0, (0.0,) * 9), (-3.8, (0.0,) * 9), (3.8, COIL)])
def test_exact_helices_give_exact_parameters(layers: Any, options: Any, field: float, shape: Any) -> None:
    tables = toy_tables(layers, scattering=1e-12, beam_pipe=(0, 0), energy_loss=0, field=field, field_shape=shape)
    shot = shoot(tables, 200, smeared=False, width=1.0, **options)
    fitted = TrackFitter(tables)(shot.event.hits, shot.tracks)
    assert fitted.fitted.all()
    assert (fitted.n_hits == len(layers)).all()
    assert (fitted.ndf == 2 * len(layers) - 5).all()
    # Hits are in single precision: 30 nm of 500 mm.
    assert (np.abs(differences(fitted, shot.true)) < [1e-3, 1e-3, 1e-5, 1e-6, 1e-4]).all()
    assert fitted.chi2.max() < 1e-2


@pytest.mark.parametrize(("layers", "options"), [(BARREL, {}), (DISCS, FORWARD)], ids=["barrel", "discs"])
def test_errors_are_those_of_scattered_particles(layers: Any, options: Any) -> None:
    tables = toy_tables(layers)
    shot = shoot(tables, 3000, **options)
    fitted = TrackFitter(tables)(shot.event.hits, shot.tracks)
    assert fitted.fitted.all()
    pulls = differences(fitted, shot.true) / sigmas(fitted)
    n = len(pulls)
    assert (np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(n)).all()
    np.testing.assert_allclose(pulls.std(axis=0), 1, atol=4 / np.sqrt(2 * n) + 0.01)
    # The energy is lost: momenta of either charge are as right.
    assert abs((pulls[:, 4] * np.sign(shot.true[:, 4])).mean()) < 4 / np.sqrt(n)
    # The whole covariance, not only its diagonal: the square of the distance in five dimensions.
    away = differences(fitted, shot.true)
    distance = np.einsum("ni,nij,nj->n", away, np.linalg.inv(fitted.covariance), away)
    assert distance.mean() == pytest.approx(5, abs=4 * np.sqrt(10 / n) + 0.05)
    assert (fitted.chi2 / fitted.ndf).mean() == pytest.approx(1, abs=0.02)


def test_long_strips_beside_the_radius_do_not_spoil_the_momentum() -> None:
    rings = tuple((layer, 560, 540, box[2] + 3, 0.1, 24) for layer, box in enumerate(DISCS))
    tables = toy_tables(DISCS, errors=(0.03, 3.0), scattering=1e-8, rings=rings)
    shot = shoot(tables, 2000, cot=FORWARD["cot"], pt=(5.0, 50.0))
    flat, round_ = (
        TrackFitter(used)(shot.event.hits, shot.tracks) for used in (tables, replace(tables, rings=tables.rings[:0]))
    )
    pulls = differences(flat, shot.true) / sigmas(flat)
    np.testing.assert_allclose(pulls.std(axis=0), 1, atol=0.07)
    assert np.median(flat.chi2 / flat.ndf) == pytest.approx(1, abs=0.06)
    away = np.abs(differences(round_, shot.true)[:, 4])[round_.fitted]
    assert np.median(away) > 3 * np.median(np.abs(differences(flat, shot.true)[:, 4]))


def test_residuals_are_those_of_numpy_on_every_module() -> None:
    """Without scattering, chi2 is the sum of the squares of the residuals at the fitted helix."""
    fitter = load_track_fitter()
    tables = replace(
        fitter.tables,
        scattering=np.zeros_like(fitter.tables.scattering),
        beam_pipe=np.zeros(2, np.float32),
        tubes=fitter.tables.tubes[:0],
    )
    hits = shipped_events(60)[0].hits
    tracks = load_pipeline("module_map").find(hits)
    fitted = TrackFitter(tables, reject_outliers=False)(hits, tracks)
    layer = layer_of(hits.position, tables.layers)
    on_track = np.flatnonzero((tracks.track_id >= 0) & (layer >= 0) & fitted.fitted[tracks.track_id])
    track, layer, xyz = tracks.track_id[on_track], layer[on_track], cartesian(hits.position[on_track])
    helix = from_acts(fitted.values, fitted.field)[track]
    azimuth, barrel = tables.module_azimuth(hits.position[on_track], layer), tables.barrel[layer]
    residual, *_ = measurements(helix, cross(helix, *xyz.T[:2]), xyz, barrel, azimuth)
    chi2 = np.bincount(track, (residual**2 / tables.variance[layer]).sum(axis=1), tracks.n_tracks)
    assert fitted.fitted.sum() > 100
    np.testing.assert_allclose(chi2[fitted.fitted], fitted.chi2[fitted.fitted], rtol=2e-2)


@pytest.mark.parametrize("thickness", [0.008, 0.02, 0.05])
def test_long_paths_scatter_by_highlands_formula(thickness: float) -> None:
    length = np.geomspace(1, 10, 5)  # in units of the thickness, which is in radiation lengths
    barrel, cot = path_through(np.array(True), np.ones(5), np.sqrt(length**2 - 1)), 1 / np.sqrt(length[1:] ** 2 - 1)
    variance = length * thickness * (1 + 0.038 * np.log(length * thickness)) ** 2
    np.testing.assert_allclose(barrel, variance / variance[0], rtol=0.03)
    np.testing.assert_allclose(path_through(np.array(False), np.ones(4), cot), barrel[1:])


def test_what_the_beam_pipe_and_the_energy_loss_are_for() -> None:
    tables = toy_tables(beam_pipe=(20, 4e-6), energy_loss=2000)
    shot = shoot(tables, 2000, pt=(0.8, 1.2))
    blind = replace(tables, beam_pipe=np.zeros(2, np.float32), energy_loss=np.zeros(1, np.float32))
    fitted = TrackFitter(blind)(shot.event.hits, shot.tracks)
    pulls = differences(fitted, shot.true) / sigmas(fitted)
    assert pulls[:, 0].std() > 1.2
    assert (pulls[:, 4] * np.sign(shot.true[:, 4])).mean() > 0.3


def hard_case() -> tuple[Shot, Tracks]:
    """Tracks of all lengths, with hits off the layers, two at one place, and hits of each other."""
    shot = shoot(toy_tables(), 120, seed=5, pt=(0.35, 5.0))
    random = np.random.default_rng(6)
    position = shot.event.hits.position.copy()
    lost = random.random(len(position)) < np.repeat(random.random(120), len(BARREL)) * 0.8
    position[random.random(len(position)) < 0.02, 0] = 45.0  # between layers
    position[30:40] = position[30]
    label = np.where(lost, -1, shot.tracks.track_id)
    label[1100:1140] = random.permutation(label[1100:1140])
    label[90:120] = -1  # three tracks without hits
    label[:20] = -1
    label[[0, 2, 4, 6, 8, 11, 13, 15, 17, 19]] = 0  # hits of two particles in turn
    return replace(shot, event=replace(shot.event, hits=Hits(position))), Tracks(label)


def test_what_cannot_be_fitted_is_nan_and_says_why() -> None:
    shot, tracks = hard_case()
    fitted = TrackFitter(toy_tables())(shot.event.hits, tracks)
    bad = ~fitted.fitted
    assert bad.any()
    assert np.isnan(fitted.values[bad]).all()
    assert np.isnan(fitted.covariance[bad]).all()
    assert np.isnan(fitted.chi2[bad]).all()
    assert (fitted.status[fitted.n_hits < 3] == FitStatus.TOO_FEW_HITS).all()
    assert fitted.status[3] == FitStatus.NO_START  # all its hits lie at one place
    assert np.isfinite(fitted.values[~bad]).all()


def test_order_threads_and_the_other_tracks_do_not_matter() -> None:
    shot, tracks = hard_case()
    hits = shot.event.hits
    fitted = TrackFitter(toy_tables())(hits, tracks)
    parallel = TrackFitter(toy_tables(), threads=8)(hits, tracks)
    shuffled = np.random.default_rng(7).permutation(len(hits))
    other = TrackFitter(toy_tables())(hits.take(shuffled), Tracks(tracks.track_id[shuffled]))
    for same in (parallel, other):
        np.testing.assert_array_equal(same.values, fitted.values)
        np.testing.assert_array_equal(same.covariance, fitted.covariance)
    lists = [np.flatnonzero(tracks.track_id == 7), np.flatnonzero(tracks.track_id == 7)[::-1]]
    shared = TrackFitter(toy_tables())(hits, replace(tracks, candidates=lists))
    np.testing.assert_array_equal(shared.values, fitted.values[[7, 7]])


def with_wrong_hits() -> tuple[Hits, Tracks, ndarray]:
    """Tracks of ten hits, and rows of the 40 hits of the first 40 of them that lie 3 mm beside their track."""
    shot = shoot(toy_tables(), 200, seed=8)
    position = shot.event.hits.position.copy()
    wrong = 10 * np.arange(40) + np.random.default_rng(9).integers(1, 9, 40)
    position[wrong, 1] += 3 / position[wrong, 0]
    return Hits(position), shot.tracks, wrong


def test_a_wrong_hit_is_left_out() -> None:
    hits, tracks, wrong = with_wrong_hits()
    fitter = TrackFitter(toy_tables())
    fitted = fitter.add(hits, tracks)
    assert fitted.parameters is not None
    outliers = fitted.parameters.outliers
    np.testing.assert_array_equal(outliers[:40, 0], wrong)
    assert (outliers[:40, 1:] == -1).all()
    assert np.count_nonzero(outliers[40:, 0] >= 0) <= 1, "at most one of 160 good tracks loses a hit"
    assert (fitted.track_id[wrong] == -1).all()
    assert np.count_nonzero(fitted.track_id != tracks.track_id) == np.count_nonzero(outliers >= 0)
    # The fit is that of the other hits.
    label = tracks.track_id.copy()
    label[outliers[outliers >= 0]] = -1
    alone = fitter(hits, Tracks(label))
    np.testing.assert_array_equal(fitted.parameters.values, alone.values)
    np.testing.assert_array_equal(fitted.parameters.chi2, alone.chi2)
    assert (fitted.parameters.n_hits[:40] == 9).all()


def test_two_hits_are_left_out_where_either_may_be_wrong() -> None:
    shot = shoot(toy_tables(), 200, seed=9)
    position = shot.event.hits.position.copy()
    wrong = 10 * np.arange(200)
    position[wrong, 2] += 0.3  # too little to tell the first hit from the second one in each track
    hits = Hits(position)
    outliers = TrackFitter(toy_tables())(hits, shot.tracks).outliers
    changed, both = (outliers >= 0).any(axis=1), (outliers >= 0).sum(axis=1) == 2
    assert changed.sum() > 100
    assert both.sum() > 10
    assert (outliers == wrong[:, None]).any(axis=1)[changed].mean() > 0.96


def with_hits_beside(distance: float, along: float = 0.0) -> tuple[Hits, Tracks]:
    """Tracks of ten hits and, on no track, a hit beside the third of each of the first 40, in mm along phi and z."""
    shot = shoot(toy_tables(), 200, seed=8)
    position = shot.event.hits.position
    beside = position[10 * np.arange(40) + 2].copy()
    beside[:, 1] += distance / beside[:, 0]
    beside[:, 2] += along
    label = np.concatenate([shot.tracks.track_id, np.full(40, -1)])
    return Hits(np.concatenate([position, beside])), Tracks(label)


def test_a_hit_is_left_out_if_another_one_fits_as_well() -> None:
    hits, tracks = with_hits_beside(0.07)
    fitted = TrackFitter(toy_tables())(hits, tracks)
    ambiguous = np.flatnonzero((fitted.outliers[:40] == 10 * np.arange(40)[:, None] + 2).any(axis=1))
    assert len(ambiguous) > 5
    # A hit of another track does not count, nor one at nearly the same position.
    of_others = replace(tracks, track_id=np.where(tracks.track_id < 0, 200, tracks.track_id))
    near, labels = with_hits_beside(0.02, 0.03)
    for event, candidates in ((hits, of_others), (near, labels)):
        outliers = TrackFitter(toy_tables())(event, candidates).outliers[:40]
        assert np.count_nonzero(outliers == 10 * np.arange(40)[:, None] + 2) <= 1


def test_no_tracks_and_no_hits() -> None:
    hits = shoot(toy_tables(), 2).event.hits
    for event, label in ((hits, np.full(len(hits), -1)), (hits.take(np.empty(0, np.int64)), np.empty(0, np.int64))):
        assert len(TrackFitter(toy_tables())(event, Tracks(label))) == 0


def test_tracks_of_another_event_are_refused() -> None:
    hits = shoot(toy_tables(), 2).event.hits
    with pytest.raises(ShapeError, match="got labels of 3 hits, expected 20"):
        TrackFitter(toy_tables())(hits, Tracks(np.zeros(3, np.int64)))
    with pytest.raises(InputError, match=r"row 20, expected rows 0 \.\. 19"):
        TrackFitter(toy_tables())(hits, Tracks(np.zeros(20, np.int64), candidates=[np.array([1, 20])]))


def test_tables_on_disk(tmp_path: Path) -> None:
    tables = toy_tables()
    save_fit_tables(tables, tmp_path / "fit.safetensors")
    again = load_fit_tables(tmp_path / "fit.safetensors")
    np.testing.assert_array_equal(again.variance, tables.variance)
    np.testing.assert_array_equal(again.all_tubes, tables.all_tubes)
    with pytest.raises(FileError, match="no readable fit tables"):
        load_fit_tables(tmp_path / "none.safetensors")
    (tmp_path / "fit.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileError, match="no readable fit tables"):
        load_fit_tables(tmp_path / "fit.safetensors")


def test_tables_that_make_no_sense_are_refused() -> None:
    tables = toy_tables()
    with pytest.raises(ConfigError, match="variance <= 0"):
        replace(tables, variance=0 * tables.variance)
    with pytest.raises(ConfigError, match="field of 0 T"):
        replace(tables, field=0 * tables.field)
    with pytest.raises(ConfigError, match="ring without modules"):
        replace(tables, rings=np.zeros((1, 6), np.float32))
    with pytest.raises(ConfigError, match="got scattering"):
        unchecked(FitTables, **(vars(tables) | {"scattering": tables.scattering[1:]}))
