"""Stage 3, `fill`: histograms of a chunk for all variations, by the compiled filler or by numpy.

Sums are of integers and therefore exact: weights are rounded to whole `WeightUnits` before they are added, so that no
order of events, chunks or workers changes the result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Int8, Int64, UInt8, UInt16, UInt64
from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions
from beampipe.calibration.events.dijets import FLAVOURS, CutFlow, Dijets, RunRange, WeightUnits
from beampipe.calibration.events.histograms import (
    MOST,
    Axes,
    Filled,
    FilledColumns,
    TaggerBins,
    joined,
    merge,
    refuse_overflow,
)
from beampipe.calibration.events.scores import ScoreKey, Scores
from beampipe.calibration.events.select import (
    PT_CUTS,
    RefusedError,
    SelectSettings,
    assign_regions,
    enough_tracks,
    filler_settings,
    pt_cuts_passed,
    round_to_units,
    run_filler,
    select_by_numpy,
)
from beampipe.calibration.events.variations import (
    KERNELS,
    MODEL,
    NOMINAL,
    POISSON,
    dataset_key,
    eta_nodes,
    event_keys,
    jet_variations,
    kinematics_of,
)
from beampipe.calibration.kernels import native
from beampipe.calibration.ntuple.columns import open_source
from beampipe.calibration.taggers import Tagger
from beampipe.errors import BeampipeError, InputError
from beampipe.expressions import evaluate
from beampipe.random_numbers import mix

_BLOCK: Final = 4096
"""Number of events that numpy processes at once, to limit memory."""

REPLICAS_PER_BLOCK: Final = 4
"""Number of replicas whose Poisson numbers come from the same random number of 64 bits."""


def histogram_rows(
    pt: Float32[ndarray, "n 2"],
    n_trk: UInt16[ndarray, "n 2"],
    region: Int8[ndarray, "n 2"],
    flavour: Int8[ndarray, "n 2"],
    eta: Float32[ndarray, "n 2"],
    axes: Axes,
    cuts: DijetSelection,
) -> Int64[ndarray, "n 2"]:
    """The first histogram row of each jet.

    Args:
        pt: pT of the variation [GeV].
        n_trk: numbers of tracks of the variation.
        region: number in `REGIONS`, -1 for neither.
        flavour: number in the flavours of the axes.
        eta: pseudorapidities.
        axes: axes of the histograms.
        cuts: limits of the selection.

    Returns:
        First row of each jet's cell of (bin, region, flavour), or -1 if the jet is not counted.
    """
    first, second = (pt[:, j].astype(np.float64) for j in range(2))
    high, low = np.where(second > first, second, first), np.where(second < first, second, first)
    selected = (pt_cuts_passed(high, low, cuts) == PT_CUTS) & enough_tracks(n_trk[:, 0], n_trk[:, 1], cuts)
    counts, place = selected[:, None] & (region >= 0), np.zeros(pt.shape, np.int64)
    for edges, values in ((axes.eta_edges, np.abs(eta)), (axes.pt_edges, pt)):
        if edges:
            number = np.searchsorted(edges, values.astype(np.float64), side="right") - 1
            counts &= (number >= 0) & (number < len(edges) - 1)
            place = place * (len(edges) - 1) + number
    return np.where(counts, ((place * 2 + region) * len(axes.flavours) + flavour) * axes.width, -1)


def tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int, out: Int64[ndarray, "n 2"]) -> None:
    """Bins of a tagger; values outside the axis go to its first or last bin, NaN to the first.

    Args:
        x: (n, 2) values of the tagger: numbers of tracks, or scores.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        n_bins: number of bins of the tagger.
        offset: added to every bin.
        out: written.
    """
    values = np.ascontiguousarray(x, np.float64)
    # Multiply before dividing: rounding must not move a whole number of tracks below the edge of its bin.
    bins = np.floor((values - low) * n_bins / (high - low))
    out[:] = np.fmin(np.fmax(bins, 0.0), n_bins - 1.0).astype(np.int64) + offset


def quantise(weight: ndarray, units: WeightUnits) -> tuple[Int64[ndarray, "*n"], Int64[ndarray, "*n"]]:
    """Weights, and squares of weights, in whole units."""
    w = weight.astype(np.float64)
    return round_to_units(w * units.scale), round_to_units(w * w * units.square_scale)


class Cells(NamedTuple):
    """Where the jets of events are counted.

    Attributes:
        rows: (n, 2) first histogram row of the cell of each jet, as by `histogram_rows`; -1 if it is not counted.
        bins: (n, 2, n_taggers) bin of each tagger, counted over all taggers.
    """

    rows: Int64[ndarray, "n 2"]
    bins: Int64[ndarray, "n 2 t"]

    def by_block(self) -> Iterator[tuple[Int64[ndarray, " m"], Int64[ndarray, " m"]]]:
        """Event and row of every counted jet, for every tagger, in blocks of events."""
        for start in range(0, len(self.rows), _BLOCK):
            event, jet = np.nonzero(self.rows[start : start + _BLOCK] >= 0)
            event += start
            for t in range(self.bins.shape[2]):
                yield event, self.rows[event, jet] + self.bins[event, jet, t]

    def add(self, sums: Int64[ndarray, "r w"], values: Int64[ndarray, "n w"]) -> None:
        """Add the numbers of each event to the sums of the rows in which its jets are counted."""
        for event, row in self.by_block():
            _add(sums, row, values[event])


def fill_replicas(
    cells: Cells,
    weights: Int64[ndarray, " n"],
    keys: UInt64[ndarray, " n"],
    seed: int | np.uint64,
    table: UInt8[ndarray, " p"],
    replicas: Int64[ndarray, "r b"],
) -> None:
    """Add the nominal weight to every replica, multiplied by the event's Poisson number, the same for both jets.

    Args:
        cells: where each jet is counted.
        weights: weights of `quantise`.
        keys: keys of `event_keys`.
        seed: added to the number of each block of four replicas, 64 bits.
        table: Poisson numbers of `poisson_table`.
        replicas: added to.
    """
    n_replicas = replicas.shape[1]
    blocks = mix(np.uint64(seed) + np.arange((n_replicas + 3) // 4, dtype=np.uint64))
    shifts = np.arange(0, 64, 16, dtype=np.uint64)
    for event, row in cells.by_block():
        bits = mix(keys[event][:, None] + blocks)
        times = table[(bits[:, :, None] >> shifts) & np.uint64(0xFFFF)].reshape(len(event), -1)[:, :n_replicas]
        _add(replicas, row, weights[event][:, None] * times)


def _add(sums: Int64[ndarray, "r w"], row: Int64[ndarray, " m"], values: Int64[ndarray, "m w"]) -> None:
    """sums[row] += values, for rows that may be repeated."""
    if len(row) == 0:
        return
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    sums[ordered[first]] += np.add.reduceat(values[order], first, axis=0)


@dataclass(frozen=True)
class FillSettings:
    """All settings of `fill`.

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        taggers: taggers with their bins.
        selection: cuts on the two leading jets.
        energy: number of nuisance parameters of the jet energy.
        units: units that weights are rounded to.
        labelled: whether there is one histogram per flavour, instead of one for all.
        weight_names: names of the columns of weights.
        kinematics: names of the variations of jets, beside the nominal one.
        bootstrap: number of replicas, and their seed.
        dataset: name of the dataset that the events belong to, for their keys.
        groups: number of jackknife groups of events with separate histograms.
        first_replica: number of the first replica, a multiple of four; each replica has random numbers of its own.
        eta_edges: edges of the bins of jet \\|eta\\|; none for a single bin.
        regions: rule that assigns jets to the forward and the central region.
        cuts: expressions of kept numbers of the event, all of which must hold.
    """

    pt_edges: tuple[float, ...]
    taggers: tuple[Tagger, ...]
    selection: DijetSelection
    energy: Energy
    units: WeightUnits
    labelled: bool
    weight_names: tuple[str, ...]
    kinematics: tuple[str, ...]
    bootstrap: Bootstrap
    dataset: str
    groups: int = 0
    first_replica: int = 0
    eta_edges: tuple[float, ...] = ()
    regions: Regions = field(default_factory=Regions)
    cuts: tuple[str, ...] = ()

    @property
    def columns(self) -> FilledColumns:
        """The variations that are filled."""
        replicas = range(self.first_replica, self.first_replica + self.bootstrap.replicas)
        return FilledColumns(self.weight_names, self.kinematics, replicas)

    @property
    def without_kernel(self) -> tuple[str, ...]:
        """The variations of jets that the compiled filler cannot compute."""
        known = jet_variations(self.energy)
        return tuple(name for name in self.kinematics if known[name].kernel is None)

    @property
    def replica_seed(self) -> int:
        """The seed of the first block of four replicas, 64 bits."""
        return (self.bootstrap.seed << 32) + self.first_replica // REPLICAS_PER_BLOCK

    @property
    def axes(self) -> Axes:
        """Axes of the histograms."""
        return Axes(
            self.pt_edges,
            FLAVOURS if self.labelled else ("data",),
            tuple(TaggerBins(tagger.name, tagger.bins) for tagger in self.taggers),
            self.eta_edges,
        )


class FillPath(NamedTuple):
    """How the histograms of a sample are filled. The histograms do not depend on it.

    Attributes:
        kind: ``one pass``: the compiled filler reads the file, and selects and fills at once. ``table``: it selects
            events into a table, which is scored and then filled. ``numpy``: numpy selects and fills.
        reason: why this path is used.
    """

    kind: Literal["one pass", "table", "numpy"]
    reason: str

    @classmethod
    def of(cls, settings: FillSettings) -> FillPath:
        """The path for the settings in the current environment."""
        if native() is None:
            return cls("numpy", "the compiled kernels are not installed")
        scored = [tagger.name for tagger in settings.taggers if tagger.is_score]
        if scored:
            return cls("table", f"scores of {', '.join(scored)} are of the selected events")
        if settings.cuts:
            return cls("table", f"cuts are on numbers of the selected events: {', '.join(settings.cuts)}")
        if in_memory := settings.without_kernel:
            return cls("table", f"{', '.join(in_memory)} vary selected events")
        return cls("one pass", "the files have all that is counted")


class FilledChunk(NamedTuple):
    """The histograms of a chunk, and properties of its events.

    Attributes:
        filled: its histograms.
        ranges: range of event numbers of each run.
        n_selected: number of events that some variation may select.
        dijets: table of these events; None if it was not requested.
        refusal: why numpy filled the chunk instead of the compiled filler; empty if it did not.
    """

    filled: Filled
    ranges: tuple[RunRange, ...]
    n_selected: int
    dijets: Dijets | None = None
    refusal: str = ""


def fill_file(
    path: Path, start: int, stop: int, select: SelectSettings, fill: FillSettings, *, with_table: bool = False
) -> FilledChunk:
    """Histograms of n_trk of the entries `start` to `stop` of a file, by one compiled pass over them.

    If the compiled filler refuses an event, numpy repeats the work: it checks only the numbers that matter, and gives a
    specific error.

    Args:
        path: ROOT file with the events.
        start: first entry to read.
        stop: one past the last entry to read.
        select: cuts; its cuts and weights are those of `fill`.
        fill: axes and variations.
        with_table: whether to return the table of selected events, too; it may lack weights and n_trk of variations.

    Raises:
        FileError: the file cannot be read, a number is not finite, or an event number appears twice.
        InputError: weights are too large for their number of bits.
    """
    refusal = "the compiled kernels are not installed"
    if native() is not None:
        try:
            sums, histograms = _Sums(fill), _filler_histograms(fill, select.varied, [])
            with open_source(path, select.layout, start, stop) as source:
                events = run_filler(
                    source, select, with_table=with_table, regions=fill.regions, histograms=histograms, sums=sums.arrays
                )
            # Both jets of an event may be in one cell, in a replica up to 8 times; numpy computes a tighter bound.
            if 16 * max(events.size * fill.units.scale, events.square * fill.units.square_scale) >= MOST:
                raise RefusedError(f"{path}: weights are too large for {fill.units.bits} bits")
            dijets = events.dijets
            filled = sums.filled(dijets.cut_flow)
            return FilledChunk(filled, dijets.ranges, events.n_selected, dijets if with_table else None)
        except BeampipeError as error:
            refusal = str(error)
    dijets = select_by_numpy(path, start, stop, select)
    filled = fill_by_numpy(dijets, Scores(), fill)
    return FilledChunk(filled, dijets.ranges, len(dijets), dijets if with_table else None, refusal)


def fill_table(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    """Fill all histograms from a table of events.

    Args:
        dijets: events with two leading jets.
        scores: scores of the taggers other than n_trk.
        settings: axes, cuts and variations.

    Raises:
        InputError: weights are too large for their number of bits, or their number differs from that of their names.
    """
    dijets, scores = after_cuts(dijets, scores, settings)
    settings = replace(settings, cuts=())
    compiled = native()
    if compiled is None:
        return fill_by_numpy(dijets, scores, settings)
    if by_numpy := settings.without_kernel:
        compilable = tuple(name for name in settings.kinematics if name not in by_numpy)
        alone = replace(settings, weight_names=settings.weight_names[:1], kinematics=by_numpy, bootstrap=Bootstrap(0))
        parts = [
            fill_table(dijets, scores, replace(settings, kinematics=compilable)),
            fill_by_numpy(replace(dijets, weight=dijets.weight[:, :1]), scores, alone),
        ]
        return joined(parts, settings.columns)
    n, n_weights, sums = len(dijets), len(settings.weight_names), _Sums(settings)
    _refuse_weights(dijets, settings)
    names, keys = tuple(dijets.varied_n_trk), tuple(scores.by_name)
    varied_n_trk = [dijets.varied_n_trk[name] for name in names]
    floats = [np.asarray(scores.by_name[key], np.float32) for key in keys]
    labels = dijets.label if settings.labelled else None
    numbers = (dijets.run, dijets.event, None, dijets.weight, dijets.pt, dijets.eta, None, dijets.n_trk)
    columns = [_column(each) for each in (*numbers, labels, dijets.region, *varied_n_trk, *floats)]
    select = SelectSettings(
        *(settings.selection, settings.units, True, settings.labelled, tuple(range(n_weights))), names
    )
    flavours = [code if 0 <= code < len(FLAVOURS) else -2 for code in range(-128, 128)] if settings.labelled else []
    histograms = _filler_histograms(settings, names, keys)
    chosen = filler_settings(select, flavours, settings.regions, done=True)
    filler = compiled.Filler(chosen, histograms, sums.arrays, len(names), len(keys), 0)
    if not filler.add(n, n_weights, np.arange(0, 2 * n + 1, 2), columns):
        raise InputError(f"table of dijet events: {filler.refusal}")
    filler.finish()
    return sums.filled(dijets.cut_flow)


def after_cuts(dijets: Dijets, scores: Scores, settings: FillSettings) -> tuple[Dijets, Scores]:
    """The events that pass the cuts on numbers of the event, and their scores; the cut flow counts them.

    Args:
        dijets: events with two leading jets, and the numbers.
        scores: their scores.
        settings: the cuts, those of the selection, and the units of weights.

    Raises:
        ConfigError: a cut does not fit the types of its branches.
    """
    if not settings.cuts:
        return dijets, scores
    passed = np.ones(len(dijets), bool)
    for text in settings.cuts:
        passed &= evaluate(text, dijets.kept.__getitem__) != 0
    high, low = (each(dijets.pt, axis=1).astype(np.float64) for each in (np.max, np.min))
    selected = (pt_cuts_passed(high, low, settings.selection) == PT_CUTS) & passed
    selected &= enough_tracks(dijets.n_trk[:, 0], dijets.n_trk[:, 1], settings.selection)
    units, _ = quantise(dijets.weight[selected, 0], settings.units)
    flow = dijets.cut_flow
    flow = CutFlow(np.append(flow.events, selected.sum()), np.append(flow.weight, units.sum()))
    chosen = np.flatnonzero(passed)
    those = Scores({key: values[chosen] for key, values in scores.by_name.items()})
    return replace(dijets.part(chosen), cut_flow=flow), those


def _column(values: ndarray | None) -> tuple[ndarray, bool, int] | None:
    """A column of a table as the filler takes it."""
    return None if values is None else (np.ascontiguousarray(values).reshape(-1).view(np.uint8), False, 0)


class _Sums:
    """Output arrays of a filler; sums of weights have the rows of all groups of events, one group after the other."""

    def __init__(self, settings: FillSettings) -> None:
        axes, rows = settings.axes, settings.axes.n_rows
        self._settings, n_varied = settings, len(settings.kinematics)
        nothing = CutFlow(np.empty(0, np.int64), np.empty(0, np.int64))
        self._out = Filled.empty(axes, settings.columns, nothing)
        self._sumw, self._varied = self._out.sumw, self._out.varied_sumw
        if settings.groups:
            self._sumw = np.zeros((settings.groups * rows, len(settings.weight_names)), np.int64)
            self._varied = np.zeros((n_varied, settings.groups * rows), np.int64)

    @property
    def arrays(self) -> tuple[ndarray, ...]:
        """The arrays in the order of the filler."""
        out = self._out
        return self._sumw, out.sumw2, self._varied, out.varied_sumw2, out.replicas, out.entries

    def filled(self, cut_flow: CutFlow) -> Filled:
        """The histograms of all events, and the sums of each group."""
        out, n_groups = replace(self._out, cut_flow=cut_flow), self._settings.groups
        if n_groups:
            sumw = self._sumw.reshape(n_groups, -1, len(self._settings.weight_names))
            varied = self._varied.reshape(len(self._varied), n_groups, sumw.shape[1])
            groups = np.concatenate([sumw.transpose(0, 2, 1), varied.transpose(1, 0, 2)], axis=1)
            out = replace(out, sumw=sumw.sum(axis=0), varied_sumw=varied.sum(axis=1), groups=groups)
        return out.bounded()


def _filler_histograms(fill: FillSettings, varied: Sequence[str], scores: Sequence[ScoreKey]) -> dict[str, Any]:
    """Axes and variations for the compiled filler; `varied` and `scores` name columns of n_trk and scores."""
    variations = {name: each.kernel for name, each in jet_variations(fill.energy).items()}
    variations |= {name: (KERNELS.index("tracks"), column, 0.0) for column, name in enumerate(varied)}
    columns = {key: column for column, key in enumerate(scores)}
    *model, noise_seed = MODEL
    return {
        "edges": np.array(fill.pt_edges, np.float64),
        "eta_edges": np.array(fill.eta_edges, np.float64),
        "n_flavours": len(fill.axes.flavours),
        "taggers": [(float(tagger.low), float(tagger.high), tagger.bins) for tagger in fill.taggers],
        "energy": (*model, eta_nodes(fill.energy), fill.energy.resolution, noise_seed),
        "variations": [variations[name] for name in fill.kinematics],
        "scores": [
            columns[ScoreKey(tagger.name, name)] if tagger.is_score else -1
            for name in (NOMINAL, *fill.kinematics)
            for tagger in fill.taggers
        ],
        "dataset": dataset_key(fill.dataset),
        "seed": fill.replica_seed,
        "n_groups": max(fill.groups, 1),
        "poisson": POISSON,
    }


def fill_by_numpy(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    """As `fill_table`, without the compiled filler: identical results, several times slower."""
    if not settings.groups:
        return _fill_by_numpy(dijets, scores, settings)
    # The group is a function of the event alone.
    alone = replace(settings, groups=0)
    _refuse_weights(dijets, settings)
    keys = event_keys(dataset_key(settings.dataset), dijets.run, dijets.event)
    number = (keys >> np.uint64(32)) % np.uint64(settings.groups)
    parts, groups = [], []
    for group in range(settings.groups):
        chosen = np.flatnonzero(number == group)
        those = Scores({key: values[chosen] for key, values in scores.by_name.items()})
        parts.append(_fill_by_numpy(dijets.part(chosen), those, alone))
        groups.append(np.concatenate([parts[-1].sumw.T, parts[-1].varied_sumw]))
    return replace(merge(parts), groups=np.stack(groups), cut_flow=dijets.cut_flow).bounded()


def _fill_by_numpy(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
    axes, units = settings.axes, settings.units
    _refuse_weights(dijets, settings)
    out = Filled.empty(axes, settings.columns, dijets.cut_flow)
    weight, square = quantise(dijets.weight, units)
    cells = _cells(dijets, scores, settings, NOMINAL)
    cells.add(out.sumw, weight)
    cells.add(out.sumw2, square)
    cells.add(out.entries[:, None], np.ones((len(dijets), 1), np.int64))
    if settings.bootstrap.replicas:
        keys = event_keys(dataset_key(settings.dataset), dijets.run, dijets.event)
        fill_replicas(cells, weight[:, 0], keys, settings.replica_seed, POISSON, out.replicas)
    for k, name in enumerate(settings.kinematics):
        cells = _cells(dijets, scores, settings, name)
        cells.add(out.varied_sumw[k][:, None], weight[:, :1])
        cells.add(out.varied_sumw2[k][:, None], square[:, :1])
    return out.bounded()


def _cells(dijets: Dijets, scores: Scores, settings: FillSettings, variation: str) -> Cells:
    """Where the jets are counted in a variation."""
    axes, jets = settings.axes, kinematics_of(variation, dijets, settings.energy)
    flavour = dijets.label if settings.labelled else np.zeros_like(dijets.label)
    region = assign_regions(dijets.eta, settings.regions) if dijets.region is None else dijets.region
    rows = histogram_rows(jets.pt, jets.n_trk, region, flavour, dijets.eta, axes, settings.selection)
    bins = np.empty((len(dijets), 2, len(settings.taggers)), np.int64)
    offset = 0
    for t, tagger in enumerate(settings.taggers):
        x = scores.by_name[ScoreKey(tagger.name, variation)] if tagger.is_score else jets.n_trk
        tagger_bins(x, tagger.low, tagger.high, tagger.bins, offset, bins[:, :, t])
        offset += tagger.bins
    return Cells(rows, bins)


def _refuse_weights(dijets: Dijets, settings: FillSettings) -> None:
    """Check that each weight has a name, and that no sum of this chunk can exceed 64 bits."""
    # Both jets of an event may be in one cell, and in a replica up to 8 times.
    if dijets.weight.shape[1] != len(settings.weight_names):
        raise InputError(f"weights: got {dijets.weight.shape[1]} columns, expected {len(settings.weight_names)}")
    if len(dijets) == 0:
        return
    scale, square_scale = settings.units.scale, settings.units.square_scale
    largest = max(float(dijets.weight.max()), -float(dijets.weight.min()))
    bound = len(dijets) * max(largest * scale, largest**2 * square_scale)
    if 16 * bound >= MOST:
        size = np.abs(dijets.weight.astype(np.float64))
        bound = float(max(size.sum(axis=0).max() * scale, (size**2).sum(axis=0).max() * square_scale))
    refuse_overflow(16 * bound, settings.units.bits)
