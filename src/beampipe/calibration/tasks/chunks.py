"""The work on chunks of files: digests of contents, stages 1 to 3 of each chunk, and merging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from beampipe.calibration.config import Configuration, Tagger
from beampipe.calibration.events.dijets import Dijets, RunRange, read_dijets, write_dijets
from beampipe.calibration.events.fill import FilledChunk, fill_file, fill_table
from beampipe.calibration.events.histograms import merge, read_filled, write_filled
from beampipe.calibration.events.scores import ScoreJets, Scores, predict, read_scores, score_function, write_scores
from beampipe.calibration.events.select import select
from beampipe.calibration.jet_changes import function_digest
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.ntuple.columns import open_source
from beampipe.calibration.tasks.inspection import InspectedFile
from beampipe.calibration.tasks.plan import (
    Chunk,
    Plan,
    chunks_of,
    models_of,
    ranges_of,
    refuse_same_dataset,
    settings_of,
)
from beampipe.calibration.tasks.runtime import Workers, Workspace, run_leased
from beampipe.errors import ConfigError, FileError, WorkflowError
from beampipe.workflow import FileDigests, Recipe, Store, Task


def run_chunks(store: Store, workers: Workers, chunks: Iterable[Chunk], until: str) -> None:
    """Make the missing artifacts of many chunks.

    Args:
        store: store of the artifacts.
        workers: where the tasks run.
        chunks: chunks to work on.
        until: the last stage: select, predict or fill.

    Raises:
        WorkflowError: some chunks failed, after all others were done.
    """
    workers.run(until, [chunk_task(store, chunk, until) for chunk in chunks if chunk.lacks(until, store)])


def chunk_task(store: Store, chunk: Chunk, until: str) -> Task[None]:
    """The task that makes the missing artifacts of a chunk; a lease on its selection excludes other runs."""
    return Task(chunk.label, run_leased, (store, chunk.recipes.select, run_chunk, store, chunk, until))


def run_chunk(store: Store, chunk: Chunk, until: str) -> None:
    """Make the missing artifacts of a chunk.

    Args:
        store: store of the artifacts.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill. The first two keep their tables.
    """
    recipe = chunk.recipes.fill
    if until != "fill":
        dijets = _dijets(store, chunk, keep=True)
        if until == "predict":
            _scores(store, chunk, dijets, keep=True)
    elif store.load(recipe) is None:
        if store.log is not None:
            store.log.write("start", stage="fill", key=recipe.key, label=recipe.label, path=chunk.fill_path.kind)
        made = _filled(store, chunk)
        if made.refusal and store.log is not None:
            store.log.write("numpy", stage="fill", key=recipe.key, label=recipe.label, reason=made.refusal)
        notes = {"ranges": made.ranges, "events": made.n_selected}
        store.write(recipe, ".npz", partial(write_filled, made.filled), notes=notes)


def _filled(store: Store, chunk: Chunk) -> FilledChunk:
    """The histograms: in one pass over the file, or from the table of selected events."""
    recipe, settings = chunk.recipes.select, chunk.settings
    if chunk.fill_path.kind == "one pass" and store.find(recipe) is None:
        began = perf_counter()
        made = fill_file(
            chunk.path, chunk.start, chunk.stop, settings.select, settings.fill, with_table=chunk.keep_tables
        )
        _refuse_change(chunk)
        if made.dijets is not None:
            seconds = perf_counter() - began
            store.write(recipe, ".parquet", partial(write_dijets, made.dijets), seconds=seconds)
        return made
    dijets = _dijets(store, chunk, keep=chunk.keep_tables)
    scores = _scores(store, chunk, dijets, keep=chunk.keep_tables)
    return FilledChunk(fill_table(dijets, scores, settings.fill), dijets.ranges, len(dijets))


def _dijets(store: Store, chunk: Chunk, *, keep: bool) -> Dijets:
    """The table of dijet events, from the store or from the file."""
    recipe = chunk.recipes.select
    path = store.load(recipe)
    if path is not None:
        return read_dijets(path)
    began = perf_counter()
    dijets = select(chunk.path, chunk.start, chunk.stop, chunk.settings.select)
    _refuse_change(chunk)
    if keep:
        store.write(recipe, ".parquet", partial(write_dijets, dijets), seconds=perf_counter() - began)
    return dijets


def _refuse_change(chunk: Chunk) -> None:
    """Raise an error if the file or the functions have changed since their digests went into the keys."""
    if chunk.stamp is not None:
        chunk.stamp.require(chunk.path)
    layout = chunk.settings.select.layout
    if layout.changed_by and function_digest(layout.function, layout.files_of_changes) != chunk.settings.functions:
        raise ConfigError(
            f"{chunk.label}: what changes its jets ({layout.changed_by}) is not what this run was planned with;"
            " expected the same code, files and versions of packages in every worker until the run ends; run again"
        )


def _scores(store: Store, chunk: Chunk, dijets: Dijets, *, keep: bool) -> Scores:
    """The scores of the boosted taggers, from the store or from their models; none if no tagger is boosted."""
    recipe, settings = chunk.recipes.predict, chunk.settings.fill
    if recipe is None:
        return Scores()
    path = store.load(recipe)
    if path is not None:
        return read_scores(path)
    models = {each.name: each.key for each in recipe.inputs}
    boosted = [tagger for tagger in settings.taggers if tagger.boosted and not tagger.in_files]
    with_functions = [(tagger, _score_function(tagger, models[tagger.name])) for tagger in boosted]
    began = perf_counter()
    scores = predict(dijets, with_functions, settings.kinematics, settings.energy)
    if keep:
        store.write(recipe, ".parquet", partial(write_scores, scores), seconds=perf_counter() - began)
    return scores


@cache
def _score_function(tagger: Tagger, model: str) -> ScoreJets:
    """The scoring function of a worker, cached by the digest of the model, as workers may outlive a model."""
    return score_function(tagger)


def digest_files(
    configuration: Configuration,
    files: Mapping[Path, InspectedFile],
    books: Mapping[str, Bookkeeping],
    space: Workspace,
    workers: Workers,
    until: str = "",
) -> dict[Path, InspectedFile]:
    """Compute the missing digests of file contents, which enter the keys of chunks; returns files with digests.

    Workers read the files. The chunks of a file are processed as soon as its digest is known, while other files are
    still being read.

    Args:
        configuration: settings of the chunks.
        files: the files, of which some have no digest yet.
        books: bookkeeping of their samples.
        space: cache of digests, and store of the artifacts.
        workers: where the tasks run.
        until: last stage of the chunks that follow: select, predict or fill; empty for none.

    Raises:
        WorkflowError: files changed or chunks failed; all others are done and kept.
        UnknownNameError: a pattern of a systematic matches no weight or variation.
        FileError: simulation and data have the same name of a dataset.
    """
    refuse_same_dataset(books, configuration)
    samples = {path: name for name in books for path in configuration.samples[name].files}
    settings = {name: settings_of(configuration, configuration.samples[name], kept) for name, kept in books.items()}
    new = {str(path): file for path, file in files.items() if not file.digest}
    models = models_of(configuration)
    with_digests = dict(files)

    def follow(task: Task[Any], digest: str | None) -> Iterable[Task[Any]]:
        file = new.get(task.label)
        if file is None or digest is None:
            return []
        with_digests[file.path] = file = replace(file, digest=digest)
        if not until:
            return []
        name, number = samples[file.path], file.facts.slice
        of_slice = next(each for each in books[name].slices if each.number == number)
        chunks = chunks_of(configuration, file, settings[name].of_slice(of_slice), models)
        return [chunk_task(space.store, chunk, until) for chunk in chunks if chunk.lacks(until, space.store)]

    digests = FileDigests(space.digests)
    tasks = [Task(label, digests.of, (file.path, file.stamp)) for label, file in new.items()]
    n_chunks = sum(len(ranges_of(file, configuration.chunk_events)) for file in new.values()) if until else 0
    workers.run(f"reading files, {until}" if until else "reading files", tasks, follow=follow, more=n_chunks)
    return with_digests


def fill_and_merge(store: Store, workers: Workers, plan: Plan) -> None:
    """Stage 3: fill all chunks of the slices that are not merged yet, then merge them.

    Raises:
        WorkflowError: chunks failed; all others are done and kept.
        FileError: an event is in two files.
    """
    merged = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    if all(store.find(recipe) is not None for recipe in (*merged, plan.reweight, plan.extract, plan.factors)):
        return  # no event will be read, so nothing needs to be verified
    slices = [
        (name, recipe, sample.parts[number])
        for name, sample in plan.samples.items()
        for number, recipe in sample.merged.items()
        if store.load(recipe) is None
    ]
    wanted = {part.key for _, _, parts in slices for part in parts}
    chunks = [chunk for chunk in plan.chunks if chunk.recipes.fill.key in wanted]
    run_chunks(store, workers, chunks, "fill")
    for name in dict.fromkeys(name for name, _, _ in slices):
        _refuse_shared_events(store, plan.samples[name].chunks)
    tasks = [
        Task(recipe.label, run_leased, (store, recipe, _merge_slice, store, recipe, parts))
        for _, recipe, parts in slices
    ]
    while True:
        try:
            workers.run("merge", tasks)
            return
        except WorkflowError:
            # A damaged histogram is renamed by its reader, and is then missing.
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
    """Raise an error if an event is in two chunks. Only chunks with overlapping event numbers are read again."""
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
    """Read the numbers of all events, and raise an error that names two files with a common event."""
    parts = []
    for chunk in chunks:
        part = np.empty(chunk.stop - chunk.start, [("run", "u8"), ("event", "u8")])
        with open_source(chunk.path, chunk.settings.select.layout, chunk.start, chunk.stop) as source:
            part["run"], part["event"] = source.flat("run"), source.flat("event")
        parts.append(part)
    every = np.concatenate(parts)
    owner = np.repeat(np.arange(len(chunks)), [len(part) for part in parts])
    order = np.argsort(every, kind="stable")
    same = np.flatnonzero(every[order][1:] == every[order][:-1])
    if len(same):
        first, second = (chunks[owner[order[row]]] for row in (same[0], same[0] + 1))
        run_number, event = every[order[same[0]]]
        raise FileError(
            f"{second.path}: got run {run_number}, event {event}, which is also in {first.path};"
            " expected each event once: leave one of the files out",
            path=second.path,
        )
