"""The warning of a run whose hits fit a detector only in part, or give far fewer tracks than usual."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from itertools import takewhile
from math import hypot
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.columns import is_sampled
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

_MOST_CROSSING: Final = 60
"""The same for crossings of layers, which take more time."""

_END_OF_LAYER: Final = 0.05
"""Share of a layer at each end in which tracks may miss it."""

_SHORTEST_BEND: Final = 100.0
"""Smallest distance across the beam between first and last hit of a track whose bend is measured [mm]."""

_SMALLEST_BEND: Final = 3e-6
"""Smallest bend of a track that counts [rad/mm]: that of a particle of 100 GeV in 2 T."""

_MOST_BENT: Final = 2000
"""Number of bent tracks from which on counting begins anew."""

_TOGETHER: Final = 20_000
"""Number of hits up to which the tracks of small events are measured together: one by one takes more time."""

_SHORTEST_STEP: Final = 5.0
"""Smallest difference in radius between hits from which origins and residuals are computed [mm]."""


def of_some_tracks(track_id: Int64[ndarray, " n_hits"]) -> Int64[ndarray, " n_rows"]:
    """The rows of the hits of about `_MOST_MEASURED` tracks."""
    n_tracks = int(track_id.max(initial=-1)) + 1
    rows: ndarray = np.flatnonzero(track_id >= 0)
    return np.asarray(rows[track_id[rows] % (n_tracks // _MOST_MEASURED + 1) == 0])


def in_order(position: Position, track_id: Int64[ndarray, " n_hits"]) -> tuple[ndarray, ndarray]:
    """Hits track by track, each from the inside out, and their tracks; hits on no track are left out."""
    order = np.lexsort((position[:, 0], track_id))[np.count_nonzero(track_id < 0) :]
    return position[order], track_id[order]


def _wrapped(angle: ndarray) -> ndarray:
    return np.remainder(angle + np.pi, 2 * np.pi) - np.pi


def origins_and_residuals(
    position: Position, track: Int64[ndarray, " n_hits"]
) -> tuple[Float64[ndarray, " n_origins"], Float64[ndarray, " n_residuals"]]:
    """Where some tracks come from along z, and how far their third to fifth hits are off the line of the neighbours.

    Both are straight lines in the radius: z through the two innermost hits, phi through those before and after a hit.

    Args:
        position: r [mm], phi [rad], z [mm], of the hits, relative to the beam line.
        track: track of each hit; the hits are sorted as by `in_order`.

    Returns:
        z at the beam line [mm], and the distance across the radius [mm], signs left out.
    """
    r, phi, z = position.astype(np.float64).T
    rank = np.arange(len(track)) - np.searchsorted(track, track)
    inner = np.flatnonzero((rank[:-1] == 0) & (track[1:] == track[:-1]) & (np.diff(r) > _SHORTEST_STEP))
    origin = z[inner] - r[inner] * (z[inner + 1] - z[inner]) / (r[inner + 1] - r[inner])
    steps = np.minimum(r[1:-1] - r[:-2], r[2:] - r[1:-1])
    before = np.flatnonzero((rank[:-2] >= 1) & (rank[:-2] <= 3) & (track[2:] == track[:-2]) & (steps > _SHORTEST_STEP))
    middle, after = before + 1, before + 2
    part = (r[middle] - r[before]) / (r[after] - r[before])
    bend, whole = _wrapped(phi[middle] - phi[before]), _wrapped(phi[after] - phi[before])
    return origin, r[middle] * np.abs(bend - part * whole)


def crossed_layers(
    position: Position, track: Int64[ndarray, " n_hits"], layers: Float64[ndarray, "n_layers 4"]
) -> Int64[ndarray, "2 n_layers"]:
    """How often some tracks cross each layer between their first and last hit: with a hit on it, and without.

    Between two hits on different layers a track is a straight line in r and z. A layer counts as crossed where that
    line goes through its middle, away from its ends.

    Args:
        position: r [mm], phi [rad], z [mm], of the hits, relative to the beam line.
        track: track of each hit; the hits are sorted as by `in_order`.
        layers: r_min, r_max, z_min, z_max of each layer [mm].
    """
    end = np.searchsorted(track, np.unique(track)[:_MOST_CROSSING][-1:], side="right").sum()
    track, (r, _, z) = track[:end], position[:end].astype(np.float64).T
    r_min, r_max, z_min, z_max = layers.T.astype(np.float64)
    on = (
        (r[:, None] > r_min - 0.5)
        & (r[:, None] < r_max + 0.5)
        & (z[:, None] > z_min - 0.5)
        & (z[:, None] < z_max + 0.5)
    )
    layer = np.where(on.any(axis=1), on.argmax(axis=1), -1)
    kept = layer >= 0
    track, r, z, layer = track[kept], r[kept], z[kept], layer[kept]
    step = np.flatnonzero((track[1:] == track[:-1]) & (layer[1:] != layer[:-1]))
    (r0, z0), (r1, z1) = ((r[at][:, None], z[at][:, None]) for at in (step, step + 1))
    barrel = r_max - r_min < z_max - z_min
    with np.errstate(divide="ignore", invalid="ignore"):
        way = np.where(barrel, ((r_min + r_max) / 2 - r0) / (r1 - r0), ((z_min + z_max) / 2 - z0) / (z1 - z0))
        at = np.where(barrel, z0 + way * (z1 - z0), r0 + way * (r1 - r0))
    low, high = np.where(barrel, z_min, r_min), np.where(barrel, z_max, r_max)
    inside = (way > 0) & (way < 1) & (np.abs(2 * at - low - high) < (1 - 2 * _END_OF_LAYER) * (high - low))
    number = np.arange(len(layers))
    missed = inside & (number != layer[step][:, None]) & (number != layer[step + 1][:, None])
    # A hit inside of a track ends one step and begins another.
    ends = np.flatnonzero((step[1:] == step[:-1] + 1) & (track[step[1:]] == track[step[:-1]]))
    hits = np.bincount(layer[step[ends] + 1], minlength=len(layers))
    return np.stack([hits, np.count_nonzero(missed, axis=0)]).astype(np.int64)


def bend_counts(position: Position, track: Int64[ndarray, " n_hits"]) -> Int64[ndarray, " 3"]:
    """Number of tracks that are long enough, of those whose phi grows with r, and of those whose phi grows with z.

    As many particles bend one way as the other, so both are half of all, unless the detector is twisted.

    Args:
        position: r [mm], phi [rad], z [mm], of the hits, relative to the beam line.
        track: track of each hit; the hits are sorted as by `in_order`.
    """
    r, phi, z = position.astype(np.float64).T
    first = np.flatnonzero(np.diff(track, prepend=-1))
    last = np.append(first[1:], len(track)) - 1
    if not len(track):
        return np.zeros(3, np.int64)
    turn, length = _wrapped(phi[last] - phi[first]), r[last] - r[first]
    far = (length > _SHORTEST_BEND) & (np.abs(turn) > _SMALLEST_BEND * length)
    grows = (turn > 0)[far]
    return np.array([len(grows), grows.sum(), (grows == (z[last] > z[first])[far]).sum()], np.int64)


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
        holes: share of the layers between first and last hit of a track on which it has none, see `crossed_layers`.
    """

    share: float
    hits: float | None = None
    per_track: float | None = None
    residual: float | None = None
    origin_z: float | None = None
    origin_spread: float | None = None
    holes: float | None = None

    @property
    def text(self) -> str:
        """The numbers up to the first that is missing, as `parse` reads them: a parameter of served models."""
        return ",".join(f"{number:.9g}" for number in takewhile(lambda number: number is not None, astuple(self)))

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
                f"usual share: got {text!r}, expected SHARE, SHARE,HITS, SHARE,HITS,PER_TRACK or, with four more,"
                " SHARE,HITS,PER_TRACK,RESIDUAL,ORIGIN_Z,SPREAD,HOLES such as 0.14,160000,11.5,0.024,0,50,0.035"
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

_MORE_HOLES: Final = 0.02
"""Largest excess of measured over expected holes without a warning, and at least `_FAR` errors.

Measured with 2 % of the hits lost and 1 % of the modules dead: 0.035; with another 2 % lost 0.047 (1 % of the tracks),
5 % 0.065 (3 %), 10 % 0.093 (5 to 7 %), 20 % 0.14 (20 %).
"""

_MOST_CROSSINGS: Final = 4000
"""Number of crossings from which on counting begins anew."""

_DEAD: Final = 0.6
"""Share of the tracks across a layer without a hit on it from which on it counts as dead."""

_FEWEST_ACROSS: Final = 15
"""Fewest tracks across a layer from which on it may count as dead."""

_LOST: Final = "lost hits or dead modules, or ends of the detector turned against each other"

_SHIFTED: Final = "collisions or hits shifted along z"

_ONE_SIDED: Final = 0.1
"""Largest distance from one half of the share of tracks that bend one way without a warning, and `_FAR` errors.

Measured: at most 0.04 in 1,000 good events, 0.19 where a twist costs a sixth of the tracks.
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
    sampled: list[tuple[ndarray, ndarray]] = field(default_factory=list)

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

    def blocks(self) -> list[tuple[ndarray, ndarray]]:
        """Hits of sampled tracks relative to the beam line and their tracks, some events together; made once."""
        if self.sampled or not self.events:
            return self.sampled
        positions: list[Position] = []
        labels: list[Int64[ndarray, " _"]] = []
        n_hits = n_tracks = 0
        for number, (hits, tracks) in enumerate(self.events, 1):
            rows = of_some_tracks(tracks.track_id)
            positions.append(tracks.beam_spot.relative_to(hits.position[rows]))
            labels.append(tracks.track_id[rows] + n_tracks)
            n_hits, n_tracks = n_hits + len(hits), n_tracks + tracks.n_tracks
            if n_hits > _TOGETHER or number == len(self.events):
                self.sampled.append(in_order(np.concatenate(positions), np.concatenate(labels)))
                positions, labels, n_hits, n_tracks = [], [], 0, 0
        return self.sampled

    def shapes(self) -> tuple[Float64[ndarray, " n_origins"], Float64[ndarray, " n_residuals"]]:
        """Origins and residuals of some tracks of these events."""
        parts = [(np.empty(0), np.empty(0)), *(origins_and_residuals(*block) for block in self.blocks())]
        origins, residuals = zip(*parts, strict=True)
        return np.concatenate(origins), np.concatenate(residuals)

    def crossings(self, layers: Float64[ndarray, "n_layers 4"]) -> Int64[ndarray, "2 n_layers"]:
        """Crossings of layers with and without a hit, of some tracks of these events."""
        counts = np.zeros((2, len(layers)), np.int64)
        return sum((crossed_layers(*block, layers) for block in self.blocks()), counts)

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


def measure(
    hits_and_tracks: Iterable[tuple[Hits, Tracks]], layers: Float64[ndarray, "n_layers 4"] | None = None
) -> ExpectedTracks:
    """What is usual of a finder, from good events and their tracks; holes where the layers are given."""
    lot, n_events = _Lot(), 0
    for hits, tracks in hits_and_tracks:
        event = _Lot.of(hits, tracks)
        lot.add(event)
        lot.events += event.events
        n_events += 1
    hit, missed = (0, 0) if layers is None else lot.crossings(layers).sum(axis=1)
    holes = missed / (hit + missed) if hit else None
    return replace(lot.measured(*lot.shapes()), hits=lot.hits / max(n_events, 1), holes=holes)


@dataclass(eq=False, repr=False)
class HitMonitor:
    """Checks the events of one finder, and warns at most once. It is thread-safe.

    Hits on no layer, and layers that the hits do not fill, are checked for each event. The share of hits on tracks, and
    number, residuals and origins of the hits of a track, are checked for several consecutive events together, in lots
    of some thousand hits or some hundred tracks. Small events are not checked.

    Attributes:
        name: name of the pipeline or model, for the message.
        usual: usual share of the hits on tracks.
        beam_spot: beam line that is expected.
        layers: r_min, r_max, z_min, z_max of each layer [mm], for the holes of tracks; None if they are unknown.
    """

    name: str
    usual: ExpectedTracks = EXPECTED_ON_TRACKS
    beam_spot: BeamSpot = ON_AXIS
    layers: Float64[ndarray, "n_layers 4"] | None = None

    def __post_init__(self) -> None:
        self._crossings = np.zeros((2, 0 if self.layers is None else len(self.layers)), np.int64)
        self._bends = np.zeros(3, np.int64)
        self._n_lots = 0
        self._lot, self._lot_of_tracks = _Lot(), _Lot()
        self._looked = self._warned = False
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[HitMonitor], tuple[object, ...]]:
        return HitMonitor, (self.name, self.usual, self.beam_spot, self.layers)

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
        usual = self.usual if usual is None else usual
        with self._lock:
            reasons = self._of_layers(event, tracks.counts.get("unfilled_layers", 0))
            shares = self._of_shares(event, usual)
            changes, cause = self._of_shapes(event, usual, _FEWEST_OF_FEW if shares else _FEWEST_TRACKS)
            reasons += shares + changes
            if not self._looked and event.hits >= FEWEST_FOR_COLUMNS:  # files are rounded in all events, or in none
                self._looked = True
                reasons += odd_columns(hits.position)
            seen_from, expected = tracks.beam_spot, expected or self.beam_spot
            question = f"are these hits of the detector that {self.name} was made for, in mm and rad?"
            if hypot(seen_from.x - expected.x, seen_from.y - expected.y) > _FARTHEST_BEAM:
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
            reasons.append(f"{event.outside} of {event.hits} hits ({share:.0%}) lie on no layer of {self.name}")
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
        self._n_lots += 1
        if not is_sampled(self._n_lots):  # measuring costs time
            lot.events = []
        origins, residuals = lot.shapes()
        now = lot.measured(origins, residuals)
        assert now.per_track is not None
        changes, causes = self._of_holes(lot, usual)
        ratio = now.per_track / usual.per_track
        if not _SHORT <= ratio <= _LONG:
            changes.append(f"tracks have {now.per_track:.1f} hits on average, where {usual.per_track:.1f} are usual")
            if ratio > _LONG:
                causes.append("duplicated hits")
            elif usual.residual is None:
                causes.append("hits that are missing, less precise than in training, or displaced (misalignment)")
            elif not causes:
                causes.append(_LOST)
        for change, cause in (_of_origins(origins, usual), self._of_bends(lot, usual), _of_residuals(now, usual)):
            changes += change
            causes += cause
            if cause and _LOST in causes and cause != [_SHIFTED]:
                causes.remove(_LOST)  # hits that are off the tracks look like lost ones
        return changes, " and ".join(causes)

    def _of_bends(self, lot: _Lot, usual: ExpectedTracks) -> tuple[list[str], list[str]]:
        """Whether tracks of this and earlier lots bend to one side, and the cause; not for soft tracks, which curl."""
        if usual.residual is None or not lot.events:
            return [], []
        counts = self._bends = sum((bend_counts(*block) for block in lot.blocks()), self._bends)
        if counts[0] > _MOST_BENT:
            self._bends = np.zeros(3, np.int64)
        shares = counts[1:] / max(counts[0], 1)
        share = float(shares[np.argmax(np.abs(shares - 0.5))])
        if counts[0] == 0 or abs(share - 0.5) <= max(_ONE_SIDED, _FAR / 2 / np.sqrt(counts[0])):
            return [], []
        seen = f"{max(share, 1 - share):.0%} of {counts[0]} tracks bend to one side"
        return [seen], ["a twisted detector, or particles of one charge"]

    def _of_holes(self, lot: _Lot, usual: ExpectedTracks) -> tuple[list[str], list[str]]:
        """What tracks of this and earlier lots say of layers without hits, and the cause that it looks like."""
        if self.layers is None or usual.holes is None or not lot.events:
            return [], []
        self._crossings = self._crossings + lot.crossings(self.layers)
        across, missed = self._crossings.sum(axis=0), self._crossings[1]
        n, holes = int(across.sum()), missed.sum() / max(across.sum(), 1)
        if n > _MOST_CROSSINGS:
            self._crossings = np.zeros_like(self._crossings)
        dead = np.flatnonzero((across >= _FEWEST_ACROSS) & (missed > _DEAD * across))
        if len(dead):
            r_min, r_max, z_min, z_max = self.layers[dead[0]]
            where = (
                f"r = {(r_min + r_max) / 2:.0f}" if r_max - r_min < z_max - z_min else f"z = {(z_min + z_max) / 2:.0f}"
            )
            share = missed[dead[0]] / across[dead[0]]
            return [f"{share:.0%} of the tracks across the layer at {where} mm have no hit on it"], ["a dead layer"]
        error = np.sqrt(usual.holes * (1 - usual.holes) / max(n, 1))
        if holes <= usual.holes + max(_MORE_HOLES, _FAR * error):
            return [], []
        seen = f"tracks have no hit on {holes:.1%} of the layers that they cross, where {usual.holes:.1%} are usual"
        return [seen], [_LOST]


def _of_origins(origins: Float64[ndarray, " n_origins"], usual: ExpectedTracks) -> tuple[list[str], list[str]]:
    """What is unusual of where tracks come from, and its cause."""
    if usual.origin_z is None or usual.origin_spread is None or not len(origins):
        return [], []
    # Tracks of one vertex are no independent measurements.
    _, at_vertex = np.unique(origins // _VERTEX, return_counts=True)
    n_vertices = at_vertex.sum() ** 2 / np.square(at_vertex).sum()
    z = float(np.median(origins))
    if abs(z - usual.origin_z) <= max(_FAR / np.sqrt(n_vertices), 1.0) * usual.origin_spread:
        return [], []
    seen = f"tracks come from z = {z:.0f} mm, where {usual.origin_z:.0f} mm is usual"
    return [seen], [_SHIFTED]


def _of_residuals(now: ExpectedTracks, usual: ExpectedTracks) -> tuple[list[str], list[str]]:
    """Whether hits are further off their tracks than usual, and the cause."""
    if usual.residual is None or now.residual is None or now.residual <= _ROUGH * usual.residual:
        return [], []
    off = f"hits are {1000 * now.residual:.0f} um off the lines of their neighbours"
    seen = f"{off}, where {1000 * usual.residual:.0f} um are usual"
    return [seen], ["hits less precise than in training, or displaced (misalignment)"]
