"""Makes the files of a sample: one process per file, each from its own seed, and only those that are not there yet."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.calibration.ntuple.columns import FORMAT
from beampipe.calibration.simulation.detector import reconstruct
from beampipe.calibration.simulation.jets import particle_jets
from beampipe.calibration.simulation.pythia import Collisions, Generator, cross_section, settings_of
from beampipe.calibration.simulation.randoms import keys
from beampipe.calibration.simulation.samples import SLICES, sample_spec
from beampipe.calibration.simulation.write import Events, file_name, read_bookkeeping, write_file
from beampipe.errors import FileError, InputError
from beampipe.pythia import seed_of

__all__ = ["PAIR_PT", "TRIGGER_PT", "Task", "detected", "produce", "simulate", "tasks"]

JET_PT: Final = 100.0
"""Softest jet in the files [GeV]."""

JET_ETA: Final = 4.5
"""Largest |eta| of a jet in the files."""

PAIR_PT: Final = 400.0
"""Events are written if the two leading jets both exceed this [GeV]."""

TRIGGER_PT: Final = 450.0
"""The trigger fires if the leading jet exceeds this [GeV]."""

CLUSTER_PT: Final = 80.0  # of the particle jet; lower than `JET_PT` by more than the resolution
HARD_EVENTS: Final = 200_000  # of the hard process, for the cross section of a slice
FIRST_RUN: Final = 364_700  # run number of slice 0
_VERSION: Final = 1  # of detector, PDF weights and cuts above; files of another version are made anew


@dataclass(frozen=True)
class Task:
    """One file to be made.

    Attributes:
        sample: name of its `SampleSpec`.
        slice_number: place in `SLICES`.
        file_number: in its slice.
        n_files: of its slice.
        n_events: to generate.
        seed: of the whole production.
        path: where the file goes.
    """

    sample: str
    slice_number: int
    file_number: int
    n_files: int
    n_events: int
    seed: int
    path: Path

    @property
    def own_seed(self) -> int:
        """Of this file alone."""
        return seed_of(self.seed, sample_spec(self.sample).seed, self.slice_number, self.file_number)


def simulate(
    sample: str,
    folder: Path,
    events: int,
    *,
    seed: int = 1,
    files: int = 1,
    workers: int = 1,
    progress: Callable[[Path], object] | None = None,
) -> list[Path]:
    """Generate a sample. Complete files of the same settings are kept, so a second call does what is left.

    Args:
        sample: name in `SAMPLES`.
        folder: where the files go.
        events: to generate in all slices together; `SLICES` says how they are shared.
        seed: of the production.
        files: per slice.
        workers: processes.
        progress: called with each file once it is there.

    Returns:
        All files, by slice and number.

    Raises:
        UnknownNameError: there is no such sample.
        InputError: fewer than one event per file.
    """
    todo = tasks(sample, folder, events, seed, files)
    tell = progress or (lambda path: None)
    missing = []
    for task in todo:
        if is_made(task):
            tell(task.path)
        else:
            missing.append(task)
    # All files of a slice carry one number, from one estimate.
    numbers = sorted({task.slice_number for task in missing})
    sigma = {number: cross_section(sample_spec(sample), SLICES[number], HARD_EVENTS) for number in numbers}
    if workers <= 1:
        for task in missing:
            tell(produce(task, sigma[task.slice_number]))
    else:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, max_tasks_per_child=1) as pool:
            for done in as_completed([pool.submit(produce, task, sigma[task.slice_number]) for task in missing]):
                tell(done.result())
    return [task.path for task in todo]


def tasks(sample: str, folder: Path, events: int, seed: int, files: int) -> list[Task]:
    """The files of a sample; see `simulate`."""
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
            out.append(Task(sample, number, k, files, int(edges[k + 1] - edges[k]), seed, path))
    return out


def is_made(task: Task) -> bool:
    """True if the file of a task is there, complete and with the same settings."""
    if not task.path.exists():
        return False
    try:
        found = read_bookkeeping(task.path)
    except FileError:
        return False
    made = json.loads(found["settings"])
    lines = settings_of(sample_spec(task.sample), SLICES[task.slice_number], task.own_seed)
    same = made["request"] == _request(task) and made["settings"] == list(lines)
    return bool(same and found["n_files"] == task.n_files)


def produce(task: Task, sigma: float) -> Path:
    """Generate one file, of a slice with the cross section `sigma` [pb]."""
    spec, part = sample_spec(task.sample), SLICES[task.slice_number]
    generator = Generator(spec, part, task.own_seed)
    parts, total = [], np.zeros(len(generator.weight_names))
    for collisions in generator.batches(task.n_events):
        total += collisions.weights.sum(axis=0)
        parts.append(detected(collisions, task.own_seed, FIRST_RUN + task.slice_number, task.file_number))
    settings = {
        "generator": "Pythia",
        "version": generator.version,
        "settings": generator.settings,
        "request": _request(task),
        "note": spec.note,
    }
    bookkeeping = {
        "format": FORMAT,
        "dataset": task.sample,
        "slice": task.slice_number,
        "file_number": task.file_number,
        "n_slices": len(SLICES),
        "n_files": task.n_files,
        "n_generated": task.n_events,
        "cross_section": sigma,
        "filter_efficiency": 1.0,
        "sum_weights": total,
        "weight_names": ",".join(generator.weight_names),
        "settings": json.dumps(settings),
    }
    write_file(task.path, Events.join(parts), bookkeeping)
    return task.path


def detected(collisions: Collisions, seed: int, run: int, file_number: int) -> Events:
    """What the detector records of some collisions: events with two jets above `PAIR_PT`, jets above `JET_PT`.

    Args:
        collisions: at particle level.
        seed: of the detector; with the numbers of the events it fixes every random number.
        run: number of the run.
        file_number: makes the numbers of the events differ between files.
    """
    event_number = collisions.first + np.arange(len(collisions))
    jets = particle_jets(collisions, CLUSTER_PT, JET_ETA)
    seen = reconstruct(jets, keys(np.full(len(collisions), seed), event_number))

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
    )


def _request(task: Task) -> dict[str, Any]:
    """What a file was asked to be; a file of the same request need not be made again."""
    spec, part = sample_spec(task.sample), SLICES[task.slice_number]
    return {
        "version": _VERSION,
        "seed": task.own_seed,
        "n_events": task.n_events,
        "settings": [*spec.settings, *part.settings],
        "varied": spec.varied,
    }
