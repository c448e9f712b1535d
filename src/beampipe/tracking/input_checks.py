"""The warning of a run whose hits fit a detector only in part, or give far fewer tracks than usual."""

from __future__ import annotations

import threading
import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np

from beampipe.errors import ConfigError, LayoutWarning
from beampipe.events import ON_AXIS, BeamSpot, Hits, Position, Tracks

FEWEST_FOR_COLUMNS: Final = 1000
"""Fewest hits of an event whose columns are checked."""

_COLUMN_SHARE: Final = 0.9
"""Share of the hits from which on a property of numbers counts as one of their column."""

_FEWEST_VALUES: Final = 0.6
"""Fewest distinct values of phi per hit without a warning. Hits of one event hardly ever share one."""

_MOST_REPEATED: Final = 0.01
"""Largest share of hits at the position of another one without a warning."""

_MOST_SORTED: Final = 5000
"""Approximate number of hits whose distinct values and positions are counted."""

_TURN_EDGE: Final = 0.01
"""Distance from the ends of a turn, as a share of it, within which some of `FEWEST_FOR_COLUMNS` hits lie."""

_PARTS_OF_A_TURN: Final = ((-1, 1, "pi"), (0, 2, "pi"), (-0.5, 0.5, "turns"), (0, 1, "turns"))
"""Smallest and largest phi in these units; phi in rad rarely has exactly this range."""


def odd_columns(position: Position) -> list[str]:
    """Suspicious properties of the columns of one event, in words; none for events with few hits.

    Args:
        position: r [mm], phi [rad], z [mm], of all hits.
    """
    if len(position) < FEWEST_FOR_COLUMNS:
        return []
    r, phi, z = position.T
    reasons = []
    for name, length in (("r", r), ("z", z)):  # layers lie at whole numbers of mm, but not all along both r and z
        if (whole := np.mean(length == np.rint(length))) > _COLUMN_SHARE:
            reasons.append(f"{name} is a whole number in {whole:.0%} of the hits")
    if np.mean(phi.astype(np.float16) == phi) > _COLUMN_SHARE:
        reasons.append("phi was rounded to 16 bits")
    else:
        # Hits of equal phi may be anywhere in the event, but are in one slice of the detector; sorting all is slow.
        low, width = phi.min(), np.ptp(phi) * min(1, _MOST_SORTED / len(phi))
        part = position[phi <= low + width]
        values, positions = len(np.unique(part[:, 1])), len(np.unique(part, axis=0))
        if (repeated := 1 - positions / len(part)) > _MOST_REPEATED:
            reasons.append(f"{repeated:.0%} of the hits have the position of another one, as if written twice")
        elif values < _FEWEST_VALUES * len(part):
            reasons.append(f"phi has only {values} values in {len(part)} hits")
    least, most = float(phi.min()), float(phi.max())
    for first, last, unit in _PARTS_OF_A_TURN:
        edge = _TURN_EDGE * (last - first)
        if -edge / 10 < least - first < edge and -edge / 10 < last - most < edge:
            reasons.append(f"phi runs from {least:.3f} to {most:.3f}, as if it were in {unit}")
            break
    return reasons


LAYOUT_COUNTS: Final = ("outside", "unfilled_layers")
"""Names in `Tracks.counts` of the hits on no layer, and of the layers that hits do not fill."""


@dataclass(frozen=True)
class ExpectedShare:
    """The usual share of the hits on tracks.

    Attributes:
        share: share of the hits.
        hits: mean number of hits of the events in which it was measured; None for a rule of thumb.
    """

    share: float
    hits: float | None = None

    @property
    def text(self) -> str:
        """Both numbers, as `parse` reads them: a parameter of served models."""
        return f"{self.share:.9g}" if self.hits is None else f"{self.share:.9g},{self.hits:.9g}"

    @classmethod
    def parse(cls, text: str) -> ExpectedShare:
        """Read a share, or a share and a number of hits with a comma between.

        Raises:
            ConfigError: the text is another one.
        """
        try:
            return cls(*map(float, text.split(",")))
        except (ValueError, TypeError):
            raise ConfigError(f"usual share: got {text!r}, expected SHARE or SHARE,HITS such as 0.14,160000") from None

    def __str__(self) -> str:
        return f"{self.share:.0%} are usual" + ("" if self.hits is None else f" in events of {self.hits:.0f} hits")


EXPECTED_ON_TRACKS: Final = ExpectedShare(0.13)
"""Share on tracks of pT > 1 GeV, in proton collisions with any pile-up; for models without a measured share."""

EXPECTED_SOFT: Final = ExpectedShare(0.55)
"""The same for tracks of pT > 0.3 GeV."""

_MOST_OUTSIDE: Final = 0.05
"""Largest share of hits on no layer without a warning; the hits of a detector lie on its layers, noise too."""

_FEWEST_FOR_OUTSIDE: Final = 100
"""Fewest hits of an event whose share on no layer is checked."""

_FEWEST_FOR_LAYERS: Final = 3000
"""Fewest hits of an event whose empty layers are checked: one soft collision leaves some empty."""

_FEWEST_FOR_NONE: Final = 2000
"""Fewest hits from which on almost none on tracks is a warning: some soft collisions have no hard track."""

_HARDLY_ONE: Final = 0.01

_FEWEST_FOR_FEW: Final = 8000
"""Fewest hits in a lot from which on few on tracks is a warning: such lots of soft collisions have 0.14 +- 0.016."""

_FEW: Final = 0.4
"""Smallest ratio of measured to expected share on tracks without a warning."""

_MOST_UNFILLED: Final = 2
"""Most layers that may lack hits in an event of `_FEWEST_FOR_LAYERS`."""

_FARTHEST_BEAM: Final = 0.5
"""Largest distance between actual and expected beam line without a warning [mm]."""


@dataclass
class _HitCounts:
    """Number of hits, of those on no layer and of those on tracks."""

    hits: int = 0
    outside: int = 0
    on_tracks: int = 0

    def add(self, other: _HitCounts) -> None:
        self.hits += other.hits
        self.outside += other.outside
        self.on_tracks += other.on_tracks


class HitMonitor:
    """Checks the events of one finder, and warns at most once. It is thread-safe.

    Hits on no layer, and layers that the hits do not fill, are checked for each event. The share of hits on tracks is
    checked for several consecutive events together, in lots of some thousand hits. Small events are not checked.

    Args:
        name: name of the pipeline or model, for the message.
        usual: usual share of the hits on tracks.
        beam_spot: beam line that is expected.
    """

    def __init__(self, name: str, usual: ExpectedShare = EXPECTED_ON_TRACKS, beam_spot: BeamSpot = ON_AXIS) -> None:
        self._name = name
        self._usual = usual
        self._beam_spot = beam_spot
        self._lot = _HitCounts()
        self._looked = self._warned = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[HitMonitor], tuple[str, ExpectedShare, BeamSpot]]:
        return HitMonitor, (self._name, self._usual, self._beam_spot)

    def check(
        self, hits: Hits, tracks: Tracks, expected: BeamSpot | None = None, usual: ExpectedShare | None = None
    ) -> None:
        """Count one event, and warn if there is reason to.

        Args:
            hits: hits of the event.
            tracks: tracks found in it, with the `LAYOUT_COUNTS` if its finder counts them.
            expected: expected beam line of this event; that of the monitor if not given.
            usual: usual share for the finder of this event; that of the monitor if not given.

        Warns:
            LayoutWarning: many hits lie on no layer, many layers have no hits, far fewer hits than usual are on
                tracks, the tracks come from elsewhere than expected, or a column looks odd.
        """
        if self._warned:
            return
        event = _HitCounts(len(hits), tracks.counts.get("outside", 0), int(np.count_nonzero(tracks.track_id >= 0)))
        with self._lock:
            reasons = self._of_layers(event, tracks.counts.get("unfilled_layers", 0))
            reasons += self._of_tracks(event, self._usual if usual is None else usual)
            if not self._looked and event.hits >= FEWEST_FOR_COLUMNS:  # files are rounded in all events, or in none
                self._looked = True
                reasons += odd_columns(hits.position)
            question = f"are these hits of the detector that {self._name} was made for, in mm and rad?"
            if not reasons:
                question = "each such event is found twice, unless --beam-spot (beam_spot=) gives it"
            seen_from, expected = tracks.beam_spot, expected or self._beam_spot
            if np.hypot(seen_from.x - expected.x, seen_from.y - expected.y) > _FARTHEST_BEAM:
                there = f"x = {seen_from.x:.2f} mm, y = {seen_from.y:.2f} mm"
                reasons.append(f"the tracks come from {there} and were found again, seen from there")
            if not reasons or self._warned:
                return
            self._warned = True
        warnings.warn(f"{' and '.join(reasons)}; {question}", LayoutWarning, stacklevel=2)

    def _of_layers(self, event: _HitCounts, unfilled: int) -> list[str]:
        """Reasons for a warning from the layers of one event."""
        reasons = []
        if event.hits >= _FEWEST_FOR_OUTSIDE and event.outside > _MOST_OUTSIDE * event.hits:
            share = event.outside / event.hits
            reasons.append(f"{event.outside} of {event.hits} hits ({share:.0%}) lie on no layer of {self._name}")
        if event.hits >= _FEWEST_FOR_LAYERS and unfilled > _MOST_UNFILLED:
            reasons.append(f"{unfilled} layers have no hits or are filled in a part only")
        return reasons

    def _of_tracks(self, event: _HitCounts, usual: ExpectedShare) -> list[str]:
        """Reasons for a warning from the tracks of an event and those before it."""
        lot = self._lot
        lot.add(event)
        few = usual.share * _FEW
        least = few if lot.hits >= _FEWEST_FOR_FEW else min(few, _HARDLY_ONE)
        if lot.hits >= _FEWEST_FOR_FEW:
            self._lot = _HitCounts()
        if lot.hits < _FEWEST_FOR_NONE or lot.on_tracks >= least * lot.hits:
            return []
        share = f"{lot.on_tracks} of {lot.hits} hits ({lot.on_tracks / lot.hits:.1%})"
        return [f"{share} are on tracks, where {usual}"]
