"""Arrays to the whiteboard of the ACTS sequencer and back, and the clock between its algorithms.

``acts.examples`` hands objects from algorithm to algorithm on a whiteboard, one per event. The classes here are
algorithms written in Python that put our arrays there (no file is written), read the tracks back, and note the
time. Measurements are put in the order of their module, as ACTS itself would; `rows` undoes that order.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.tracking.acts.detector import pyacts
from beampipe.tracking.events import Hits

__all__ = [
    "CLUSTERS",
    "MEASUREMENTS",
    "SUBSET",
    "Clock",
    "Failures",
    "HitLists",
    "Laps",
    "feed",
    "proto_tracks",
    "python_algorithm",
    "read_hit_lists",
    "reader",
    "writer",
]

HitLists = Sequence[Int64[ndarray, " _"]]
"""Rows of the hits of each track, or of each event."""

CLUSTERS = "clusters"
MEASUREMENTS = "measurements"
SUBSET = "measurement_subset"


class Failures(list[BaseException]):
    """Exceptions raised in Python algorithms: the sequencer would turn them into a crash of its own."""

    def reraise(self) -> None:
        """Raise the first of them, if there is one."""
        if self:
            raise self[0]


def python_algorithm(
    name: str, setup: Callable[[Any], Callable[[int, Any], None]], failures: Failures | None = None
) -> Any:
    """A sequencer algorithm from a Python function.

    Args:
        name: name of the algorithm in the sequencer's messages.
        setup: gets the algorithm, makes its data handles, and returns what runs once per event with the event
            number and the context.
        failures: where an exception is kept; without it the exception stays in the sequencer.

    Returns:
        An ``acts.examples.IAlgorithm``.
    """
    acts, examples = pyacts()
    done, abort = examples.ProcessCode.SUCCESS, examples.ProcessCode.ABORT

    class Algorithm(examples.IAlgorithm):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(name, acts.logging.ERROR)
            self.run = setup(self)

        def execute(self, context: Any) -> Any:
            try:
                self.run(context.eventNumber, context)
            except Exception as error:
                if failures is None:
                    raise
                failures.append(error)
                return abort
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


def feed(hits: Sequence[Hits], failures: Failures | None = None) -> tuple[list[Any], list[Int64[ndarray, " _"]]]:
    """Algorithms that put hits on the whiteboard as measurements.

    Args:
        hits: one `Hits` per event with geometry_id, local and variance.
        failures: list that exceptions are added to.

    Returns:
        algorithms: two algorithms, to come first in the sequence. The subset needs the container in its final
            place, hence the second.
        rows: per event, rows[i] is the row in `hits` of measurement i.
    """
    acts, examples = pyacts()
    rows = [np.argsort(_array(event.geometry_id), kind="stable") for event in hits]

    def setup_measurements(algorithm: Any) -> Callable[[int, Any], None]:
        write = writer(algorithm, examples.MeasurementContainer, MEASUREMENTS)
        return lambda number, context: write(context, _measurements(acts, examples, hits[number], rows[number]))

    def setup_subset(algorithm: Any) -> Callable[[int, Any], None]:
        read = reader(algorithm, examples.MeasurementContainer, MEASUREMENTS)
        write = writer(algorithm, examples.MeasurementSubset, SUBSET)
        write_clusters = writer(algorithm, examples.ClusterContainer, CLUSTERS)

        def run(number: int, context: Any) -> None:
            container = read(context)
            write_clusters(context, examples.ClusterContainer())
            write(context, examples.MeasurementSubset(container, range(len(container))))

        return run

    return [
        python_algorithm("Feed", setup_measurements, failures),
        python_algorithm("FeedSubset", setup_subset, failures),
    ], rows


def _measurements(acts: Any, examples: Any, hits: Hits, rows: Int64[ndarray, " n_hits"]) -> Any:
    container = examples.MeasurementContainer()
    container.reserve(len(rows))
    add, both, identifier, previous = container.emplaceMeasurement, [0, 1], None, None
    for module, local, variance in zip(
        _array(hits.geometry_id)[rows].tolist(),
        _array(hits.local)[rows].tolist(),
        _array(hits.variance)[rows].tolist(),
        strict=True,
    ):
        if module != previous:
            identifier, previous = acts.GeometryIdentifier(module), module
        add(identifier, both, local, variance)
    return container


def _array(value: ndarray | None) -> ndarray:
    assert value is not None  # `require_measurements` has seen it
    return value


def proto_tracks(lists: Sequence[HitLists], rows: HitLists, key: str, failures: Failures | None = None) -> Any:
    """An algorithm that puts hit lists on the whiteboard as ``ProtoTrackContainer``.

    Args:
        lists: rows of the hits of each track, inside out, per event.
        rows: row of each measurement, from `feed`.
        key: name of the hit lists on the whiteboard.
        failures: list that exceptions are added to.
    """
    examples = pyacts()[1]

    def setup(algorithm: Any) -> Callable[[int, Any], None]:
        write = writer(algorithm, examples.ProtoTrackContainer, key)

        def run(number: int, context: Any) -> None:
            measurement = np.empty(len(rows[number]), np.int64)
            measurement[rows[number]] = np.arange(len(measurement))
            write(
                context,
                examples.ProtoTrackContainer(
                    [examples.ProtoTrack(measurement[track].tolist()) for track in lists[number]]
                ),
            )

        return run

    return python_algorithm("FeedProtoTracks", setup, failures)


def read_hit_lists(tracks: Any, rows: Int64[ndarray, " n_hits"]) -> tuple[Int64[ndarray, " _"], ...]:
    """The hits of each track, inside out: measurements only, no outliers, no holes.

    Args:
        tracks: ``ConstTrackContainer`` of one event.
        rows: row of each measurement, from `feed`.
    """
    link = pyacts()[1].IndexSourceLink.fromSourceLink
    lists = []
    for track in tracks:
        indices = [
            link(state.uncalibratedSourceLink).index()
            for state in track.trackStatesReversed
            if state.typeFlags.isMeasurement
        ]
        lists.append(rows[np.array(indices[::-1], dtype=np.int64)])
    return tuple(lists)


@dataclass(frozen=True)
class Laps:
    """Time of each algorithm for one event [s].

    Attributes:
        wall: elapsed time by algorithm [s].
        cpu: processor time of the thread by algorithm [s]; it does not see other jobs on the machine.
    """

    wall: dict[str, float]
    cpu: dict[str, float]


class Clock:
    """Notes the time between algorithms, per event.

    The sequencer runs the algorithms of one event one after the other in one thread, so that the difference
    between two ticks is the time of what stands between them (plus about ten microseconds for the tick).
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
