"""The data that crosses a stage: hits, their truth, the tracks found. All frozen, all struct-of-arrays.

hits     space points of one event
truth    particles, and which of them made which hit
event    one collision: its hits, and their truth if it is simulated
tracks   track candidates, and the helices that were fitted to them
arrays   the check of types and shapes

What a type offers beyond its own numbers, such as a picture, stands in rooms above and is loaded when it is asked for.
"""

from beampipe.tracking.events.event import Event, HitColumns
from beampipe.tracking.events.hits import Hits
from beampipe.tracking.events.tracks import NO_TRACK, FitStatus, TrackParameters, Tracks
from beampipe.tracking.events.truth import NOISE, Particles, Truth

__all__ = [
    "NOISE",
    "NO_TRACK",
    "Event",
    "FitStatus",
    "HitColumns",
    "Hits",
    "Particles",
    "TrackParameters",
    "Tracks",
    "Truth",
]
