"""ACTS as the reference for our pipelines: its combinatorial Kalman filter, and vertices of fitted tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.tracking.acts.finder import ActsTrackFinder as ActsTrackFinder
    from beampipe.tracking.acts.finder import FinderSettings as FinderSettings
    from beampipe.tracking.acts.finder import SeederSettings as SeederSettings
    from beampipe.tracking.acts.finder import beampipe_seeder as beampipe_seeder
    from beampipe.tracking.acts.finder import beampipe_track_finder as beampipe_track_finder
    from beampipe.tracking.acts.sequencer import ActsTracks as ActsTracks
    from beampipe.tracking.acts.sequencer import FittedTracks as FittedTracks
    from beampipe.tracking.acts.settings import ACTS_BEAMPIPE as ACTS_BEAMPIPE
    from beampipe.tracking.acts.settings import ACTS_EFFICIENT as ACTS_EFFICIENT
    from beampipe.tracking.acts.settings import ACTS_FAST as ACTS_FAST
    from beampipe.tracking.acts.settings import ACTS_GRAPH_FAST as ACTS_GRAPH_FAST
    from beampipe.tracking.acts.settings import ACTS_SETTINGS as ACTS_SETTINGS
    from beampipe.tracking.acts.settings import ACTS_SOFT as ACTS_SOFT
    from beampipe.tracking.acts.settings import ActsSettings as ActsSettings
    from beampipe.tracking.acts.settings import acts_names as acts_names
    from beampipe.tracking.acts.settings import acts_settings as acts_settings
    from beampipe.tracking.acts.vertices import find_vertices as find_vertices

__getattr__, __dir__, __all__ = loader(__name__)
