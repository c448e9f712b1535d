"""ACTS as the judge: the combinatorial Kalman filter that our pipelines are compared with, and its track fit."""

from beampipe.tracking.acts.finder import ActsTrackFinder
from beampipe.tracking.acts.fitted import ActsTracks, FittedTracks
from beampipe.tracking.acts.fitting import fit_batch, fit_tracks
from beampipe.tracking.acts.settings import ACTS_EFFICIENT, ACTS_FAST, ACTS_SETTINGS, ACTS_SOFT, ActsSettings
from beampipe.tracking.acts.truth_matching import ActsMatching, acts_truth_matching

__all__ = [
    "ACTS_EFFICIENT",
    "ACTS_FAST",
    "ACTS_SETTINGS",
    "ACTS_SOFT",
    "ActsMatching",
    "ActsSettings",
    "ActsTrackFinder",
    "ActsTracks",
    "FittedTracks",
    "acts_truth_matching",
    "fit_batch",
    "fit_tracks",
]
