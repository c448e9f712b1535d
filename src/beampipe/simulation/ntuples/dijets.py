"""Simulated dijet samples as ntuples, made by Pythia."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError, InputError
from beampipe.jets.ntuple_format import CONSTITUENT_BRANCHES
from beampipe.jets.substructure import JetConstituents
from beampipe.processes import worker_pool
from beampipe.random_numbers import keys
from beampipe.simulation.jet_detector import jet_constituents, reconstruct
from beampipe.simulation.jets import particle_jets
from beampipe.simulation.ntuples.ntuple_files import (
    Events,
    file_name,
    new_bookkeeping,
    read_bookkeeping,
    write_ntuple,
)
from beampipe.simulation.pythia import Collisions, PythiaRun, cross_section, seed_of, settings_of
from beampipe.simulation.samples import SLICES, sample_spec

JET_PT: Final = 100.0
"""Transverse momentum of the softest jet in the files [GeV]."""

JET_ETA: Final = 4.5
"""Largest |eta| of a jet in the files."""

PAIR_PT: Final = 400.0
"""Events are written if the two leading jets both exceed this [GeV]."""

TRIGGER_PT: Final = 450.0
"""The trigger fires if the leading jet exceeds this [GeV]."""

CLUSTER_PT: Final = 80.0
"""Transverse momentum of the softest particle jet [GeV]: lower than `JET_PT` by more than the resolution."""

HARD_EVENTS: Final = 200_000
"""Events of the hard process from which the cross section of a slice is estimated."""

FIRST_RUN: Final = 364_700
"""Run number of slice 0; the others follow."""

_VERSION: Final = 1
"""Version of the detector, the PDF weights and the cuts above; files of another version are made again."""


@dataclass(frozen=True)
class FileSpec:
    """Specification of one file of a sample.

    Attributes:
        sample: name of the sample, see `SAMPLES`.
        slice_number: number of the slice, its place in `SLICES`.
        file_number: number of the file in its slice.
        n_files: number of files of the slice.
        n_events: number of events to generate.
        seed: seed of the whole production.
        path: path of the file.
        constituents: whether the file has the constituents of jets.
    """

    sample: str
    slice_number: int
    file_number: int
    n_files: int
    n_events: int
    seed: int
    path: Path
    constituents: bool = False

    @property
    def own_seed(self) -> int:
        """The seed of this file."""
        return seed_of(self.seed, sample_spec(self.sample).seed, self.slice_number, self.file_number)


def simulate_dijets(
    sample: str,
    folder: Path,
    events: int,
    *,
    seed: int = 1,
    files: int = 1,
    workers: int = 1,
    constituents: bool = False,
    progress: Callable[[Path], object] = lambda path: None,
) -> list[Path]:
    """Generate dijet events of a sample. Existing complete files with the same settings are kept.

    Args:
        sample: name of the sample, see `SAMPLES`.
        folder: output folder.
        events: number of events to generate in all slices together; `SLICES` says how they are shared.
        seed: seed of the production.
        files: number of files per slice.
        workers: number of processes.
        constituents: whether the files have the constituents of jets; they are four times as large then.
        progress: is called with each finished file.

    Returns:
        All files, by slice and number.

    Raises:
        UnknownNameError: no sample has that name.
        InputError: fewer than one event per file.
    """
    wanted = file_specs(sample, folder, events, seed, files, constituents)
    missing = []
    for spec in wanted:
        if is_made(spec):
            progress(spec.path)
        else:
            missing.append(spec)
    # One estimate for all files of a slice, since all carry the same cross section.
    numbers = sorted({spec.slice_number for spec in missing})
    sigma = {number: cross_section(sample_spec(sample), SLICES[number], HARD_EVENTS) for number in numbers}
    if workers <= 1:
        for spec in missing:
            progress(produce(spec, sigma[spec.slice_number]))
    else:
        with worker_pool(workers, max_tasks_per_child=1) as pool:
            made = [pool.submit(produce, spec, sigma[spec.slice_number]) for spec in missing]
            for done in as_completed(made):
                progress(done.result())
    return [spec.path for spec in wanted]


def file_specs(
    sample: str, folder: Path, events: int, seed: int, files: int, constituents: bool = False
) -> list[FileSpec]:
    """The files that make up a sample.

    Args:
        sample: name of the sample, see `SAMPLES`.
        folder: where the files go.
        events: number of events in all slices together.
        seed: seed of the production.
        files: number of files per slice.
        constituents: whether the files have the constituents of jets.

    Raises:
        UnknownNameError: no sample has that name.
        InputError: fewer than one event per file.
    """
    sample_spec(sample)  # an unknown name fails here
    out = []
    for number, part in enumerate(SLICES):
        n_events = round(events * part.share)
        if not 1 <= files <= n_events:
            raise InputError(
                f"{sample}, slice {number}: got {n_events} events for {files} files, expected one or more per file"
            )
        edges = np.linspace(0, n_events, files + 1).round().astype(int)
        for k in range(files):
            path = folder / file_name(sample, number, k)
            n = int(edges[k + 1] - edges[k])
            out.append(FileSpec(sample, number, k, files, n, seed, path, constituents))
    return out


def is_made(file: FileSpec) -> bool:
    """Whether a file exists, is complete and has the same settings."""
    if not file.path.exists():
        return False
    try:
        bookkeeping = read_bookkeeping(file.path)
    except FileError:
        return False
    made = json.loads(bookkeeping["settings"])
    lines = settings_of(sample_spec(file.sample), SLICES[file.slice_number], file.own_seed)
    same = made["request"] == _request(file) and made["settings"] == list(lines)
    return bool(same and bookkeeping["n_files"] == file.n_files)


def produce(file: FileSpec, sigma: float) -> Path:
    """Generate one file.

    Args:
        file: the file.
        sigma: cross section of its slice [pb].

    Returns:
        The path of the file.
    """
    spec, part = sample_spec(file.sample), SLICES[file.slice_number]
    generator = PythiaRun(spec, part, file.own_seed)
    parts, total = [], np.zeros(len(generator.weight_names))
    for collisions in generator.batches(file.n_events):
        total += collisions.weights.sum(axis=0)
        run = FIRST_RUN + file.slice_number
        parts.append(detected(collisions, file.own_seed, run, file.file_number, with_constituents=file.constituents))
    settings = {
        "generator": "Pythia",
        "version": generator.version,
        "settings": generator.settings,
        "request": _request(file),
        "note": spec.note,
    }
    bookkeeping = new_bookkeeping(
        dataset=file.sample,
        slice=file.slice_number,
        file_number=file.file_number,
        n_slices=len(SLICES),
        n_files=file.n_files,
        n_generated=file.n_events,
        cross_section=sigma,
        sum_weights=total,
        weight_names=generator.weight_names,
        settings=settings,
    )
    write_ntuple(file.path, Events.join(parts), bookkeeping)
    return file.path


def detected(
    collisions: Collisions, seed: int, run: int, file_number: int, *, with_constituents: bool = False
) -> Events:
    """Reconstructed events of the collisions: events with two jets above `PAIR_PT`, with their jets above `JET_PT`.

    Args:
        collisions: the collisions at particle level.
        seed: seed of the detector; with the numbers of the events it determines every random number.
        run: number of the run.
        file_number: number of the file, which makes the numbers of its events differ from those of other files.
        with_constituents: whether the events have the constituents of their jets.
    """
    event_number = collisions.first + np.arange(len(collisions))
    jets = particle_jets(collisions, CLUSTER_PT, JET_ETA)
    event_key = keys(np.full(len(collisions), seed), event_number)
    seen = reconstruct(jets, event_key)

    order = np.lexsort((-seen.pt, jets.event))
    order = order[seen.pt[order] > JET_PT]
    pt, event = seen.pt[order], jets.event[order]
    hard = np.bincount(event[pt > PAIR_PT], minlength=len(collisions))
    written = hard >= 2
    order, event, pt = order[written[event]], event[written[event]], pt[written[event]]
    picked = np.flatnonzero(written)
    offset = np.searchsorted(event, np.append(picked, len(collisions))).astype(np.int64)
    single: dict[str, Any] = {name: getattr(jets, name)[order].astype(np.float32) for name in ("eta", "phi")}
    single |= {name: getattr(seen, name)[order].astype(np.float32) for name in ("width", "c1")}
    counts = {name: getattr(seen, name)[order].astype(np.uint16) for name in ("n_trk", "n_trk_eff", "n_trk_fake")}
    return Events(
        run=np.full(len(picked), run, dtype=np.uint32),
        event=(file_number * 10**9 + event_number[picked]).astype(np.uint64),
        trigger=pt[offset[:-1]] > TRIGGER_PT,
        offset=offset,
        jet_pt=pt.astype(np.float32),
        jet_clean=seen.clean[order],
        jet_label=jets.label[order].astype(np.int8),
        weight=collisions.weights[picked].astype(np.float32),
        **{f"jet_{name}": column for name, column in {**single, **counts}.items()},
        **(_constituent_columns(jet_constituents(jets, event_key), order, offset) if with_constituents else {}),
    )


def _constituent_columns(
    constituents: JetConstituents, jets: Int64[ndarray, " n_jets"], first_jet: Int64[ndarray, " n_events_1"]
) -> dict[str, Any]:
    """The columns of `Events` for the constituents of some jets, given their rows and the first jet of each event."""
    chosen = constituents.take(jets)
    number = np.arange(len(jets)) - np.repeat(first_jet[:-1], np.diff(first_jet))
    columns = {
        "constituent_offset": chosen.offset[first_jet],
        "constituent_jet": np.repeat(number, np.diff(chosen.offset)).astype(np.uint8),
    }
    for name, kind in CONSTITUENT_BRANCHES.items():
        if name not in columns:
            columns[name] = getattr(chosen, name.removeprefix("constituent_")).astype(kind)
    return columns


def _request(file: FileSpec) -> dict[str, Any]:
    """The settings stored in a file; a file with the same settings need not be made again."""
    spec, part = sample_spec(file.sample), SLICES[file.slice_number]
    return {
        "version": _VERSION,
        "seed": file.own_seed,
        "n_events": file.n_events,
        "settings": [*spec.settings, *part.settings],
        "varied": spec.varied,
        **({"constituents": True} if file.constituents else {}),
    }
