"""Functions of a user that change jets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray

from beampipe.calibration.config import Energy
from tests.calibration.random_dijets import shifted_pt


def _shifted(name: str, jets: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """As the stand-in shifts them; pairs do not matter to it."""
    pt, eta = (np.stack([jets[key]] * 2, axis=1).astype(np.float32) for key in ("pt", "eta"))
    return {"pt": shifted_pt(name, Energy(2, 1), pt=pt, eta=eta)[:, 0]}


def jes_2_up(jets: Mapping[str, ndarray]) -> dict[str, ndarray]:
    return _shifted("jes_2_up", jets)


def jes_2_down(jets: Mapping[str, ndarray]) -> dict[str, ndarray]:
    return _shifted("jes_2_down", jets)


def too_few(jets: Mapping[str, ndarray]) -> dict[str, ndarray]:
    return {"pt": jets["pt"][1:]}
