"""Entries for the tracking tasks of ColliderML: a Parquet file of predictions and a manifest. Nothing is sent.

Sources: `colliderml/tasks/tracking/task.py`, `tasks/systems/latency.py` and `tasks/systems/smallmodel.py` of version
0.4.2 (https://github.com/OpenDataDetector/ColliderML). An entry has one row for each hit on a track, which is named by
its row in `tracker_hits`, from at least half of the events of the task. ``tracking_small`` ranks by the number of
parameters, and ``tracking_latency`` is one row of times that the entrant measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from safetensors.numpy import load_file

from beampipe.errors import InputError, look_up
from beampipe.events import NO_TRACK, Event, Hits, Tracks
from beampipe.simulation.detector import DetectorLayout, modules_of_layout
from beampipe.simulation.stereo import measured_hits
from beampipe.tracking.finder import InOneThread, TrackFinder, hits_of
from beampipe.tracking.formats.colliderml import PREDICTIONS
from beampipe.tracking.formats.writing import Columns, incremental_writer
from beampipe.tracking.models import TrackerModel, digest_of, weight_file

TASKS: Final[Mapping[str, range]] = MappingProxyType(
    {
        "tracking": range(90_000, 100_000),
        "tracking_latency": range(99_000, 100_000),
        "tracking_small": range(90_000, 100_000),
    }
)
"""Name of each task -> its events, of the data set `DATASET`."""

DATASET: Final = "ttbar_pu200"
"""Data set of the events of all tasks."""

PREDICTIONS_FILE: Final = "predictions.parquet"
"""Name of the file with the predictions."""

MANIFEST_FILE: Final = "manifest.json"
"""Name of the file that describes them."""


@dataclass(frozen=True, eq=False)
class OnModules(InOneThread):
    """A finder for hits of which positions are known only: they are put on the modules, and strips are paired.

    A strip that is part of several space points goes to one of their tracks.

    Attributes:
        finder: finder of tracks in the measured hits.
        layout: the detector.
    """

    finder: TrackFinder
    layout: DetectorLayout

    def find(self, event: Event | Hits, /) -> Tracks:
        """The tracks, as labels of the given hits.

        Raises:
            InputError: more than a few hits lie on no module.
        """
        hits = hits_of(event)
        measured, rows = measured_hits(hits, modules_of_layout(self.layout), self.layout.field_T)
        tracks = self.finder.find(measured)
        labels = np.full(len(hits), NO_TRACK, np.int64)
        is_on_track = tracks.track_id != NO_TRACK
        for sensor in (1, 0):
            labels[rows[is_on_track, sensor]] = tracks.track_id[is_on_track]
        return replace(tracks, track_id=labels, parameters=None).found_in(event)


def n_parameters(model: TrackerModel, pipeline: str) -> int:
    """Learned numbers of a pipeline that are not 0: weights of networks, and windows of pairs and triplets."""
    stems = model.spec(pipeline).weight_stems
    arrays = (array for stem in stems for array in load_file(weight_file(model.path, stem)).values())
    return sum(int(np.count_nonzero(array)) for array in arrays)


def write_entry(
    events: Iterable[Event],
    finder: TrackFinder,
    folder: Path,
    task: str,
    n_params: int,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Find the tracks of events and write the predictions.

    Args:
        events: events of the task, in the format of ColliderML.
        finder: finder of tracks, which gives labels of the hits of the events.
        folder: folder for `PREDICTIONS_FILE`.
        task: a key of `TASKS`.
        n_params: number of parameters of the finder.
        progress: called after each event.

    Returns:
        Facts for the manifest.

    Raises:
        UnknownNameError: no such task.
        InputError: an event is not of the task, is of another format, or comes twice.
    """
    expected, path = look_up("task", task, TASKS), folder / PREDICTIONS_FILE
    numbers: set[int] = set()
    rows, seconds = 0, 0.0

    def found() -> Iterator[tuple[Event, Tracks]]:
        nonlocal rows, seconds
        for event in events:
            PREDICTIONS.needs(event)
            if event.event_id not in expected or event.event_id in numbers:
                got = f"event {event.event_id}{' twice' if event.event_id in numbers else ''}"
                raise InputError(
                    f"{task}: got {got}, expected events {expected[0]} to {expected[-1]} of {DATASET}, each once"
                )
            start = perf_counter()
            tracks = finder.find(event.hits)
            seconds += perf_counter() - start
            numbers.add(event.event_id)
            rows += int(np.count_nonzero(tracks.track_id != NO_TRACK))
            progress()
            yield event, tracks

    def with_parameters(event: Event, tracks: Tracks) -> Columns:
        columns = PREDICTIONS.columns(event, tracks)
        return {**columns, "n_params": np.full(len(columns["hit_id"]), n_params, np.int64)}

    if task == "tracking_latency":
        for _ in found():
            pass
        with incremental_writer(path, {"wallclock_s": np.float64, "n_events": np.int64}) as table:
            table.add(0, {"wallclock_s": np.array([seconds]), "n_events": np.array([len(numbers)])})
    elif task == "tracking_small":
        types = {**PREDICTIONS.types, "n_params": np.int64}
        replace(PREDICTIONS, types=types, columns=with_parameters).write(path, found())
    else:
        PREDICTIONS.write(path, found())
    digest = digest_of(path)
    return {
        "task": task,
        "dataset": DATASET,
        "post": f"/v1/benchmark/{task}/submit",
        "predictions": path.name,
        "bytes": digest.bytes,
        "sha256": digest.sha256,
        "events": len(numbers),
        "events_of_task": len(expected),
        "enough_events": 2 * len(numbers) >= len(expected),
        "rows": 1 if task == "tracking_latency" else rows,
        "n_params": n_params,
        "wallclock_s": round(seconds, 3),
    }
