"""Training of the boosted tagger: gradient-boosted trees that separate gluon jets from quark jets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64
from beampipe.calibration.config import Configuration, Energy, Tagger
from beampipe.calibration.events.dijets import FLAVOURS, Dijets, read_dijets
from beampipe.calibration.events.scores import JET_FEATURES, features_of
from beampipe.calibration.events.variations import NOMINAL, dataset_key, event_keys, kinematics_of
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.errors import InputError
from beampipe.files import write_whole
from beampipe.terminal import Progress

_PARAMETERS: Final = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.1,
    "min_data_in_leaf": 200,
    "feature_fraction": 1.0,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,  # more threads would change the order of sums, and thus the result
    "verbosity": -1,
}
_TREES: Final = 60
"""Number of trees of the tagger."""

_ETA_EDGES: Final = (0.0, 0.35, 0.7, 1.05, 1.4, 1.75, 2.1)
"""Edges of the cells of |eta| in which quarks and gluons get the same weight."""

_HELD_OUT: Final = 4
"""One in this many events is held out from training."""


@dataclass(frozen=True)
class TrainedTagger:
    """Performance of a tagger on held-out events.

    Attributes:
        n_jets: number of jets used for training.
        n_held_out: number of jets used for the evaluation.
        auc: area under the ROC curve: 0.5 is a random guess, 1 is perfect.
        auc_n_trk: area under the ROC curve of n_trk alone.
    """

    n_jets: int
    n_held_out: int
    auc: float
    auc_n_trk: float


def train_tagger(tables: Iterable[Dijets], pt_edges: tuple[float, ...], output: Path, seed: int = 1) -> TrainedTagger:
    """Train on labelled jets and write LightGBM's text file; the same tables and seed give the same file.

    Quarks and gluons get the same total weight in each cell of pT and |eta|, so that the tagger learns the shape of
    jets and not the flavour fractions: otherwise forward jets would look like quarks whatever their flavour, and the
    re-weighting of central jets would imitate this. Which events are held out is a function of the event.

    Args:
        tables: selected events of simulation.
        pt_edges: edges of the bins of jet pT [GeV].
        output: model file to write.
        seed: seed of LightGBM's random choices.

    Raises:
        InputError: there are too few quark or gluon jets.
        MissingExtraError: lightgbm is not installed.
    """
    import lightgbm

    jets = _LabelledJets(*(np.concatenate(parts) for parts in zip(*map(_jets, tables), strict=True)))
    features, gluon, weight, held_out = jets
    for name, mask in (("quark", ~gluon), ("gluon", gluon)):
        if (mask & ~held_out).sum() < 1000 or (mask & held_out).sum() < 100:
            raise InputError(f"training a tagger: got {int(mask.sum())} {name} jets, expected at least a few thousand")
    weight = _balanced(features, gluon, weight, pt_edges)
    data = lightgbm.Dataset(
        features[~held_out],
        gluon[~held_out],
        weight=weight[~held_out],
        feature_name=list(JET_FEATURES),
        free_raw_data=False,
    )
    booster = lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=_TREES)
    write_whole(output, lambda part: part.write_text(booster.model_to_string(), encoding="utf-8"))
    score = np.asarray(booster.predict(features[held_out], num_threads=1))
    rest = (gluon[held_out], weight[held_out])
    return TrainedTagger(
        n_jets=int((~held_out).sum()),
        n_held_out=int(held_out.sum()),
        auc=area_under_curve(score, *rest),
        auc_n_trk=area_under_curve(features[held_out, 0].astype(np.float64), *rest),
    )


def train_from_configuration(
    configuration: Configuration, output: Path, seed: int, executor: str, workers: int, progress: Progress
) -> TrainedTagger:
    """Select the events of the nominal sample, and train on them.

    Args:
        configuration: configuration of the calibration; its boosted taggers are ignored, as they may not exist yet.
        output: model file to write.
        seed: seed of LightGBM's random choices.
        executor: where tasks run, as in `RunSettings`.
        workers: number of tasks that run at once.
        progress: opens a progress bar for each batch of tasks.
    """
    without = replace(configuration, taggers=(Tagger(),), systematics=())
    plan = run_calibration(without, RunSettings(executor, workers), until="select", progress=progress)
    store = workspace_of(without).store

    def tables() -> Iterator[Dijets]:
        for chunk in plan.samples[without.nominal].chunks:
            yield read_dijets(store.require(chunk.select))

    return train_tagger(tables(), without.pt_edges, output, seed)


def area_under_curve(
    score: Float64[ndarray, " n"], positive: Bool[ndarray, " n"], weight: Float64[ndarray, " n"]
) -> float:
    """Probability that a positive has a higher score than a negative; ties count half."""
    values, rank = np.unique(score, return_inverse=True)
    above = np.bincount(rank, weight * positive, len(values))
    below = np.bincount(rank, weight * ~positive, len(values))
    before = np.cumsum(below) - below
    return float((above * (before + below / 2)).sum() / (above.sum() * below.sum()))


class _LabelledJets(NamedTuple):
    """Jets for training: features, whether each is a gluon jet, weights, and whether each is held out."""

    features: Float32[ndarray, "m 5"]
    gluon: Bool[ndarray, " m"]
    weight: Float64[ndarray, " m"]
    held_out: Bool[ndarray, " m"]


def _jets(dijets: Dijets) -> _LabelledJets:
    """All jets of a table; both jets of an event are held out together."""
    every = np.nonzero(np.ones(dijets.pt.shape, bool))
    keys = event_keys(np.uint64(dataset_key("held out")), dijets.run, dijets.event)
    return _LabelledJets(
        features=features_of(dijets, kinematics_of(NOMINAL, dijets, Energy()), every),
        gluon=dijets.label.reshape(-1) == FLAVOURS.index("gluon"),
        weight=np.repeat(dijets.weight[:, 0], 2).astype(np.float64),
        held_out=np.repeat(keys % _HELD_OUT == 0, 2),
    )


def _balanced(
    features: Float32[ndarray, "n 5"],
    gluon: Bool[ndarray, " n"],
    weight: Float64[ndarray, " n"],
    pt_edges: tuple[float, ...],
) -> Float64[ndarray, " n"]:
    """Weights of the same sum for quarks and gluons in each cell of pT and |eta|; 0 where one is missing."""
    out = np.zeros(len(weight))
    n_eta = len(_ETA_EDGES) - 1
    row = np.digitize(features[:, JET_FEATURES.index("pt")], pt_edges) - 1
    column = np.digitize(features[:, JET_FEATURES.index("abs_eta")], _ETA_EDGES) - 1
    inside = (row >= 0) & (row < len(pt_edges) - 1) & (column >= 0) & (column < n_eta)
    cell = np.where(inside, row * n_eta + column, -1)
    for number in np.unique(cell[inside]):
        masks = [(cell == number) & (gluon == flavour) for flavour in (False, True)]
        sums = [float(weight[mask].sum()) for mask in masks]
        if min(sums) > 0:
            for mask, total in zip(masks, sums, strict=True):
                # Scale by the number of jets, so that a sparse cell does not count as much as a full one.
                out[mask] = weight[mask] / total * (np.count_nonzero(masks[0]) + np.count_nonzero(masks[1])) / 2
    return out
