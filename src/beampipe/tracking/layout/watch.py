"""The warning of a run whose hits fit a detector only in part, or give far fewer tracks than usual."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from beampipe.errors import LayoutWarning
from beampipe.tracking.events import Hits, Tracks

__all__ = ["USUAL_ON_TRACKS", "USUAL_SOFT", "Watch"]

USUAL_ON_TRACKS: Final = 0.13
"""Share of the hits that are on tracks of pT > 1 GeV, in proton collisions with any pile-up."""

USUAL_SOFT: Final = 0.55
"""The same for tracks of pT > 0.3 GeV."""

_MOST_OUTSIDE: Final = 0.05
"""Share of the hits outside from which on it is told; all of a detector's own hits lie on its layers, noise too."""

_FEWEST_FOR_OUTSIDE: Final = 100
"""Fewest hits of an event of which the share outside means something."""

_FEWEST_FOR_NONE: Final = 1000
"""Fewest hits of which hardly one on a track means something."""

_HARDLY_ONE: Final = 0.01

_FEWEST_FOR_FEW: Final = 5000
"""Fewest hits of which few on tracks mean something: small collisions differ."""

_FEW: Final = 1 / 3
"""Part of the usual share on tracks below which it is told."""

_FEWEST_VALUES: Final = 0.6
"""Distinct values of phi per hit below which it is told: rounded, or each hit given twice."""


@dataclass
class _Sum:
    """Number of hits, of those on no layer and of those on tracks."""

    hits: int = 0
    outside: int = 0
    on_tracks: int = 0

    def add(self, hits: int, outside: int, on_tracks: int) -> None:
        self.hits += hits
        self.outside += outside
        self.on_tracks += on_tracks


class Watch:
    """Looks at the events of one finder, and warns once at most. Several threads may use it.

    An event of `_FEWEST_FOR_OUTSIDE` hits is judged by its hits outside. By its hits on tracks it is judged together
    with the events before it, in lots of some thousand hits.

    Args:
        name: name of the pipeline or model, for the message.
        usual: share of the hits that are usually on tracks.
    """

    def __init__(self, name: str, usual: float = USUAL_ON_TRACKS) -> None:
        self._name = name
        self._usual = usual
        self._lot = _Sum()
        self._looked_at_phi = self._warned = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Watch], tuple[str, float]]:
        return Watch, (self._name, self._usual)

    def look(self, hits: Hits, tracks: Tracks) -> None:
        """Count one event, and warn if there is reason to.

        Args:
            hits: hits of the event.
            tracks: tracks found in it; hits outside are known if its `counts` has them.

        Warns:
            LayoutWarning: many hits lie on no layer, far fewer than usual are on tracks, or phi is coarse.
        """
        if self._warned:
            return
        seen = (len(hits), tracks.counts.get("outside", 0), int(np.count_nonzero(tracks.track_id >= 0)))
        with self._lock:
            reasons = self._reasons(hits.position[:, 1], _Sum(*seen))
            if not reasons or self._warned:
                return
            self._warned = True
        warnings.warn(
            f"{' and '.join(reasons)}; are these hits of the detector that {self._name} was made for, in mm and rad?",
            LayoutWarning,
            stacklevel=2,
        )

    def _reasons(self, phi: Float32[ndarray, " n_hits"], event: _Sum) -> list[str]:
        """What is to be told of an event and those before it."""
        reasons = []
        if event.hits >= _FEWEST_FOR_OUTSIDE and event.outside > _MOST_OUTSIDE * event.hits:
            share = event.outside / event.hits
            reasons.append(f"{event.outside} of {event.hits} hits ({share:.0%}) lie on no layer of {self._name}")
        lot = self._lot
        lot.add(event.hits, event.outside, event.on_tracks)
        least = self._usual * _FEW if lot.hits >= _FEWEST_FOR_FEW else _HARDLY_ONE
        if lot.hits >= _FEWEST_FOR_NONE and lot.on_tracks < least * lot.hits:
            share = lot.on_tracks / lot.hits
            reasons.append(
                f"{lot.on_tracks} of {lot.hits} hits ({share:.1%}) are on tracks, where {self._usual:.0%} are usual"
            )
        if lot.hits >= _FEWEST_FOR_FEW:
            self._lot = _Sum()
        if event.hits >= _FEWEST_FOR_NONE and not self._looked_at_phi:
            self._looked_at_phi = True
            reasons += _coarse(phi)
        return reasons


def _coarse(phi: Float32[ndarray, " n_hits"]) -> list[str]:
    """What is to be told of angles that were rounded, or given twice."""
    if np.count_nonzero(phi.astype(np.float16) == phi) > len(phi) / 2:
        return ["phi was rounded to 16 bits"]
    values = len(np.unique(phi))
    if values < _FEWEST_VALUES * len(phi):
        return [f"phi has only {values} values in {len(phi)} hits"]
    return []
