"""Training of taggers on the nominal sample of a calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.calibration.config import NETWORK_SUFFIX, Configuration, Energy, Tagger
from beampipe.calibration.events.dijets import FLAVOURS, Dijets, read_dijets
from beampipe.calibration.events.scores import features_of
from beampipe.calibration.events.variations import NOMINAL, dataset_key, event_keys, kinematics_of
from beampipe.calibration.ntuple.columns import constituents_of
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Chunk
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.simulation.jet_taggers import (
    LabelledJets,
    TrainedTagger,
    balanced,
    boosted_scores,
    performance,
    train_network_on,
    train_trees,
)
from beampipe.simulation.substructure import JetConstituents
from beampipe.terminal import Progress

_HELD_OUT: Final = 4
"""One in this many events is held out from training."""


def train_from_configuration(
    configuration: Configuration, output: Path, seed: int, executor: str, workers: int, progress: Progress
) -> TrainedTagger:
    """Select the events of the nominal sample, and train on them. Which events are held out is a function of the event.

    Args:
        configuration: configuration of the calibration; its models are ignored, as they may not exist yet.
        output: model file to write: a tagger of constituents if it ends with `NETWORK_SUFFIX`, else a boosted one.
        seed: seed of the random choices.
        executor: where tasks run, as in `RunSettings`.
        workers: number of tasks that run at once.
        progress: opens a progress bar for each batch of tasks.

    Raises:
        InputError: there are too few quark or gluon jets.
        FileError: the files have no constituents of jets.
        MissingExtraError: lightgbm or torch is not installed.
    """
    jets, read_constituents = training_jets(configuration, RunSettings(executor, workers), progress)
    if output.suffix != NETWORK_SUFFIX:
        return train_trees(jets, output, seed)
    from beampipe.simulation.jet_network_training import NetworkRecipe

    recipe, constituents = NetworkRecipe(), read_constituents()
    with progress("epochs", recipe.epochs) as step:
        scores = train_network_on(jets, constituents, output, seed, recipe, lambda _: step())
    return performance(jets, {"constituents": scores, "boosted": boosted_scores(jets, seed)})


def training_jets(
    configuration: Configuration, settings: RunSettings, progress: Progress
) -> tuple[LabelledJets, Callable[[], JetConstituents]]:
    """The selected jets of the nominal sample, as by `balanced`, and a function that reads their constituents.

    Args:
        configuration: configuration of the calibration; its models are ignored.
        settings: where and how tasks run.
        progress: opens a progress bar for each batch of tasks.

    Raises:
        InputError: there are too few quark or gluon jets.
    """
    # The model may not exist yet, but the table must have what a model takes.
    without = replace(configuration, taggers=(Tagger("to be trained", 2, 0.0, 1.0, "shipped"),), systematics=())
    plan = run_calibration(without, settings, until="select", progress=progress)
    store, chunks = workspace_of(without).store, plan.samples[without.nominal].chunks
    tables = [read_dijets(store.require(chunk.select)) for chunk in chunks]
    jets = LabelledJets(*map(np.concatenate, zip(*map(_jets, tables), strict=True)))
    return balanced(jets, without.pt_edges), lambda: JetConstituents.join(list(map(_constituents, chunks, tables)))


def _constituents(chunk: Chunk, table: Dijets) -> JetConstituents:
    """The constituents of all jets of a table."""
    layout = chunk.settings.select.layout
    every = constituents_of(chunk.path, layout, chunk.start, chunk.stop, table.entry, table.jet)
    return every.of_variation(NOMINAL)


def _jets(dijets: Dijets) -> LabelledJets:
    """All jets of a table; both jets of an event are held out together."""
    every = np.nonzero(np.ones(dijets.pt.shape, bool))
    keys = event_keys(np.uint64(dataset_key("held out")), dijets.run, dijets.event)
    return LabelledJets(
        features=features_of(dijets, kinematics_of(NOMINAL, dijets, Energy()), every),
        gluon=dijets.label.reshape(-1) == FLAVOURS.index("gluon"),
        weight=np.repeat(dijets.weight[:, 0], 2).astype(np.float64),
        held_out=np.repeat(keys % _HELD_OUT == 0, 2),
    )
