"""Chord and arc against helices in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.tracking.kernels.geometry import Arc, arc, doublet, triplet_chi2

RADII = np.array([32.0, 72.0, 116.0, 172.0, 260.0])
EDGES = np.stack([np.arange(4), np.arange(1, 5)])


def helix(kappa: float, cot: float, z0: float) -> np.ndarray:
    """Hits at `RADII` on a helix from the beam line: sin(turn) = kappa r / 2, s = 2 turn / kappa."""
    turn = np.arcsin(kappa * RADII / 2)
    return np.stack([RADII, 3.0 + turn, z0 + cot * 2 * turn / kappa], axis=1).astype(np.float32)


@pytest.mark.parametrize("kappa", [1e-5, 6e-4, -1.5e-3])
def test_the_arc_gives_back_the_helix(kappa: float) -> None:
    result = arc(helix(kappa, 1.7, 40.0), EDGES)
    np.testing.assert_allclose(result.kappa, kappa, rtol=1e-3, atol=1e-7)
    # What the series of the arc leaves out is of order (kappa r)^4.
    assert 3 / 640 * (kappa * RADII[-1]) ** 4 < 1e-3
    np.testing.assert_allclose(result.cot, 1.7, rtol=5e-3)
    np.testing.assert_allclose(result.z0, 40.0, atol=0.5)


def test_slope_is_cot_for_stiff_tracks_only() -> None:
    stiff, soft = (doublet(helix(kappa, 1.7, 40.0), EDGES) for kappa in (1e-5, 2.5e-3))
    np.testing.assert_allclose(stiff.slope, 1.7, rtol=1e-4)
    assert (soft.slope > 1.7).all()
    assert soft.slope[-1] > 1.75
    np.testing.assert_allclose(soft.kappa, arc(helix(2.5e-3, 1.7, 40.0), EDGES).kappa, rtol=1e-5)


def test_chi2_is_the_formula() -> None:
    inner = Arc(*(np.array([x], np.float32) for x in (1e-3, 0.5, 0.0, 1e-4)))
    outer = Arc(*(np.array([x], np.float32) for x in (1.1e-3, 0.52, 0.0, 2e-4)))
    a, b, c, d = 1e-3, 1e-2, 1e-2, 10.0
    expected = 1e-8 / (a * 3e-4 + b * 1e-6) + (0.02 / (1 + 0.5 * 0.52)) ** 2 / (c + d * 1e-6)
    window = np.array([[a, b, c, d], [0.0, b, c, d], [1e-6, 0.0, c, d]], np.float32)
    three = np.zeros(3, np.int64)
    chi2 = triplet_chi2(inner.take(three), outer.take(three), window)
    assert 0 < expected < 1
    np.testing.assert_allclose(chi2[0], expected, rtol=1e-3)
    assert np.isinf(chi2[1:]).all()  # a triple that the windows do not know, and one outside its window
