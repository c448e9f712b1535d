"""Efficiency, fakes and times of pipelines and of ACTS on the same events.

    python benchmarks/physics.py [FILES] [--degradation none default stress] [--max-events 2]

Results of ACTS are kept between runs; `--fresh` takes its times again. Tables by pT, eta, vertex, distance and origin
are printed, and pictures are written beside the JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from harness import (
    FAST_ACTS,
    Finders,
    begin_events,
    existing,
    open_finders,
    options_of,
    quality_figures,
    selection_of,
)
from recording import CONSOLE, Figure, write_result
from samples import DEGRADATIONS, degraded, take

from beampipe.figures import save_figure
from beampipe.tracking.evaluation.report import curve_table, plot_efficiency, plot_stages, stage_table
from beampipe.tracking.evaluation.scoring import VARIABLES, evaluate

EFFICIENT_ACTS: Final = "acts"
PIPELINES: Final = ("module_map", "exatrkx", "exatrkx_walk")
SAMPLES: Final = {"test200": (24, ("default", "stress", "none")), "test60": (20, ("none",)), "test0": (400, ("none",))}
"""File -> events and degradations."""


def main() -> None:
    pipelines = [*PIPELINES, EFFICIENT_ACTS, FAST_ACTS]
    parser = options_of("physics", __doc__, samples=list(SAMPLES), pipelines=pipelines)
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, help="by default what SAMPLES says")
    options = parser.parse_args()
    begun = begin_events("physics", options)
    finders = open_finders(options)
    measured = []
    for path in existing(options):
        for degradation in options.degradation or SAMPLES.get(path.stem, SAMPLES["test200"])[1]:
            measured += figures(finders, path, degradation, options)
    write_result(options.output, begun, measured, acts_load_averages=finders.acts_loads())


def figures(finders: Finders, path: Path, degradation: str, options: argparse.Namespace) -> list[Figure]:
    """All finders on one file at one degradation."""
    levels = DEGRADATIONS[degradation]
    n_events = SAMPLES[path.stem][0] if path.stem in SAMPLES else None
    evaluation = evaluate(
        finders.by_name,
        finders.watching(degraded(take(path, options.max_events or n_events), levels, options.seed)),
        sample=path.stem,
        selection=selection_of(options),
        threads=options.threads,
    )
    CONSOLE.print(stage_table(evaluation))
    for variable in VARIABLES:
        CONSOLE.print(curve_table(evaluation, variable))
    stem = options.output.with_suffix("")
    for name, picture in (
        ("efficiency", plot_efficiency(evaluation, tuple(VARIABLES))),
        ("stages", plot_stages(evaluation)),
    ):
        save_figure(picture, stem.with_name(f"{stem.name}-{path.stem}-{degradation}-{name}.png"))
    return quality_figures(evaluation, f"{path.stem}-{degradation}", EFFICIENT_ACTS, FAST_ACTS)


if __name__ == "__main__":
    main()
