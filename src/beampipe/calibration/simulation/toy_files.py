"""Files of toy events, in the layout of simulation or of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final, Literal

import numpy as np

from beampipe.calibration.ntuple.columns import FORMAT
from beampipe.calibration.simulation.samples import Slice
from beampipe.calibration.simulation.toy import MODEL, WHOLE, ToyModel, toy_events, toy_weight_names
from beampipe.calibration.simulation.write import file_name, write_file
from beampipe.errors import InputError

__all__ = ["TOY_SLICES", "simulate_toy"]

TOY_SLICES: Final = (Slice(470.0, 800.0, 4.0, 0.45), Slice(800.0, 1300.0, 4.0, 0.33), Slice(1300.0, 2400.0, 4.0, 0.22))
"""Events of the toy are spread evenly in pT within a slice."""


def simulate_toy(
    folder: Path,
    events: int,
    *,
    files: int = 1,
    n_weights: int = 1,
    seed: int = 1,
    kind: Literal["simulation", "data"] = "simulation",
    slices: tuple[Slice, ...] = TOY_SLICES,
    model: ToyModel = MODEL,
    dataset: str = "toy",
    progress: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Write toy events in the layout of the simulation or, with ``kind="data"``, of data.

    Simulated samples of any size and data of N events agree for a luminosity of ``N / model.total`` [1/pb].

    Args:
        folder: where the files go; files of the same name are replaced.
        events: in all files together.
        files: in all slices together, at least one per slice; data has one slice.
        n_weights: see `toy_events`.
        seed: of everything.
        kind: see `toy_events`.
        slices: for simulation; each gets its share of the events and of the files.
        model: the laws.
        dataset: name in the files.
        progress: called with each file once it is there.

    Returns:
        The files, by slice and number.

    Raises:
        InputError: fewer files than slices, or fewer events than files.
    """
    parts = (WHOLE,) if kind == "data" else slices
    if not len(parts) <= files <= events:
        raise InputError(
            f"toy: got {files} files for {events} events in {len(parts)} slices, expected one or more of each"
        )
    per_slice = [files // len(parts) + (number < files % len(parts)) for number in range(len(parts))]
    names = ("nominal",) if kind == "data" else toy_weight_names(n_weights)
    out = []
    for number, (part, n_files) in enumerate(zip(parts, per_slice, strict=True)):
        edges = np.linspace(0, round(events * part.share), n_files + 1).round().astype(int).tolist()
        for k in range(n_files):
            size = edges[k + 1] - edges[k]
            made = toy_events(
                size,
                int(np.random.SeedSequence([seed, kind == "data", number, k]).generate_state(1)[0]),
                n_weights=n_weights,
                kind=kind,
                part=part,
                model=model,
                run=1 + number,
                first_event=k * 10**9,
            )
            data = made.weight is None
            sums = [float(size)] if made.weight is None else made.weight.sum(axis=0, dtype=np.float64)
            settings = {"generator": "toy", "version": 1, "seed": seed, "kind": kind, "model": asdict(model)}
            path = folder / file_name(dataset, number, k)
            bookkeeping = {
                "format": FORMAT,
                "dataset": dataset,
                "slice": number,
                "file_number": k,
                "n_slices": len(parts),
                "n_files": n_files,
                "n_generated": size,
                "cross_section": 0.0 if data else model.cross_section(part.low, part.high),
                "filter_efficiency": 1.0,
                "sum_weights": np.array(sums),
                "weight_names": ",".join(names),
                "settings": json.dumps(settings | {"slice": asdict(part)}),
            }
            write_file(path, made, bookkeeping)
            out.append(path)
            if progress:
                progress(path)
    return out
