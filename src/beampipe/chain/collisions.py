"""The first stages: collisions with their record, hits in the tracker, and towers of the calorimeter."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.chain.settings import DetectorSettings
from beampipe.simulation.calorimeter import Calorimeter, Towers, measured_towers
from beampipe.simulation.detector import Detector, read_layout
from beampipe.simulation.pythia import CollisionPool, Collisions, PythiaRun, cross_section, for_tracker
from beampipe.simulation.random_numbers import keys
from beampipe.simulation.samples import SampleSpec, Slice, sample_spec
from beampipe.tables import load_table, save_tables

_HARD_EVENTS: Final = 50_000
"""Events of the hard process from which the cross section of a sample is estimated."""


def sample_spec_of(generator: str, pythia: tuple[str, ...]) -> SampleSpec:
    """The sample that Pythia generates: a shipped one with further lines, decays inside of the tracker included."""
    spec = for_tracker(sample_spec(generator))
    return replace(spec, settings=(*spec.settings, *pythia))


def write_cross_section(path: Path, spec: SampleSpec, part: Slice) -> None:
    """Estimate the cross section of a sample [pb], and write it as JSON."""
    path.write_text(json.dumps({"cross_section": cross_section(spec, part, _HARD_EVENTS)}) + "\n", encoding="utf-8")


def generate(path: Path, spec: SampleSpec, part: Slice, seed: int, n_events: int) -> None:
    """Generate collisions, and write their record: visible particles, partons and weights, and the tracker's particles.

    Args:
        path: file to write.
        spec: the sample.
        part: range of the hard process.
        seed: seed of Pythia.
        n_events: number of collisions.
    """
    collisions, pool = PythiaRun(spec, part, seed).with_tracker_particles(n_events)
    save_tables(path, collisions=collisions, pool=pool)


def read_collisions(path: Path) -> Collisions:
    """The collisions of a record at particle level."""
    return load_table(path, "collisions", Collisions, first=0)


def simulate(path: Path, record: Path, detector: DetectorSettings, seed: int) -> None:
    """Take the particles of a record through the tracker, and write the hits of each event without losses.

    Args:
        path: file to write.
        record: file of `generate`.
        detector: the tracker.
        seed: seed of the vertices, of Fatras and of the measurements.
    """
    from beampipe.simulation.fatras import EventSimulator
    from beampipe.simulation.hadronic import interaction_table
    from beampipe.simulation.primaries import EventGenerator
    from beampipe.tracking.formats.parquet import write_simulated

    layout = None if detector.layout is None else read_layout(detector.layout)
    generator = EventGenerator(pileup=0.0, hard="jets", turn_hard=False)
    tracker = replace(Detector() if layout is None else Detector.of(layout), hadronic=detector.hadronic)
    pool = load_table(record, "pool", CollisionPool)
    simulator = EventSimulator(
        generator if layout is None else generator.at(layout.vertex),
        tracker,
        seed,
        None,
        pool,
        interaction_table() if detector.hadronic else None,
    )
    write_simulated(path, simulator.run(0, len(pool)))


def measure_towers(path: Path, record: Path, calorimeter: Calorimeter, seed: int) -> None:
    """Measure the particles of a record in the calorimeter, and write the towers.

    Args:
        path: file to write.
        record: file of `generate`.
        calorimeter: cells and resolution.
        seed: seed of the resolution.
    """
    collisions = read_collisions(record)
    event_key = keys(np.full(len(collisions), seed), np.arange(len(collisions)))
    save_tables(path, towers=measured_towers(collisions, calorimeter, event_key))


def read_towers(path: Path) -> Towers:
    """Read what `measure_towers` wrote."""
    return load_table(path, "towers", Towers)
