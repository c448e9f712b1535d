"""ACTS as the reference for our pipelines: its combinatorial Kalman filter, track fit and truth matching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader
from beampipe.tracking.acts.settings import (
    ACTS_BEAMPIPE,
    ACTS_EFFICIENT,
    ACTS_FAST,
    ACTS_GRAPH,
    ACTS_GRAPH_FAST,
    ACTS_ORTHOGONAL,
    ACTS_SETTINGS,
    ACTS_SOFT,
    ActsSettings,
    acts_names,
    acts_settings,
)

if TYPE_CHECKING:
    from beampipe.tracking.acts.finder import ActsTrackFinder, SeederSettings, beampipe_seeder
    from beampipe.tracking.acts.fitting import fit_batch, fit_tracks
    from beampipe.tracking.acts.sequencer import ActsTracks, FittedTracks
    from beampipe.tracking.acts.truth_matching import ActsMatching, acts_truth_matching
    from beampipe.tracking.acts.vertices import find_vertices

__all__ = [
    "ACTS_BEAMPIPE",
    "ACTS_EFFICIENT",
    "ACTS_FAST",
    "ACTS_GRAPH",
    "ACTS_GRAPH_FAST",
    "ACTS_ORTHOGONAL",
    "ACTS_SETTINGS",
    "ACTS_SOFT",
    "ActsMatching",
    "ActsSettings",
    "ActsTrackFinder",
    "ActsTracks",
    "FittedTracks",
    "SeederSettings",
    "acts_names",
    "acts_settings",
    "acts_truth_matching",
    "beampipe_seeder",
    "find_vertices",
    "fit_batch",
    "fit_tracks",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "finder": ["ActsTrackFinder", "SeederSettings", "beampipe_seeder"],
        "fitting": ["fit_batch", "fit_tracks"],
        "sequencer": ["ActsTracks", "FittedTracks"],
        "truth_matching": ["ActsMatching", "acts_truth_matching"],
        "vertices": ["find_vertices"],
    },
)
