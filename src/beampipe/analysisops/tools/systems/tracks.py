"""The tool that finds tracks, by the pipelines of `beampipe.tracking`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from beampipe.analysisops.tools.bench import Bench, column_of
from beampipe.analysisops.tools.contents import Column, Jagged, TrackLabels, frozen
from beampipe.analysisops.tools.refusal import ToolRefusedError

__all__ = ["find_tracks_tool"]


def find_tracks_tool(
    bench: Bench, events: str, r: str, phi: str, z: str, pipeline: str = "module_map"
) -> Mapping[str, Any]:
    """Find the tracks of hits, and give a handle of labels: for each hit the number of its track, or -1 for none.

    Args:
        events: handle of events whose objects are hits, or whose rows are the hits of one event.
        r: column of distances from the beam [mm].
        phi: column of azimuths [rad].
        z: column of positions along the beam [mm].
        pipeline: name of the pipeline.
    """
    from beampipe.tracking import Hits, load_pipeline

    given = bench.events(events)
    columns = [_hits(column_of(given, name)) for name in (r, phi, z)]
    if not all(columns[0].same_collection(other) for other in columns[1:]):
        raise ToolRefusedError(
            f"columns {r}, {phi}, {z}: got different numbers of hits, expected those of one collection"
        )
    finder = load_pipeline(pipeline)
    offsets = columns[0].offsets
    labels, n_tracks = [np.zeros(0, np.int64)], []
    for first, last in itertools.pairwise(offsets.tolist()):
        bench.check_time()
        position = np.stack([column.values[first:last] for column in columns], 1).astype(np.float32)
        tracks = finder.find(Hits(position))
        labels.append(np.asarray(tracks.track_id, np.int64))
        n_tracks.append(int(tracks.n_tracks))
    found = TrackLabels(frozen(np.concatenate(labels)), offsets, tuple(n_tracks))
    return {
        "handle": bench.keep(found),
        "n_events": len(n_tracks),
        "n_hits": len(found.track_id),
        "n_tracks": sum(n_tracks),
        "n_hits_on_tracks": int((found.track_id >= 0).sum()),
    }


def _hits(column: Column) -> Jagged:
    return column if isinstance(column, Jagged) else Jagged.of(np.array([len(column)]), column)
