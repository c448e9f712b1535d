"""The work of one chunk of a file: stages 1 to 3, each from what the store already has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from beampipe.calibration.config.configuration import Tagger
from beampipe.calibration.histograms.fill import FillSettings, fill
from beampipe.calibration.histograms.one_pass import FilledChunk, fill_in_one_pass
from beampipe.calibration.histograms.sums import write_filled
from beampipe.calibration.jets.dijets import Dijets, read_dijets, write_dijets
from beampipe.calibration.jets.select import SelectSettings, select
from beampipe.calibration.layout.functions import function_digest
from beampipe.calibration.tagger.features import ScoreJets
from beampipe.calibration.tagger.predict import Scores, predict, read_scores, write_scores
from beampipe.calibration.tagger.taggers import score_function
from beampipe.calibration.tasks.workers import Workers, run_leased
from beampipe.errors import ConfigError
from beampipe.workflow import Looks, Recipe, Store, Task

__all__ = ["Chunk", "ChunkRecipes", "chunk_task", "run_chunk", "run_chunks"]


class ChunkRecipes(NamedTuple):
    """Recipes of what is made of a chunk.

    Attributes:
        select: recipe of the table of dijet events.
        predict: recipe of the scores; None if no tagger is boosted.
        fill: recipe of the histograms.
    """

    select: Recipe
    predict: Recipe | None
    fill: Recipe

    def of(self, stage: str) -> Recipe:
        """What a stage ends with: without a boosted tagger, `predict` ends with the table of `select`."""
        found = {"select": self.select, "predict": self.predict, "fill": self.fill}[stage]
        return self.select if found is None else found


@dataclass(frozen=True)
class Chunk:
    """A range of events of a file, and what is made of it.

    Attributes:
        path: ROOT file that the events are in.
        start: first entry of the range.
        stop: one past the last entry of the range.
        select: settings of stage 1.
        fill: settings of stage 3.
        recipes: recipes of the artifacts of stages 1 to 3.
        keep_tables: whether tables of stages 1 and 2 are stored.
        looks: how the file looked when it was planned what to do with it; None for one elsewhere.
        functions: digest of what changes jets, when that was planned; empty if nothing does.
    """

    path: Path
    start: int
    stop: int
    select: SelectSettings
    fill: FillSettings
    recipes: ChunkRecipes
    keep_tables: bool
    looks: Looks | None = None
    functions: str = ""

    @property
    def label(self) -> str:
        """File and range, for people."""
        return f"{self.path.name}[{self.start}:{self.stop}]"

    def lacks(self, stage: str, store: Store) -> bool:
        """Whether what a stage ends with is not in the store."""
        return store.find(self.recipes.of(stage)) is None


def run_chunks(store: Store, workers: Workers, chunks: Iterable[Chunk], until: str) -> None:
    """Make what is missing of many chunks.

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
    """The task that makes what is missing of a chunk; of runs that fill it in other ways one selects it."""
    return Task(chunk.label, run_leased, (store, chunk.recipes.select, run_chunk, store, chunk, until))


def run_chunk(store: Store, chunk: Chunk, until: str) -> None:
    """Make what is missing of a chunk.

    Args:
        store: store of the artifacts.
        chunk: chunk to work on.
        until: the last stage: select, predict or fill. The first two keep their tables.
    """
    scores_recipe, filled_recipe = chunk.recipes.predict, chunk.recipes.fill
    if until != "fill":
        dijets = _dijets(store, chunk, keep=True)
        if until == "predict" and scores_recipe is not None:
            _scores(store, chunk, scores_recipe, dijets, keep=True)
    elif store.load(filled_recipe) is None:
        if store.log is not None:
            store.log.write("start", stage="fill", key=filled_recipe.key, label=chunk.label)
        made = _filled(store, chunk)
        notes = {"ranges": made.ranges, "events": made.n_selected}
        store.write(filled_recipe, ".npz", lambda path: write_filled(made.filled, path), notes=notes)


def _filled(store: Store, chunk: Chunk) -> FilledChunk:
    """The histograms: in one pass if no table is wanted between the stages, else stage by stage."""
    scores_recipe = chunk.recipes.predict
    if scores_recipe is None and not chunk.keep_tables and store.find(chunk.recipes.select) is None:
        made = fill_in_one_pass(chunk.path, chunk.start, chunk.stop, chunk.select, chunk.fill)
        if made is not None:
            _refuse_change(chunk)
            return made
    dijets = _dijets(store, chunk, keep=chunk.keep_tables)
    scores = Scores()
    if scores_recipe is not None:
        scores = _scores(store, chunk, scores_recipe, dijets, keep=chunk.keep_tables)
    return FilledChunk(fill(dijets, scores, chunk.fill), dijets.ranges, len(dijets))


def _dijets(store: Store, chunk: Chunk, *, keep: bool) -> Dijets:
    """The table of dijet events, from the store or from the file."""
    recipe = chunk.recipes.select
    path = store.load(recipe)
    if path is not None:
        return read_dijets(path)
    needed = keep or chunk.recipes.predict is not None
    began = perf_counter()
    dijets = select(chunk.path, chunk.start, chunk.stop, chunk.select, observables=needed)
    _refuse_change(chunk)
    if keep:
        seconds = perf_counter() - began
        store.write(recipe, ".parquet", lambda to: write_dijets(dijets, to), seconds=seconds)
    return dijets


def _refuse_change(chunk: Chunk) -> None:
    """Before anything is kept: the file and the functions are still those whose digests the keys are made of."""
    if chunk.looks is not None:
        chunk.looks.require(chunk.path)
    layout = chunk.select.layout
    if function_digest(layout.function, layout.files_of_changes) != chunk.functions:
        raise ConfigError(
            f"{chunk.label}: what changes its jets ({layout.changed_by}) is not what this run was planned with;"
            " expected the same code, files and versions of packages in every worker until the run ends; run again"
        )


def _scores(store: Store, chunk: Chunk, recipe: Recipe, dijets: Dijets, *, keep: bool) -> Scores:
    """The scores of the boosted taggers, from the store or from their models."""
    path = store.load(recipe)
    if path is not None:
        return read_scores(path)
    models = {each.name: each.key for each in recipe.inputs}
    boosted = [tagger for tagger in chunk.fill.taggers if tagger.boosted and not tagger.in_files]
    with_functions = [(tagger, _score_function(tagger, models[tagger.name])) for tagger in boosted]
    began = perf_counter()
    scores = predict(dijets, with_functions, chunk.fill.kinematics, chunk.fill.energy)
    if keep:
        seconds = perf_counter() - began
        store.write(recipe, ".parquet", lambda to: write_scores(scores, to), seconds=seconds)
    return scores


@cache
def _score_function(tagger: Tagger, model: str) -> ScoreJets:
    """One connection or model per worker, for as long as the digest of the model is this one: workers may live long."""
    return score_function(tagger)
