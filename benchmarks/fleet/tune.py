"""`beampipe fleet tune` against an exhaustive grid, on a real Triton: what is found, and in what time.

    python benchmarks/fleet/tune.py [--model exatrkx] [--seconds 8] [--p95 0.1]

Both sides pay for loading the model. The configuration that the search found is judged by what the grid measured for
it, and beside the best of the grid once more, in turn, so that a lucky measurement of the grid decides nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))  # servers and events as the serving benchmarks have them

from served import CONSOLE, events_at, models_of, options_of, print_header, report, verdict

from beampipe.fleet.planning.tuning import Choices, Configuration, LiveBenchmark, Trial, measure_all, tune
from beampipe.serving.contract import FEATURES
from beampipe.terminal import make_table
from beampipe.triton import ServerSettings, export_repository

CHOICES: Final = Choices(instances=(1, 2, 4), threads=(1, 2), batch=(0, 8), protocol=("grpc", "http"))
EVENTS: Final = 50
TURNS: Final = 3
"""Measurements of each of the two best, in turn."""
WANTED: Final = 0.95
"""Least throughput of what is found over the best of the grid."""
WANTED_TIME: Final = 0.25
"""Largest share of the time of the grid."""


def main() -> None:
    parser = options_of("tune", __doc__)
    parser.add_argument("--model", default="exatrkx", help="a pipeline")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of the longest measurement")
    parser.add_argument("--clients", type=int, default=8, help="requests in flight")
    parser.add_argument("--p95", type=float, default=0.1, help="largest 95th percentile of the latency [s]")
    parser.set_defaults(output=Path("runs/bench/fleet/tune.json"))
    options = parser.parse_args()
    begun = print_header("tune against an exhaustive grid", options)
    events = [hits for hits in events_at(0, EVENTS, options.seed) if len(hits)]
    requests = [{FEATURES.name: np.ascontiguousarray(hits.position, FEATURES.dtype)} for hits in events]
    with tempfile.TemporaryDirectory(prefix="beampipe-bench-") as folder:
        repository = Path(folder) / "models"
        export_repository(repository, models_of([options.model], backend=options.backend))
        with LiveBenchmark(ServerSettings(repository), options.model, requests, options.clients) as bench:
            every, bound = CHOICES.all(), options.p95
            start = perf_counter()
            result = tune(bench, every, bound, seconds=options.seconds)
            searched = perf_counter() - start
            grid = measure_all(bench, every, bound, seconds=options.seconds)
            gridded = perf_counter() - start - searched
            ratio = in_turn(bench, result[0].configuration, grid[0].configuration, options)
    CONSOLE.print(table_of(grid, result))
    summary = [
        verdict("throughput", ratio >= WANTED, f"found over best of the grid {ratio:.3f}, wanted {WANTED}"),
        verdict(
            "time",
            searched <= WANTED_TIME * gridded,
            f"{searched:.1f} s over {gridded:.1f} s: {searched / gridded:.3f}, wanted at most {WANTED_TIME}",
        ),
    ]
    rows = [asdict(trial) for trial in grid]
    report(options, begun, {"grid": rows, "found": [asdict(trial) for trial in result], "summary": summary})
    raise SystemExit(0 if all(line["met"] for line in summary) else 1)


def in_turn(bench: LiveBenchmark, one: Configuration, other: Configuration, options: argparse.Namespace) -> float:
    """Median ratio of their throughputs, measured side by side."""
    if one == other:
        return 1.0
    ratios = []
    for _ in range(TURNS):
        first, second = (bench(configuration, options.seconds).throughput for configuration in (one, other))
        ratios.append(first / second)
    return float(np.median(ratios))


def table_of(grid: Sequence[Trial], found: Sequence[Trial]) -> object:
    """The grid, best first, and when the search gave each configuration up."""
    searched = {trial.configuration: trial for trial in found}
    table = make_table("the grid, best first", ["configuration"], ["events/s", "p95 [ms]", "searched for [s]", "note"])
    for trial in grid:
        seconds = f"{searched[trial.configuration].seconds:.2f}"
        if trial.measurement is None:
            table.add_row(str(trial.configuration), "", "", seconds, trial.fault[:60])
        else:
            note = "found" if trial.configuration == found[0].configuration else ""
            one = trial.measurement
            table.add_row(str(trial.configuration), f"{one.throughput:.1f}", f"{1e3 * one.p95:.2f}", seconds, note)
    return table


if __name__ == "__main__":
    main()
