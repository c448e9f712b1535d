"""How many layers of a detector particles cross, and what follows for the particles that count and for their tracks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError
from beampipe.tracking.truth import HEADLINE

__all__ = ["Crossing"]

_PART: Final = 0.75
"""Part of the layers that are usually crossed on which a particle must have hits: one in four may be lost."""

_FEWEST: Final = 4
"""Fewest layers of a definition: three hits lie on some circle whatever they are."""


@dataclass(frozen=True)
class Crossing:
    """How many layers particles cross.

    Attributes:
        layers: median number of layers that primary particles of pT > 1 GeV cross; null where it was not noted.
        min_layers: fewest layers that a reconstructable particle crosses; no pipeline of the model asks for more hits
            of a track.

    Raises:
        ConfigError: `min_layers` is below 3, which no pipeline can find.
    """

    layers: float | None = None
    min_layers: int = HEADLINE.min_layers

    def __post_init__(self) -> None:
        if self.min_layers < 3:
            raise ConfigError(f"min_layers: got {self.min_layers}, expected 3 or more: fewer hits are no track")

    @classmethod
    def usual(cls, layers: float) -> Crossing:
        """What follows from the layers that are usually crossed: seven of them, or three quarters of fewer than ten.

        Args:
            layers: median number of layers that primary particles of pT > 1 GeV cross.
        """
        return cls(layers, int(min(HEADLINE.min_layers, max(_FEWEST, _PART * layers))))

    def __str__(self) -> str:
        usual = "" if self.layers is None else f"; {self.layers:g} are usual"
        return f"a particle counts from {self.min_layers} layers on{usual}"
