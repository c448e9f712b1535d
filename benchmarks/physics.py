"""Efficiency, fakes and times of pipelines and of ACTS on the same events.

    python benchmarks/physics.py [FILES] [--degradation none default stress] [--max-events 2]

Tables by pT, eta, vertex, distance and origin are printed. The file `test0` has events without pile-up: soft pipelines
find particles from 0.3 GeV on, beside ACTS with the setting for these. With `--classes`, particles are counted by
`CLASSES` instead, after the fit of our tracks:

    python benchmarks/physics.py jets.parquet --classes --pipelines all module_map acts-soft --threads 1
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

from harness import (
    DEGRADATIONS,
    FAST_ACTS,
    Finders,
    begin_events,
    degraded,
    evaluated,
    existing,
    open_finders,
    options_of,
    quality_figures,
    take,
)
from numpy import ndarray
from recording import CONSOLE, Better, Figure, Reference, write_result

from beampipe.events import Event, Particles, Tracks
from beampipe.tracking.evaluation.matching import Candidates, match
from beampipe.tracking.evaluation.report import curve_table, stage_table
from beampipe.tracking.evaluation.results import Proportion
from beampipe.tracking.evaluation.scoring import VARIABLES, nearest_distance
from beampipe.tracking.loading import load_track_fitter
from beampipe.tracking.truth import HEADLINE, Selection, contributions, select_particles, truth_of

EFFICIENT_ACTS: Final = "acts"
SOFT_ACTS: Final = "acts-soft"
PIPELINES: Final = ("module_map", "exatrkx", "exatrkx_walk")


@dataclass(frozen=True)
class Sample:
    """What is measured with a file where no option says otherwise."""

    events: int | None = None
    degradations: tuple[str, ...] = ("default", "stress", "none")
    pipelines: tuple[str, ...] = (*PIPELINES, EFFICIENT_ACTS, FAST_ACTS)
    judge: str = EFFICIENT_ACTS
    clock: str = FAST_ACTS
    min_pt: float = 1.0


SAMPLES: Final = {
    "test200": Sample(24),
    "test60": Sample(20, ("none",)),
    "test0": Sample(
        400, ("none", "default"), (*(f"{name}_soft" for name in PIPELINES), SOFT_ACTS), SOFT_ACTS, SOFT_ACTS, 0.3
    ),
}
SOFT: Final = Selection(min_pt=0.3)
CLASSES: Final[dict[str, tuple[Selection, Callable[[Particles], ndarray]]]] = {
    "pT 0.3 to 1 GeV": (SOFT, lambda of: of.pt < 1),
    "pT above 1 GeV": (HEADLINE, lambda of: of.pt > 1),
    "made at 2 to 100 mm": (HEADLINE.displaced(), lambda of: of.pt > 1),
    "made at 100 to 300 mm": (Selection(min_origin=100, max_origin=300, primary_only=False), lambda of: of.pt > 1),
    "made at 2 to 100 mm, pT 0.3 to 1 GeV": (SOFT.displaced(), lambda of: of.pt < 1),
    "next one within 0.0018": (HEADLINE, lambda of: nearest_distance(of) < 0.0018),
    "next one at 0.0018 to 0.0056": (HEADLINE, lambda of: abs(nearest_distance(of) - 0.0037) <= 0.0019),
}
"""Class -> particles that its efficiency (double majority) counts, and which of these."""


def main() -> None:
    parser = options_of("physics", __doc__, samples=list(SAMPLES), pipelines=())
    parser.add_argument("--degradation", nargs="+", choices=DEGRADATIONS, help="by default what SAMPLES says")
    parser.add_argument("--classes", action="store_true", help="efficiencies by class, and wrong hits after the fit")
    parser.set_defaults(min_pt=None)
    options = parser.parse_args()
    begun = begin_events("physics", options)
    measured = []
    for path in existing(options):
        sample = SAMPLES.get(path.stem, Sample())
        wanted = argparse.Namespace(**vars(options))
        wanted.pipelines = options.pipelines or sample.pipelines
        wanted.max_events = options.max_events or sample.events
        wanted.min_pt = sample.min_pt if options.min_pt is None else options.min_pt
        finders = open_finders(wanted)
        for degradation in options.degradation or sample.degradations:
            measured += (by_class if options.classes else figures)(finders, path, degradation, wanted)
    write_result(options.output, begun, measured)


def figures(finders: Finders, path: Path, degradation: str, options: argparse.Namespace) -> list[Figure]:
    """All finders on one file at one degradation."""
    events = degraded(take(path, options.max_events), DEGRADATIONS[degradation], options.seed)
    evaluation = evaluated(finders, events, path.stem, options)
    CONSOLE.print(stage_table(evaluation))
    for variable in VARIABLES:
        CONSOLE.print(curve_table(evaluation, variable))
    sample = SAMPLES.get(path.stem, Sample())
    return quality_figures(evaluation, f"{path.stem}-{degradation}", sample.judge, sample.clock)


def by_class(finders: Finders, path: Path, degradation: str, options: argparse.Namespace) -> list[Figure]:
    """Efficiency by class, fakes, tracks with a wrong hit and processor time of all finders, ours with the fit."""
    fitter = load_track_fitter(threads=options.threads)
    counts = {name: Counter[str]() for name in finders}
    events = degraded(take(path, options.max_events), DEGRADATIONS[degradation], options.seed)
    for k, event in enumerate(events):
        for name, finder in finders.items():
            if k == 0:
                finder.find(event.hits)  # the first call is cold
            begin = process_time()
            tracks = finder.find(event.hits)
            if is_ours := tracks.candidates is None:
                tracks = fitter.add(event.hits, tracks)
            seconds = process_time() - begin if is_ours else sum((tracks.cpu_seconds or {}).values())
            counts[name] += scored(event, tracks) + Counter({"time": round(1e6 * seconds), "all: time": 1000})
    measured = []
    for what in (*CLASSES, "fakes", "tracks with a wrong hit", "time"):
        unit = "ms" if what == "time" else ""
        better: Better = "higher" if what in CLASSES else "lower"
        of_all = {name: (count[what], count[f"all: {what}"]) for name, count in counts.items() if count[f"all: {what}"]}
        for name, (number, total) in of_all.items():
            reference = None
            if SOFT_ACTS in of_all and name != SOFT_ACTS:
                reference = Reference(SOFT_ACTS, of_all[SOFT_ACTS][0] / of_all[SOFT_ACTS][1])
            low, high = (0.0, 0.0) if unit else Proportion(number, total).interval
            title = f"{path.stem}-{degradation}: {name} {what}"
            measured.append(Figure(title, number / total, unit, better, reference, (high - low) / 2 or None))
    return measured


def scored(event: Event, tracks: Tracks) -> Counter[str]:
    """Numbers of found particles, of fakes and of tracks with a wrong hit, and of all that they are shares of."""
    truth = truth_of(event)
    owners = contributions(truth)
    matches = match(Candidates.of(tracks), owners)
    wrong = matches.n_shared[matches.double] < matches.n_hits[matches.double]
    counts = Counter({"fakes": matches.n_fakes(double=True), "all: fakes": len(matches)})
    counts |= {"tracks with a wrong hit": int(wrong.sum()), "all: tracks with a wrong hit": len(wrong)}
    for name, (selection, chosen) in CLASSES.items():
        particles = truth.particles.take(select_particles(event, selection, owners))
        row = owners.row(particles.particle_id[chosen(particles)])
        counts[name], counts[f"all: {name}"] = int(matches.found_double[row].sum()), len(row)
    return counts


if __name__ == "__main__":
    main()
