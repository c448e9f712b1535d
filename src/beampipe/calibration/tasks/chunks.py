"""The work on chunks of files: digests of contents, stages 1 to 3 of each chunk, and merging."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from beampipe.calibration.config import Configuration
from beampipe.calibration.events.dijets import Dijets, RunRange, read_dijets, write_dijets
from beampipe.calibration.events.fill import FilledChunk, fill_file, fill_table
from beampipe.calibration.events.histograms import Filled, FilledColumns, joined, merge, read_filled, write_filled
from beampipe.calibration.events.scores import ScoreKey, Scores, predict, read_scores, write_scores
from beampipe.calibration.events.select import SelectSettings, select, with_variations
from beampipe.calibration.events.variations import NOMINAL
from beampipe.calibration.jet_changes import function_digest
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.ntuple.columns import constituents_of, open_source
from beampipe.calibration.taggers import Model, Tagger
from beampipe.calibration.tasks.inspection import InspectedFile
from beampipe.calibration.tasks.plan import (
    NOMINAL_ALONE,
    Chunk,
    Cover,
    Plan,
    VariationSets,
    chunks_of,
    merge_recipe,
    models_of,
    ranges_of,
    refuse_same_dataset,
    settings_of,
)
from beampipe.calibration.tasks.runtime import Workers, Workspace, run_leased
from beampipe.columns import MOST_UNUSABLE, Column, ColumnScan
from beampipe.errors import ConfigError, FileError, InputError, WorkflowError
from beampipe.jets.substructure import JetConstituents
from beampipe.workflow import FileDigests, Input, Recipe, Store, Task


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
    sets = VariationSets(store)
    parts = [part for chunk in chunks if (part := missing_part(store, sets, chunk, until)) is not None]
    workers.run(until, [chunk_task(store, part, until) for part in parts])


def missing_part(store: Store, sets: VariationSets, chunk: Chunk, until: str) -> Chunk | None:
    """The chunk with the variations that the store lacks; None if it lacks none.

    Args:
        store: store of the artifacts.
        sets: the sets of variations in the store; the set of the returned chunk is added.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill.
    """
    if until == "select" or (until == "predict" and not chunk.models):
        return None if store.find(chunk.select) is not None else chunk
    missing = stored_parts(store, sets, chunk, until).missing
    if not missing:
        return None
    part = chunk.only(missing)
    sets.add(part.variations)
    return part


def stored_parts(store: Store, sets: VariationSets, chunk: Chunk, stage: str = "fill") -> Cover:
    """The sets of variations whose histograms of a chunk are in the store, or whose scores are, for stage `predict`."""
    if stage == "fill":
        return sets.cover(chunk.variations, lambda each: store.find(chunk.fill_of(each)))
    scored = frozenset(each for each in chunk.variations if each.kind in ("nominal", "jets"))
    return sets.cover(scored, lambda each: store.find(chunk.predict_of(each)))


def chunk_task(store: Store, chunk: Chunk, until: str) -> Task[None]:
    """The task that makes the artifacts of a chunk; a lease on its selection excludes other runs."""
    return Task(chunk.label, run_leased, (store, chunk.select, run_chunk, store, chunk, until))


def run_chunk(store: Store, chunk: Chunk, until: str) -> None:
    """Make the artifacts of a chunk.

    Args:
        store: store of the artifacts.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill. The first two keep their tables.
    """
    recipe = chunk.fill
    if until != "fill":
        settings = chunk.settings.select
        dijets = _dijets(store, chunk, settings.nominal if until == "select" else settings, keep=True)
        if until == "predict":
            _scores(store, chunk, dijets, keep=True)
    elif store.load(recipe) is None:
        if store.log is not None:
            store.log.write("start", stage="fill", key=recipe.key, label=recipe.label, path=chunk.fill_path.kind)
        made, inputs = _filled(store, chunk)
        if made.refusal and store.log is not None:
            store.log.write("numpy", stage="fill", key=recipe.key, label=recipe.label, reason=made.refusal)
        notes = {"ranges": made.ranges, "events": made.n_selected}
        store.write(recipe, ".npz", partial(write_filled, made.filled), notes=notes, inputs=inputs)


def _filled(store: Store, chunk: Chunk) -> tuple[FilledChunk, list[Input]]:
    """The histograms, in one pass over the file or from the table of selected events; and what they were made from."""
    recipe, settings = chunk.select, chunk.settings
    inputs = [Input("dijets", recipe.key, recipe.label)]
    if chunk.fill_path.kind == "one pass" and store.find(recipe) is None:
        began = perf_counter()
        made = fill_file(
            chunk.path, chunk.start, chunk.stop, settings.select, settings.fill, with_table=chunk.keep_tables
        )
        _refuse_change(chunk)
        if made.dijets is not None:
            seconds = perf_counter() - began
            store.write(recipe, ".npz", partial(write_dijets, made.dijets), seconds=seconds)
        return made, inputs
    dijets = _dijets(store, chunk, settings.select, keep=chunk.keep_tables)
    scores, made_from = _scores(store, chunk, dijets, keep=chunk.keep_tables)
    _refuse_scores(chunk, scores)
    inputs += [Input("scores", each.key, each.label) for each in made_from]
    return FilledChunk(fill_table(dijets, scores, settings.fill), dijets.ranges, len(dijets)), inputs


def _dijets(store: Store, chunk: Chunk, settings: SelectSettings, *, keep: bool) -> Dijets:
    """The table of dijet events, from the store or from the file; columns of variations come from the file."""
    recipe = chunk.select
    path = store.load(recipe)
    if path is not None:
        dijets = with_variations(read_dijets(path), chunk.path, chunk.start, chunk.stop, settings)
        if settings != settings.nominal:
            _refuse_change(chunk)
        return dijets
    began = perf_counter()
    dijets = select(chunk.path, chunk.start, chunk.stop, settings)
    _refuse_change(chunk)
    if keep:
        store.write(recipe, ".npz", partial(write_dijets, dijets), seconds=perf_counter() - began)
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


def _scores(store: Store, chunk: Chunk, dijets: Dijets, *, keep: bool) -> tuple[Scores, list[Recipe]]:
    """Scores of the models, from the store or made anew; and the recipes of what the store had."""
    recipe, settings = chunk.predict, chunk.settings.fill
    if recipe is None:
        return Scores(), []
    taggers = [tagger for tagger in settings.taggers if tagger.is_score]
    wanted = {ScoreKey(tagger.name, name) for tagger in taggers for name in (NOMINAL, *settings.kinematics)}
    stored: dict[ScoreKey, Any] = {}
    made_from = []
    for each in [recipe, *map(chunk.predict_of, VariationSets(store).ranked(chunk.variations))]:
        if wanted <= stored.keys() or (path := store.load(each)) is None:
            continue
        stored |= read_scores(path).by_name
        made_from.append(each)
    if wanted <= stored.keys():
        return Scores({key: stored[key] for key in wanted}), made_from
    models = {each.name: each.key for each in chunk.models}
    with_models = [(tagger, _model_of(tagger, models[tagger.name])) for tagger in taggers if not tagger.in_files]
    began = perf_counter()

    def constituents(variation: str) -> JetConstituents:
        layout = chunk.settings.select.layout
        if variation != NOMINAL and not layout.constituents.variation:
            raise ConfigError(
                f"{chunk.label}: got no layout.constituents.variation, expected the branch that says which constituents"
                f" {variation} has; leave the variation out, or the taggers of constituents"
            )
        every = constituents_of(chunk.path, layout, chunk.start, chunk.stop, dijets.entry, dijets.jet)
        _refuse_change(chunk)
        return every.of_variation(variation)

    scores = predict(dijets, with_models, settings.kinematics, settings.energy, stored, constituents)
    if keep:
        store.write(recipe, ".npz", partial(write_scores, scores), seconds=perf_counter() - began)
    return scores, [*made_from, recipe]


def _refuse_scores(chunk: Chunk, scores: Scores) -> None:
    """Raise an error if too many scores are outside the range of their tagger, e.g. numbers that stand for none."""
    for tagger in chunk.settings.fill.taggers:
        values = scores.by_name.get(ScoreKey(tagger.name, NOMINAL))
        if values is None:
            continue
        scan = ColumnScan(Column(tagger.name, low=tagger.low, high=tagger.high))
        scan.add(values.ravel())
        if scan.share > MOST_UNUSABLE:
            raise InputError(
                f"{chunk.label}: tagger {tagger.name!r}: {scan}; expected at most {MOST_UNUSABLE:.0%}, as they count in"
                " its first or last bin: change low and high of the tagger, or leave out jets without a score by"
                " layout.branches.clean"
            )


@cache
def _model_of(tagger: Tagger, digest: str) -> Model:
    """The model of a tagger in a worker, cached by its digest, as workers may outlive a model."""
    return tagger.open()


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

    sets = VariationSets(space.store)

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
        parts = (missing_part(space.store, sets, chunk, until) for chunk in chunks)
        return [chunk_task(space.store, part, until) for part in parts if part is not None]

    digests = FileDigests(space.digests)
    tasks = [Task(label, digests.of, (file.path, file.stamp)) for label, file in new.items()]
    of_files = (ranges_of(file, configuration, settings[samples[file.path]]) for file in new.values())
    n_chunks = sum(map(len, of_files)) if until else 0
    workers.run(f"reading files, {until}" if until else "reading files", tasks, follow=follow, more=n_chunks)
    return with_digests


class _SliceWork(NamedTuple):
    """How the sum of a slice is made.

    Attributes:
        recipe: its recipe.
        columns: all its variations.
        sums: sums in the store that have some of the variations.
        chunks: the chunks with the other variations; none if the sums have all.
    """

    recipe: Recipe
    columns: FilledColumns
    sums: tuple[Recipe, ...]
    chunks: tuple[Chunk, ...]


def fill_and_merge(store: Store, workers: Workers, plan: Plan) -> None:
    """Stage 3: fill what the sums of the slices lack, for all chunks, then merge it.

    Raises:
        WorkflowError: chunks failed; all others are done and kept.
        FileError: an event is in two files.
    """
    merged = [recipe for sample in plan.samples.values() for recipe in sample.merged.values()]
    if all(store.find(recipe) is not None for recipe in (*merged, plan.reweight, plan.extract, plan.factors)):
        return  # no event will be read, so nothing needs to be verified
    sets = VariationSets(store)
    work: list[_SliceWork] = []
    samples: list[list[Chunk]] = []
    for sample in plan.samples.values():
        lacking = {number: recipe for number, recipe in sample.merged.items() if store.load(recipe) is None}
        slices = {number: _slice_work(store, sets, sample.slices[number], each) for number, each in lacking.items()}
        work += slices.values()
        if any(each.chunks for each in slices.values()):
            # The numbers of all events of the sample are compared, also of slices whose sums have all.
            to_fill = {number: each.chunks for number, each in slices.items() if each.chunks}
            samples.append(
                [
                    chunk
                    for number, chunks in sample.slices.items()
                    for chunk in to_fill.get(number) or [each.only(NOMINAL_ALONE) for each in chunks]
                ]
            )
    fills = {chunk.fill.key: chunk for chunks in samples for chunk in chunks}
    run_chunks(store, workers, fills.values(), "fill")
    for chunks in samples:
        _refuse_shared_events(store, chunks)
    while True:
        sets = VariationSets(store)
        try:
            workers.run("merge", [_merge_task(store, sets, each) for each in work])
            return
        except WorkflowError:
            # A damaged histogram is renamed by its reader, and is then missing.
            if not any(stored_parts(store, sets, chunk).missing for chunk in fills.values()):
                raise
            run_chunks(store, workers, fills.values(), "fill")


def _slice_work(store: Store, sets: VariationSets, chunks: Sequence[Chunk], recipe: Recipe) -> _SliceWork:
    """How to make the sum of a slice, given its chunks and its recipe."""
    wanted = chunks[0].variations
    cover = sets.cover(wanted, lambda each: store.load(merge_recipe(chunks, each)))
    sets.add(wanted)
    sums = tuple(merge_recipe(chunks, each, recipe.label) for each in cover.parts)
    lacking = tuple(chunk.only(cover.missing) for chunk in chunks) if cover.missing else ()
    return _SliceWork(recipe, chunks[0].settings.fill.columns, sums, lacking)


def _merge_task(store: Store, sets: VariationSets, work: _SliceWork) -> Task[None]:
    """The task that makes the sum of a slice."""
    fills = [[chunk.fill_of(each) for each in stored_parts(store, sets, chunk).parts] for chunk in work.chunks]
    columns = work.chunks[0].settings.fill.columns if fills else work.columns
    call = (store, work.recipe, _merge_slice, store, work.recipe, work.columns, work.sums, columns, fills)
    return Task(work.recipe.label, run_leased, call)


def _merge_slice(
    store: Store,
    recipe: Recipe,
    wanted: FilledColumns,
    sums: Sequence[Recipe],
    columns: FilledColumns,
    fills: Sequence[Sequence[Recipe]],
) -> None:
    """Add the histograms of the chunks of a slice, and take the other variations from sums in the store."""
    if store.load(recipe) is not None:
        return

    def read(recipes: Iterable[Recipe]) -> list[Filled]:
        return [read_filled(store.require(each)) for each in recipes]

    def make(path: Path) -> None:
        parts = read(sums)
        if fills:
            parts.append(merge(joined(read(recipes), columns) for recipes in fills))
        write_filled(joined(parts, wanted), path)

    inputs = [Input("sums", each.key, each.label) for each in sums]
    inputs += [Input("histograms", each.key, each.label) for recipes in fills for each in recipes]
    store.write(recipe, ".npz", make, inputs=inputs)


def _refuse_shared_events(store: Store, chunks: Sequence[Chunk]) -> None:
    """Raise an error if an event is in two chunks. Only chunks with overlapping event numbers are read again."""
    by_run: dict[int, list[tuple[RunRange, Chunk]]] = defaultdict(list)
    sets = VariationSets(store)
    for chunk in chunks:
        filled = chunk.fill_of(stored_parts(store, sets, chunk).parts[0])
        for numbers in store.about(filled.key)["notes"]["ranges"]:
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
