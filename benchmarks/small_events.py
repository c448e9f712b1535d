"""Small events (no pile-up, some hundred hits): events per second and time of each stage, cold and warm.

    python benchmarks/small_events.py runs/events/tune0.parquet --pipelines NAME acts:soft --min-pt 0.3

At this size fixed costs decide, so the first call is shown beside the median of the others.
"""

from __future__ import annotations

import argparse

from rich.table import Table
from samples import CONSOLE, add_options, open_finders, selection_of, take

from beampipe.errors import InputError
from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.evaluation.report import print_evaluation, times_table
from beampipe.tracking.evaluation.results import Evaluation, write_evaluation
from beampipe.tracking.evaluation.statistics import stage_time
from beampipe.units import ms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--max-hits", type=int, default=5000, help="larger events are left out")
    options = parser.parse_args()
    for path in options.events:
        events = [event for event in take(path, options.max_events) if len(event.hits) <= options.max_hits]
        if not events:
            raise InputError(f"{path}: got no event of up to {options.max_hits} hits; raise --max-hits")
        finders = open_finders(options.pipelines, options.threads)  # opened anew: the first call is cold
        evaluation = evaluate(
            finders.by_name,
            finders.watching(events),
            sample=path.stem,
            selection=selection_of(options),
            threads=options.threads,
            warm_up=0,
        )
        print_evaluation(evaluation, CONSOLE)
        CONSOLE.print(rate_table(evaluation))
        for finder in evaluation.finders:
            CONSOLE.print(times_table(finder))
        target = options.out / f"small-{path.stem}.json"
        write_evaluation(target, evaluation)
        CONSOLE.print(f"wrote {target}", markup=False)


def rate_table(evaluation: Evaluation) -> Table:
    """First call against the others, and events per second; `wall` includes all of the call."""
    table = Table(title="one client, one event after the other")
    table.add_column("finder")
    for name in ("first \\[ms]", "median \\[ms]", "p95 \\[ms]", "wall median \\[ms]", "events/s"):
        table.add_column(name, justify="right")
    for finder in evaluation.finders:
        done = [event for event in finder.events if event.error is None]
        if len(done) < 2:
            table.add_row(finder.name, *("-",) * 5)
            continue
        warm = stage_time("total", [event.total for event in done[1:]])
        wall = stage_time("wall", [event.wall for event in done[1:]])
        numbers = (done[0].total / ms, warm.median / ms, warm.p95 / ms, wall.median / ms)
        table.add_row(finder.name, *(f"{number:.3f}" for number in numbers), f"{1 / wall.mean:.1f}")
    return table


if __name__ == "__main__":
    main()
