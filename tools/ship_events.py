"""Makes the events that ship with the package from clean simulated ones: hits lost, noise added, coordinates rounded.

python tools/ship_events.py clean.parquet -o src/beampipe/tracking/data/mu200.parquet -n 1 --seed 1
python tools/ship_events.py clean.parquet -o src/beampipe/tracking/data/training.parquet -n 30 --for-training
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32
from beampipe.events import Event, Hits, Particles, Truth
from beampipe.simulation.degradation import DEFAULT, degrade
from beampipe.tracking.formats import open_events, write_events

_LENGTH_STEP: Final = 2.0**-10  # mm: a power of two leaves trailing zero bits, which compress
_ANGLE_STEP: Final = 2.0**-20  # rad: 1 um at r = 1 m
_COARSER: Final = 4.0  # steps of the many events for training; still below the resolution of any module


def main() -> None:
    """Degrade the first events of a file by the default, slim them and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clean", type=Path, help="file of clean simulated events")
    parser.add_argument("-o", "--output", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("-n", "--events", type=int, default=1, help="number of events to take")
    parser.add_argument("--seed", type=int, default=1, help="seed of losses and noise")
    parser.add_argument("--for-training", action="store_true", help="lose no hits, leave out local coordinates")
    options = parser.parse_args()
    first = islice(open_events(options.clean), options.events)
    if options.for_training:
        shipped = (slim(event, _COARSER, local=False) for event in first)
    else:
        shipped = (slim(degrade(event, DEFAULT, options.seed, run_seed=options.seed)) for event in first)
    write_events(options.output, shipped, compression_level=19)
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB")


def slim(event: Event, coarser: float = 1.0, *, local: bool = True) -> Event:
    """Round to about a micrometre and leave out the particles that made no hit.

    Args:
        event: a simulated event.
        coarser: factor on the steps that coordinates of hits are rounded to.
        local: whether to keep the local coordinates of hits and their variances.
    """
    hits = event.hits
    length, angle = coarser * _LENGTH_STEP, coarser * _ANGLE_STEP
    position = _rounded(hits.position, (length, angle, length))
    if local and hits.local is not None:
        slimmed = Hits(position, hits.geometry_id, _rounded(hits.local, length), hits.variance)
    else:
        slimmed = Hits(position, hits.geometry_id)
    return replace(event, hits=slimmed, truth=None if event.truth is None else _seen(event.truth))


def _rounded(values: Float32[ndarray, ...], step: float | tuple[float, ...]) -> Float32[ndarray, ...]:
    steps = np.array(step, np.float32)
    return np.asarray(np.rint(values / steps) * steps, np.float32)


def _seen(truth: Truth) -> Truth:
    old = truth.particles
    keep = np.isin(old.particle_id, np.concatenate([truth.particle_id, truth.shared_particle]))
    particles = Particles(
        old.particle_id[keep],
        old.pdg[keep],
        old.charge[keep],
        _rounded(old.momentum[keep], _LENGTH_STEP),
        _rounded(old.vertex[keep], _LENGTH_STEP),
        old.primary[keep],
    )
    return replace(truth, particles=particles)


if __name__ == "__main__":
    main()
