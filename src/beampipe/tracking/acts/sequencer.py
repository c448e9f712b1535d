"""Runs algorithms of ACTS on our hits: pyacts, the detector, the whiteboard, clocks, and the fitted tracks of ACTS.

``acts.examples`` passes objects from algorithm to algorithm on a *whiteboard*, one per event. Algorithms written in
Python put our arrays on it (no file is written), read the tracks back, and record the time. Measurements are in the
order of their modules, as ACTS orders them; `Measurements` maps them back to hits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from beampipe.arrays import Bool, Float32, Float64, Int64, UInt64
from beampipe.errors import ConfigError, InputError
from beampipe.events import Hits, Tracks
from beampipe.simulation.magnetic_field import build_field
from beampipe.tables import selected_rows

_run_lock = threading.Lock()


def pyacts() -> tuple[ModuleType, ModuleType]:
    """``acts`` and ``acts.examples``.

    Raises:
        MissingExtraError: pyacts is not installed.
    """
    import acts
    import acts.examples

    return acts, acts.examples


class ActsDetector:
    """A detector that ACTS finds tracks in.

    Args:
        field_z: magnetic field along z [T], in the centre.
        geometry: ``acts.TrackingGeometry`` of the detector, or None for the Generic detector of ACTS.
        name: which detector it is, for messages.
        double_sided: identifiers of the first sensors of double-sided modules; the second one has the next number.
        seed_volumes: volumes whose hits make seeds, or None for those of the settings.
        field: ``acts.MagneticFieldProvider`` of its field, or None for a constant one.

    Attributes:
        geometry: ``acts.TrackingGeometry`` of the detector.
        field: ``acts.MagneticFieldProvider`` of its field.
        modules: identifiers of the sensitive surfaces.
    """

    def __init__(
        self,
        field_z: float,
        geometry: Any = None,
        name: str = "the Generic detector of ACTS",
        double_sided: UInt64[ndarray, " _"] | None = None,
        seed_volumes: tuple[int, ...] | None = None,
        field: Any = None,
    ) -> None:
        acts, examples = pyacts()
        if geometry is None:
            # It owns the modules that its geometry points to, so this reference keeps it alive.
            self._owner: Any = examples.GenericDetector(logLevel=acts.logging.ERROR)
            geometry = self._owner.trackingGeometry()
        self.geometry: Any = geometry
        self.name = name
        self.double_sided = np.empty(0, np.uint64) if double_sided is None else double_sided
        self.seed_volumes = seed_volumes
        self.field: Any = build_field(field_z) if field is None else field
        self.field_z = field_z
        # The sensitive number fills bits 8 to 27 of an identifier; it is 0 on passive surfaces.
        self.modules = frozenset(
            identifier.value for identifier in self.geometry.geoIdSurfaceMap() if identifier.value >> 8 & 0xFFFFF
        )


@cache
def detector(field_z: float) -> ActsDetector:
    """The Generic detector in a field of `field_z` tesla, built once per process (half a second)."""
    return ActsDetector(field_z)


def require_measurements(hits: Hits, where: ActsDetector, purpose: str) -> None:
    """Refuse hits that ACTS cannot place on its modules.

    Args:
        hits: hits of one event.
        where: detector that the hits should lie in.
        purpose: purpose of the check, for the message.

    Raises:
        InputError: `geometry_id`, `local` or `variance` is missing, a variance is not positive, or a module unknown.
    """
    missing = [name for name in ("geometry_id", "local", "variance") if getattr(hits, name) is None]
    if missing:
        raise InputError(
            f"{purpose}: got hits without {', '.join(missing)}, expected geometry_id, local and variance;"
            " read events that were simulated with them, or use a pipeline that needs positions only"
        )
    assert hits.geometry_id is not None
    assert hits.variance is not None
    if not (hits.variance > 0).all():
        row = int((hits.variance <= 0).any(axis=1).argmax())
        raise InputError(
            f"{purpose}: got variance {hits.variance[row].tolist()} at row {row}, expected positive numbers [mm^2]"
        )
    unknown = set(hits.geometry_id.tolist()) - where.modules
    if unknown:
        raise InputError(
            f"{purpose}: got geometry_id {min(unknown)} (and {len(unknown) - 1} more) that is no module of"
            f" {where.name}, expected identifiers of that detector"
        )


def run_sequence(
    algorithms: Sequence[Any], n_events: int, threads: int, writers: Sequence[Any] = (), readers: Sequence[Any] = ()
) -> None:
    """Run `algorithms` in order on events 0 .. n_events - 1, without output.

    Args:
        algorithms: sequence elements of ``acts.examples``, in order.
        n_events: number of events to run on.
        threads: number of events in flight.
        writers: writers of ``acts.examples``, run after the algorithms.
        readers: readers of ``acts.examples``, run before them.

    Raises:
        ConfigError: `threads` is not positive.
        Exception: what an algorithm of `python_algorithm` raised.
    """
    if threads < 1:
        raise ConfigError(f"ACTS: got threads = {threads}, expected 1 or more")
    if n_events == 0:
        return
    acts, examples = pyacts()
    sequencer = examples.Sequencer(
        events=n_events,
        numThreads=threads,
        logLevel=acts.logging.ERROR,
        # The floating-point traps of the sequencer abort whole runs for one division in a propagation.
        trackFpes=False,
        failOnUnmaskedFpe=False,
        outputDir="",
        outputTimingFile="",
    )
    for reader in readers:
        sequencer.addReader(reader)
    for algorithm in algorithms:
        sequencer.addAlgorithm(algorithm)
    for writer in writers:
        sequencer.addWriter(writer)
    try:
        # One at a time: the sequencer is parallel inside, and sets the number of threads of the whole process.
        with _run_lock:
            sequencer.run()
    except Exception as error:
        # The sequencer replaces errors of Python algorithms by one of its own.
        failures = (getattr(algorithm, "failure", None) for algorithm in algorithms)
        raise next(filter(None, failures), error) from None


HitLists = Sequence[Int64[ndarray, " _"]]
"""Rows of the hits of each track, or of each event."""

CLUSTERS = "clusters"

MEASUREMENTS = "measurements"

SUBSET = "measurement_subset"


def python_algorithm(name: str, setup: Callable[[Any], Callable[[int, Any], None]]) -> Any:
    """A sequencer algorithm from a Python function.

    Args:
        name: name of the algorithm in the sequencer's messages.
        setup: gets the algorithm, makes its data handles, and returns the function to run once per event with the event
            number and the context.

    Returns:
        An ``acts.examples.IAlgorithm``, which keeps what the function raises as `failure`.
    """
    acts, examples = pyacts()
    done = examples.ProcessCode.SUCCESS

    class Algorithm(examples.IAlgorithm):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name, acts.logging.ERROR)
            self.run = setup(self)
            self.failure: Exception | None = None

        def execute(self, context: Any) -> Any:
            try:
                self.run(context.eventNumber, context)
            except Exception as error:
                self.failure = error
                raise
            return done

    return Algorithm()


def reader(algorithm: Any, kind: Any, key: str) -> Callable[[Any], Any]:
    """A function that takes the object named `key` of type `kind` from the whiteboard of a context."""
    handle = pyacts()[1].ReadDataHandle(algorithm, kind, key)
    handle.initialize(key)
    return lambda context: handle(context.eventStore)


def writer(algorithm: Any, kind: Any, key: str) -> Callable[[Any, Any], None]:
    """A function that puts an object on the whiteboard of a context as `key`; the object is gone afterwards."""
    handle: Any = pyacts()[1].WriteDataHandle(algorithm, kind, key)
    handle.initialize(key)

    def write(context: Any, value: Any) -> None:
        handle(context, value)

    return write


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of one event, sorted by module.

    A space point of a double-sided module is two measurements of one coordinate. Points that share a strip, true ones
    and ghosts, share its measurement.

    Attributes:
        module: (n,) uint64 identifier of the sensor.
        local: (n, 2) float32 local position [mm]; the second one is meaningless where one coordinate is measured.
        variance: (n, 2) float32 its variance [mm^2].
        is_strip: (n,) bool, whether one coordinate is measured.
        of_hit: (n_hits, 2) int64 measurements of each hit; both are the same for a hit that is one measurement.
    """

    module: UInt64[ndarray, " n"]
    local: Float32[ndarray, "n 2"]
    variance: Float32[ndarray, "n 2"]
    is_strip: Bool[ndarray, " n"]
    of_hit: Int64[ndarray, "n_hits 2"]

    @classmethod
    def of(cls, hits: Hits, double_sided: UInt64[ndarray, " _"]) -> Measurements:
        """The measurements of hits.

        Args:
            hits: hits with geometry_id, local and variance.
            double_sided: identifiers of the first sensors of double-sided modules.
        """
        module, local, variance = _array(hits.geometry_id), _array(hits.local), _array(hits.variance)
        is_point = np.isin(module, double_sided)
        hit = np.concatenate([np.arange(len(hits)), np.flatnonzero(is_point)])
        is_second = np.arange(len(hit)) >= len(hits)
        module = module[hit] + (is_second.astype(np.uint64) << np.uint64(8))
        local, variance, is_strip = local[hit], variance[hit], is_point[hit]
        local[is_second], variance[is_second] = local[is_second, ::-1], variance[is_second, ::-1]
        # Strips of one sensor are side by side, so that those of several points can be joined.
        order = np.lexsort((hit, np.where(is_strip, local[:, 0], 0), module))
        module, local, variance, is_strip = module[order], local[order], variance[order], is_strip[order]
        is_new = np.ones(len(order), np.bool_)
        is_new[1:] = ~is_strip[1:] | (module[1:] != module[:-1]) | (local[1:, 0] != local[:-1, 0])
        of_hit = np.empty((len(hits), 2), np.int64)
        number = np.cumsum(is_new) - 1
        for sensor in (0, 1):
            mine = is_second[order] == bool(sensor)
            of_hit[hit[order][mine], sensor] = number[mine]
        of_hit[~is_point, 1] = of_hit[~is_point, 0]
        return cls(module[is_new], local[is_new], variance[is_new], is_strip[is_new], of_hit)

    def __len__(self) -> int:
        return len(self.module)

    @cached_property
    def _hit_of(self) -> dict[tuple[int, int], int]:
        """Hit of each pair of measurements."""
        return {(first, second): hit for hit, (first, second) in enumerate(self.of_hit.tolist())}

    def of_track(self, rows: Int64[ndarray, " _"]) -> list[int]:
        """The measurements of a track from the rows of its hits, in their order."""
        return list(dict.fromkeys(self.of_hit[rows].ravel().tolist()))

    def hits_of_track(self, measurements: Sequence[int]) -> Int64[ndarray, " _"]:
        """The rows of the hits of a track from its measurements, in their order.

        A space point is on the track if both of its measurements are.
        """
        rows: list[int] = []
        strips: list[int] = []
        for number in measurements:
            if not self.is_strip[number]:
                rows.append(self._hit_of[number, number])
                continue
            pairs = [pair for other in strips for pair in ((other, number), (number, other))]
            rows += [self._hit_of[pair] for pair in pairs if pair in self._hit_of]
            strips.append(number)
        return np.array(rows, np.int64)


def feed(hits: Sequence[Hits], where: ActsDetector) -> tuple[list[Any], list[Measurements]]:
    """Algorithms that put hits on the whiteboard as measurements.

    Args:
        hits: one `Hits` per event with geometry_id, local and variance.
        where: detector that the hits lie in.

    Returns:
        algorithms: two algorithms, to come first in the sequence. The second makes the measurement subset, which
            refers to the container on the whiteboard.
        measured: the measurements of each event.
    """
    acts, examples = pyacts()
    measured = [Measurements.of(event, where.double_sided) for event in hits]

    def setup_measurements(algorithm: Any) -> Callable[[int, Any], None]:
        write = writer(algorithm, examples.MeasurementContainer, MEASUREMENTS)
        return lambda number, context: write(context, _container(acts, examples, measured[number]))

    def setup_subset(algorithm: Any) -> Callable[[int, Any], None]:
        read = reader(algorithm, examples.MeasurementContainer, MEASUREMENTS)
        write = writer(algorithm, examples.MeasurementSubset, SUBSET)
        write_clusters = writer(algorithm, examples.ClusterContainer, CLUSTERS)

        def run(number: int, context: Any) -> None:
            container = read(context)
            write_clusters(context, examples.ClusterContainer())
            write(context, examples.MeasurementSubset(container, range(len(container))))

        return run

    return [python_algorithm("Feed", setup_measurements), python_algorithm("FeedSubset", setup_subset)], measured


def _container(acts: Any, examples: Any, measured: Measurements) -> Any:
    container = examples.MeasurementContainer()
    container.reserve(len(measured))
    add, identifier, previous = container.emplaceMeasurement, None, None
    axes = {True: [0], False: [0, 1]}
    for module, is_strip, local, variance in zip(
        measured.module.tolist(),
        measured.is_strip.tolist(),
        measured.local.tolist(),
        measured.variance.tolist(),
        strict=True,
    ):
        if module != previous:
            identifier, previous = acts.GeometryIdentifier(module), module
        n = len(axes[is_strip])
        add(identifier, axes[is_strip], local[:n], variance[:n])
    return container


def _array(value: ndarray | None) -> ndarray:
    assert value is not None  # `require_measurements` has checked it
    return value


def read_hit_lists(tracks: Any, measured: Measurements) -> tuple[Int64[ndarray, " _"], ...]:
    """The hits of each track, inside out: measurements only, no outliers, no holes.

    Args:
        tracks: ``ConstTrackContainer`` of one event.
        measured: measurements of the event, from `feed`.
    """
    link = pyacts()[1].IndexSourceLink.fromSourceLink
    lists = []
    for track in tracks:
        indices = [
            link(state.uncalibratedSourceLink).index()
            for state in track.trackStatesReversed
            if state.typeFlags.isMeasurement
        ]
        lists.append(measured.hits_of_track(indices[::-1]))
    return tuple(lists)


@dataclass(frozen=True)
class Laps:
    """Time of each algorithm for one event [s].

    Attributes:
        wall: elapsed time by algorithm [s].
        cpu: processor time of the thread by algorithm [s]; other jobs on the machine do not count.
    """

    wall: dict[str, float]
    cpu: dict[str, float]


class Clock:
    """Measures the time between algorithms, per event.

    The sequencer runs the algorithms of one event one after the other in one thread, so that the difference
    between two ticks is the time of the algorithms between them (plus about ten microseconds for the tick).
    """

    def __init__(self) -> None:
        self._ticks: dict[int, list[tuple[str, float, float]]] = {}

    def tick(self, lap: str) -> Any:
        """An algorithm that ends the lap `lap` (the first tick of an event starts the clock)."""

        def setup(algorithm: Any) -> Callable[[int, Any], None]:
            def run(number: int, context: Any) -> None:
                self._ticks.setdefault(number, []).append((lap, time.perf_counter(), time.thread_time()))

            return run

        return python_algorithm(f"Tick_{lap}", setup)

    def laps(self, number: int) -> Laps:
        """Laps of event `number`, in order."""
        ticks = self._ticks[number]
        pairs = list(pairwise(ticks))
        return Laps(
            {end[0]: end[1] - start[1] for start, end in pairs},
            {end[0]: end[2] - start[2] for start, end in pairs},
        )


@dataclass(frozen=True, eq=False)
class FittedTracks:
    """Parameters at the perigee, the point closest to the beam line (x = y = 0).

    Attributes:
        candidate: (n_tracks,) int64 number of the candidate that was fitted, ascending; candidates that could not
            be fitted are absent.
        values: (n_tracks, 5) d0 [mm], z0 [mm], phi [rad], theta [rad], q/p [e/GeV], as in `TrackParameters`.
        covariance: (n_tracks, 6, 6) of these and the time, in these units, time in mm/c.
        chi2: (n_tracks,) chi2 of the fit, over all hits.
        ndf: (n_tracks,) int64 degrees of freedom.
        n_measurements: (n_tracks,) int64 hits on the track.
        seconds: wall time per stage [s].
        cpu_seconds: processor time per stage [s].
    """

    candidate: Int64[ndarray, " n_tracks"]
    values: Float64[ndarray, "n_tracks 5"]
    covariance: Float64[ndarray, "n_tracks 6 6"]
    chi2: Float64[ndarray, " n_tracks"]
    ndf: Int64[ndarray, " n_tracks"]
    n_measurements: Int64[ndarray, " n_tracks"]
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]

    def __len__(self) -> int:
        return len(self.candidate)

    def renumbered(self, candidate: Int64[ndarray, " n_tracks"]) -> FittedTracks:
        """These tracks with other numbers of their candidates, in that order; those with -1 are left out."""
        rows = np.argsort(candidate, kind="stable")[np.count_nonzero(candidate < 0) :]
        columns = ("values", "covariance", "chi2", "ndf", "n_measurements")
        return replace(self, candidate=candidate[rows], **{name: getattr(self, name)[rows] for name in columns})

    @property
    def pt(self) -> Float64[ndarray, " n_tracks"]:
        """Transverse momentum sin(theta) / abs(q/p) [GeV]."""
        return np.asarray(np.sin(self.values[:, 3]) / np.abs(self.values[:, 4]))


@dataclass(frozen=True, eq=False, repr=False)
class ActsTracks(Tracks):
    """Tracks and the parameters that ACTS fitted to them: found by ACTS, or by another finder.

    Tracks of ACTS may share hits: `candidates` are its hit lists, inside out, and `track_id` gives each shared hit to
    one track, by `beampipe.tracking.acts.finder.label_hits`.

    Attributes:
        fits: parameters of the tracks that could be fitted; the CKF fits while it finds.
    """

    fits: FittedTracks = field(kw_only=True)

    def take(self, selection: ArrayLike) -> ActsTracks:
        """As `Tracks.take`, with their parameters."""
        chosen = selected_rows(selection, len(self), "tracks")
        number = np.full(len(self), -1, np.int64)
        number[chosen] = np.arange(len(chosen))
        return replace(super().take(selection), fits=self.fits.renumbered(number[self.fits.candidate]))


def read_fitted(
    tracks: Any,
    chosen: Int64[ndarray, " n_tracks"],
    candidate: Int64[ndarray, " n_tracks"],
    seconds: dict[str, float],
    cpu_seconds: dict[str, float],
) -> FittedTracks:
    """Copy the columns of a ``ConstTrackContainer`` (its arrays are views that become invalid after the event).

    Args:
        tracks: ``ConstTrackContainer`` of one event.
        chosen: numbers of the tracks to take.
        candidate: number of the candidate of each track.
        seconds: wall time per stage [s].
        cpu_seconds: processor time per stage [s].
    """
    # Units of ACTS: mm, GeV, charge e; bound parameters: d0, z0, phi, theta, q/p, time.
    n = len(tracks)
    parameters = np.array(tracks.parameters, dtype=np.float64).reshape(n, 6)[chosen]
    return FittedTracks(
        candidate=candidate,
        values=parameters[:, :5],
        covariance=np.array(tracks.covariance, dtype=np.float64).reshape(n, 6, 6)[chosen],
        chi2=np.array(tracks.chi2, dtype=np.float64).reshape(n)[chosen],
        ndf=np.array(tracks.ndf, dtype=np.int64).reshape(n)[chosen],
        n_measurements=np.array(tracks.nMeasurements, dtype=np.int64).reshape(n)[chosen],
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )
