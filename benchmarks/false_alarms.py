"""Warnings about good events: how many runs over simulated events warn without reason, and what the checks cost.

    python benchmarks/false_alarms.py [--only SAMPLE ...] [--simulate] [--pipelines module_map module_map_soft]

A run is what one user would do: a new finder over some consecutive events of one sample, as simulated or with the
default losses and noise. Any warning is a false alarm. Events are simulated once and kept in `runs/false_alarms/`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

from recording import CONSOLE, Figure, begin, write_result

from beampipe.columns import is_sampled
from beampipe.events import Event, Tracks, Truth
from beampipe.simulation.degradation import run_degraded
from beampipe.simulation.detector import Detector, read_layout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events
from beampipe.terminal import make_table
from beampipe.tracking.formats import open_events
from beampipe.tracking.formats.parquet import write_simulated
from beampipe.tracking.loading import load_pipeline
from beampipe.tracking.pipeline import Pipeline
from beampipe.tracking.truth import seen_field

FOLDER: Final = Path("runs/false_alarms")


@dataclass(frozen=True)
class Sample:
    """Good events.

    Attributes:
        events: number of events.
        run: number of events of one run.
        generator: the collisions.
        model: tracker model, of the detector that the events are simulated in.
    """

    events: int
    run: int
    generator: EventGenerator
    model: str = "generic"


_SOFT: Final = EventGenerator(pileup=0, hard="none")
_HARD: Final = EventGenerator(pileup=0)
_DISPLACED: Final = replace(_SOFT, pileup=5.0, hard="gun", gun=Gun(n_particles=20, origin=(0.0, 100.0), spread=0.5))

SAMPLES: Final[dict[str, Sample]] = {
    "single": Sample(320, 40, _SOFT),
    "single_far": Sample(120, 30, replace(_SOFT, vertex_z_max=250.0)),
    "ttbar": Sample(80, 20, _HARD),
    "ttbar_far": Sample(80, 20, replace(_HARD, vertex_z_max=250.0)),
    "jets": Sample(40, 10, replace(_HARD, hard="jets")),
    "displaced": Sample(60, 15, _DISPLACED),
    "mu5": Sample(80, 20, replace(_HARD, pileup=5.0)),
    "mu20": Sample(40, 8, replace(_HARD, pileup=20.0)),
    "mu20_far": Sample(24, 8, replace(_HARD, pileup=20.0, vertex_z_max=250.0)),
    "mu60": Sample(8, 2, replace(_HARD, pileup=60.0)),
    "mu200": Sample(3, 1, replace(_HARD, pileup=200.0)),
    "odd_single": Sample(120, 30, _SOFT, "odd"),
    "odd_ttbar": Sample(40, 10, _HARD, "odd"),
    "odd_mu20": Sample(12, 4, replace(_HARD, pileup=20.0), "odd"),
}


def events_of(name: str, sample: Sample, seed: int) -> Path:
    """The file of the events, simulated if it is not there."""
    path = FOLDER / f"{name}.parquet"
    if not path.is_file():
        layout = read_layout(Path("odd")) if sample.model == "odd" else None
        detector = Detector() if layout is None else Detector.of(layout)
        generator = sample.generator if layout is None else sample.generator.at(layout.vertex)
        write_simulated(path, simulate_events(sample.events, generator, detector, seed=seed, apart=True))
    return path


LONG: Final = 2000
"""Number of events of a long run, in which checks are thinned out."""


@dataclass
class Counts:
    """What the runs of one sample and pipeline gave; times of the checks [s] in these runs, and in long ones."""

    runs: int = 0
    events: int = 0
    alarms: int = 0
    finding: float = 0.0
    checking: float = 0.0
    checking_long: float = 0.0


def run(finder: Pipeline, events: Sequence[Event], counts: Counts) -> tuple[list[str], list[Tracks]]:
    """Find the tracks of one run with a new finder; returns the warnings, and the tracks."""
    found = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for event in events:
            begun = perf_counter()
            found.append(finder.find(event.hits))
            counts.finding += perf_counter() - begun
            seen_field(event)
    messages = list(dict.fromkeys(str(warning.message) for warning in caught))
    counts.runs += 1
    counts.events += len(events)
    counts.alarms += bool(messages)
    counts.checking += checking(finder, events, found, 1)
    return messages, found


def checking(finder: Pipeline, events: Sequence[Event], found: Sequence[Tracks], rounds: int) -> float:
    """Time that the checks of a new finder and of the truth take in one of some rounds over these events [s]."""
    assert finder._monitor is not None
    monitor = copy(finder._monitor)
    # Copies, as the truth of an event is checked once.
    copies = [[replace(event, truth=copied(event)) for event in events] for _ in range(rounds)]
    begun, number = perf_counter(), 0
    for again in copies:
        for event, tracks in zip(again, found, strict=True):
            number += 1
            seen_field(event, is_sampled(number))
            monitor.check(event.hits, tracks)
    return (perf_counter() - begun) / rounds


def copied(event: Event) -> Truth:
    assert event.truth is not None
    return replace(event.truth, particles=replace(event.truth.particles))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SAMPLES, default=list(SAMPLES), help="samples")
    parser.add_argument("--pipelines", nargs="+", default=["module_map", "module_map_soft"], metavar="NAME")
    parser.add_argument("--simulate", action="store_true", help="simulate only")
    parser.add_argument("--output", type=Path, default=Path("runs/bench/false_alarms.json"))
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    begun = begin("false alarms")
    body: list[dict[str, Any]] = []
    heads = ("events", "runs", "warned", "checks/finding in runs", "in long runs")
    table = make_table("warnings about good events", ("sample", "pipeline"), heads)
    for name in options.only:
        sample = SAMPLES[name]
        path = events_of(name, sample, seed=100 + list(SAMPLES).index(name))
        if options.simulate:
            continue
        layout = read_layout(Path("odd")) if sample.model == "odd" else None
        for pipeline in options.pipelines:
            counts, messages = Counts(), list[str]()
            for level in ("none", "default"):
                degraded = iter(run_degraded(open_events(path), level, 1, layout))
                every_event: list[Event] = []
                every_found: list[Tracks] = []
                while events := list(islice(degraded, sample.run)):
                    finder = load_pipeline(pipeline, model=sample.model)
                    warned, found = run(finder, events, counts)
                    messages += warned
                    every_event += events
                    every_found += found
                rounds = max(LONG // len(every_event), 1)
                counts.checking_long += checking(finder, every_event, every_found, rounds)
            short, share = (time / counts.finding for time in (counts.checking, counts.checking_long))
            numbers = map(str, (counts.events, counts.runs, counts.alarms))
            table.add_row(name, pipeline, *numbers, f"{short:.2%}", f"{share:.2%}")
            body.append({"sample": name, "pipeline": pipeline, **vars(counts), "share": share, "warnings": messages})
            for message in messages:
                CONSOLE.print(f"{name}, {pipeline}: {message}", markup=False)
    if options.simulate:
        return
    CONSOLE.print(table)
    runs, alarms, events = (sum(entry[key] for entry in body) for key in ("runs", "alarms", "events"))
    finding, checks, in_long = (sum(entry[key] for entry in body) for key in ("finding", "checking", "checking_long"))
    figures = [
        Figure("runs with a false alarm", alarms),
        Figure("runs of good events", runs, better="equal"),
        Figure("good events", events, better="equal"),
        Figure("time of the checks as a share of finding, runs of some events", checks / finding),
        Figure("time of the checks as a share of finding, long runs", in_long / finding),
    ]
    write_result(options.output, begun, figures, samples=body)


if __name__ == "__main__":
    main()
