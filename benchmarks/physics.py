"""Efficiency, fakes, duplicates and times of pipelines and of ACTS on the same events, against what is wanted.

    python benchmarks/physics.py [FILES] [--degradation none default stress] [--max-events 2]

Each pipeline appears a second time with the Kalman fit of ACTS on its candidates. Results of ACTS are kept between
runs; `--fresh` takes its times again. Prints tables, writes JSON and pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

from diagnostics import scrambled_truth
from harness import (
    CONSOLE,
    FAST_ACTS,
    FIT,
    Finders,
    existing,
    figures,
    figures_table,
    open_finders,
    options_of,
    print_header,
    report,
    selection_of,
)
from kalman_fit import KALMAN_FIT
from rich.table import Table
from samples import DEGRADATIONS, degraded, sample_name, take

from beampipe.figures import save_figure
from beampipe.tracking.acts import acts_settings
from beampipe.tracking.evaluation.report import curve_table, plot_efficiency, plot_stages, stage_table
from beampipe.tracking.evaluation.results import evaluation_body
from beampipe.tracking.evaluation.scoring import VARIABLES, evaluate

EFFICIENT_ACTS = "acts"
OPPONENTS = (EFFICIENT_ACTS, FAST_ACTS, "acts-orthogonal", "acts-graph", "acts-graph-fast")
ON_OUR_SEEDS = "acts-beampipe"
PIPELINES = ("module_map", "exatrkx", "exatrkx_walk")
SAMPLES = {
    "test200": (24, ("default", "stress", "none"), 0.985),
    "test60": (20, ("none",), 0.99),
    "test0": (400, ("none",), 0.995),
}
"""File -> events, degradations, and the efficiency wanted of networks on events as simulated."""


def main() -> None:
    pipelines = [*PIPELINES, *OPPONENTS, ON_OUR_SEEDS]
    parser = options_of("physics", __doc__, samples=list(SAMPLES), pipelines=pipelines)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, help="by default what SAMPLES says")
    parser.add_argument("--no-fit", action="store_true", help="leave out the rows with the Kalman fit")
    options = parser.parse_args()
    begun = print_header("physics", options)
    names = list(options.pipelines)
    if not options.no_fit:
        names += [name + FIT for name in names if acts_settings(name) is None and name != "truth"]
    finders = open_finders(options, names)
    samples = []
    for path in existing(options):
        assert_blind(finders, path, options)
        _, degradations, _ = SAMPLES.get(path.stem, SAMPLES["test200"])
        for name in options.degradation or degradations:
            samples.append(measure(finders, path, name, options))
            report(options, begun, {"samples": samples})


def measure(finders: Finders, path: Path, degradation: str, options: Any) -> dict[str, Any]:
    """All finders on one file at one degradation."""
    levels = DEGRADATIONS[degradation]
    n_events, *_ = SAMPLES.get(path.stem, (None,))
    evaluation = evaluate(
        finders.by_name,
        finders.watching(degraded(take(path, options.max_events or n_events), levels, options.seed)),
        sample=sample_name(path, levels, options.seed),
        selection=selection_of(options),
        threads=options.threads,
    )
    rows = figures(evaluation)
    title = f"{evaluation.sample}: {evaluation.n_events} events, median {rows[0]['hits']:.0f} hits"
    CONSOLE.print(figures_table(title, rows, evaluation.definition))
    CONSOLE.print(stage_table(evaluation))
    # A fit changes no track: its rows would only repeat those of its finder.
    bare = replace(evaluation, finders=tuple(finder for finder in evaluation.finders if KALMAN_FIT not in finder.name))
    for variable in VARIABLES:
        CONSOLE.print(curve_table(bare, variable))
    for acts, (low, high) in finders.acts_loads().items():
        CONSOLE.print(f"times of {acts} were taken at load averages from {low:.2f} to {high:.2f}", markup=False)
    wanted = comparisons(rows, path.stem, degradation)
    CONSOLE.print(comparison_table(wanted))
    stem = options.output.with_suffix("")
    save_figure(
        plot_efficiency(bare, tuple(VARIABLES)), stem.with_name(f"{stem.name}-{path.stem}-{degradation}-efficiency.png")
    )
    save_figure(plot_stages(evaluation), stem.with_name(f"{stem.name}-{path.stem}-{degradation}-stages.png"))
    return {
        "file": path,
        "degradation": degradation,
        "definition": evaluation.definition,
        "figures": rows,
        "wanted": wanted,
        "acts_load_averages": finders.acts_loads(),
        "evaluation": evaluation_body(evaluation),
    }


def comparisons(rows: Sequence[Mapping[str, Any]], sample: str, degradation: str) -> list[dict[str, Any]]:
    """What is wanted of each pipeline, with what was measured; times and fakes are judged at mu = 200."""
    by_name = {row["finder"]: row for row in rows}
    out: list[dict[str, Any]] = []

    def want(finder: str, what: str, measured: float | None, limit: float | None, *, at_least: bool) -> None:
        if measured is None or limit is None:
            return
        met = measured >= limit if at_least else measured <= limit
        out.append({"finder": finder, "what": what, "measured": measured, "limit": limit, "met": met})

    opponents = [by_name[name] for name in OPPONENTS if name in by_name]
    for name in PIPELINES:
        row, fitted = by_name.get(name), by_name.get(name + KALMAN_FIT)
        if row is None:
            continue
        network, clean = name != "module_map", degradation == "none"
        if network and clean:
            limit = SAMPLES[sample][2] if sample in SAMPLES else None
            want(name, "efficiency, double", row["efficiency_double"], limit, at_least=True)
        elif opponents:
            slack = 0.01 if network else 0.0
            for rule in ("double", "single"):
                limit = max(opponent[f"efficiency_{rule}"] or 0.0 for opponent in opponents) - slack
                what = f"efficiency, {rule}, against the best of ACTS" + (" - 1 %" if slack else "")
                want(name, what, row[f"efficiency_{rule}"], limit, at_least=True)
        if sample != "test200":
            continue
        want(name, "fakes, double", row["fakes_double"], 0.015, at_least=False)
        if network:
            want(name, "fakes, single", row["fakes_single"], 0.005, at_least=False)
        want(name, f"time / {FAST_ACTS}", row["time_ratio"], 0.5 if network else 0.2, at_least=False)
        want(name, f"time / {FAST_ACTS}, stretch", row["time_ratio"], 0.25 if network else 0.1, at_least=False)
        if fitted is not None and not network:
            want(name, f"time with Kalman fit / {FAST_ACTS}", fitted["time_ratio"], 0.5, at_least=False)
        if network:
            want(name, "wall time [ms]", row["wall_ms"], 300.0, at_least=False)
    return out


def comparison_table(wanted: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="measured against wanted")
    for column in ("finder", "what", "measured", "wanted", "met"):
        table.add_column(column)
    for item in wanted:
        table.add_row(
            item["finder"],
            item["what"],
            f"{item['measured']:.4f}",
            f"{item['limit']:.4f}",
            "yes" if item["met"] else "[red]no[/red]",
        )
    return table


def assert_blind(finders: Finders, path: Path, options: Any) -> None:
    """No finder may find the particles of scrambled truth: its score would come from elsewhere than its tracks."""
    honest = {name: finder for name, finder in finders.by_name.items() if name in PIPELINES}
    if not honest:
        return
    scrambled = [scrambled_truth(event, options.seed) for event in take(path, 1)]
    blind = evaluate(honest, scrambled, sample="scrambled truth", selection=selection_of(options), warm_up=0)
    for finder in blind.finders:
        efficiency = finder.double.efficiency
        assert efficiency.passed <= 0.01 * efficiency.total, f"{finder.name} finds scrambled truth: {efficiency}"


if __name__ == "__main__":
    main()
