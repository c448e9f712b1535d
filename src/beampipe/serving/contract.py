"""The contract of tracking on the wire: tensors and parameters, for models and clients.

One event is one request, and these are its tensors::

    FEATURES  FP32  [n_hits, 3]   r, phi, z in units of the model's FEATURE_SCALE      in
    LABELS    INT64 [n_hits]      track of each hit, -1 for a hit on no track          out
    STAGES    FP64  [n_stages + n_counts]   seconds of each stage, then counts         out, on demand
    LAYOUT    INT64 [2]            hits on no layer, layers not filled with hits        out, on demand
    BEAM_SPOT FP64  [4]            beam line that the hits were seen from               out, on demand
    DIGEST    UINT8 [20]           identity of the model that answers                   out, on demand
    PARAMETERS FP64 [n_tracks, 36] fitted helix of each track, at that beam line        out, on demand

A model for Athena (`module_map_athena`) takes FEATURES of any width, of which the first three columns count, and its
LABELS are lists: the rows of one track, then -1, the rows of the next one, then -1, and so on. The model that it passes
an event to calls those TRACKS::

    FEATURES  FP32  [n_hits, 3 or more]   r, phi, z, then whatever else                 in
    TRACKS    INT64 [n_hits on tracks + n_tracks]   lists of rows, each closed by -1    out, on demand

A model that batches (`exatrkx_ragged`) has one more axis of length 1 in front of each. A finder that needs more than
positions (`acts`) also takes GEOMETRY_ID, LOCAL and VARIANCE. They are optional for a pipeline whose detector has
double-sided strips: with them, the measurements of space points are compared with the tracks.

DIGEST is that of the model's configuration, as bytes: behind one address there may be servers with other models.
BEAM_SPOT is x, y [mm] at z = 0, and the slopes dxdz, dydz. A row of PARAMETERS is one track, in the order of their
numbers in LABELS::

    0-4    d0 [mm], z0 [mm], phi [rad], theta [rad], charge over momentum [e/GeV]
    5-29   covariance of these five, (5, 5) row by row
    30     chi2 of the hits
    31     hits that were fitted
    32     status: 0 fitted, 4 fitted with an improbable chi2, else why not (`FitStatus`) and columns 0-30 are NaN
    33-35  rows of the hits that the fit left out as outliers, -1 for none; in LABELS they are on the track

They are the numbers of `TrackParameters`, bit for bit. Tracks are fitted only if PARAMETERS is requested, and only a
model has it whose tracker model was trained with tables of the fit.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.events import TrackParameters, fit_results
from beampipe.triton.model.contract import TensorSpec

FEATURES: Final = TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))
WIDE_FEATURES: Final = TensorSpec("FEATURES", "FP32", np.float32, (-1, -1))
LABELS: Final = TensorSpec("LABELS", "INT64", np.int64, (-1,))
STAGES: Final = TensorSpec("STAGES", "FP64", np.float64, (-1,), exact=False)
LAYOUT: Final = TensorSpec("LAYOUT", "INT64", np.int64, (2,))
DIGEST: Final = TensorSpec("DIGEST", "UINT8", np.uint8, (20,))
BEAM_SPOT: Final = TensorSpec("BEAM_SPOT", "FP64", np.float64, (4,))
# Its last bits depend on the instruction set of the server's processor.
_WIDTHS: Final = [prod(result.metadata["shape"]) for result in fit_results()]
PARAMETERS: Final = TensorSpec("PARAMETERS", "FP64", np.float64, (-1, sum(_WIDTHS)), exact=False)
TRACKS: Final = TensorSpec("TRACKS", "INT64", np.int64, (-1,))
GEOMETRY_ID: Final = TensorSpec("GEOMETRY_ID", "UINT64", np.uint64, (-1,))
LOCAL: Final = TensorSpec("LOCAL", "FP32", np.float32, (-1, 2))
VARIANCE: Final = TensorSpec("VARIANCE", "FP32", np.float32, (-1, 2))
MEASUREMENTS: Final = (GEOMETRY_ID, LOCAL, VARIANCE)

# Parameters of a tracking model's config.pbtxt.
FEATURE_SCALE: Final = "FEATURE_SCALE"
"""Meaning of one unit of FEATURES: a name of `beampipe.tracking.formats.SCALES`."""
PIPELINE: Final = "PIPELINE"
"""Pipeline that the model runs: a name of `beampipe.tracking.PIPELINES`."""
PIPELINE_SPEC: Final = "PIPELINE_SPEC"
"""Specification of that pipeline, by `PipelineSpec.to_json`, for the native backend."""
CHECK_LAYOUT: Final = "CHECK_LAYOUT"
"""Whether events are refused whose hits are of another detector, in other units or too many for the pipeline:
``"true"``, or ``"false"``.
"""
USUAL_ON_TRACKS: Final = "USUAL_ON_TRACKS"
"""Usual share of hits on tracks, in the format of `Usual.parse`: clients warn if it is far less."""
BEAM_SPOT_PARAMETER: Final = "BEAM_SPOT"
"""Expected beam line, in the format of `BeamSpot.parse`: ``x,y`` in mm, or ``x,y,dxdz,dydz``."""
MAGNETIC_FIELD: Final = "MAGNETIC_FIELD"
"""Solenoidal field of the detector along z [T], for the pT of tracks without a fit."""
MIN_HITS: Final = "MIN_HITS"
"""Fewest hits of a track that counts in scores."""
PROFILE: Final = "PROFILE"
"""Client that the model is made for, ``"athena"``: FEATURES may have more than three columns, of which the first three
count, and TRACKS replaces PARAMETERS among the outputs. Absent for all other clients."""
MAX_HITS: Final = "MAX_HITS"
"""Most hits of an event; a larger one is refused."""
HIT_BUDGET: Final = "HIT_BUDGET"
"""Most hits of the events that a batching model runs as one graph."""
STAGE_NAMES: Final = "STAGE_NAMES"
"""Names of the stages whose seconds come first in STAGES, separated by commas."""
ACTS_SETTING: Final = "ACTS_SETTING"
"""Setting of ACTS: a name of `beampipe.tracking.acts.ACTS_SETTINGS`."""
COUNT_NAMES: Final = "COUNT_NAMES"
"""Names of the counts that follow them in STAGES, separated by commas."""


@cache
def listed(text: str) -> tuple[str, ...]:
    """The names in a parameter that lists names, such as that of STAGE_NAMES."""
    return tuple(name for name in text.split(",") if name)


def track_lists(track_id: Int64[ndarray, " n_hits"]) -> Int64[ndarray, " n_listed"]:
    """Tracks as TRACKS: the rows of the hits of each one in order of the hits, closed by -1; in order of the labels.

    >>> track_lists(np.array([0, 1, 0, 1, -1, 0]))
    array([ 0,  2,  5, -1,  1,  3, -1])

    Args:
        track_id: track of each hit, -1 for a hit on no track.
    """
    order = np.argsort(track_id, kind="stable")
    order = order[np.searchsorted(track_id[order], 0) :]
    ends = np.flatnonzero(np.diff(track_id[order], append=-1)) + 1
    return np.insert(order, ends, -1)


def packed_parameters(parameters: TrackParameters) -> Float64[ndarray, "n_tracks 36"]:
    """Fitted tracks as PARAMETERS.

    Args:
        parameters: fitted helix of each track.
    """
    n = len(parameters)
    arrays = [getattr(parameters, result.name) for result in fit_results()]
    rows = [array.reshape(n, width) for array, width in zip(arrays, _WIDTHS, strict=True)]
    return np.concatenate(rows, axis=1, dtype=np.float64)


def unpacked_parameters(rows: Float64[ndarray, "n_tracks 36"]) -> TrackParameters:
    """The fitted tracks that PARAMETERS holds, bit for bit.

    Args:
        rows: PARAMETERS of an answer.
    """
    parts = np.split(rows, np.cumsum(_WIDTHS)[:-1], axis=1)
    arrays: dict[str, Any] = {
        result.name: part.reshape(len(rows), *result.metadata["shape"]).astype(result.metadata["dtype"])
        for result, part in zip(fit_results(), parts, strict=True)
    }
    return TrackParameters(**arrays)
