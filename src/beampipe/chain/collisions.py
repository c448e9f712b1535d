"""The first stages: collisions with their record, hits in the tracker, and towers of the calorimeter."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.chain.settings import DetectorSettings
from beampipe.random_numbers import keys
from beampipe.simulation.calorimeter import Calorimeter, Towers, measured_towers
from beampipe.simulation.detector import Detector
from beampipe.simulation.primaries import MOST_COLLISIONS, EventGenerator
from beampipe.simulation.pythia import (
    CollisionPool,
    Collisions,
    PythiaRun,
    cross_section,
    for_tracker,
    seed_of,
)
from beampipe.simulation.pythia import collisions as soft_collisions
from beampipe.simulation.samples import SampleSpec, Slice, sample_spec
from beampipe.tables import load_table, save_tables

_HARD_EVENTS: Final = 50_000
"""Events of the hard process from which the cross section of a sample is estimated."""


def sample_spec_of(generator: str, pythia: tuple[str, ...], energy: float) -> SampleSpec:
    """The sample that Pythia generates: a shipped one with further lines, decays inside of the tracker included.

    Args:
        generator: name of the sample.
        pythia: further lines for Pythia.
        energy: centre-of-mass energy [TeV].
    """
    spec = for_tracker(sample_spec(generator))
    lines = [f"Beams:eCM = {1000 * energy:g}" if line.startswith("Beams:eCM") else line for line in spec.settings]
    return replace(spec, settings=(*lines, *pythia))


def write_cross_section(path: Path, spec: SampleSpec, part: Slice) -> None:
    """Estimate the cross section of a sample [pb], and write it as JSON."""
    keep_cross_section(path, cross_section(spec, part, _HARD_EVENTS))


def keep_cross_section(path: Path, value: float) -> None:
    """Write a cross section [pb] as JSON."""
    path.write_text(json.dumps({"cross_section": value}) + "\n", encoding="utf-8")


def generate(path: Path, spec: SampleSpec, part: Slice, seed: int, n_events: int, pileup: float, energy: float) -> None:
    """Generate collisions, and write their record: visible particles, partons and weights, and the tracker's particles.

    Events have soft collisions of the pile-up in common once there are `MOST_COLLISIONS` of them.

    Args:
        path: file to write.
        spec: the sample.
        part: range of the hard process.
        seed: seed of Pythia.
        n_events: number of collisions.
        pileup: mean number of further collisions in an event.
        energy: their centre-of-mass energy, that of the sample [TeV].
    """
    collisions, pool = PythiaRun(spec, part, seed).with_tracker_particles(n_events)
    soft = with_soft_collisions(n_events, pileup, seed, energy)
    save_tables(path, collisions=collisions, pool=pool, **soft)


def with_soft_collisions(n_events: int, pileup: float, seed: int, energy: float) -> dict[str, CollisionPool]:
    """The table of soft collisions of a record, by its name; none without pile-up. Arguments as of `generate`."""
    if pileup == 0:
        return {}
    n_soft = min(math.ceil(pileup * n_events + 5 * math.sqrt(pileup)), MOST_COLLISIONS)
    return {"soft": soft_collisions("soft", n_soft, seed_of(seed, n_soft), energy)}


def read_collisions(path: Path) -> Collisions:
    """The collisions of a record at particle level."""
    return load_table(path, "collisions", Collisions, first=0)


def hard_momenta(path: Path) -> list[Float64[ndarray, "_ 3"]]:
    """Momenta of the tracker's particles of each collision of a record, without pile-up [GeV]."""
    pool = load_table(path, "pool", CollisionPool)
    return [pool[number].momentum.astype(np.float64) for number in range(len(pool))]


def simulate(path: Path, record: Path, detector: DetectorSettings, seed: int, pileup: float = 0.0) -> None:
    """Take the particles of a record through the tracker, and write the hits of each event without losses.

    Args:
        path: file to write.
        record: file of `generate`.
        detector: the tracker.
        seed: seed of the vertices, of Fatras and of the measurements.
        pileup: mean number of further collisions in an event.
    """
    from beampipe.simulation.fatras import EventSimulator
    from beampipe.simulation.hadronic import interaction_table
    from beampipe.tracking.formats.parquet import write_simulated

    layout = detector.read()
    generator = EventGenerator(pileup=pileup, hard="jets", turn_hard=False)
    tracker = replace(Detector() if layout is None else Detector.of(layout), hadronic=detector.hadronic)
    pool = load_table(record, "pool", CollisionPool)
    simulator = EventSimulator(
        generator if layout is None else generator.at(layout.vertex),
        tracker,
        seed,
        load_table(record, "soft", CollisionPool) if pileup > 0 else None,
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
