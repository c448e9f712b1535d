"""The contract of tracking on the wire: tensors and parameters, for the models and for those who ask them.

One event is one request, and these are its tensors::

    FEATURES  FP32  [n_hits, 3]   r, phi, z in units of the model's FEATURE_SCALE      in
    LABELS    INT64 [n_hits]      track of each hit, -1 for a hit on no track          out
    STAGES    FP64  [n_stages + n_counts]   seconds of each stage, then counts         out, on demand
    LAYOUT    INT64 [2]            hits on no layer, layers not filled with hits        out, on demand

A model that batches (`exatrkx_ragged`) has one more axis of length 1 in front of each. A finder that needs more than
positions (`acts`) also takes GEOMETRY_ID, LOCAL and VARIANCE.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from beampipe.triton.model.contract import TensorSpec

__all__ = [
    "ACTS_SETTING",
    "CHECK_LAYOUT",
    "COUNT_NAMES",
    "FEATURES",
    "FEATURE_SCALE",
    "GEOMETRY_ID",
    "HIT_BUDGET",
    "LABELS",
    "LAYOUT",
    "LOCAL",
    "MAX_HITS",
    "PIPELINE",
    "PIPELINE_SPEC",
    "STAGES",
    "STAGE_NAMES",
    "USUAL_ON_TRACKS",
    "VARIANCE",
    "listed",
]


FEATURES: Final = TensorSpec("FEATURES", "FP32", np.float32, (-1, 3))
LABELS: Final = TensorSpec("LABELS", "INT64", np.int64, (-1,))
STAGES: Final = TensorSpec("STAGES", "FP64", np.float64, (-1,), exact=False)
LAYOUT: Final = TensorSpec("LAYOUT", "INT64", np.int64, (2,))
GEOMETRY_ID: Final = TensorSpec("GEOMETRY_ID", "UINT64", np.uint64, (-1,))
LOCAL: Final = TensorSpec("LOCAL", "FP32", np.float32, (-1, 2))
VARIANCE: Final = TensorSpec("VARIANCE", "FP32", np.float32, (-1, 2))

# Parameters of a tracking model's config.pbtxt.
FEATURE_SCALE: Final = "FEATURE_SCALE"
"""Meaning of one unit of FEATURES: a name of `beampipe.tracking.formats.SCALES`."""
PIPELINE: Final = "PIPELINE"
"""Pipeline that the model runs: a name of `beampipe.tracking.PIPELINES`."""
PIPELINE_SPEC: Final = "PIPELINE_SPEC"
"""What that pipeline is made of, in the words of `PipelineSpec.to_json`, for the native backend."""
CHECK_LAYOUT: Final = "CHECK_LAYOUT"
"""Whether events are refused whose hits are of another detector or in other units: ``"true"``, or ``"false"``."""
USUAL_ON_TRACKS: Final = "USUAL_ON_TRACKS"
"""What share of the hits is usually on tracks, as `Usual.parse` reads it: clients warn where it is far less."""
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
