"""Settings of shifts of systematics: how well they are known, and which are left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError

__all__ = ["ShiftSettings"]

_FEWEST: Final = 5
_MOST: Final = 100


@dataclass(frozen=True)
class ShiftSettings:
    """How well the shift of each variation is known, and which shifts count: `beampipe.calibration.method.shifts`.

    Attributes:
        groups: number of groups that the events of every sample are divided into, 5 or more; leaving out one after the
            other gives the statistical error of each shift. 0 leaves the errors unknown. Histograms need as many times
            the memory.
        prune: share by which the total uncertainty may fall where shifts that are compatible with 0 are left out, each
            counted with its error added; 0 leaves out none.
    """

    groups: int = 0
    prune: float = 0.0

    def __post_init__(self) -> None:
        if self.groups != 0 and not _FEWEST <= self.groups <= _MOST:
            raise ConfigError(f"shifts: got {self.groups} groups, expected 0 (none) or {_FEWEST} to {_MOST}")
        if not 0 <= self.prune <= 0.1:
            raise ConfigError(f"shifts: got prune {self.prune}, expected 0 to 0.1, a share of the total uncertainty")
        if self.prune and not self.groups:
            raise ConfigError("shifts: got prune, but no groups: errors of shifts are not known; give groups = 20")
