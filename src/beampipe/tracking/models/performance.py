"""What a pipeline of a tracker model can and cannot do, as numbers that were measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from beampipe.errors import ConfigError

__all__ = ["Performance"]

_GOOD: Final = 0.9
"""An efficiency below this is told as something that a pipeline cannot do."""


@dataclass(frozen=True)
class Performance:
    """One pipeline on the events that validated its model. Efficiencies are by double majority.

    Attributes:
        sample: events that were used, and what they had lost.
        events: number of these events.
        hits: mean number of hits of an event.
        efficiency: efficiency for reconstructable primary particles above `pt_edges[0]`, or 1 GeV if that is lower.
        fakes: share of tracks that belong to no particle.
        hits_on_tracks: share of the hits that are on a track.
        milliseconds: median time of an event on one thread [ms], of the machine that validated.
        pt_edges: edges of bins of pT [GeV].
        by_pt: efficiency in each bin of pT; null where there was no particle.
        displaced: efficiency for particles made 2 to 100 mm from the beam line; null where there was none.
        dense: efficiency for particles within 10 mrad of another one; null where it was not measured.
        counted: which particles and which tracks the numbers count.

    Raises:
        ConfigError: there are not one more edges than bins.
    """

    sample: str
    events: int
    hits: float
    efficiency: float | None
    fakes: float | None
    hits_on_tracks: float
    milliseconds: float
    pt_edges: tuple[float, ...]
    by_pt: tuple[float | None, ...]
    displaced: float | None = None
    dense: float | None = None
    counted: str = ""

    def __post_init__(self) -> None:
        if len(self.pt_edges) != len(self.by_pt) + 1:
            raise ConfigError(
                f"by_pt: got {len(self.by_pt)} bins and {len(self.pt_edges)} pt_edges, expected one edge more than bins"
            )

    def weaknesses(self) -> Iterator[str]:
        """What the pipeline finds less than 90 % of, each in a few words with its number."""
        lost = [k for k, value in enumerate(self.by_pt) if value is not None and value < _GOOD]
        if lost and lost == list(range(lost[-1] + 1)):  # from the softest upwards: a momentum floor
            found = [self.by_pt[k] for k in lost]
            low, high = min(v for v in found if v is not None), max(v for v in found if v is not None)
            share = f"{100 * low:.0f} %" if high - low < 0.005 else f"{100 * low:.0f} to {100 * high:.0f} %"
            yield f"pT {self.pt_edges[0]:g} to {self.pt_edges[lost[-1] + 1]:g} GeV: {share}"
        if self.efficiency is not None and self.efficiency < _GOOD:
            yield f"all primaries: {100 * self.efficiency:.0f} %"
        if self.displaced is not None and self.displaced < _GOOD:
            yield f"from 2 to 100 mm off the beam line: {100 * self.displaced:.0f} %"
        if self.dense is not None and self.dense < _GOOD:
            yield f"within 10 mrad of another track: {100 * self.dense:.0f} %"
