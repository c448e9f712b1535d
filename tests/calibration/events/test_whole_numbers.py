"""A number of tracks lies in the bin that is named after it, for every number and many axes."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.calibration.events.fill import tagger_bins


@pytest.mark.parametrize("bins", [2, 60, 100, 120, 255])
def test_a_whole_number_is_in_its_own_bin(bins: int) -> None:
    n_trk = np.arange(bins, dtype=np.uint16).reshape(-1, 1).repeat(2, axis=1)
    result = np.full(n_trk.shape, -1, np.int64)
    tagger_bins(n_trk, 0.0, float(bins), bins, 7, result)
    np.testing.assert_array_equal(result, n_trk.astype(np.int64) + 7)


def test_the_premise() -> None:
    """Divided first, some numbers fall short."""
    n = np.arange(100.0)
    assert (np.floor(n / 100 * 100) != n).any()
