"""Time and memory against the number of hits, from a few hundred to a million, with fitted exponents.

    python benchmarks/scaling.py [FILES] [--sizes 300 3000 30000] [--wedges]

Small events are drawn from one by whole particles, large ones are several events on top of each other: their density
grows with their size. The load is therefore not that of a real event of that size in every respect (one luminous
region, but more or fewer collisions). With --wedges all sizes are wedges in phi of the largest one: the density per
module is the same, but tracks are cut at the sides, so that only times and memory have a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from math import nan
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import (
    FAST_ACTS,
    begin_events,
    evaluated,
    existing,
    median_ms,
    open_finders,
    options_of,
    resize,
    take,
)
from matplotlib import figure as matplotlib_figure
from recording import CONSOLE, Figure, Reference, write_result
from scipy.stats import linregress

from beampipe.errors import BeampipeError
from beampipe.events import Event
from beampipe.figures import drawing, new_figure, save_figure
from beampipe.tracking.acts import ActsTrackFinder
from beampipe.tracking.finder import TrackFinder

SIZES = (300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
LARGE = 10_000
"""Hits from which a second exponent is fitted: below, fixed costs flatten the curve."""


def main() -> None:
    pipelines = ["module_map", "exatrkx", "exatrkx_walk", "acts-fast"]
    parser = options_of("scaling", __doc__, samples=["test200"], pipelines=pipelines, max_events=8)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="hits")
    parser.add_argument("--wedges", action="store_true", help="sizes are wedges in phi of the largest: same density")
    parser.add_argument("--repeat", type=int, default=5, help="calls per size, after one that is not timed")
    options = parser.parse_args()
    begun = begin_events("scaling", options)
    finders = open_finders(options)
    figures: list[Figure] = []
    for path in existing(options):
        pool = list(take(path, options.max_events))
        largest = resize(pool, max(options.sizes), options.seed) if options.wedges else None
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in finders}
        for size in options.sizes:
            event = resize(pool, size, options.seed) if largest is None else wedge(largest, size)
            growth = {name: memory_growth(finder, event) for name, finder in finders.items()}
            evaluation = evaluated(finders, [event] * options.repeat, f"{len(event.hits)} hits", options)
            done = {finder.name: finder for finder in evaluation.finders if not finder.failed}
            clock = Reference(FAST_ACTS, median_ms(done[FAST_ACTS])) if FAST_ACTS in done else None
            for name, finder in done.items():
                times[name].append((len(event.hits), median_ms(finder)))
                title = f"{path.stem}: {name}"
                figures.append(Figure(f"{title} at {size} hits", times[name][-1][1], "ms", "lower", clock))
                if np.isfinite(growth[name]):
                    figures.append(Figure(f"{title} memory at {size} hits", growth[name], "MB"))
                CONSOLE.print(f"{name}, {len(event.hits)} hits: {times[name][-1][1]:.4g} ms", markup=False)
        laws = {name: power_law(large) for name, points in times.items() if len(large := from_large(points)) > 1}
        for name, law in laws.items():
            spread = float(law.stderr) if len(from_large(times[name])) > 2 else None
            title = f"{path.stem}: {name} exponent from {LARGE} hits"
            reference = Reference(FAST_ACTS, laws[FAST_ACTS].slope) if FAST_ACTS in laws and name != FAST_ACTS else None
            figures.append(Figure(title, float(law.slope), "", "lower", reference, spread))
        fitted = {name: points for name, points in times.items() if len({hits for hits, _ in points}) > 1}
        if fitted:
            save_figure(plot_scaling(fitted), options.output.with_suffix(".png"))
    write_result(options.output, begun, figures)


def from_large(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points with about `LARGE` hits or more."""
    return [point for point in points if point[0] >= 0.9 * LARGE]


def wedge(event: Event, n_hits: int) -> Event:
    """The hits of an event between phi = -pi and the angle below which there are `n_hits`."""
    phi = event.hits.position[:, 1]
    return event.take(phi <= np.sort(phi)[min(n_hits, len(phi)) - 1])


def memory_growth(finder: TrackFinder, event: Event) -> float:
    """What one call adds to the resident memory at its peak [MB]; NaN for an event that is refused, and for ACTS.

    Memory kept from the event before, up to 256 MB, is not included.
    """
    if isinstance(finder, ActsTrackFinder):
        return nan
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM := VmRSS
    before = status()["VmRSS"]
    try:
        finder.find(event.hits)
    except BeampipeError:
        return nan
    return status()["VmHWM"] - before


def status() -> dict[str, float]:
    """Entries of /proc/self/status that are sizes [MB]."""
    lines = (line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {name: float(value.split()[0]) * 1024 / 1e6 for name, value in lines if value.endswith("kB")}


def power_law(points: Sequence[tuple[float, float]]) -> Any:
    """Straight line through the logarithms of hits and times by least squares."""
    return linregress(*np.log(points).T)


def plot_scaling(series: Mapping[str, Sequence[tuple[float, float]]]) -> matplotlib_figure.Figure:
    """Time against hits, both logarithmic, each finder with its fitted power law.

    Args:
        series: numbers of hits and times [ms], by finder.
    """
    with drawing():
        figure, ((axes,),) = new_figure(1, 1, size=(7.5, 5.5))
        for (name, points), marker in zip(series.items(), cycle("os^Dvp*")):
            hits, times = zip(*points, strict=True)
            law = power_law(points)
            label = rf"{name}: $\propto n^{{{law.slope:.2f}}}$"
            (dots,) = axes.plot(hits, times, marker, label=label)
            ends = np.array([min(hits), max(hits)], np.float64)
            line = np.exp(law.intercept) * ends**law.slope
            axes.plot(ends, line, "-", color=dots.get_color(), linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hits")
        axes.set_ylabel("time per event [ms]")
        axes.legend(loc="best")
    return figure


if __name__ == "__main__":
    main()
