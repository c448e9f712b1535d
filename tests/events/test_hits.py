"""Hits from Cartesian coordinates and back."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.errors import DtypeError, NotFiniteError, ShapeError
from beampipe.tracking import Hits


def test_hits_from_cartesian_coordinates() -> None:
    hits = Hits.from_xyz([[3, 4, 5], [0, -2, -1], [-1, 0, 0]])
    np.testing.assert_allclose(hits.position, [[5, np.arctan2(4, 3), 5], [2, -np.pi / 2, -1], [1, np.pi, 0]], rtol=1e-6)
    assert hits.position.dtype == np.float32
    np.testing.assert_allclose(hits.xyz, [[3, 4, 5], [0, -2, -1], [-1, 0, 0]], atol=1e-6)
    assert len(Hits.from_xyz(np.empty((0, 3)))) == 0


def test_there_and_back_with_modules() -> None:
    xyz = np.random.default_rng(1).normal(0, 500, (100, 3)).astype(">f8")
    geometry_id = np.arange(100, dtype=np.uint64)
    hits = Hits.from_xyz(xyz, geometry_id=geometry_id)
    np.testing.assert_allclose(hits.xyz, xyz, atol=1e-3)
    assert hits.geometry_id is geometry_id


@pytest.mark.parametrize(
    ("xyz", "error", "message"),
    [
        ([[1, 2], [3, 4]], ShapeError, r"xyz: got shape \(2, 2\), expected \(n, 3\)"),
        ([[1, 2, 3], [4]], ShapeError, "xyz: got rows of different lengths"),
        ([1, 2, 3], ShapeError, r"xyz: got shape \(3\), expected|xyz: got shape \(3,\), expected"),
        ([["1", "2", "3"]], DtypeError, "xyz: got dtype <U1, expected real numbers"),
        ([[1j, 0, 0]], DtypeError, "expected real numbers"),
        ([[1, np.nan, 3]], NotFiniteError, "at row 0"),
    ],
)
def test_coordinates_that_are_none(xyz: list[list[float]], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Hits.from_xyz(xyz)
