"""Makes ntuples: the Pythia samples of the closure of the calibration, and those that ship with the package.

    python benchmarks/make_samples.py pythia [--workers 2]    # about an hour on one core; complete files are kept
    python benchmarks/make_samples.py calibration             # the sample of `beampipe calibration demo`
    python benchmarks/make_samples.py chain [--workers 2]     # the ntuples that `beampipe chain demo` adds to its own

`pythia` ends with pseudo-data from the independent sample, in which each track is kept with 93 % chance.

Data of `calibration` has 4 % fewer tracks in quark jets and 2 % fewer in gluon jets than simulation; the sample
`shower` has more in both. Forward jets are richer in quarks than in nature, so that a small sample shows the method.
Numbers keep 10 bits of their mantissa, so that the files are small.

Those of `chain` come from a chain with the settings of the demo and another seed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts

import numpy as np
from numpy import ndarray

import beampipe.calibration
from beampipe.calibration import RunSettings
from beampipe.chain.run import make_ntuples
from beampipe.chain.settings import SHIPPED, shipped_settings
from beampipe.simulation.ntuples import (
    Slice,
    ToyModel,
    inject,
    read_bookkeeping,
    read_ntuple,
    simulate_dijets,
    simulate_toy,
    write_ntuple,
)

FOLDER: Final = Path("runs/calibration")
SEED: Final = 20240901
SHOWERS: Final = ("fsr_up", "fsr_down", "vincia", "thermal", "lund", "monash", "me_proxy", "colour_reconnection")
DENSITIES: Final = ("pdf_cteq6l1", "pdf_mstw", "pdf_nnpdf31lo")
SAMPLES: Final = {
    "nominal": (90_000, 4),
    "nominal2": (45_000, 2),
    **dict.fromkeys((*SHOWERS, *DENSITIES), (18_000, 1)),
}
"""Number of events to generate and number of files per slice, by name of the sample."""

SLICES: Final = (Slice(470.0, 2400.0, 4.0, 1.0),)
KEPT_BITS: Final = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", choices=["pythia", "calibration", "chain"])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    {"pythia": pythia, "calibration": shipped_calibration, "chain": shipped_chain}[options.samples](options.workers)


def pythia(workers: int) -> None:
    """The samples of the closure."""
    for name, (events, files) in SAMPLES.items():
        made = simulate_dijets(name, FOLDER / "samples" / name, events, seed=SEED, files=files, workers=workers)
        print(f"{name}: {len(made)} files")
    source = sorted((FOLDER / "samples" / "nominal2").glob("*.root"))
    print(f"pseudo-data: {len(inject(source, FOLDER / 'pseudo', 'fewer_tracks'))} files")


def shipped_calibration(workers: int) -> None:
    """The toy sample of the demo of the calibration, which one process makes."""
    folder = Path(beampipe.calibration.__file__).parent / "data"
    for path in folder.glob("*.root"):
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
            columns = {item.name: getattr(events, item.name) for item in fields(events)}
            floats = {name: rounded(column) for name, column in columns.items() if is_float32(column)}
            events = replace(events, **floats)
            book = read_bookkeeping(path)
            if events.weight is not None:
                book["sum_weights"] = events.weight.sum(axis=0, dtype=np.float64)
            write_ntuple(folder / path.name, events, book)
            print(f"{path.name}: {(folder / path.name).stat().st_size / 1e6:.2f} MB")


def is_float32(column: object) -> bool:
    """Whether a column is an array of float32."""
    return getattr(column, "dtype", None) == np.float32


def rounded(values: ndarray) -> ndarray:
    """float32 rounded to a short mantissa."""
    drop = 23 - KEPT_BITS
    bits = values.view(np.uint32) + np.uint32(1 << (drop - 1))
    return (bits & np.uint32(0xFFFFFFFF ^ ((1 << drop) - 1))).view(np.float32)


def shipped_chain(workers: int) -> None:
    """The ntuples of the demo of the chain; simulation and store lie in a scratch folder."""
    with tempfile.TemporaryDirectory() as scratch:
        ntuples = make_ntuples(shipped_settings(Path(scratch)), RunSettings("processes", workers))
        for name, path in ntuples.items():
            shutil.copyfile(path, SHIPPED / f"{name}.root")
            print(SHIPPED / f"{name}.root")


if __name__ == "__main__":
    main()
