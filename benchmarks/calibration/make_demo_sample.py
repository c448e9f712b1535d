"""Makes the sample that ships with the package: `python benchmarks/calibration/make_demo_sample.py`.

Data has 4 % fewer tracks in quark jets and 2 % fewer in gluon jets than simulation; the sample `shower` has more in
both. Forward jets are richer in quarks than in nature, so that a small sample shows the method. Numbers keep 10 bits
of their mantissa, so that the files are small.
"""

from __future__ import annotations

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import beampipe.terminal.scripts

import numpy as np
from numpy import ndarray

import beampipe.calibration
from beampipe.simulation.ntuples import Slice, ToyModel, read_bookkeeping, read_ntuple, simulate_toy, write_ntuple

FOLDER = Path(beampipe.calibration.__file__).parent / "data"
SLICES = (Slice(470.0, 2400.0, 4.0, 1.0),)
KEPT_BITS = 10


def rounded(values: ndarray) -> ndarray:
    """float32 rounded to a short mantissa."""
    drop = 23 - KEPT_BITS
    bits = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (bits & np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))).view(np.float32)


def main() -> None:
    for path in FOLDER.glob("*.root"):
        path.unlink()
    with tempfile.TemporaryDirectory() as scratch:
        few = ToyModel(extra_jets=0.2, fraction_eta=0.35)
        data = replace(few, quark_tracks=0.96, gluon_tracks=0.98)
        shower = replace(few, quark_tracks=1.05, gluon_tracks=1.05)
        made = [
            *simulate_toy(Path(scratch), 19000, n_weights=8, seed=11, slices=SLICES, dataset="toy", model=few),
            *simulate_toy(Path(scratch), 14000, seed=12, kind="data", dataset="toy_data", model=data),
            *simulate_toy(Path(scratch), 11000, seed=13, slices=SLICES, dataset="toy_shower", model=shower),
        ]
        for path in made:
            events = read_ntuple(path)
            floats = {
                item.name: rounded(getattr(events, item.name))
                for item in fields(events)
                if getattr(getattr(events, item.name), "dtype", None) == np.float32
            }
            events = replace(events, **floats)
            book = read_bookkeeping(path)
            if events.weight is not None:
                book["sum_weights"] = events.weight.sum(axis=0, dtype=np.float64)
            write_ntuple(FOLDER / path.name, events, book)
            print(f"{path.name}: {(FOLDER / path.name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
