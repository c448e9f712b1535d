"""The calibration's histograms against coffea: same files, same cuts, same histograms, two processes each, in turn in one run.

    python benchmarks/calibration_vs_coffea.py [--quick] [--events 7200000] [--repeats 5]

Histograms are compared before anything is timed: entries exactly, sums of weights within what rounding each weight to a multiple
of 2**-36 can do. Then, with the files in the disk cache:

nominal: one weight, all events. Ours is `run_calibration(until="fill")` into a store that is not there yet, with all that
goes with it: digests of the files, bookkeeping, spawned workers, committed artifacts, merged histograms. coffea is a
`Runner` with its `FuturesExecutor` and virtual arrays, once on processes forked from this one, which need import nothing (the
fastest way that we found, and the one compared with), once on its default pool. The slope between a sixth of the files and all of
them is a cost per event without start-up. "known": our digests of the files are remembered, as in every run but the first.

weights: 101 weights. Ours fills all in one pass; coffea fills one after the other from one reading, into one histogram each
or into one with an axis of names, whichever is faster.

bytes: what is read of the ROOT files for a whole campaign: compressed bytes of the baskets that `uproot` hands out, counted
where it fetches them (files are mapped into memory, so the counters of the kernel do not see them), against as many nominal passes as
there are variations.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from calibration.measuring import CONSOLE, Cost, conditions, measured, report
from calibration.toys import KEPT, Toy, make_toys
from calibration.with_coffea import POOLS, DijetProcessor, run_coffea
from rich.table import Table

from beampipe.calibration.config import Bootstrap, Configuration, Energy, Sample, Systematic
from beampipe.calibration.histograms import Filled, merge, read_filled
from beampipe.calibration.plan import Plan
from beampipe.calibration.run import Settings, run_calibration, workspace_of

WORKERS: Final = 2
WANTED_NOMINAL: Final = 2.0
WANTED_WEIGHTS: Final = 5.0
WANTED_BYTES: Final = 50.0
BITS: Final = 36
ENERGY: Final = Energy(45, 8)
"""106 variations, as in the campaign that this is measured against."""

Files = Mapping[str, Sequence[Path]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=7_200_000, help="of the nominal test")
    parser.add_argument("--weighted-events", type=int, default=1_200_000, help="of the test of weights")
    parser.add_argument("--repeats", type=int, default=5, help="of the nominal test; 3 of the test of weights")
    parser.add_argument("--quick", action="store_true", help="few events, one repetition")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_vs_coffea.json"))
    options = parser.parse_args()
    if options.quick:
        options.events, options.weighted_events, options.repeats = 720_000, 120_000, 1
    begun = conditions("calibration against coffea")
    files, weighted = _files(options.events, options.weighted_events)
    nominal = nominal_test(files, options.repeats)
    weights = weights_test(weighted, min(3, options.repeats))
    read = bytes_test(weighted)
    CONSOLE.print(_table(nominal + weights))
    summary = _summary(nominal, weights, read)
    for line in summary:
        CONSOLE.print(line, markup=False)
    report(options.output, begun, {"nominal": nominal, "weights": weights, "bytes": read, "summary": summary})


def nominal_test(files: Files, repeats: int) -> list[dict[str, Any]]:
    """One weight: all files and a sixth of them."""
    require_equal(files, 1)
    few = {name: paths[:: 6 if len(paths) > 6 else 1] for name, paths in files.items()}
    rows = []
    for which, some in (("all", files), ("few", few)):
        process = DijetProcessor(_EDGES, ["nominal"])
        ways: dict[str, Callable[[], object]] = {
            "ours": partial(ours, some),
            "ours, known": partial(ours, some, digests=_digests(some)),
            **{f"coffea, {pool}": partial(run_coffea, some, process, workers=WORKERS, chunk=10**6, pool=pool) for pool in POOLS},
        }
        rows += [{"test": f"nominal, {which}", **row} for row in in_turn(ways, repeats, _count(some))]
    return rows


def weights_test(files: Files, repeats: int) -> list[dict[str, Any]]:
    """All weights."""
    names = require_equal(files, 2)
    only = {"nominal": files["nominal"]}
    ways: dict[str, Callable[[], object]] = {
        "ours": partial(ours, files, weights=True),
        "ours, known": partial(ours, files, weights=True, digests=_digests(files)),
    }
    for layout in ("list", "category"):
        process = DijetProcessor(_EDGES, names, layout=layout)
        ways[f"coffea, {layout}"] = partial(run_coffea, only, process, workers=WORKERS, chunk=100_000)
    return [{"test": f"{len(names)} weights", **row} for row in in_turn(ways, repeats, _count(only))]


def bytes_test(files: Files) -> dict[str, Any]:
    """Bytes of a campaign in one pass, and of one nominal pass."""
    one = {"nominal": files["nominal"][:1], "data": files["data"][:1]}
    with counted_bytes() as nominal:
        ours(one, executor="inline", incomplete=True)
    with counted_bytes() as campaign:
        plan = ours(one, executor="inline", incomplete=True, weights=True, kinematics=True)
    filled = plan.samples["nominal"].chunks[0].fill
    variations = len(filled.weight_names) - 1 + len(filled.kinematics)
    passes = sum(nominal.values()) * (1 + variations)
    return {
        "variations": variations,
        "nominal": dict(nominal),
        "campaign": dict(campaign),
        "nominal_bytes": sum(nominal.values()),
        "campaign_bytes": sum(campaign.values()),
        "passes_over_campaign": passes / sum(campaign.values()),
    }


@contextmanager
def counted_bytes() -> Iterator[dict[str, int]]:
    """Compressed bytes of baskets by branch, of all that this process reads through uproot meanwhile."""
    from uproot.behaviors.TBranch import TBranch

    counts: dict[str, int] = {}
    fetch = TBranch.basket_chunk_cursor

    def counting(branch: Any, number: int) -> Any:
        counts[branch.name] = counts.get(branch.name, 0) + int(branch.basket_compressed_bytes(number))
        return fetch(branch, number)

    TBranch.basket_chunk_cursor = counting
    try:
        yield counts
    finally:
        TBranch.basket_chunk_cursor = fetch
