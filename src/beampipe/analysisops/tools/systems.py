"""Tools for metrics and logs of services, for a running service, and for track finding.

Metrics are in ``metrics.json``: ``{"series": [{"name", "labels": {}, "times": [], "values": []}]}``, logs in ``*.log``.
Tracks are found by the stages of a pipeline of `beampipe.tracking`: those up to the graph of hits, and those after it.

A running service, such as a fleet of servers, is one that the host runs for this assessment. It refuses what the task
does not allow.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from beampipe.analysisops.contract import RunningSystem, ToolRefusedError, require_name
from beampipe.analysisops.tools.data_folder import DataFile
from beampipe.analysisops.tools.handles import HitGraph, Jagged, ToolContext, TrackLabels, column_of, frozen

if TYPE_CHECKING:
    from beampipe.tracking.pipeline import Pipeline


_METRICS: Final = "metrics.json"

_MOST_POINTS: Final = 200
"""Maximum number of points of a series in a result; longer series are averaged over equal intervals."""

_MOST_SERIES: Final = 20
"""Maximum number of series in a result."""

_MOST_LINES: Final = 200
"""Maximum number of lines of a log in a result."""

_WIDEST: Final = 400
"""Maximum length of a line [characters]."""


def query_metrics_tool(
    context: ToolContext,
    name: str = "",
    start: float | None = None,
    end: float | None = None,
    labels: dict[str, str] = {},  # noqa: B006 - only read; it is the default in the schema
) -> Mapping[str, Any]:
    """Query the metrics of services: without a name list them, with one give its series over time [s].

    Each series comes with mean, min and max of the requested range; a long one is averaged over short intervals.

    Args:
        name: of the metric; empty: list all with their labels.
        start: first time [s]; left out: from the beginning.
        end: last time [s]; left out: to the end.
        labels: only series that have all these labels, such as {"server": "a"}.
    """
    if not name:
        series = _series(context.file(_METRICS))
        names = sorted({str(entry["name"]) for entry in series})
        return {
            "metrics": [
                {
                    "name": metric_name,
                    "labels": [dict(other["labels"]) for other in series if other["name"] == metric_name],
                }
                for metric_name in names
            ]
        }
    chosen = _chosen(context, name, labels)
    shown = [_shown(entry, start, end) for entry in chosen[:_MOST_SERIES]]
    return {"name": name, "series": shown, "left_out": max(0, len(chosen) - _MOST_SERIES)}


def find_change_tool(
    context: ToolContext,
    name: str,
    start: float | None = None,
    end: float | None = None,
    labels: dict[str, str] = {},  # noqa: B006 - only read; it is the default in the schema
) -> Mapping[str, Any]:
    """Find when the level of one series changed most: change_at [s], with the mean before and after.

    Args:
        name: of the metric.
        start: first time [s]; left out: from the beginning.
        end: last time [s]; left out: to the end.
        labels: those of the series, such as {"server": "a"}.
    """
    chosen = _chosen(context, name, labels)
    if len(chosen) != 1:
        raise ToolRefusedError(f"labels: got {labels}, which {len(chosen)} series have, expected those of one")
    points = _points(chosen[0], start, end)
    split = largest_change([value for _, value in points])
    if split is None:
        return {"change_at": None, "mean_before": None, "mean_after": None}
    before, after = (math.fsum(value for _, value in part) / len(part) for part in (points[:split], points[split:]))
    return {"change_at": points[split][0], "mean_before": before, "mean_after": after}


def read_log_tool(
    context: ToolContext, file: str, pattern: str = "", start: int = 0, limit: int = 50
) -> Mapping[str, Any]:
    """Read lines of a log, all or those that hold a text.

    Args:
        file: name of the log, as list_local_root_files_tool gives it.
        pattern: text that a line must hold, as it is, upper or lower case; with | between several, any of them.
        start: so many of the lines that fit are skipped.
        limit: so many lines are shown, at most 200.
    """
    log = context.file(file)
    if log.path.suffix != ".log":
        raise ToolRefusedError(f"file {file}: is no log, expected a name that ends in .log")
    if start < 0 or not 1 <= limit <= _MOST_LINES:
        raise ToolRefusedError(f"limit: got {limit} from {start}, expected 1 to {_MOST_LINES} from 0 on")
    wanted = [part.lower() for part in pattern.split("|") if part]
    fitting = []
    with log.path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            if not wanted or any(part in line.lower() for part in wanted):
                fitting.append({"line": number, "text": line.rstrip("\n")[:_WIDEST]})
    return {"file": log.name, "lines": fitting[start : start + limit], "n_matching": len(fitting)}


def _series(file: DataFile) -> list[dict[str, Any]]:
    try:
        series = json.loads(file.path.read_text(encoding="utf-8"))["series"]
        good = all(
            len(entry["times"]) == len(entry["values"]) and isinstance(entry["labels"], dict) for entry in series
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ToolRefusedError(f"file {file.name}: got something that is no metrics, expected series") from error
    if not good:
        raise ToolRefusedError(f"file {file.name}: got series with as many times as values in some only")
    return list(series)


def _chosen(context: ToolContext, name: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """The series of a metric that have all these labels."""
    series = _series(context.file(_METRICS))
    metrics = {str(entry["name"]) for entry in series}
    require_name("name", name, sorted(metrics))
    chosen = [entry for entry in series if entry["name"] == name and labels.items() <= entry["labels"].items()]
    if not chosen:
        raise ToolRefusedError(f"labels: got {labels}, which no series of {name} has; list them with name=''")
    return chosen


def _points(series: Mapping[str, Any], start: float | None, end: float | None) -> list[tuple[float, float]]:
    """Times and finite values of a series in a range."""
    low, high = -math.inf if start is None else start, math.inf if end is None else end
    return [
        (float(time), float(value))
        for time, value in zip(series["times"], series["values"], strict=True)
        if low <= time <= high and value is not None and math.isfinite(value)
    ]


def _shown(series: Mapping[str, Any], start: float | None, end: float | None) -> dict[str, Any]:
    points = _points(series, start, end)
    shown: dict[str, Any] = {"labels": dict(series["labels"]), "n": len(points), "times": [], "values": []}
    if not points:
        return shown
    values = [value for _, value in points]
    stride = -(-len(points) // _MOST_POINTS)
    for first in range(0, len(points), stride):
        stretch = points[first : first + stride]
        shown["times"].append(stretch[0][0])
        shown["values"].append(math.fsum(value for _, value in stretch) / len(stretch))
    return {**shown, "mean": math.fsum(values) / len(values), "min": min(values), "max": max(values)}


def largest_change(values: Sequence[float]) -> int | None:
    """Index of the first value after the change for which two constant levels fit best; None for equal values."""
    levels = np.asarray(values, float)
    n = len(levels)
    number = np.arange(1, n)
    before = np.cumsum(levels)[:-1]
    total = levels.sum()
    # A split here reduces the sum of squared residuals by this much.
    gain = before**2 / number + (total - before) ** 2 / (n - number) - total**2 / max(n, 1)
    return int(np.argmax(gain)) + 1 if n > 1 and gain.max() > 1e-12 * max(total**2, 1e-12) else None


_LABELLING: Final = "labelling"
"""Name of the stages of a pipeline that make tracks of a graph."""


def connect_hits_tool(
    context: ToolContext, events: str, r: str, phi: str, z: str, pipeline: str = "module_map"
) -> Mapping[str, Any]:
    """Build a graph of hits; it connects those that may follow each other on a track, as learned from simulation.

    Args:
        events: handle of the hits; with one hit in each row, all rows are of one event.
        r: column of distances to the beam [mm].
        phi: column of azimuths [rad].
        z: column of positions along the beam [mm].
        pipeline: the pipeline, such as module_map or exatrkx.
    """
    from beampipe.tracking import Hits
    from beampipe.tracking.pipeline import wrap_phi

    given = context.events(events)
    columns = [
        column if isinstance(column, Jagged) else Jagged.of(np.array([len(column)]), column)
        for column in (column_of(given, name) for name in (r, phi, z))
    ]
    if not all(columns[0].same_collection(other) for other in columns[1:]):
        raise ToolRefusedError(
            f"columns {r}, {phi}, {z}: got different numbers of hits, expected those of one collection"
        )
    finder = _finder(pipeline)
    offsets = columns[0].offsets
    graphs = []
    for first, last in itertools.pairwise(offsets.tolist()):
        context.check_time()
        hits = Hits(np.stack([column.values[first:last] for column in columns], 1).astype(np.float32))
        context.store.check_room(int(finder.memory(len(hits))))
        finder.check_hits([hits])
        arrays = {"position": wrap_phi(finder.beam_spot.relative_to(hits.position)), "offsets": None}
        graphs.append(_after_stages(finder, arrays, labelling=False))
    return {
        "handle": context.keep(HitGraph(pipeline, offsets, tuple(graphs))),
        "n_events": len(graphs),
        "n_hits": int(offsets[-1]),
        "n_edges": sum(arrays["edge_index"].shape[1] for arrays in graphs),
    }


def label_tracks_tool(context: ToolContext, graph: str) -> Mapping[str, Any]:
    """Make tracks of a graph; they are its best paths. Labels give each hit the number of its track, or -1 for none.

    Args:
        graph: handle of the graph.
    """
    from beampipe.tracking.kernels import number_by_first_hit

    given = context.graph(graph)
    finder = _finder(given.pipeline)
    labels, n_tracks = [np.zeros(0, np.int64)], []
    for arrays in given.events:
        context.check_time()
        track_id = number_by_first_hit(_after_stages(finder, arrays, labelling=True)["track_id"])
        labels.append(np.asarray(track_id, np.int64))
        n_tracks.append(int(track_id.max(initial=-1)) + 1)
    tracks = TrackLabels(frozen(np.concatenate(labels)), given.offsets, tuple(n_tracks))
    return {
        "handle": context.keep(tracks),
        "n_events": len(n_tracks),
        "n_hits": len(tracks.track_id),
        "n_tracks": sum(n_tracks),
        "n_hits_on_tracks": int((tracks.track_id >= 0).sum()),
    }


def _finder(name: str) -> Pipeline:
    """A pipeline by its name."""
    from beampipe.tracking import load_pipeline

    finder = load_pipeline(name)
    if len(finder.passes) > 1:
        raise ToolRefusedError(f"pipeline: got {name}, which works in several passes, expected module_map or exatrkx")
    return finder


def _after_stages(finder: Pipeline, arrays: Mapping[str, Any], *, labelling: bool) -> dict[str, Any]:
    """The arrays of an event after the stages that make the graph, or after those that make tracks of it."""
    arrays = dict(arrays)
    for name, stage in finder.stages:
        if (name == _LABELLING) == labelling:
            arrays.update(zip(stage.makes, stage(**{need: arrays[need] for need in stage.needs}), strict=True))
    return arrays


def list_members_tool(context: ToolContext) -> Mapping[str, Any]:
    """List the servers of the running service with their states, and the last incidents."""
    return _system(context).members()


def show_specification_tool(context: ToolContext) -> Mapping[str, Any]:
    """Show the settings of the service that may be changed, with their present values."""
    return {"specification": dict(_system(context).settings)}


def change_specification_tool(context: ToolContext, changes: dict[str, int | str]) -> Mapping[str, Any]:
    """Change settings of the running service; returns when it runs with them.

    Args:
        changes: setting -> value, such as {"gateway.queue": 64}; names as in show_specification_tool.
    """
    return _system(context).change(changes)


def command_server_tool(
    context: ToolContext, command: Literal["drain", "resume", "restart"], server: str
) -> Mapping[str, Any]:
    """Command a server of the service; returns when it is done.

    Args:
        command: drain: it gets no further requests; resume: it gets some again; restart: a new process takes its place.
        server: its name, as list_members_tool gives it.
    """
    return _system(context).command(command, server)


def send_requests_tool(context: ToolContext, number: int) -> Mapping[str, Any]:
    """Send test requests to the service, one after the other; gives latency_ms, their mean, and its error.

    Args:
        number: of requests, 2 to 20.
    """
    return _system(context).send(number)


def _system(context: ToolContext) -> RunningSystem:
    if context.system is None:
        raise ToolRefusedError("service: got none, expected a task with a running service")
    context.used.update(file.name for file in context.folder.files())
    return context.system
