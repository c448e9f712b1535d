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
from math import exp, nan
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from harness import CONSOLE, StoredActs, existing, open_finders, options_of, print_header, report, selection_of
from matplotlib.figure import Figure
from memory import status
from rich.table import Table
from samples import resize, take
from scipy.stats import linregress

from beampipe.errors import BeampipeError
from beampipe.events import Event
from beampipe.figures import drawing, new_figure, save_figure
from beampipe.tracking.evaluation.results import Evaluation
from beampipe.tracking.evaluation.scoring import evaluate
from beampipe.tracking.finder import TrackFinder
from beampipe.units import ms

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
    begun = print_header("scaling", options)
    finders = open_finders(options)
    for path in existing(options):
        pool = list(take(path, options.max_events))
        points: list[Evaluation] = []
        growth: dict[str, list[float]] = {name: [] for name in finders.by_name}
        largest = resize(pool, max(options.sizes), options.seed) if options.wedges else None
        for size in options.sizes:
            event = resize(pool, size, options.seed) if largest is None else wedge(largest, size)
            for name, finder in finders.by_name.items():
                growth[name].append(memory_growth(finder, event))
            points.append(
                evaluate(
                    finders.by_name,
                    finders.watching([event] * options.repeat),
                    sample=f"{len(event.hits)} hits",
                    selection=selection_of(options),
                    threads=options.threads,
                )
            )
            CONSOLE.print(f"{len(event.hits)} hits, the largest of {max(options.sizes)}:", *progress(points[-1]))
        summary = summarise(points)
        for name, one in summary.items():
            one["memory_growth_mb"] = growth[name]
        CONSOLE.print(scaling_table(path.stem, points, summary))
        report(options, begun, {"file": path, "definition": points[0].definition, "finders": summary})
        fitted = {name: (item["hits"], item["seconds"]) for name, item in summary.items() if len(set(item["hits"])) > 1}
        if fitted:
            save_figure(plot_scaling(fitted), options.output.with_suffix(".png"))


def wedge(event: Event, n_hits: int) -> Event:
    """The hits of an event between phi = -pi and the angle below which there are `n_hits`."""
    phi = event.hits.position[:, 1]
    return event.take(phi <= np.sort(phi)[min(n_hits, len(phi)) - 1])


def memory_growth(finder: TrackFinder, event: Event) -> float:
    """What one call adds to the resident memory at its peak [MB]; NaN for an event that is refused, and for ACTS.

    Memory kept from the event before, up to 256 MB, is not included.
    """
    if isinstance(finder, StoredActs):
        return nan
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM := VmRSS
    before = status()["VmRSS"]
    try:
        finder.find(event.hits)
    except BeampipeError:
        return nan
    return status()["VmHWM"] - before


def progress(point: Evaluation) -> list[str]:
    """Median time of each finder, as a large event takes minutes with all of them."""
    seconds = {
        finder.name: np.median([event.total for event in finder.events])
        for finder in point.finders
        if not finder.failed
    }
    return [f"{name} {median:.3g} s" for name, median in seconds.items()]


def summarise(points: list[Evaluation]) -> dict[str, dict[str, Any]]:
    """Per finder: hits, median seconds, efficiencies, fakes, and the fitted exponents."""
    out: dict[str, dict[str, Any]] = {}
    for i, finder in enumerate(points[0].finders):
        # Absent is absent: a refused size has no time.
        done = [point.finders[i] for point in points if not point.finders[i].failed]
        hits = [float(item.events[0].n_hits) for item in done]
        seconds = [float(np.median([event.total for event in item.events])) for item in done]
        out[finder.name] = {
            "hits": hits,
            "seconds": seconds,
            "cpu_seconds": [float(np.median([event.cpu for event in item.events])) for item in done],
            "efficiency": [item.double.efficiency.value for item in done],
            "fakes": [item.double.fakes.value for item in done],
            "all": _law(hits, seconds, 0),
            "large": _law(hits, seconds, LARGE),
        }
    return out


def _law(hits: list[float], seconds: list[float], smallest: int) -> dict[str, float] | None:
    chosen = [(x, y) for x, y in zip(hits, seconds, strict=True) if x >= 0.9 * smallest]
    if len({x for x, _ in chosen}) < 2:
        return None
    law = power_law(*(list(column) for column in zip(*chosen, strict=True)))
    error = float(law.stderr) if len(chosen) > 2 else nan
    return {"exponent": float(law.slope), "error": error, "scale": exp(law.intercept)}


def power_law(hits: Sequence[float], seconds: Sequence[float]) -> Any:
    """Straight line through (log hits, log seconds) by least squares."""
    return linregress(np.log(hits), np.log(seconds))


def plot_scaling(series: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Time against hits, both logarithmic, each finder with its fitted power law.

    Args:
        series: numbers of hits and times [s], by finder.
    """
    with drawing():
        figure, ((axes,),) = new_figure(1, 1, size=(7.5, 5.5))
        for (name, (hits, seconds)), marker in zip(series.items(), cycle("os^Dvp*")):
            law = power_law(hits, seconds)
            label = rf"{name}: $\propto n^{{{law.slope:.2f}}}$"
            points = axes.plot(hits, np.asarray(seconds) / ms, marker, label=label)
            ends = np.array([min(hits), max(hits)], np.float64)
            line = np.exp(law.intercept) * ends**law.slope
            axes.plot(ends, line / ms, "-", color=points[0].get_color(), linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("hits")
        axes.set_ylabel("time per event [ms]")
        axes.legend(loc="best")
    return figure


def scaling_table(stem: str, points: list[Evaluation], summary: dict[str, dict[str, Any]]) -> Table:
    table = Table(
        title=f"{stem}: median time \\[ms], {points[0].threads} thread(s) (efficiency, fakes; growth of memory \\[MB])",
        caption=f"ACTS: 1 thread, wall time of all its stages. {points[0].definition}",
    )
    table.add_column("hits", justify="right")
    for name in summary:
        table.add_column(name, justify="right")
    for row, point in enumerate(points):
        cells = []
        for finder in point.finders:
            if finder.failed:
                cells.append(f"refused: {finder.failed[0].error}")
                continue
            seconds = float(np.median([event.total for event in finder.events]))
            quality = f"{finder.double.efficiency.value:.3f}, {finder.double.fakes.value:.3f}"
            cells.append(f"{seconds / ms:.3f} ({quality}; {summary[finder.name]['memory_growth_mb'][row]:.0f})")
        table.add_row(f"{point.finders[0].events[0].n_hits}", *cells)
    for range_of_sizes, words in (("all", "exponent"), ("large", f"from {LARGE} hits")):
        laws = [item[range_of_sizes] for item in summary.values()]
        table.add_row(words, *(f"n^({law['exponent']:.2f} ± {law['error']:.2f})" if law else "-" for law in laws))
    return table


if __name__ == "__main__":
    main()
