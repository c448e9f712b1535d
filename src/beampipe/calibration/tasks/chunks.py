"""The work of one chunk of a file: stages 1 to 3, each from what the store already has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter

from beampipe.calibration.config import Tagger
from beampipe.calibration.histograms.fill import FillSettings, fill
from beampipe.calibration.histograms.sums import merge, read_filled, write_filled
from beampipe.calibration.jets.dijets import Dijets, read_dijets, write_dijets
from beampipe.calibration.jets.select import SelectSettings, select
from beampipe.calibration.tagger.features import ScoreJets
from beampipe.calibration.tagger.predict import Scores, predict, read_scores, write_scores
from beampipe.calibration.tagger.taggers import score_function
from beampipe.workflow import Recipe, Store

__all__ = ["Chunk", "merge_chunks", "run_chunk"]


@dataclass(frozen=True)
class Chunk:
    """A range of events of a file, and what is made of it.

    Attributes:
        path: of the ROOT file.
        start: first entry.
        stop: one past the last entry.
        select: settings of stage 1.
        fill: settings of stage 3.
        recipes: of stages 1 to 3; that of `predict` is None if no tagger is boosted.
        keep_tables: whether tables of stages 1 and 2 are stored.
    """

    path: Path
    start: int
    stop: int
    select: SelectSettings
    fill: FillSettings
    recipes: tuple[Recipe, Recipe | None, Recipe]
    keep_tables: bool

    @property
    def label(self) -> str:
        """What it is to a reader."""
        return f"{self.path.name}[{self.start}:{self.stop}]"


def run_chunk(store: Store, chunk: Chunk, until: str) -> None:
    """Make what is missing of a chunk.

    Args:
        store: where artifacts are.
        chunk: what to do.
        until: the last stage: select, predict or fill. The first two keep their tables.
    """
    _, scores_recipe, filled_recipe = chunk.recipes
    if until == "select" or (until == "predict" and scores_recipe is None):
        _dijets(store, chunk, keep=True)
    elif until == "predict":
        assert scores_recipe is not None  # the branch above
        dijets = _dijets(store, chunk, keep=True)
        _scores(store, chunk, scores_recipe, dijets, keep=True)
    elif store.load(filled_recipe) is None:
        if store.log is not None:
            store.log.write("start", stage="fill", key=filled_recipe.key, label=chunk.label)
        dijets = _dijets(store, chunk, keep=chunk.keep_tables)
        scores = Scores()
        if scores_recipe is not None:
            scores = _scores(store, chunk, scores_recipe, dijets, keep=chunk.keep_tables)
        notes = {"ranges": [list(one) for one in dijets.ranges], "events": len(dijets)}
        store.write(
            filled_recipe, ".npz", lambda path: write_filled(fill(dijets, scores, chunk.fill), path), notes=notes
        )


def merge_chunks(store: Store, recipe: Recipe, parts: tuple[Recipe, ...]) -> None:
    """Add up the histograms of many chunks."""
    if store.load(recipe) is None:
        store.write(
            recipe, ".npz", lambda path: write_filled(merge(read_filled(store.require(part)) for part in parts), path)
        )


def _dijets(store: Store, chunk: Chunk, *, keep: bool) -> Dijets:
    recipe = chunk.recipes[0]
    path = store.load(recipe)
    if path is not None:
        return read_dijets(path)
    needed = keep or chunk.recipes[1] is not None
    began = perf_counter()
    dijets = select(chunk.path, chunk.start, chunk.stop, chunk.select, observables=needed)
    if keep:
        seconds = perf_counter() - began
        store.write(recipe, ".parquet", lambda to: write_dijets(dijets, to), seconds=seconds)
    return dijets


def _scores(store: Store, chunk: Chunk, recipe: Recipe, dijets: Dijets, *, keep: bool) -> Scores:
    path = store.load(recipe)
    if path is not None:
        return read_scores(path)
    boosted = [tagger for tagger in chunk.fill.taggers if tagger.model]
    models = {each.name: each.key for each in recipe.inputs}
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
