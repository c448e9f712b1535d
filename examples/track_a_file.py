"""Find the tracks of an event that comes as three columns r, phi, z, and print them.

Usage: python examples/track_a_file.py [FILE.csv]
"""

from __future__ import annotations

import sys

import numpy as np

from beampipe.tracking import load_pipeline, open_events, shipped_events


def main() -> None:
    """Track the file given, or a shipped event."""
    events = open_events(sys.argv[1]) if len(sys.argv) > 1 else shipped_events(60)
    event = events[0]
    tracks = load_pipeline().find(event)
    print(f"event {event.event_id}: {len(event.hits)} hits, {len(tracks)} tracks")
    for number, track in enumerate(tracks[:3]):
        print(f"track {number}: r [mm] =", np.round(track.hits.r, 1))


if __name__ == "__main__":
    main()
