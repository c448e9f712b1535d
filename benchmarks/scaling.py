"""Time against the number of hits, from a few hundred to a few hundred thousand, with fitted exponents.

    python benchmarks/scaling.py runs/events/tune200.parquet --pipelines NAME acts:efficient

Small events are drawn from one by whole particles, large ones are several events on top of each other. The load is
therefore not that of a real event of that size in every respect (one luminous region, but more or fewer collisions).
"""

from __future__ import annotations

import argparse
import json

import numpy as np
from rich.table import Table
from samples import CONSOLE, add_options, open_finders, resize, selection_of, take

from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.evaluation.plots import plot_scaling, save_figure
from beampipe.tracking.evaluation.results import Evaluation
from beampipe.tracking.evaluation.statistics import fit_power_law
from beampipe.units import ms

SIZES = (300, 1000, 3000, 10_000, 30_000, 100_000, 300_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="hits")
    parser.add_argument("--repeat", type=int, default=5, help="calls per size, after one that is not timed")
    options = parser.parse_args()
    finders = open_finders(options.pipelines, options.threads)
    for path in options.events:
        pool = list(take(path, options.max_events))
        points: list[Evaluation] = []
        for size in options.sizes:
            event = resize(pool, size, options.seed)
            points.append(
                evaluate(
                    finders.by_name,
                    finders.watching([event] * options.repeat),
                    sample=f"{len(event.hits)} hits",
                    selection=selection_of(options),
                    threads=options.threads,
                )
            )
        report(path.stem, points, options)


def report(stem: str, points: list[Evaluation], options: argparse.Namespace) -> None:
    table = Table(title=f"{stem}: median time \\[ms], {options.threads} thread(s) (efficiency, double majority)")
    table.add_column("hits", justify="right")
    series: dict[str, tuple[list[float], list[float]]] = {}
    for finder in points[0].finders:
        table.add_column(finder.name, justify="right")
        series[finder.name] = ([], [])
    for point in points:
        cells = []
        for finder in point.finders:
            n_hits = finder.events[0].n_hits
            if finder.failed:  # absent is absent: a refused size has no time
                cells.append(f"refused: {finder.failed[0].error}")
                continue
            seconds = float(np.median([event.total for event in finder.events]))
            series[finder.name][0].append(float(n_hits))
            series[finder.name][1].append(seconds)
            cells.append(f"{seconds / ms:.3f} ({finder.double.efficiency.value:.3f})")
        table.add_row(f"{point.finders[0].events[0].n_hits}", *cells)
    fitted = {name: xy for name, xy in series.items() if len(set(xy[0])) > 1}
    laws = {name: fit_power_law(*xy) for name, xy in fitted.items()}
    cells = [f"n^({laws[n].exponent:.2f} ± {laws[n].error:.2f})" if n in laws else "-" for n in series]
    table.add_row("exponent", *cells)
    CONSOLE.print(table)
    options.out.mkdir(parents=True, exist_ok=True)
    body = {
        name: {
            "hits": hits,
            "seconds": seconds,
            "exponent": laws[name].exponent if name in laws else None,
            # Two points leave no scatter to take an error from, and NaN is no JSON.
            "error": laws[name].error if name in laws and len(hits) > 2 else None,
        }
        for name, (hits, seconds) in series.items()
    }
    target = options.out / f"scaling-{stem}.json"
    target.write_text(json.dumps({"threads": options.threads, "finders": body}, indent=1) + "\n", encoding="utf-8")
    if fitted:
        save_figure(plot_scaling(fitted), target.with_suffix(".png"))
    CONSOLE.print(f"wrote {target}", markup=False)


if __name__ == "__main__":
    main()
