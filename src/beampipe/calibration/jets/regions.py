"""Regions: which jet of an event counts as forward, which as central."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, Int8
from numpy import ndarray

from beampipe.errors import ConfigError, UnknownNameError

__all__ = ["REGIONS", "Regions", "assign_regions"]

REGIONS: Final = ("forward", "central")
"""Names of the regions; a region's place in this tuple is its number, and -1 is neither."""

_RULES: Final = ("eta_rank", "eta_split")


@dataclass(frozen=True)
class Regions:
    """Which jet counts as forward, which as central.

    ``eta_rank``: of the pair, the jet with the higher \\|eta\\| is forward, the other one central (at equal \\|eta\\|
    the leading jet is forward); the pair is used if its \\|eta\\| differ by at least `min_eta_gap`.
    ``eta_split``: a jet with \\|eta\\| >= `split` is forward, any other central.

    Attributes:
        rule: name of the rule, ``eta_rank`` or ``eta_split``.
        min_eta_gap: smallest difference of the two \\|eta\\| for the rule ``eta_rank``.
        split: \\|eta\\| at which the forward region begins for the rule ``eta_split``.
    """

    rule: str = "eta_rank"
    min_eta_gap: float = 0.0
    split: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise UnknownNameError("rule of the regions", self.rule, _RULES)
        if self.min_eta_gap < 0 or self.split <= 0:
            raise ConfigError(f"regions: got {self}, expected min_eta_gap >= 0 and split > 0")


def assign_regions(eta: Float32[ndarray, "n 2"], regions: Regions) -> Int8[ndarray, "n 2"]:
    """Numbers in `REGIONS` of each jet of a pair, -1 for neither; see `Regions`."""
    size = np.abs(eta)
    if regions.rule == "eta_split":
        central: ndarray = size < regions.split
        return central.astype(np.int8)
    out = np.empty(size.shape, np.int8)
    np.less(size[:, 0], size[:, 1], out=out[:, 0], casting="unsafe")
    np.subtract(1, out[:, 0], out=out[:, 1])
    if regions.min_eta_gap > 0:
        out[np.abs(size[:, 0] - size[:, 1]) < regions.min_eta_gap] = -1
    return out
