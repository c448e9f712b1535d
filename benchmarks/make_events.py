"""Simulates the event files that the benchmarks read; files that are there are kept.

    python benchmarks/make_events.py [--workers 2] [--folder runs/events]

It needs the extra `simulation`.

Held-out seeds: no collision is shared with those that anything was trained or tuned on. About a quarter of an hour of
processor time in all.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import beampipe.terminal.scripts  # noqa: F401

from beampipe.errors import BeampipeError
from beampipe.simulation.detector import Detector
from beampipe.simulation.primaries import EventGenerator
from beampipe.simulation.run import simulate_events
from beampipe.tracking.formats.parquet import write_simulated

SEED = 4
POOL = 10_000
"""Generated soft collisions to draw from."""

SAMPLES = {
    "test200": (24, 200.0, "ttbar", 1.0),
    "test60": (20, 60.0, "ttbar", 1.0),
    "test0": (1000, 0.0, "none", 1.0),
    "test200_field098": (20, 200.0, "ttbar", 0.98),
}
"""File -> events, mean pile-up, hard process, factor on the field."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/events"))
    parser.add_argument("--workers", type=int, default=1, help="processes; the events do not depend on it")
    parser.add_argument("--only", nargs="+", choices=SAMPLES, default=list(SAMPLES))
    options = parser.parse_args()
    for name in options.only:
        path = options.folder / f"{name}.parquet"
        if path.is_file():
            print(f"{path}: is there")
            continue
        n_events, mu, hard, field_scale = SAMPLES[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        simulated = simulate_events(
            n_events,
            EventGenerator(pileup=mu, hard=hard, pool_size=POOL),
            Detector(field_scale=field_scale),
            seed=SEED,
            workers=options.workers,
        )
        counts = write_simulated(path, simulated)
        print(f"{path}: {n_events} events, mu = {mu:g}, {counts}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    try:
        main()
    except BeampipeError as error:
        sys.exit(f"make_events: {error}")
