"""The warning of a run whose hits fit a detector only in part, or give far fewer tracks than usual."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
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


_MOST_MEASURED: Final = 300
"""Approximate number of tracks of which origins and residuals are computed: of a large event, or of small ones."""

_TOGETHER: Final = 20_000
"""Number of hits up to which the tracks of small events are measured together: one by one takes more time."""

_SHORTEST_STEP: Final = 5.0
"""Smallest difference in radius between hits from which origins and residuals are computed [mm]."""


def origins_and_residuals(
    position: Position, track_id: Int64[ndarray, " n_hits"]
) -> tuple[Float64[ndarray, " n_origins"], Float64[ndarray, " n_residuals"]]:
    """Where some tracks come from along z, and how far their third to fifth hits are off the line of the neighbours.

    Both are straight lines in the radius: z through the two innermost hits, phi through those before and after a hit.

    Args:
        position: r [mm], phi [rad], z [mm], of the hits, relative to the beam line.
        track_id: track of each hit, -1 for none.

    Returns:
        z at the beam line [mm], and the distance across the radius [mm], signs left out.
    """
    n_tracks = int(track_id.max(initial=-1)) + 1
    rows = np.flatnonzero(track_id >= 0)
    rows = rows[track_id[rows] % (n_tracks // _MOST_MEASURED + 1) == 0]
    rows = rows[np.lexsort((position[rows, 0], track_id[rows]))]
    track = track_id[rows]
    r, phi, z = position[rows].astype(np.float64).T
    rank = np.arange(len(rows)) - np.searchsorted(track, track)
    inner = np.flatnonzero((rank[:-1] == 0) & (track[1:] == track[:-1]) & (np.diff(r) > _SHORTEST_STEP))
    origin = z[inner] - r[inner] * (z[inner + 1] - z[inner]) / (r[inner + 1] - r[inner])
    steps = np.minimum(r[1:-1] - r[:-2], r[2:] - r[1:-1])
    before = np.flatnonzero((rank[:-2] >= 1) & (rank[:-2] <= 3) & (track[2:] == track[:-2]) & (steps > _SHORTEST_STEP))
    middle, after = before + 1, before + 2
    part = (r[middle] - r[before]) / (r[after] - r[before])
    bend = np.remainder(phi[middle] - phi[before] + np.pi, 2 * np.pi) - np.pi
    whole = np.remainder(phi[after] - phi[before] + np.pi, 2 * np.pi) - np.pi
    return origin, r[middle] * np.abs(bend - part * whole)


@dataclass(frozen=True)
class ExpectedTracks:
    """What is usual of the tracks of a finder. What was not measured is None.

    Attributes:
        share: share of the hits on tracks.
        hits: mean number of hits of the events in which it was measured; None for a rule of thumb.
        per_track: mean number of hits of a track.
        residual: median distance of hits from the line of their neighbours [mm], see `origins_and_residuals`.
        origin_z: median z at which tracks leave the beam line [mm].
        origin_spread: its standard deviation [mm].
    """

    share: float
    hits: float | None = None
    per_track: float | None = None
    residual: float | None = None
    origin_z: float | None = None
    origin_spread: float | None = None

    @property
    def text(self) -> str:
        """The numbers, as `parse` reads them: a parameter of served models."""
        return ",".join(f"{number:.9g}" for number in astuple(self) if number is not None)

    @classmethod
    def parse(cls, text: str) -> ExpectedTracks:
        """Read a share, or more of the numbers, in their order, with commas between.

        Raises:
            ConfigError: the text is another one.
        """
        try:
            return cls(*map(float, text.split(",")))
        except (ValueError, TypeError):
            raise ConfigError(
                f"usual share: got {text!r}, expected SHARE, SHARE,HITS, SHARE,HITS,PER_TRACK or, with three more,"
                " SHARE,HITS,PER_TRACK,RESIDUAL,ORIGIN_Z,SPREAD such as 0.14,160000,11.5,0.024,0,50"
            ) from None

    def __str__(self) -> str:
        return f"{self.share:.0%} are usual" + ("" if self.hits is None else f" in events of {self.hits:.0f} hits")


EXPECTED_ON_TRACKS: Final = ExpectedTracks(0.13)
"""Share on tracks of pT > 1 GeV, in proton collisions with any pile-up; for models without a measured share."""

EXPECTED_SOFT: Final = ExpectedTracks(0.55)
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

_FEWEST_TRACKS: Final = 200
"""Fewest tracks in a lot whose mean number of hits is checked."""

_FEWEST_OF_FEW: Final = 30
"""The same where far fewer hits than usual are on tracks."""

_SHORT: Final = 0.89
"""Smallest ratio of measured to expected hits per track without a warning.

Measured: at least 0.93 in lots of 100 tracks of ttbar with 0 to 200 collisions and of jets, four pipelines, with and
without 2 % of hits lost; 0.92 with a tenth of the hits lost (3 % of the tracks), 0.84 with a fifth (7 %).
"""

_LONG: Final = 1.12
"""Largest ratio of measured to expected hits per track without a warning; measured: 1.05 in the same lots."""

_ROUGH: Final = 1.45
"""Largest ratio of measured to expected residual without a warning.

Measured in such lots: 0.5 to 1.15, and 1.31 for soft tracks of single collisions; 1.6 with hits smeared by 0.05 mm (1 %
of the tracks) and with layers displaced by 0.1 mm (4 %).
"""

_FAR: Final = 6.0
"""Largest distance between measured and expected origin along z without a warning, in errors; and at least one spread.

Measured in such lots: up to 2.5 spreads, in lots of four collisions.
"""

_VERTEX: Final = 2.0
"""Length along z in which all tracks count as of one vertex [mm]."""

_MOST_UNFILLED: Final = 2
"""Most layers that may lack hits in an event of `_FEWEST_FOR_LAYERS`."""

_FARTHEST_BEAM: Final = 0.5
"""Largest distance between actual and expected beam line without a warning [mm]."""


@dataclass
class _Lot:
    """Numbers of hits, of those on no layer, of those on tracks, and of tracks; and the events that have tracks."""

    hits: int = 0
    outside: int = 0
    on_tracks: int = 0
    tracks: int = 0
    events: list[tuple[Hits, Tracks]] = field(default_factory=list)

    @classmethod
    def of(cls, hits: Hits, tracks: Tracks) -> _Lot:
        """One event."""
        n_tracks, on_tracks = tracks.n_tracks, int(np.count_nonzero(tracks.track_id >= 0))
        events = [(hits, tracks)] if n_tracks else []
        return cls(len(hits), tracks.counts.get("outside", 0), on_tracks, n_tracks, events)

    def add(self, other: _Lot) -> None:
        """Add the numbers of other events."""
        self.hits += other.hits
        self.outside += other.outside
        self.on_tracks += other.on_tracks
        self.tracks += other.tracks

    def shapes(self) -> tuple[Float64[ndarray, " n_origins"], Float64[ndarray, " n_residuals"]]:
        """Origins and residuals of some tracks of these events."""
        parts = [(np.empty(0), np.empty(0))]
        positions: list[Position] = []
        labels: list[Int64[ndarray, " _"]] = []
        n_hits = n_tracks = 0
        for number, (hits, tracks) in enumerate(self.events, 1):
            on_tracks = np.flatnonzero(tracks.track_id >= 0)
            positions.append(tracks.beam_spot.relative_to(hits.position[on_tracks]))
            labels.append(tracks.track_id[on_tracks] + n_tracks)
            n_hits, n_tracks = n_hits + len(hits), n_tracks + tracks.n_tracks
            if n_hits > _TOGETHER or number == len(self.events):
                parts.append(origins_and_residuals(np.concatenate(positions), np.concatenate(labels)))
                positions, labels, n_hits, n_tracks = [], [], 0, 0
        origins, residuals = zip(*parts, strict=True)
        return np.concatenate(origins), np.concatenate(residuals)

    def measured(
        self, origins: Float64[ndarray, " n_origins"], residuals: Float64[ndarray, " n_residuals"]
    ) -> ExpectedTracks:
        """The numbers of these events, and of their `shapes`, as what is usual; mean number of hits left out."""
        return ExpectedTracks(
            self.on_tracks / self.hits if self.hits else 0.0,
            None,
            self.on_tracks / self.tracks if self.tracks else None,
            float(np.median(residuals)) if len(residuals) else None,
            float(np.median(origins)) if len(origins) else None,
            float(np.std(origins)) if len(origins) else None,
        )


def measure(hits_and_tracks: Iterable[tuple[Hits, Tracks]]) -> ExpectedTracks:
    """What is usual of a finder, from good events and their tracks."""
    lot, n_events = _Lot(), 0
    for hits, tracks in hits_and_tracks:
        event = _Lot.of(hits, tracks)
        lot.add(event)
        lot.events += event.events
        n_events += 1
    return replace(lot.measured(*lot.shapes()), hits=lot.hits / max(n_events, 1))


class HitMonitor:
    """Checks the events of one finder, and warns at most once. It is thread-safe.

    Hits on no layer, and layers that the hits do not fill, are checked for each event. The share of hits on tracks, and
    number, residuals and origins of the hits of a track, are checked for several consecutive events together, in lots
    of some thousand hits or some hundred tracks. Small events are not checked.

    Args:
        name: name of the pipeline or model, for the message.
        usual: usual share of the hits on tracks.
        beam_spot: beam line that is expected.
    """

    def __init__(self, name: str, usual: ExpectedTracks = EXPECTED_ON_TRACKS, beam_spot: BeamSpot = ON_AXIS) -> None:
        self._name = name
        self._usual = usual
        self._beam_spot = beam_spot
        self._lot, self._lot_of_tracks = _Lot(), _Lot()
        self._looked = self._warned = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[HitMonitor], tuple[str, ExpectedTracks, BeamSpot]]:
        return HitMonitor, (self._name, self._usual, self._beam_spot)

    def check(
        self, hits: Hits, tracks: Tracks, expected: BeamSpot | None = None, usual: ExpectedTracks | None = None
    ) -> None:
        """Count one event, and warn if there is reason to.

        Args:
            hits: hits of the event.
            tracks: tracks found in it, with the `LAYOUT_COUNTS` if its finder counts them.
            expected: expected beam line of this event; that of the monitor if not given.
            usual: usual share for the finder of this event; that of the monitor if not given.

        Warns:
            LayoutWarning: many hits lie on no layer, many layers have no hits, far fewer hits than usual are on
                tracks, tracks have fewer or more hits than usual, hits are further off them, the tracks come from
                elsewhere than expected, or a column looks odd. The warning says which cause this looks like.
        """
        if self._warned:
            return
        event = _Lot.of(hits, tracks)
        usual = self._usual if usual is None else usual
        with self._lock:
            reasons = self._of_layers(event, tracks.counts.get("unfilled_layers", 0))
            shares = self._of_shares(event, usual)
            changes, cause = self._of_shapes(event, usual, _FEWEST_OF_FEW if shares else _FEWEST_TRACKS)
            reasons += shares + changes
            if not self._looked and event.hits >= FEWEST_FOR_COLUMNS:  # files are rounded in all events, or in none
                self._looked = True
                reasons += odd_columns(hits.position)
            seen_from, expected = tracks.beam_spot, expected or self._beam_spot
            question = f"are these hits of the detector that {self._name} was made for, in mm and rad?"
            if np.hypot(seen_from.x - expected.x, seen_from.y - expected.y) > _FARTHEST_BEAM:
                if reasons:
                    cause = cause or "collisions or hits shifted across the beam line"
                else:
                    question = "each such event is found twice, unless --beam-spot (beam_spot=) gives it"
                there = f"x = {seen_from.x:.2f} mm, y = {seen_from.y:.2f} mm"
                reasons.append(f"the tracks come from {there} and were found again, seen from there")
            if cause:
                question = f"this looks like {cause}, and tracks may be lost"
            if not reasons or self._warned:
                return
            self._warned = True
        warnings.warn(f"{' and '.join(reasons)}; {question}", LayoutWarning, stacklevel=2)

    def _of_layers(self, event: _Lot, unfilled: int) -> list[str]:
        """Reasons for a warning from the layers of one event."""
        reasons = []
        if event.hits >= _FEWEST_FOR_OUTSIDE and event.outside > _MOST_OUTSIDE * event.hits:
            share = event.outside / event.hits
            reasons.append(f"{event.outside} of {event.hits} hits ({share:.0%}) lie on no layer of {self._name}")
        if event.hits >= _FEWEST_FOR_LAYERS and unfilled > _MOST_UNFILLED:
            reasons.append(f"{unfilled} layers have no hits or are filled in a part only")
        return reasons

    def _of_shares(self, event: _Lot, usual: ExpectedTracks) -> list[str]:
        """Reasons for a warning from the tracks of an event and those before it."""
        lot = self._lot
        lot.add(event)
        few = usual.share * _FEW
        least = few if lot.hits >= _FEWEST_FOR_FEW else min(few, _HARDLY_ONE)
        if lot.hits >= _FEWEST_FOR_FEW:
            self._lot = _Lot()
        if lot.hits < _FEWEST_FOR_NONE or lot.on_tracks >= least * lot.hits:
            return []
        share = f"{lot.on_tracks} of {lot.hits} hits ({lot.on_tracks / lot.hits:.1%})"
        return [f"{share} are on tracks, where {usual}"]

    def _of_shapes(self, event: _Lot, usual: ExpectedTracks, fewest: int) -> tuple[list[str], str]:
        """What changed in tracks of this and earlier events, at least `fewest`, and the cause that it looks like."""
        if usual.per_track is None:
            return [], ""
        lot = self._lot_of_tracks
        # An event that is found again and again, for its time, tells nothing new.
        if any(earlier is hits for hits, _ in event.events for earlier, _ in lot.events):
            return [], ""
        lot.add(event)
        lot.events += event.events
        if lot.tracks < fewest:
            return [], ""
        self._lot_of_tracks = _Lot()
        origins, residuals = lot.shapes()
        now = lot.measured(origins, residuals)
        changes, causes = [], []
        assert now.per_track is not None
        ratio = now.per_track / usual.per_track
        if not _SHORT <= ratio <= _LONG:
            changes.append(f"tracks have {now.per_track:.1f} hits on average, where {usual.per_track:.1f} are usual")
            if ratio > _LONG:
                causes.append("duplicated hits")
        if usual.origin_z is not None and usual.origin_spread is not None and now.origin_z is not None:
            # Tracks of one vertex are no independent measurements.
            _, at_vertex = np.unique(origins // _VERTEX, return_counts=True)
            n_vertices = at_vertex.sum() ** 2 / np.square(at_vertex).sum()
            if abs(now.origin_z - usual.origin_z) > max(_FAR / np.sqrt(n_vertices), 1.0) * usual.origin_spread:
                changes.append(f"tracks come from z = {now.origin_z:.0f} mm, where {usual.origin_z:.0f} mm is usual")
                causes.append("collisions or hits shifted along z")
        if usual.residual is not None and now.residual is not None:
            if now.residual > _ROUGH * usual.residual:
                off = f"hits are {1000 * now.residual:.0f} um off the lines of their neighbours"
                changes.append(f"{off}, where {1000 * usual.residual:.0f} um are usual")
                causes.append("hits less precise than in training, or displaced (misalignment)")
            elif ratio < _SHORT:
                causes.append("lost hits or dead modules")
        elif ratio < _SHORT:
            causes.append("hits that are missing, less precise than in training, or displaced (misalignment)")
        return changes, " and ".join(causes)
