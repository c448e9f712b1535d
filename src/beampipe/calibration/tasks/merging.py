"""Merging: the histograms of all chunks of a slice become one, and no event may count twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Shaped
from beampipe.calibration.histograms.sums import merge, read_filled, write_filled
from beampipe.calibration.jets.dijets import RunRange
from beampipe.calibration.ntuple.source import open_source
from beampipe.calibration.tasks.chunks import Chunk, run_chunks
from beampipe.calibration.tasks.plan import Plan, SamplePlan
from beampipe.calibration.tasks.workers import Workers, run_leased
from beampipe.errors import FileError, WorkflowError
from beampipe.workflow import Recipe, Store, Task

__all__ = ["fill_and_merge"]

_EVENT: Final = np.dtype([("run", "u8"), ("event", "u8")])


class _OpenSlice(NamedTuple):
    """A slice that is not merged yet."""

    sample: SamplePlan
    number: int

    @property
    def merged(self) -> Recipe:
        return self.sample.merged[self.number]

    @property
    def parts(self) -> tuple[Recipe, ...]:
        return self.sample.parts[self.number]


def fill_and_merge(store: Store, workers: Workers, plan: Plan) -> None:
    """Stage 3: fill all chunks of the slices that are not merged yet, then merge them.

    Raises:
        WorkflowError: chunks failed; all others are done and kept.
        FileError: an event is in two files.
    """
    merged = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    if all(store.find(recipe) is not None for recipe in (*merged, plan.reweight, plan.extract, plan.factors)):
        return  # nothing will be read, so nothing need be verified
    slices = [
        _OpenSlice(sample, number)
        for sample in plan.samples.values()
        for number, recipe in sample.merged.items()
        if store.load(recipe) is None
    ]
    wanted = {part.key for each in slices for part in each.parts}
    chunks = [chunk for chunk in plan.chunks if chunk.recipes.fill.key in wanted]
    run_chunks(store, workers, chunks, "fill")
    for name in dict.fromkeys(each.sample.sample.name for each in slices):
        _refuse_shared_events(store, plan.samples[name].chunks)
    tasks = [
        Task(each.merged.label, run_leased, (store, each.merged, _merge_slice, store, each.merged, each.parts))
        for each in slices
    ]
    while True:
        try:
            workers.run("merge", tasks)
            return
        except WorkflowError:
            # A damaged histogram is moved aside by whoever reads it, and is then missing.
            if not any(chunk.lacks("fill", store) for chunk in chunks):
                raise
            run_chunks(store, workers, chunks, "fill")


def _merge_slice(store: Store, recipe: Recipe, parts: tuple[Recipe, ...]) -> None:
    """The task that adds up the histograms of one slice."""
    if store.load(recipe) is None:
        store.write(
            recipe, ".npz", lambda path: write_filled(merge(read_filled(store.require(part)) for part in parts), path)
        )


def _refuse_shared_events(store: Store, chunks: Sequence[Chunk]) -> None:
    """No event may be in two chunks. Ranges of event numbers tell most of them apart; the others are read again."""
    by_run: dict[int, list[tuple[RunRange, Chunk]]] = defaultdict(list)
    for chunk in chunks:
        for numbers in store.about(chunk.recipes.fill.key)["notes"]["ranges"]:
            span = RunRange(*numbers)
            by_run[span.run].append((span, chunk))
    suspects = {(chunk.path, chunk.start): chunk for spans in by_run.values() for chunk in _overlapping(spans)}
    if len(suspects) > 1:
        _refuse_equal_events(list(suspects.values()))


def _overlapping(spans: Sequence[tuple[RunRange, Chunk]]) -> Iterator[Chunk]:
    """Chunks whose ranges of event numbers within one run overlap."""
    reach, before = -1, None
    for span, chunk in sorted(spans, key=lambda each: each[0]):
        if span.first <= reach and before is not None:
            yield from (before, chunk)
        if span.last > reach:
            reach, before = span.last, chunk


def _refuse_equal_events(chunks: Sequence[Chunk]) -> None:
    """Read the numbers of all events, and name two files that share one."""
    parts = [_event_numbers(chunk) for chunk in chunks]
    every = np.concatenate(parts)
    owner = np.repeat(np.arange(len(chunks)), [len(part) for part in parts])
    order = np.argsort(every, kind="stable")
    same = np.flatnonzero(every[order][1:] == every[order][:-1])
    if len(same):
        one, other = (chunks[owner[order[place]]] for place in (same[0], same[0] + 1))
        run_number, event = every[order[same[0]]]
        raise FileError(
            f"{other.path}: got run {run_number}, event {event}, which is also in {one.path};"
            " expected each event once: leave one of the files out",
            path=other.path,
        )


def _event_numbers(chunk: Chunk) -> Shaped[ndarray, " n"]:
    """Run and event number of each event of a chunk."""
    part = np.empty(chunk.stop - chunk.start, _EVENT)
    with open_source(chunk.path, chunk.select.layout, chunk.start, chunk.stop) as source:
        for name in _EVENT.names or ():
            part[name] = source.flat(name)
    return part
