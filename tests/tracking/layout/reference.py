"""Slow truth of kernels/native/pipelines/layout.cpp: hits compared with the layers that windows were learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, NoReturn

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.errors import LayoutError
from beampipe.events import Hits
from beampipe.tracking.kernels.reference import fit_on_layers
from beampipe.tracking.windows import Windows

from .hints import order_that_fits, what_would_fit

__all__ = ["FEWEST_HITS", "Fit", "LayerCheck"]

FEWEST_HITS: Final = 20
"""Fewest hits of an event that is judged: one particle beside some noise looks like anything."""

_TURN: Final = np.float32(2 * np.pi)
_MOST_TURNS: Final = 2
"""Most turns that phi spans: counted from anywhere it is one, and a track that winds needs a little more."""
_DEGREES: Final = 361
_MILLIRADIANS: Final = 6300


class Fit(NamedTuple):
    """How the hits of an event lie on the layers.

    Attributes:
        outside: number of hits on no layer.
        unfilled: number of layers without a hit, or with many that lie in a small part of them.
    """

    outside: int
    unfilled: int


@dataclass(frozen=True, eq=False)
class LayerCheck:
    """The layers that hits are compared with.

    Attributes:
        name: name of the pipeline, for messages.
        windows: learned windows, whose `layers` are boxes in r and z.
        refuses: whether events are refused whose hits are not of this detector; else hits outside are only counted.
    """

    name: str
    windows: Windows
    refuses: bool = True

    def check(self, events: Sequence[Hits]) -> list[Fit]:
        """How the hits of each event lie on the layers.

        Args:
            events: hits of each event; phi may be counted from anywhere.

        Raises:
            LayoutError: an event of `FEWEST_HITS` or more hits has most of them on no layer, or a coordinate that is
                the same in each hit, or a phi that is no angle in rad.
        """
        fits = [Fit(*fit_on_layers(hits.position, self.windows)) for hits in events]
        if self.refuses:
            for row, (hits, fit) in enumerate(zip(events, fits, strict=True)):
                if len(hits) >= FEWEST_HITS:
                    where = f" in event {row} of {len(events)}" if len(events) > 1 else ""
                    _judge(hits.position, fit.outside, f" on no layer of {self.name}{where}", self.windows)
        return fits


def _judge(position: Float32[ndarray, "n_hits 3"], outside: int, no_layer: str, windows: Windows) -> None:
    """Refuse the hits of one event if they do not fit."""
    n = len(position)
    some = f"{outside} of {n} hits"

    def refuse(seen: str, expected: str, hint: str) -> NoReturn:
        raise LayoutError(f"layout: got {seen}, expected {expected}; {hint}", hits=n, outside=outside, hint=hint)

    beside = f" ({some}{no_layer})"
    least, most = [column.min() for column in position.T], [column.max() for column in position.T]
    for column, name in enumerate(("r", "phi", "z")):
        if least[column] == most[column]:
            refuse(f"{name} = {least[column]:.1f} in each hit{beside}", "it to vary", "was that column read?")
    if 2 * outside > n:
        percent = (200 * outside + n) // (2 * n)
        hint = what_would_fit(windows, position)
        refuse(f"{some} ({percent} %){no_layer}", "most of them on its layers", hint)
    with np.errstate(over="ignore"):
        span = most[1] - least[1]
    if span > _MOST_TURNS * _TURN:
        hint = order_that_fits(windows, position) or _hint_of_phi(float(span))
        refuse(f"phi from {least[1]:.1f} to {most[1]:.1f}{beside}", "rad within one turn", hint)


def _hint_of_phi(span: float) -> str:
    """What phi may be in, if it spans so much."""
    if span <= _DEGREES:
        return "these look like degrees: multiply by pi / 180"
    if span <= _MILLIRADIANS:
        return "these look like mrad: divide by 1000"
    return "is another column taken for phi?"
