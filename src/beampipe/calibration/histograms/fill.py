"""Stage 3, `fill`: histograms by pT, region, flavour and tagger, for all variations, from one reading of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.config.configuration import Bootstrap, Energy, Tagger
from beampipe.calibration.config.selection import DijetSelection
from beampipe.calibration.histograms.filling import (
    fill_replicas,
    fill_single,
    fill_weights,
    histogram_rows,
    quantise,
    tagger_bins,
)
from beampipe.calibration.histograms.sums import MOST, Axes, Filled, TaggerBins, merge, refuse_overflow
from beampipe.calibration.jets.dijets import FLAVOURS, Dijets
from beampipe.calibration.jets.hashing import POISSON, event_keys
from beampipe.calibration.jets.kinematics import Kinematics, dataset_key, kinematics_of
from beampipe.calibration.tagger.predict import ScoreKey, Scores
from beampipe.calibration.variations import NOMINAL
from beampipe.errors import InputError

__all__ = ["FillSettings", "fill"]


@dataclass(frozen=True)
class FillSettings:
    """All that `fill` depends on besides the jets and their scores.

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        taggers: taggers with their bins.
        selection: cuts on the two leading jets.
        energy: number of nuisance parameters of the jet energy.
        weight_bits: number of bits after the point that weights are rounded to.
        labelled: whether there is a histogram for each flavour, not one for all.
        weight_names: names of the columns of weights.
        kinematics: names of the variations of jets, beside the nominal one.
        bootstrap: number of replicas, and their seed.
        dataset: name of the dataset that the events belong to, for their keys.
        groups: number of groups of events that have histograms of their own, too.
    """

    pt_edges: tuple[float, ...]
    taggers: tuple[Tagger, ...]
    selection: DijetSelection
    energy: Energy
    weight_bits: int
    labelled: bool
    weight_names: tuple[str, ...]
    kinematics: tuple[str, ...]
    bootstrap: Bootstrap
    dataset: str
    groups: int = 0

    @property
    def axes(self) -> Axes:
        """Axes of the histograms."""
        return Axes(
            self.pt_edges,
            FLAVOURS if self.labelled else ("data",),
            tuple(TaggerBins(tagger.name, tagger.bins) for tagger in self.taggers),
        )


def fill(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    """Fill all histograms of a chunk.

    Args:
        dijets: events with two leading jets.
        scores: scores of the boosted taggers.
        settings: axes, cuts and variations.

    Raises:
        InputError: weights are too large for their number of bits.
    """
    if settings.groups:
        return _in_groups(dijets, scores, settings)
    return _at_once(dijets, scores, settings)


def _in_groups(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    """The same, and the sums of each group. Which group an event is in depends on the event alone."""
    alone = replace(settings, groups=0)
    _refuse_overflow(dijets, 2.0**settings.weight_bits)
    keys = event_keys(dataset_key(settings.dataset), dijets.run, dijets.event)
    number = (keys >> np.uint64(32)) % np.uint64(settings.groups)
    total: Filled | None = None
    cases = len(settings.weight_names) + len(settings.kinematics)
    groups = np.empty((settings.groups, cases, settings.axes.n_rows), np.int64)
    for group in range(settings.groups):
        chosen = np.flatnonzero(number == group)
        those = Scores({key: values[chosen] for key, values in scores.by_name.items()})
        part = _at_once(dijets.part(chosen), those, alone)
        np.concatenate([part.sumw.T, part.varied_sumw], out=groups[group])
        total = part if total is None else merge([total, part])
    assert total is not None  # there are groups
    return replace(total, groups=groups, cut_flow=dijets.cut_flow).bounded()


def _at_once(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    axes, scale = settings.axes, 2.0**settings.weight_bits
    if dijets.weight.shape[1] != len(settings.weight_names):
        raise InputError(f"weights: got {dijets.weight.shape[1]} columns, expected {len(settings.weight_names)}")
    _refuse_overflow(dijets, scale)
    out = Filled.empty(axes, settings.weight_names, settings.kinematics, settings.bootstrap.replicas, dijets.cut_flow)
    weight, square = quantise(np.ascontiguousarray(dijets.weight[:, 0]), scale)
    nominal = kinematics_of(NOMINAL, dijets, settings.energy)
    rows, bins = _rows(dijets, nominal, settings), _bins(dijets, nominal, NOMINAL, scores, settings.taggers)
    if len(settings.weight_names) == 1:
        fill_single(rows, bins, weight, square, out.sumw.reshape(-1), out.sumw2.reshape(-1), out.entries)
    else:
        fill_weights(rows, bins, dijets.weight, scale, out.sumw, out.sumw2)
        fill_single(rows, bins, weight, square, *_unused(axes), out.entries)
    if settings.bootstrap.replicas:
        keys = event_keys(dataset_key(settings.dataset), dijets.run, dijets.event)
        fill_replicas(rows, bins, weight, keys, settings.bootstrap.seed << 32, POISSON, out.replicas)
    entries = np.zeros(axes.n_rows, np.int64)
    for k, name in enumerate(settings.kinematics):
        varied = kinematics_of(name, dijets, settings.energy)
        rows, bins = _rows(dijets, varied, settings), _bins(dijets, varied, name, scores, settings.taggers)
        fill_single(rows, bins, weight, square, out.varied_sumw[k], out.varied_sumw2[k], entries)
    return out.bounded()


def _rows(dijets: Dijets, kinematics: Kinematics, settings: FillSettings) -> Int64[ndarray, "n 2"]:
    """First row of the cell of each jet: its bin of pT, region and flavour; -1 if the jet does not count."""
    axes = settings.axes
    return histogram_rows(
        kinematics.pt,
        kinematics.n_trk,
        dijets.region,
        dijets.label if settings.labelled else np.zeros_like(dijets.label),
        np.array(settings.pt_edges),
        settings.selection.cuts,
        len(axes.flavours),
        axes.width,
    )


def _bins(
    dijets: Dijets, kinematics: Kinematics, name: str, scores: Scores, taggers: Sequence[Tagger]
) -> Int64[ndarray, "n 2 t"]:
    """Bin of each tagger, counted over the bins of all of them; outside the axis is its first or last bin."""
    out = np.empty((len(dijets), 2, len(taggers)), np.int64)
    offset = 0
    for t, tagger in enumerate(taggers):
        x = scores.by_name[ScoreKey(tagger.name, name)] if tagger.boosted else kinematics.n_trk
        tagger_bins(x, tagger.low, tagger.high, tagger.bins, offset, out[:, :, t])
        offset += tagger.bins
    return out


def _refuse_overflow(dijets: Dijets, scale: float) -> None:
    """No sum of this chunk may leave 64 bits: two jets of each event in one cell, and in a replica up to 8 times."""
    if len(dijets) == 0:
        return
    largest = max(float(dijets.weight.max()), -float(dijets.weight.min()))
    bound = len(dijets) * max(largest, largest**2)
    if 16 * bound * scale >= MOST:
        size = np.abs(dijets.weight.astype(np.float64))
        bound = float(max(size.sum(axis=0).max(), (size**2).sum(axis=0).max()))
    refuse_overflow(16 * bound * scale)


def _unused(axes: Axes) -> tuple[Int64[ndarray, " r"], Int64[ndarray, " r"]]:
    """Room for sums that nobody reads."""
    return np.zeros(axes.n_rows, np.int64), np.zeros(axes.n_rows, np.int64)
