"""Training of taggers on the nominal sample of a calibration: boosted trees, or a network of constituents; and how well
they separate quark jets from gluon jets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Float64
from beampipe.calibration.config import Configuration, Energy
from beampipe.calibration.events.dijets import FLAVOURS, Dijets, read_dijets
from beampipe.calibration.events.scores import features_of
from beampipe.calibration.events.variations import NOMINAL, dataset_key, event_keys, kinematics_of
from beampipe.calibration.ntuple.columns import constituents_of
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import NETWORK_SUFFIX, Tagger
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.errors import InputError
from beampipe.files import write_whole
from beampipe.jets.network import JetNetwork, constituent_features
from beampipe.jets.substructure import JET_FEATURES, JetConstituents
from beampipe.terminal import Progress
from beampipe.units import Estimate

if TYPE_CHECKING:
    from beampipe.jets.network_training import NetworkRecipe

_HELD_OUT: Final = 4
"""One in this many events is held out from training."""

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

_REPLICAS: Final = 100
"""Bootstrap replicas of the held-out events, for errors."""


@dataclass(frozen=True)
class TrainedTagger:
    """Performance of taggers on held-out events.

    Attributes:
        n_jets: number of jets used for training.
        n_held_out: number of jets used for the evaluation.
        auc: area under the ROC curve by name of the tagger: ``constituents`` (if it was trained), ``boosted`` (trained
            on the same jets) and ``n_trk``. 0.5 is a random guess, 1 is perfect.
        rejections: 1 / efficiency of gluons at half of the quarks, by name of the tagger: the measured one, then those
            of bootstrap replicas of the events, which are the same for all taggers.
    """

    n_jets: int
    n_held_out: int
    auc: Mapping[str, float]
    rejections: Mapping[str, tuple[float, ...]]

    @property
    def rejection(self) -> dict[str, Estimate]:
        """1 / efficiency of gluons at half of the quarks, with its error, by name of the tagger."""
        return {name: _estimate(np.array(values)) for name, values in self.rejections.items()}

    def gain(self, reference: str = "boosted") -> dict[str, Estimate]:
        """Rejection of the other models over that of a reference, with its error, by name of the tagger.

        Args:
            reference: name of a tagger, which must be among `rejections`; ``n_trk`` is never among the others.
        """
        others = {name: values for name, values in self.rejections.items() if name not in (reference, "n_trk")}
        return {name: _estimate(np.divide(values, self.rejections[reference])) for name, values in others.items()}

    def __str__(self) -> str:
        """A line on the jets, and one for each tagger."""
        gain = self.gain()
        lines = [
            f"  {name:14} AUC {self.auc[name]:.4f}, rejection {rejection}"
            + (f", {gain[name]} times that of the boosted trees" if name in gain else "")
            for name, rejection in self.rejection.items()
        ]
        start = (
            f"trained on {self.n_jets} jets; on {self.n_held_out} others, rejection of gluons at half of the quarks:"
        )
        return "\n".join([start, *lines])


class LabelledJets(NamedTuple):
    """Jets for training: features, whether each is a gluon jet, weights, and whether each is held out."""

    features: Float32[ndarray, "m 5"]
    gluon: Bool[ndarray, " m"]
    weight: Float64[ndarray, " m"]
    held_out: Bool[ndarray, " m"]


def train_network_on(
    jets: LabelledJets,
    constituents: JetConstituents,
    output: Path,
    seed: int = 1,
    recipe: NetworkRecipe | None = None,
    progress: Callable[[float], object] = lambda loss: None,
) -> Float32[ndarray, " n_held_out"]:
    """Train a network of constituents, write its weights (safetensors), and score the held-out jets.

    Args:
        jets: jets, as by `balanced`.
        constituents: their constituents, relative to the jets' axes.
        output: model file to write.
        seed: seed of all random choices.
        recipe: sizes and steps of the training.
        progress: is called with the mean loss of each epoch.

    Raises:
        MissingExtraError: torch is not installed.
    """
    from beampipe.jets.network_training import train_network

    chosen = np.flatnonzero(~jets.held_out & (jets.weight > 0))
    of_training = (jets.features[chosen, 3:], jets.gluon[chosen], jets.weight[chosen])
    train_network(constituents.take(chosen), *of_training, output, seed, recipe, progress)
    return network_scores(output, jets, constituents)


def network_scores(weights: Path, jets: LabelledJets, constituents: JetConstituents) -> Float32[ndarray, " n_held_out"]:
    """Scores of the held-out jets by a trained network.

    Args:
        weights: file of its weights.
        jets: jets.
        constituents: their constituents, relative to the jets' axes.

    Raises:
        FileError: the file is missing, or holds no tagger of constituents.
    """
    held_out, features = constituents.take(np.flatnonzero(jets.held_out)), jets.features[jets.held_out]
    network = JetNetwork(weights)
    return network.scores(network.describe(constituent_features(held_out), np.diff(held_out.offset)), features[:, 3:])


def boosted_scores(jets: LabelledJets, seed: int = 1, output: Path | None = None) -> Float64[ndarray, " n_held_out"]:
    """Train boosted trees, and score the held-out jets; the same jets and seed give the same trees.

    Args:
        jets: jets, as by `balanced`.
        seed: seed of LightGBM's random choices.
        output: text file of LightGBM to write; None for none.

    Raises:
        MissingExtraError: lightgbm is not installed.
    """
    import lightgbm

    taken = ~jets.held_out
    data = lightgbm.Dataset(
        jets.features[taken],
        jets.gluon[taken],
        weight=jets.weight[taken],
        feature_name=list(JET_FEATURES),
        free_raw_data=False,
    )
    booster = lightgbm.train({**_PARAMETERS, "seed": seed}, data, num_boost_round=_TREES)
    if output is not None:
        write_whole(output, lambda part: part.write_text(booster.model_to_string(), encoding="utf-8"))
    return np.asarray(booster.predict(jets.features[jets.held_out], num_threads=1))


def balanced(jets: LabelledJets, pt_edges: tuple[float, ...]) -> LabelledJets:
    """The jets with weights of the same sum for quarks and gluons in each cell of pT and |eta|; 0 where one is missing.

    The tagger thus learns the shape of jets and not the flavour fractions: otherwise forward jets would look like
    quarks whatever their flavour, and the re-weighting of central jets would imitate this.

    Args:
        jets: jets with their weights.
        pt_edges: edges of the bins of jet pT [GeV].

    Raises:
        InputError: there are too few quark or gluon jets.
    """
    features, gluon, weight, held_out = jets
    for name, mask in (("quark", ~gluon), ("gluon", gluon)):
        if (mask & ~held_out).sum() < 1000 or (mask & held_out).sum() < 100:
            raise InputError(f"training a tagger: got {int(mask.sum())} {name} jets, expected at least a few thousand")
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
    return jets._replace(weight=out)


def performance(jets: LabelledJets, scores: Mapping[str, ndarray]) -> TrainedTagger:
    """Performance of taggers on the held-out jets, and of n_trk.

    Args:
        jets: jets, as by `balanced`.
        scores: scores of the held-out jets by name of the tagger, the trained one first.
    """
    held_out = jets.held_out
    gluon, weight = jets.gluon[held_out], jets.weight[held_out]
    by_name = {name: np.asarray(values, np.float64) for name, values in scores.items()}
    by_name["n_trk"] = jets.features[held_out, 0].astype(np.float64)
    areas = {name: area_under_curve(score, gluon, weight) for name, score in by_name.items()}
    random = np.random.default_rng(1)
    factors = [1, *(np.repeat(random.poisson(1, len(gluon) // 2), 2) for _ in range(_REPLICAS))]  # pairs of jets
    return TrainedTagger(
        n_jets=int((~held_out).sum()),
        n_held_out=int(held_out.sum()),
        auc=areas,
        rejections={
            name: tuple(rejection(score, gluon, weight * factor) for factor in factors)
            for name, score in by_name.items()
        },
    )


def _estimate(values: Float64[ndarray, " n"]) -> Estimate:
    """The first value, with the standard deviation of the others, which are replicas."""
    return Estimate(float(values[0]), float(values[1:].std()))


def rejection(
    score: Float64[ndarray, " n"], gluon: Bool[ndarray, " n"], weight: Float64[ndarray, " n"], efficiency: float = 0.5
) -> float:
    """1 / efficiency of gluons below the cut on the score that a share of the quarks passes, interpolated."""
    values, rank = np.unique(score, return_inverse=True)
    quarks, gluons = (np.cumsum(np.bincount(rank, weight * of, len(values))) for of in (~gluon, gluon))
    passing = np.interp(efficiency * quarks[-1], np.append(0, quarks), np.append(0, gluons))
    return float(gluons[-1] / passing)


def area_under_curve(
    score: Float64[ndarray, " n"], positive: Bool[ndarray, " n"], weight: Float64[ndarray, " n"]
) -> float:
    """Probability that a positive has a higher score than a negative; ties count half."""
    values, rank = np.unique(score, return_inverse=True)
    above = np.bincount(rank, weight * positive, len(values))
    below = np.bincount(rank, weight * ~positive, len(values))
    before = np.cumsum(below) - below
    return float((above * (before + below / 2)).sum() / (above.sum() * below.sum()))


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
        return performance(jets, {"boosted": boosted_scores(jets, seed, output)})
    from beampipe.jets.network_training import NetworkRecipe

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

    def read_constituents() -> JetConstituents:
        every = []
        for chunk, table in zip(chunks, tables, strict=True):
            layout = chunk.settings.select.layout
            of_chunk = constituents_of(chunk.path, layout, chunk.start, chunk.stop, table.entry, table.jet)
            every.append(of_chunk.of_variation(NOMINAL))
        return JetConstituents.join(every)

    return balanced(jets, without.pt_edges), read_constituents


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
