"""Files of toy events, in the layout of simulation or of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from beampipe.calibration.simulation.samples import Slice
from beampipe.calibration.simulation.toy import MODEL, WHOLE, ToyModel, toy_events, toy_weight_names
from beampipe.calibration.simulation.write import Events, file_name, new_bookkeeping, write_ntuple
from beampipe.errors import InputError

__all__ = ["TOY_SLICES", "simulate_toy"]

TOY_SLICES: Final = (
    Slice(470.0, 800.0, 4.0, 0.45),
    Slice(800.0, 1300.0, 4.0, 0.33),
    Slice(1300.0, 2400.0, 4.0, 0.22),
)
"""The slices of the toy; its events are spread evenly in pT within a slice."""

_VERSION: Final = 1
"""Version of the toy's laws, kept in its files."""


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
    progress: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Write toy events in the layout of the simulation or, with ``kind="data"``, of data.

    Simulated samples of any size and data of N events agree for a luminosity of ``N / model.total`` [1/pb].

    Args:
        folder: where the files go; files of the same name are replaced.
        events: number of events in all files together.
        files: number of files in all slices together, at least one per slice; data has one slice.
        n_weights: number of weights of each event, see `toy_weight_names`; data has none.
        seed: seed of all random numbers.
        kind: whether the files look like simulation or like data, see `toy_events`.
        slices: slices of the simulation; each gets its share of the events and of the files.
        model: the laws that the events follow.
        dataset: name of the dataset in the files.
        progress: is called with each file once it is there.

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
    sample = _ToySample(dataset, kind, n_weights, seed, len(parts), model)
    out = []
    for file in _files_of(events, files, parts):
        path = folder / file_name(dataset, file.slice_number, file.number)
        write_ntuple(path, *_draw(sample, file))
        out.append(path)
        progress(path)
    return out


@dataclass(frozen=True)
class _ToySample:
    """What all files of a sample share; see `simulate_toy`."""

    dataset: str
    kind: Literal["simulation", "data"]
    n_weights: int
    seed: int
    n_slices: int
    model: ToyModel


@dataclass(frozen=True)
class _ToyFile:
    """One file that is to be made.

    Attributes:
        part: the slice that its events are drawn from.
        slice_number: number of the slice.
        number: number of the file in its slice.
        n_files: number of files of the slice.
        n_events: number of events of the file.
    """

    part: Slice
    slice_number: int
    number: int
    n_files: int
    n_events: int


def _draw(sample: _ToySample, file: _ToyFile) -> tuple[Events, dict[str, Any]]:
    """The events of a file, and its bookkeeping."""
    data, model, part = sample.kind == "data", sample.model, file.part
    seed = np.random.SeedSequence([sample.seed, data, file.slice_number, file.number])
    events = toy_events(
        file.n_events,
        int(seed.generate_state(1)[0]),
        n_weights=sample.n_weights,
        kind=sample.kind,
        part=part,
        model=model,
        run=1 + file.slice_number,
        first_event=file.number * 10**9,
    )
    settings = {"generator": "toy", "version": _VERSION, "seed": sample.seed, "kind": sample.kind}
    bookkeeping = new_bookkeeping(
        dataset=sample.dataset,
        slice=file.slice_number,
        file_number=file.number,
        n_slices=sample.n_slices,
        n_files=file.n_files,
        n_generated=file.n_events,
        cross_section=0.0 if data else model.cross_section(part.low, part.high),
        sum_weights=np.array([float(file.n_events)] if events.weight is None else events.weight.sum(0, np.float64)),
        weight_names=("nominal",) if data else toy_weight_names(sample.n_weights),
        settings=settings | {"model": asdict(model), "slice": asdict(part)},
    )
    return events, bookkeeping


def _files_of(events: int, files: int, parts: tuple[Slice, ...]) -> Iterator[_ToyFile]:
    """Share events and files among slices: events by the slices' shares, files evenly, the first slices one more."""
    for slice_number, part in enumerate(parts):
        n_files = files // len(parts) + (slice_number < files % len(parts))
        edges = np.linspace(0, round(events * part.share), n_files + 1).round().astype(int).tolist()
        for number in range(n_files):
            yield _ToyFile(part, slice_number, number, n_files, edges[number + 1] - edges[number])
