"""The cuts on dijet events: as a configuration has them, and as the kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from beampipe.errors import ConfigError

__all__ = ["Cuts", "DijetSelection"]


class Cuts(NamedTuple):
    """The limits of a `DijetSelection`, under the same names, for compiled kernels.

    All are float64, so that one compilation of a kernel serves all.
    """

    min_subleading_pt: float
    max_leading_pt: float
    max_pt_ratio: float
    max_abs_eta: float
    min_n_trk: float
    max_abs_weight: float


@dataclass(frozen=True)
class DijetSelection:
    """Cuts on the two leading jets of an event. Each variation is held to them with its own pT and n_trk.

    Attributes:
        min_subleading_pt: limit that the pT of the softer jet must exceed [GeV].
        max_leading_pt: limit that the pT of the harder jet must stay below [GeV].
        max_pt_ratio: limit that harder pT / softer pT must stay below.
        max_abs_eta: limit that the \\|eta\\| of both jets must stay below.
        min_n_trk: number of tracks that both jets must at least have.
        max_abs_weight: limit that the size of the nominal weight must stay below.
    """

    min_subleading_pt: float = 500.0
    max_leading_pt: float = 2000.0
    max_pt_ratio: float = 1.5
    max_abs_eta: float = 2.1
    min_n_trk: int = 2
    max_abs_weight: float = 100.0

    def __post_init__(self) -> None:
        for name in ("min_subleading_pt", "max_abs_eta", "max_abs_weight"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"selection: got {name} {getattr(self, name)}, expected more than 0")
        if not self.min_subleading_pt < self.max_leading_pt:
            raise ConfigError(
                f"selection: got max_leading_pt {self.max_leading_pt}, expected more than min_subleading_pt"
            )
        if self.max_pt_ratio <= 1:
            raise ConfigError(f"selection: got max_pt_ratio {self.max_pt_ratio}, expected more than 1")

    @property
    def cuts(self) -> Cuts:
        """The same limits for kernels."""
        return Cuts(*(float(getattr(self, name)) for name in Cuts._fields))
