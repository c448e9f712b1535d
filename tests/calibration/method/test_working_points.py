"""Where the cut of a working point lies: at an edge of a bin, or inside of one."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.calibration.config import Tagger
from beampipe.calibration.method.matrix import cumulated, working_point_cuts
from beampipe.errors import ConfigError


@pytest.mark.parametrize(
    ("cut", "expected", "share"),
    [("at_least", 2, 0.69), ("nearest", 1, 0.4), ("inside", 1 + 0.1 / 0.29, 0.5)],
)
def test_a_cut_lies_at_the_edge_above_at_the_nearest_or_inside(cut: str, expected: float, share: float) -> None:
    shape = np.array([[0.40, 0.29, 0.31]])
    result = working_point_cuts(shape, 0.5, cut)
    np.testing.assert_allclose(result, [expected])
    np.testing.assert_allclose(cumulated(shape, result[:, None]), [[share]])


def test_a_cut_inside_of_a_bin_gives_the_share_that_was_asked_for() -> None:
    rng = np.random.default_rng(2)
    shape = rng.random((5, 20))
    shape /= shape.sum(axis=1, keepdims=True)
    points = (0.02, 0.5, 0.7, 0.99)
    cuts = np.stack([working_point_cuts(shape, point, "inside") for point in points], axis=-1)
    np.testing.assert_allclose(cumulated(shape, cuts), np.tile(points, (5, 1)), rtol=1e-12)
    scores = np.concatenate([rng.uniform(k, k + 1, round(1e4 * share)) for k, share in enumerate(shape[0])])
    np.testing.assert_allclose(np.quantile(scores, points), cuts[0], atol=0.1)  # of jets that were never in bins


def test_a_shape_that_never_reaches_the_share_counts_whole() -> None:
    for cut in ("at_least", "nearest", "inside"):
        assert working_point_cuts(np.array([0.1, np.nan, 0.2]), 0.5, cut) == 3
        assert working_point_cuts(np.array([0.1, 0.1]), 0.5, cut) == 2
        assert working_point_cuts(np.array([0.9, 0.1]), 0.5, cut) <= 1


def test_whole_numbers_are_not_cut_inside() -> None:
    with pytest.raises(ConfigError, match="take bins of width 1"):
        Tagger("n_trk", cut="inside")
