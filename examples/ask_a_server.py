"""Find the tracks of shipped events on a Triton server, several at a time, or here if there is none.

Usage: python examples/ask_a_server.py [URL ...]; start a server with: beampipe serve
"""

from __future__ import annotations

import sys

from beampipe.serving import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
from beampipe.tracking import shipped_events


def main() -> None:
    """Send twenty events, then print what came back."""
    urls = sys.argv[1:] or ["grpc://127.0.0.1:8001"]
    server = TritonTrackFinder(urls, "module_map", timeout=10.0, in_flight=4)
    with FallbackTrackFinder(server, lambda: DirectTrackFinder("module_map")) as finder:
        # All are on their way before the first answer is looked at.
        answers = [(event, finder.submit(event)) for event in shipped_events(0)]
        for event, answer in answers:
            print(f"event {event.event_id}: {len(event.hits)} hits, {len(answer.result())} tracks")
        by_server, here = finder.answered
    print(f"{by_server} answered by a server, {here} here")


if __name__ == "__main__":
    main()
