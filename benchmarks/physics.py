"""Efficiency, fakes, duplicates and times of pipelines and of ACTS on the same events.

    python benchmarks/physics.py runs/events/test200.parquet --pipelines NAME acts:efficient --degradation none default

Before anything is scored, scrambled truth must give no efficiency. Prints tables, writes JSON and pictures.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

from samples import (
    CONSOLE,
    DEGRADATIONS,
    Finders,
    add_options,
    degraded,
    open_finders,
    sample_name,
    selection_of,
    take,
)

from beampipe.tracking.evaluation.checks import scrambled_truth
from beampipe.tracking.evaluation.evaluate import evaluate
from beampipe.tracking.evaluation.plots import plot_efficiency, plot_stages, save_figure
from beampipe.tracking.evaluation.report import curve_table, print_evaluation
from beampipe.tracking.evaluation.results import write_evaluation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, default=["none"])
    options = parser.parse_args()
    finders = open_finders(options.pipelines, options.threads)
    for path in options.events:
        assert_blind(finders, path, options)
        for name in options.degradation:
            levels = DEGRADATIONS[name]
            evaluation = evaluate(
                finders.by_name,
                finders.watching(degraded(take(path, options.max_events), levels, options.seed)),
                sample=sample_name(path, levels, options.seed),
                selection=selection_of(options),
                threads=options.threads,
            )
            print_evaluation(evaluation, CONSOLE)
            for variable in ("pt", "eta", "origin"):
                CONSOLE.print(curve_table(evaluation, variable))
            stem = options.out / f"physics-{path.stem}-{name}"
            write_evaluation(stem.with_suffix(".json"), evaluation)
            save_figure(plot_efficiency(evaluation), options.out / f"{stem.name}-efficiency.png")
            save_figure(plot_stages(evaluation), options.out / f"{stem.name}-stages.png")
            CONSOLE.print(f"wrote {stem}.json and two pictures", markup=False)


def assert_blind(finders: Finders, path: Path, options: argparse.Namespace) -> None:
    """No finder may find the particles of scrambled truth: its score would come from elsewhere than its tracks."""
    honest = {name: finder for name, finder in finders.by_name.items() if name != "truth"}
    if not honest:
        return
    scrambled = [scrambled_truth(event, options.seed) for event in islice(take(path, 1), 1)]
    blind = evaluate(honest, scrambled, sample="scrambled truth", selection=selection_of(options), warm_up=0)
    for finder in blind.finders:
        efficiency = finder.double.efficiency
        assert efficiency.passed <= 0.01 * efficiency.total, f"{finder.name} finds scrambled truth: {efficiency}"


if __name__ == "__main__":
    main()
