"""Makes the event files that benchmarks read, the samples of the closure, and the ntuples that ship with the package.

    python benchmarks/make_samples.py events [--workers 2] [--only test200]    # a quarter of an hour on one core
    python benchmarks/make_samples.py pythia [--workers 2]    # about an hour on one core; complete files are kept
    python benchmarks/make_samples.py calibration             # the sample of `beampipe calibration demo`
    python benchmarks/make_samples.py chain [--workers 2]     # the ntuples that `beampipe chain demo` adds to its own

`events` have held-out seeds: no collision is shared with those that anything was trained or tuned on. Files that are
there are kept.

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
from collections.abc import Sequence
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
from beampipe.simulation.detector import Detector
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
from beampipe.simulation.primaries import EventGenerator
from beampipe.simulation.run import simulate_events
from beampipe.tracking.formats.parquet import write_simulated

FOLDER: Final = Path("runs/calibration")
SEED: Final = 20240901
SHOWERS: Final = ("fsr_up", "fsr_down", "vincia", "thermal", "lund", "monash", "me_proxy", "colour_reconnection")
DENSITIES: Final = ("pdf_cteq6l1", "pdf_mstw", "pdf_nnpdf31lo")
EVENTS: Final = {
    "test200": (24, 200.0, "ttbar", 1.0),
    "test60": (20, 60.0, "ttbar", 1.0),
    "test0": (1000, 0.0, "none", 1.0),
    "test200_field098": (20, 200.0, "ttbar", 0.98),
}
"""File -> events, mean pile-up, hard process, factor on the field."""
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
    parser.add_argument("samples", choices=["events", "pythia", "calibration", "chain"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=EVENTS, default=list(EVENTS), help="files of events")
    options = parser.parse_args()
    if options.samples == "events":
        simulated_events(options.workers, options.only)
        return
    {"pythia": pythia, "calibration": shipped_calibration, "chain": shipped_chain}[options.samples](options.workers)


def simulated_events(workers: int, names: Sequence[str]) -> None:
    """The event files of other benchmarks."""
    for name in names:
        path = Path("runs/events") / f"{name}.parquet"
        if not path.is_file():
            n_events, mu, hard, field_scale = EVENTS[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            generator = EventGenerator(pileup=mu, hard=hard, pool_size=10_000)
            detector = Detector(field_scale=field_scale)
            write_simulated(path, simulate_events(n_events, generator, detector, seed=4, workers=workers))
        print(path, flush=True)


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
