"""Digests of the labels of all pipelines in shipped events, as JSON: equal on every processor.

python release/labels.py 0:2 60:1    # two events without pile-up, one with 60 pile-up collisions
"""

from __future__ import annotations

import json
import sys
from hashlib import sha256

from beampipe.errors import BeampipeError
from beampipe.tracking import PIPELINES, load_pipeline, shipped_events
from beampipe.tracking.kernels import native


def main(samples: list[str]) -> None:
    """Print the instruction set of the kernels, then the digest of each pipeline in each event."""
    kernels = native()
    digests = {"isa": kernels.isa()}
    for name in PIPELINES:
        finder = load_pipeline(name)
        for sample in samples:
            mu, count = map(int, sample.split(":"))
            for event in shipped_events(mu)[:count]:
                try:
                    digest = sha256(finder.find(event).track_id.tobytes()).hexdigest()
                except BeampipeError as error:  # too many hits for this pipeline
                    digest = str(error)
                digests[f"{name}, mu {mu}, event {event.event_id}"] = digest
    print(json.dumps(digests))


if __name__ == "__main__":
    main(sys.argv[1:])
