"""Learned tables against the detector that the events were made with, and against the Kalman fit of ACTS."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError, InputError
from beampipe.events import Event, TrackParameters, Tracks
from beampipe.tracking.data import shipped_events
from beampipe.tracking.fitting.fitter import TrackFitter
from beampipe.tracking.fitting.helix import cartesian
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.training.fit_tables import FIT_RECIPE, learn_fit_tables
from beampipe.tracking.truth import HEADLINE, contributions, select_particles, truth_of
from tests.tracking.diagnostics import core_width, true_perigee
from tests.tracking.fitting.test_fit import COIL, FORWARD, differences, sigmas
from tests.tracking.fitting.toy import BARREL, DISCS, shoot, toy_tables

PARTICLES = 8_000


@pytest.mark.parametrize("forward", [False, True])
def test_tables_are_those_of_the_detector(forward: bool) -> None:
    layers, cot = (DISCS, FORWARD["cot"]) if forward else (BARREL, (-0.5, 0.5))
    # Its radius is not learned: it is taken as a share of that of the innermost layer.
    pipe = (float(np.min(layers, axis=0)[0]) * FIT_RECIPE.pipe_share, 1e-6)
    made = toy_tables(layers, scattering=3e-6, beam_pipe=pipe, energy_loss=400.0, field=-3.0)
    shot = shoot(made, PARTICLES, pt=(0.5, 8.0), cot=cot)
    learned = learn_fit_tables([shot.event], made.layers, field=-3.0)
    assert not learned.field_shape.any()
    inner = slice(0, 4)  # further out, scattering hides the errors of hits
    np.testing.assert_allclose(np.sqrt(learned.variance[inner, 0]), 0.015, rtol=0.2)
    np.testing.assert_allclose(np.sqrt(learned.variance[inner, 1]), 0.03, rtol=0.2)
    np.testing.assert_allclose(learned.scattering[1:-1], 3e-6, rtol=0.12)
    assert learned.beam_pipe[0] == pytest.approx(pipe[0])
    if not forward:  # where levers are long, errors of hits do not matter, and pipe and first layer are alike
        assert learned.beam_pipe[1] == pytest.approx(1e-6, rel=0.3)
    again = shoot(made, 2000, seed=2, cot=cot)
    fitted = TrackFitter(learned)(again.event.hits, again.tracks)
    pulls = differences(fitted, again.true) / sigmas(fitted)
    np.testing.assert_allclose(pulls.std(axis=0), 1, atol=0.12)
    assert (np.abs(pulls.mean(axis=0)) < 0.1).all()
    assert abs((pulls[:, 4] * np.sign(again.true[:, 4])).mean()) < 0.1


@pytest.mark.parametrize("forward", [False, True])
def test_the_shape_of_the_field_is_learned(forward: bool) -> None:
    layers, cot = (DISCS, FORWARD["cot"]) if forward else (BARREL, (-0.5, 0.5))
    made = toy_tables(layers, field=3.8, field_shape=COIL)
    shot = shoot(made, 6000, pt=(1.0, 8.0), cot=cot)
    learned = learn_fit_tables([shot.event], made.layers, field=3.8)
    xyz = cartesian(shot.event.hits.position)
    np.testing.assert_allclose(learned.bending(xyz), made.bending(xyz), atol=2e-3)
    again = shoot(made, 2000, seed=2, pt=(2, 8), cot=cot)
    bias = [
        np.median(TrackFitter(tables)(again.event.hits, again.tracks).values[:, 4] / again.true[:, 4]) - 1
        for tables in (learned, replace(learned, field_shape=np.zeros(9, np.float32)))
    ]
    assert abs(bias[0]) < 1e-3
    assert abs(bias[1]) > 2e-3


def test_scattering_in_a_tube_between_discs_is_learned() -> None:
    # Tracks pass the tube between the fifth and the sixth disc.
    discs = [(20, 540, z - 3, z + 3) for z in (600, 800, 1000, 1200, 1400)]
    discs += [(560, 1100, z - 3, z + 3) for z in (1900, 2100, 2300, 2500)]
    made = toy_tables(tuple(discs), tubes=((550, 4e-6),))
    shot = shoot(made, 6000, cot=(2.95, 3.05))
    learned = learn_fit_tables([shot.event], made.layers, field=2.0)
    np.testing.assert_allclose(learned.tubes, [(550, 4e-6)], rtol=0.1)
    without = replace(learned, tubes=learned.tubes[:0])
    widths = [
        (differences(fitted, shot.true) / sigmas(fitted)).std(axis=0)[4]
        for fitted in (TrackFitter(tables)(shot.event.hits, shot.tracks) for tables in (learned, without))
    ]
    assert widths[0] == pytest.approx(1, abs=0.05)
    assert widths[1] > 1.4


def test_events_that_teach_nothing_are_refused() -> None:
    shot, layers = shoot(toy_tables(), 50), toy_tables().layers
    with pytest.raises(ConfigError, match="got no event"):
        learn_fit_tables([], layers, 2.0)
    with pytest.raises(ConfigError, match="got 50 particles of 1 events"):
        learn_fit_tables([shot.event], layers, 2.0)
    with pytest.raises(InputError, match="no truth"):
        learn_fit_tables([replace(shot.event, truth=None)], layers, 2.0)


def true_tracks(event: Event) -> tuple[Tracks, ndarray]:
    """The hits of each reconstructable particle as a track, and its parameters."""
    truth = truth_of(event)
    known = contributions(truth)
    chosen = np.flatnonzero(select_particles(event, HEADLINE, known))
    row = known.row(truth.particles.particle_id[chosen])
    number = np.full(len(known.particle_id) + 1, -1)  # row -1 reads the last
    number[row] = np.arange(len(row))
    return Tracks(number[known.leading]), true_perigee(truth.particles, 2.0)[chosen]


def test_shipped_tables_fit_the_shipped_events() -> None:
    fitter = load_track_fitter()
    pulls, shares = [], []
    for event in shipped_events(60):
        tracks, true = true_tracks(event)
        fitted: TrackParameters = fitter(event.hits, tracks)
        assert fitted.fitted.all()
        pulls.append(differences(fitted, true) / sigmas(fitted))
        shares.append(np.median(fitted.chi2 / fitted.ndf))
    together = np.concatenate(pulls)
    assert len(together) > 300
    np.testing.assert_allclose(core_width(together), 1, atol=0.15)
    assert (np.abs(np.clip(together, -5, 5).mean(axis=0)) < 0.15).all()
    np.testing.assert_allclose(shares, 1, atol=0.1)


@pytest.mark.acts
def test_resolution_is_that_of_the_kalman_fit_of_acts() -> None:
    pytest.importorskip("acts")
    from tests.tracking.kalman_fit import fit_tracks

    event = shipped_events(60)[0]
    tracks, true = true_tracks(event)
    ours = load_track_fitter()(event.hits, tracks)
    theirs = fit_tracks(event.hits, tracks.track_id)
    judge = theirs.values
    mine = theirs.candidate
    assert len(mine) > 0.95 * len(ours)
    own = core_width(differences(ours.values[mine], true[mine]))
    np.testing.assert_allclose(own / core_width(differences(judge, true[mine])), 1, atol=0.2)
    # Not only as good: the same tracks, to a part of their errors.
    apart = differences(ours.values[mine], judge) / sigmas(ours)[mine]
    assert (core_width(apart) < 0.6).all()
