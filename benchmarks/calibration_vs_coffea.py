"""The calibration's histograms against coffea: same files, same cuts, two processes each, in turn in one run.

    python benchmarks/calibration_vs_coffea.py [--quick] [--events 7200000] [--repeats 5]

Histograms are compared before anything is timed: entries exactly, sums of weights within what rounding each weight to
a multiple of 2**-36 can do. Then, with the files in the disk cache:

Every timed run is a process of its own, from `python` to the end (`calibration/one_run.py`).

nominal: one weight, all events. Ours is `run_calibration(until="fill")` into a store that is not there yet, with all
that goes with it: digests of the files, bookkeeping, spawned workers, committed artifacts, merged histograms. coffea
is a `Runner` with its `FuturesExecutor` and virtual arrays, one chunk per file, on processes forked from its own, which
need import nothing (the fastest way that we found).

taggers: those of the demo, n_trk and the shipped boosted trees, which coffea scores with LightGBM.

weights: 101 weights. Ours fills all in one pass; coffea fills one after the other from one reading, into one
histogram each or into one with an axis of names, whichever is faster.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "calibration"))

from one_run import BITS, STORES, coffea, ours
from recording import CONSOLE, Figure, Reference, begin, parser_of, write_result
from toys import KEPT, Toy, make_toys

from beampipe.calibration.events.histograms import Filled, read_filled
from beampipe.calibration.ntuple.file_checks import inspect_file
from beampipe.calibration.tasks.runtime import workspace_of

ONE_RUN: Final = (
    sys.executable,
    "-c",
    f"import sys; sys.path.insert(0, {sys.path[0]!r}); from one_run import main; main()",
)

Files = Mapping[str, Sequence[str]]


def main() -> None:
    parser = parser_of(__doc__, "calibration_vs_coffea")
    parser.add_argument("--events", type=int, default=7_200_000, help="number of events of the nominal test")
    parser.add_argument(
        "--weighted-events", type=int, default=1_200_000, help="number of events of the test of weights"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="number of repeats of the nominal test; the test of weights has 3"
    )
    parser.add_argument("--quick", action="store_true", help="few events, one repetition")
    options = parser.parse_args()
    if options.quick:
        options.events, options.weighted_events, options.repeats = 720_000, 120_000, 1
    begun = begin("calibration against coffea")
    files, few, weighted = _files(options.events, options.weighted_events)
    nominal = nominal_test(files, few, options.repeats)
    weights = weights_test(weighted, min(3, options.repeats))
    write_result(options.output, begun, list(time_figures(nominal + weights)))


def time_figures(rows: Sequence[dict[str, Any]]) -> Iterator[Figure]:
    """The fastest way of coffea beside ours, round by round."""
    for test in dict.fromkeys(row["test"] for row in rows):
        ways = {row["way"]: row for row in rows if row["test"] == test}
        theirs = min((row for way, row in ways.items() if way.startswith("coffea")), key=lambda row: row["wall"])
        mine = ways["ours"]
        ratios = [b / a for a, b in zip(mine["runs"], theirs["runs"], strict=True)]
        spread = (max(ratios) - min(ratios)) / 2 or None
        yield Figure(f"{test}: {theirs['way']} over ours, wall", median(ratios), "", "higher", spread=spread)
        rate, other = (row["events"] / row["wall"] / 1e6 for row in (mine, theirs))
        yield Figure(f"{test}: rate", rate, "M events/s", "higher", Reference(theirs["way"], other))


def nominal_test(files: Files, few: Files, repeats: int) -> list[dict[str, Any]]:
    """One weight: many files and few."""
    require_equal(files, weights=False)
    rows = []
    for which, some in (("all", files), ("few", few)):
        ways = {
            "ours": {"program": "ours", "files": some},
            "coffea, fork": {"program": "coffea", "files": some},
        }
        rows += [{"test": f"nominal, {which}", **row} for row in in_turn(ways, repeats, _count(some))]
    require_equal(few, weights=False, gbdt=True)
    ways = {
        "ours": {"program": "ours", "files": few, "gbdt": True},
        "coffea, fork": {"program": "coffea", "files": few, "gbdt": True},
    }
    return rows + [{"test": "taggers, few", **row} for row in in_turn(ways, repeats, _count(few))]


def weights_test(files: Files, repeats: int) -> list[dict[str, Any]]:
    """All weights."""
    names = require_equal(files, weights=True)
    only = {"nominal": files["nominal"]}
    ways = {
        "ours": {"program": "ours", "files": files, "weights": True},
        **{
            f"coffea, {layout}": {"program": "coffea", "files": only, "weight_names": names, "layout": layout}
            for layout in ("list", "category")
        },
    }
    return [{"test": f"{len(names)} weights", **row} for row in in_turn(ways, repeats, _count(only))]


def in_turn(ways: Mapping[str, Mapping[str, Any]], repeats: int, events: int) -> list[dict[str, Any]]:
    """Time each way, the order turned around every other round."""
    walls: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name in list(ways) if turn % 2 == 0 else reversed(list(ways)):
            begin = perf_counter()
            subprocess.run([*ONE_RUN, json.dumps(ways[name])], check=True, stdout=subprocess.DEVNULL)
            walls[name].append(perf_counter() - begin)
            shutil.rmtree(STORES, ignore_errors=True)
    return [{"way": name, "events": events, "wall": median(runs), "runs": runs} for name, runs in walls.items()]


def require_equal(files: Files, *, weights: bool, gbdt: bool = False) -> list[str]:
    """Compare all histograms; also the warm-up of the disk cache and of the compiled kernels.

    Returns:
        Names of the weights.

    Raises:
        SystemExit: histograms differ: nothing to time.
    """
    plan = ours(files, weights=weights, gbdt=gbdt)
    store = workspace_of(plan.configuration).store
    names: list[str] = []
    for name, sample in plan.samples.items():
        exponents = {each.number: each.exponent for each in sample.bookkeeping.slices}
        slices = [(exponents[number], read_filled(store.require(recipe))) for number, recipe in sample.merged.items()]
        sums: dict[str, Any] = {
            "sumw": sum(part.sumw * 2.0 ** (exponent - BITS) for exponent, part in slices),
            "sumw2": sum(part.sumw2 * 2.0 ** (2 * exponent - BITS) for exponent, part in slices),
            "entries": sum(part.entries for _, part in slices),
        }
        filled, largest = replace(slices[0][1], **sums), max(exponents.values())
        theirs, _ = coffea({name: files[name]}, weight_names=filled.weight_names, count=True, gbdt=gbdt)
        _require_equal(name, filled, theirs[name], largest)
        names = names or list(filled.weight_names)
    shutil.rmtree(STORES)
    CONSOLE.print(f"equal: {len(names)} weight(s), {sum(map(len, files.values()))} files", markup=False)
    return names


def _require_equal(name: str, filled: Filled, theirs: Mapping[str, Any], exponent: int) -> None:
    """Entries exactly; sums within what rounding each weight to units of 2**exponent can do."""
    shape, n_flavours = filled.axes.shape, len(filled.axes.flavours)
    n_trk = slice(0, 100)
    counted = filled.entries.reshape(shape)
    entries = _folded(theirs["entries"].view(flow=True))[:, :, :n_flavours]
    if not np.array_equal(entries, counted[..., n_trk]) or entries.sum() != theirs["entries"].sum(flow=True):
        raise SystemExit(f"{name}: numbers of entries differ")
    compared = [(weight, k, n_trk) for k, weight in enumerate(filled.weight_names)]
    for weight, k, bins in [*compared, *([("gbdt", 0, slice(100, None))] if "gbdt" in theirs else [])]:
        for power, what, got in ((1, "value", filled.sumw[:, k]), (2, "variance", filled.sumw2[:, k])):
            unit = 2.0 ** (power * exponent - BITS)
            want = _folded(theirs[weight].view(flow=True)[what])[:, :, :n_flavours]
            off = np.abs(got.reshape(shape)[..., bins] - want)
            if np.any(off > counted[..., bins] * unit / 2 + 1e-11 * np.abs(want)):
                raise SystemExit(f"{name}, {weight}: {what}s differ by up to {off.max():.3g}")


def _folded(values: np.ndarray) -> np.ndarray:
    """What is below or above the last axis in its first and last bin, where we count it."""
    inside: np.ndarray = values[..., 1:-1].copy()
    inside[..., 0] += values[..., 0]
    inside[..., -1] += values[..., -1]
    return inside


def _files(events: int, weighted: int) -> tuple[Files, Files, Files]:
    """Nominal, many and few, and with 101 weights; data is a tenth of the first, and little elsewhere."""
    data, small = events // 10, Toy("few_data", 30_000, 1, kind="data", seed=4)
    toys = (
        Toy("nominal", events - data, max(3, events // 200_000), n_weights=5),
        Toy("data", data, max(1, data // 180_000), kind="data", seed=2),
        Toy("weighted", weighted, max(3, weighted // 100_000), n_weights=101, seed=3),
        small,
        Toy("nominal_few", events // 6, max(3, events // 1_200_000), n_weights=5, seed=6),
    )
    CONSOLE.print(f"toy files: {events + weighted} events under {KEPT}", markup=False)
    nominal, measured_data, weights, little, nominal_few = map(_names, make_toys(*toys))
    return (
        {"nominal": nominal, "data": measured_data},
        {"nominal": nominal_few, "data": little},
        {"nominal": weights, "data": little},
    )


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(path.absolute()) for path in paths]


def _count(files: Files) -> int:
    """Events in some files, as they say."""
    return sum(inspect_file(Path(name)).n_events for names in files.values() for name in names)


if __name__ == "__main__":
    main()
