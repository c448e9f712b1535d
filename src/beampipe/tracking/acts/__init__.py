"""ACTS as the judge: the combinatorial Kalman filter that our pipelines are compared with, and its track fit."""

from beampipe.tracking.acts.finder import ActsTrackFinder, ActsTracks
from beampipe.tracking.acts.fitted import FittedTracks
from beampipe.tracking.acts.settings import ACTS_EFFICIENT, ACTS_FAST, ACTS_SETTINGS, ACTS_SOFT, ActsSettings

__all__ = [
    "ACTS_EFFICIENT",
    "ACTS_FAST",
    "ACTS_SETTINGS",
    "ACTS_SOFT",
    "ActsSettings",
    "ActsTrackFinder",
    "ActsTracks",
    "FittedTracks",
]
