"""Scores of fits: signs and widths of cores."""

from __future__ import annotations

import numpy as np

from beampipe.tracking.fitting.fitter import TrackFitter
from tests.tracking.diagnostics import core_width, joined, score_fits
from tests.tracking.fitting.toy import shoot, toy_tables


def test_scores_of_toys() -> None:
    tables = toy_tables()
    shot = shoot(tables, 500, pt=(0.5, 4.0))
    parameters = TrackFitter(tables)(shot.event.hits, shot.tracks)
    scores = score_fits(shot.event, shot.tracks, parameters, 2.0)
    assert shot.event.truth is not None
    stiff = shot.event.truth.particles.pt > 1
    assert len(scores) == stiff.sum() > 200
    np.testing.assert_array_equal(np.sort(scores.pt), np.sort(shot.event.truth.particles.pt[stiff]))
    expected = (parameters.values - shot.true)[stiff]
    expected[:, 2] -= 2 * np.pi * np.round(expected[:, 2] / (2 * np.pi))
    np.testing.assert_allclose(scores.residual, expected, atol=1e-9)
    np.testing.assert_allclose(core_width(scores.pull), 1, atol=0.2)
    assert abs(scores.momentum_pull) < 0.25
    # In a field that is taken for a stronger one, all momenta come out too high.
    wrong = TrackFitter(toy_tables(field=2.2))(shot.event.hits, shot.tracks)
    assert score_fits(shot.event, shot.tracks, wrong, 2.0).momentum_pull < -1
    assert len(joined([scores, scores.take(scores.pt > 2)])) == len(scores) + (scores.pt > 2).sum()
