"""Settings of the regions: which jet of an event counts as forward, which as central."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError, UnknownNameError

__all__ = ["REGIONS", "Regions"]

REGIONS: Final = ("forward", "central")
"""Names of the regions; a region's place in this tuple is its number, and -1 is neither."""

_RULES: Final = ("eta_rank", "eta_split", "branch")


@dataclass(frozen=True)
class Regions:
    """Which jet counts as forward, which as central.

    ``eta_rank``: of the pair, the jet with the higher \\|eta\\| is forward, the other one central (at equal \\|eta\\|
    the leading jet is forward); the pair is used if its \\|eta\\| differ by at least `min_eta_gap`.
    ``eta_split``: a jet with \\|eta\\| >= `split` is forward, any other central.

    ``branch``: the column ``layout.branches.region`` says it: 0 is forward, 1 central, -1 neither. So any pair of
    regions with different fractions of quarks can take their place: jets beside a photon (0), and dijets (1).

    Attributes:
        rule: name of the rule, ``eta_rank``, ``eta_split`` or ``branch``.
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
