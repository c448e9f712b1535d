"""Fitted parameters on disk: one row per track, in a table beside that of the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.errors import InputError
from beampipe.tracking.events import Event, FitStatus, TrackParameters, Tracks
from beampipe.tracking.formats.tables.arrow import arrow
from beampipe.tracking.formats.writing.growing import growing_table

__all__ = ["PARAMETERS", "PARAMETER_COLUMNS", "also_parameters", "parameters_path"]

PARAMETERS: Final = ("d0", "z0", "phi", "theta", "q_over_p")
"""Columns of `TrackParameters.values`: d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV]."""

_COVARIANCES: Final = tuple(
    f"cov_{first}_{second}" for i, first in enumerate(PARAMETERS) for second in PARAMETERS[: i + 1]
)
_WHOLE: Final = ("event_id", "track_id", "ndf", "n_hits")
_ROWS, _COLUMNS = np.tril_indices(len(PARAMETERS))

PARAMETER_COLUMNS: Final = ("event_id", "track_id", *PARAMETERS, *_COVARIANCES, "chi2", "ndf", "n_hits", "status")
"""Number of the event and of the track, parameters, their covariance (lower triangle), chi2 and degrees of freedom,
hits that were fitted, and ``fitted`` or why there is none; numbers of tracks that were not fitted are NaN."""


def parameters_path(labels: Path) -> Path:
    """Where the parameters of tracks go whose labels are in the file `labels`: ``NAME.parameters.parquet`` or .csv."""
    ending = labels.suffix if labels.suffix in (".csv", ".parquet") else ".parquet"
    return labels.with_name(f"{labels.stem}.parameters{ending}")


def also_parameters(path: Path, found: Iterable[tuple[Event, Tracks]]) -> Iterator[tuple[Event, Tracks]]:
    """The same events and tracks, whose parameters are written to a table as they pass.

    The file appears when the last event has passed.

    Args:
        path: ends in ``.parquet`` (one row group per event) or ``.csv``.
        found: events and their fitted tracks, taken one at a time.

    Raises:
        FileError: a folder that is missing or closed.
        InputError: tracks that were not fitted.
    """
    pa, _ = arrow("lib")
    kinds = {
        **dict.fromkeys(PARAMETER_COLUMNS, pa.float64()),
        **dict.fromkeys(_WHOLE, pa.int64()),
        "status": pa.string(),
    }
    with growing_table(path, kinds) as table:
        for event, tracks in found:
            if tracks.parameters is None:
                raise InputError(
                    f"event {event.event_id}: got tracks without parameters, expected fitted ones; use FittedFinder"
                )
            table.add(event.event_id, _columns(event, tracks.parameters))
            yield event, tracks


def _columns(event: Event, parameters: TrackParameters) -> dict[str, ndarray]:
    n = len(parameters)
    names = np.array([status.name.lower() for status in FitStatus])
    values = (
        np.full(n, event.event_id, np.int64),
        np.arange(n, dtype=np.int64),
        *parameters.values.T,
        *parameters.covariance[:, _ROWS, _COLUMNS].T,
        parameters.chi2,
        parameters.ndf,
        parameters.n_hits,
        names[parameters.status],
    )
    return dict(zip(PARAMETER_COLUMNS, values, strict=True))
