"""Stage 3, `fill`: histograms of a chunk for all variations, by the compiled filler or by numpy.

Sums are of integers and therefore exact: a weight becomes a multiple of 2**-bits before anything is added, and then no
order of events, chunks or workers changes a bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float32, Float64, Int8, Int64, UInt8, UInt16, UInt64
from beampipe.calibration.config import Bootstrap, Cuts, DijetSelection, Energy, Tagger
from beampipe.calibration.events.dijets import FLAVOURS, LARGEST_SHIFT, CutFlow, Dijets, RunRange
from beampipe.calibration.events.histograms import MOST, Axes, Filled, TaggerBins, merge, refuse_overflow
from beampipe.calibration.events.scores import ScoreKey, Scores
from beampipe.calibration.events.select import (
    PT_CUTS,
    SelectSettings,
    enough_tracks,
    flavours,
    pt_cuts_passed,
    refuse_repeated,
    round_to_units,
    run_ranges,
)
from beampipe.calibration.events.variations import (
    MODEL,
    NOMINAL,
    POISSON,
    Kinematics,
    dataset_key,
    energy_shifts,
    eta_nodes,
    event_keys,
    kinematics_of,
    mix,
)
from beampipe.calibration.kernels import native
from beampipe.calibration.layout import EVENT_BRANCHES, JET_BRANCHES, NOMINAL_WEIGHT, VARIED_N_TRK, Labels
from beampipe.calibration.ntuple.columns import (
    HIGHEST_PT,
    LOWEST_PT,
    EventSource,
    Piece,
    Stream,
    allowed_unmatched,
    event_stream,
    is_stored_as,
    jet_stream,
    open_source,
    pdg_numbers,
    weight_stream,
)
from beampipe.errors import FileError, InputError

# The loops that fill histograms: compiled, and the same in numpy.


_BLOCK: Final = 4096
"""Events that the numpy twins take at once, so that their tables stay small."""


def histogram_rows(
    pt: Float32[ndarray, "n 2"],
    n_trk: UInt16[ndarray, "n 2"],
    region: Int8[ndarray, "n 2"],
    flavour: Int8[ndarray, "n 2"],
    edges: Float64[ndarray, " e"],
    cuts: Cuts,
    n_flavours: int,
    width: int,
) -> Int64[ndarray, "n 2"]:
    """Where the jets of each event go.

    Args:
        pt: pT of the variation [GeV].
        n_trk: numbers of tracks of the variation.
        region: number in `REGIONS`, -1 for neither.
        flavour: number in the flavours of the axes.
        edges: edges of the bins of pT [GeV].
        cuts: limits of the selection.
        n_flavours: number of flavours of the axes.
        width: bins of all taggers together.

    Returns:
        First row of each jet's cell, or -1 if the jet does not count.
    """
    compiled = native()
    if compiled is not None:
        rows = np.empty(pt.shape, np.int64)
        columns = map(np.ascontiguousarray, (pt, n_trk, region, flavour))
        compiled.histogram_rows(*columns, edges, tuple(cuts), n_flavours, width, rows)
        return rows
    one, other = (pt[:, j].astype(np.float64) for j in range(2))
    high, low = np.where(other > one, other, one), np.where(other < one, other, one)
    selected = (pt_cuts_passed(high, low, cuts) == PT_CUTS) & enough_tracks(n_trk[:, 0], n_trk[:, 1], cuts)
    where = np.searchsorted(edges, pt.astype(np.float64), side="right") - 1
    counts = selected[:, None] & (region >= 0) & (where >= 0) & (where < len(edges) - 1)
    return np.where(counts, ((where * 2 + region) * n_flavours + flavour) * width, -1)


def tagger_bins(x: ndarray, low: float, high: float, n_bins: int, offset: int, out: Int64[ndarray, "n 2"]) -> None:
    """Bins of a tagger; outside the axis is its first or last bin, and so is a NaN.

    Args:
        x: (n, 2) values of the tagger: numbers of tracks, or scores.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        n_bins: number of bins of the tagger.
        offset: added to every bin.
        out: written.
    """
    compiled, values = native(), np.ascontiguousarray(x, np.float64)
    if compiled is not None:
        compiled.tagger_bins(values, low, high, n_bins, offset, out)
        return
    # Multiplied before it is divided: a whole number of tracks must not fall short of its own bin.
    place = np.floor((values - low) * n_bins / (high - low))
    out[:] = np.fmin(np.fmax(place, 0.0), n_bins - 1.0).astype(np.int64) + offset


def quantise(weight: ndarray, scale: float) -> tuple[Int64[ndarray, "*n"], Int64[ndarray, "*n"]]:
    """Weights, and squares of weights, as multiples of 1 / scale."""
    w = weight.astype(np.float64)
    return round_to_units(w * scale), round_to_units(w * w * scale)


def fill_weights(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weight: Float32[ndarray, "n w"],
    scale: float,
    sumw: Int64[ndarray, "r w"],
    sumw2: Int64[ndarray, "r w"],
) -> None:
    """Add every weight of every jet: one pass for all variations of weights.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weight: weights of each event.
        scale: units in a weight of 1: 2**weight_bits.
        sumw: added to.
        sumw2: added to: squares of the weights.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_weights(rows, bins, np.ascontiguousarray(weight), scale, sumw, sumw2)
        return
    for event, row in _blocks(rows, bins):
        values, squares = quantise(weight[event], scale)
        _add(sumw, row, values)
        _add(sumw2, row, squares)


def fill_single(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weights: Int64[ndarray, " n"],
    squares: Int64[ndarray, " n"],
    sumw: Int64[ndarray, " r"],
    sumw2: Int64[ndarray, " r"],
    entries: Int64[ndarray, " r"],
) -> None:
    """Add one weight of every jet.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weights: weights of `quantise`.
        squares: squares of weights of `quantise`.
        sumw: added to: weights.
        sumw2: added to: squares of weights.
        entries: added to: numbers of jets.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_single(rows, bins, weights, squares, sumw, sumw2, entries)
        return
    for event, row in _blocks(rows, bins):
        np.add.at(sumw, row, weights[event])
        np.add.at(sumw2, row, squares[event])
        np.add.at(entries, row, 1)


def fill_replicas(
    rows: Int64[ndarray, "n 2"],
    bins: Int64[ndarray, "n 2 t"],
    weights: Int64[ndarray, " n"],
    keys: UInt64[ndarray, " n"],
    seed: int | np.uint64,
    table: UInt8[ndarray, " p"],
    replicas: Int64[ndarray, "r b"],
) -> None:
    """Add the nominal weight to every replica as often as the event is in it: both its jets together.

    Args:
        rows: first row of the cell of each jet, -1 if it does not count.
        bins: bin of each tagger, counted over all taggers.
        weights: weights of `quantise`.
        keys: keys of `event_keys`.
        seed: added to the number of each block of four replicas, 64 bits.
        table: Poisson numbers of `poisson_table`.
        replicas: added to.
    """
    compiled = native()
    if compiled is not None:
        compiled.fill_replicas(rows, bins, weights, keys, int(seed), table, replicas)
        return
    n_replicas = replicas.shape[1]
    blocks = mix(np.uint64(seed) + np.arange((n_replicas + 3) // 4, dtype=np.uint64))
    shifts = np.arange(0, 64, 16, dtype=np.uint64)
    for event, row in _blocks(rows, bins):
        bits = mix(keys[event][:, None] + blocks)
        times = table[(bits[:, :, None] >> shifts) & np.uint64(0xFFFF)].reshape(len(event), -1)[:, :n_replicas]
        _add(replicas, row, weights[event][:, None] * times)


def _blocks(
    rows: Int64[ndarray, "n 2"], bins: Int64[ndarray, "n 2 t"]
) -> Iterator[tuple[Int64[ndarray, " m"], Int64[ndarray, " m"]]]:
    """Event and row of every jet that counts, for every tagger, some events at a time."""
    for start in range(0, len(rows), _BLOCK):
        event, jet = np.nonzero(rows[start : start + _BLOCK] >= 0)
        event += start
        for t in range(bins.shape[2]):
            yield event, rows[event, jet] + bins[event, jet, t]


def _add(sums: Int64[ndarray, "r w"], row: Int64[ndarray, " m"], values: Int64[ndarray, "m w"]) -> None:
    """sums[row] += values, for rows that may come more than once."""
    if len(row) == 0:
        return
    order = np.argsort(row, kind="stable")
    ordered = row[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    sums[ordered[first]] += np.add.reduceat(values[order], first, axis=0)


# Stage 3, `fill`: histograms by pT, region, flavour and tagger, for all variations, from one reading of a
# chunk.


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


def fill_table(dijets: Dijets, scores: Scores, settings: FillSettings) -> Filled:
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


# Stages 1 and 3 in one pass over the events of a chunk, compiled: no table of events is made between them.


_TRACKS, _SCALE, _RESOLUTION = range(3)
"""Kinds of variations of jets, as the compiled filler numbers them."""

_SELECT: Final = ("selection", "regions", "weight_bits", "simulated", "labelled", "weights", "varied", "layout")

_FILL: Final = (
    *("pt_edges", "taggers", "selection", "energy", "weight_bits", "labelled", "weight_names", "kinematics"),
    *("bootstrap", "dataset"),
)
"""Settings that the pass knows; others must be as they are if nobody sets them."""

_REFUSED: Final = -2
"""In place of a flavour: a code that the layout does not expect."""


class FilledChunk(NamedTuple):
    """What becomes of a chunk.

    Attributes:
        filled: its histograms.
        ranges: range of event numbers of each run.
        n_selected: number of events that some variation may select.
    """

    filled: Filled
    ranges: tuple[RunRange, ...]
    n_selected: int


def fill_file(path: Path, start: int, stop: int, select: SelectSettings, fill: FillSettings) -> FilledChunk | None:
    """Histograms of the entries `start` to `stop` of a file.

    Args:
        path: ROOT file with the events.
        start: first entry to read.
        stop: one past the last entry to read.
        select: cuts and regions, as for `select`.
        fill: axes and variations, as for `fill`.

    Returns:
        What `select` and `fill` give; None if they must be asked.
    """
    if native() is None or not _knows(select, fill):
        return None
    try:
        with open_source(path, select.layout, start, stop) as source:
            return _filled(source, select, fill)
    except MemoryError:
        raise
    except Exception:  # whatever uproot raises on a damaged file, or on one that it reads in another way
        return None


def _knows(select: SelectSettings, fill: FillSettings) -> bool:
    """Whether the filler has everything that is asked for."""
    if not (_unset(select, _SELECT) and _unset(fill, _FILL)):
        return False
    known = {*select.varied, *(shift.name for shift in energy_shifts(fill.energy))}
    n_weights = len(select.weights) if select.simulated else 1
    return (
        not any(tagger.boosted for tagger in fill.taggers)
        and select.regions.rule in ("eta_rank", "eta_split")
        and not fill.groups
        and known.issuperset(fill.kinematics)
        and select.regions.rule != "branch"
        and select.labelled == fill.labelled
        and (select.selection, select.weight_bits) == (fill.selection, fill.weight_bits)
        and n_weights == len(fill.weight_names)
        and (not select.simulated or select.weights[0] == NOMINAL_WEIGHT)
    )


def _unset(settings: SelectSettings | FillSettings, known: tuple[str, ...]) -> bool:
    """Whether all other settings have their defaults."""
    return all(getattr(settings, each.name) == each.default for each in fields(settings) if each.name not in known)


def _filled(source: EventSource, select: SelectSettings, fill: FillSettings) -> FilledChunk | None:
    compiled = native()
    assert compiled is not None
    flow = CutFlow(np.empty(0, np.int64), np.empty(0, np.int64))
    out = Filled.empty(fill.axes, fill.weight_names, fill.kinematics, fill.bootstrap.replicas, flow)
    sums = (out.sumw, out.sumw2, out.varied_sumw, out.varied_sumw2, out.replicas, out.entries)
    filler = compiled.Filler(_settings(source, select, fill), *sums, len(select.varied))
    if not _feed(filler, source, select):
        return None
    seen = filler.finish()
    if _looks_wrong(seen, source, select, fill):
        return None
    cut_flow = CutFlow(np.array(seen["events"], np.int64), np.array(seen["weights"], np.int64))
    filled = out.with_cut_flow(cut_flow).bounded()
    return FilledChunk(filled, _ranges(seen, source), seen["selected"])


def _settings(source: EventSource, select: SelectSettings, fill: FillSettings) -> dict[str, Any]:
    """What the compiled filler is told."""
    tracks = {name: (_TRACKS, place, 0.0) for place, name in enumerate(select.varied)}
    kinds = {"jes": _SCALE, "jer": _RESOLUTION}
    shifts = {each.name: (kinds[each.kind], each.number, each.sign) for each in energy_shifts(fill.energy)}
    known = {**shifts, **tracks}
    regions, (*model, noise_seed) = select.regions, MODEL
    as_stored = select.labelled and is_stored_as(source, "jet_label", "int8", lists=True)
    return {
        "cuts": tuple(select.selection.cuts),
        "margin": LARGEST_SHIFT,
        "scale": 2.0**fill.weight_bits,
        "edges": np.array(fill.pt_edges, np.float64),
        "n_flavours": len(fill.axes.flavours),
        "taggers": [(float(tagger.low), float(tagger.high), tagger.bins) for tagger in fill.taggers],
        "regions": (regions.rule == "eta_split", regions.min_eta_gap, regions.split),
        "flavours": _flavours(select.layout.labels if as_stored else None) if select.labelled else [],
        "weights": list(select.weights) if select.simulated else [],
        "energy": (*model, eta_nodes(fill.energy), fill.energy.resolution, noise_seed),
        "variations": [known[name] for name in fill.kinematics],
        "likely_pt": (LOWEST_PT, HIGHEST_PT),
        "dataset": dataset_key(fill.dataset),
        "seed": fill.bootstrap.seed << 32,
        "poisson": POISSON,
    }


@cache
def _flavours(labels: Labels | None) -> list[int]:
    """Number in `FLAVOURS` by code of a label, from -128 on; by PDG number, if labels are converted before."""
    codes = np.arange(-128, 128).astype(np.int8)
    if labels is None:
        return [int(flavour) for flavour in flavours(codes)]
    return [_flavour(code, labels) for code in codes]


def _flavour(code: np.int8, labels: Labels) -> int:
    try:
        return int(flavours(pdg_numbers(Path(), "", np.array([code]), labels))[0])
    except FileError:
        return _REFUSED


class _Weights:
    """Weights of the events, if there are any."""

    def __init__(self, source: EventSource, select: SelectSettings) -> None:
        self._stream = weight_stream(source) if select.simulated else None
        self.piece: Piece | None = None
        self.n_weights = 1

    def reach(self, event: int) -> int | None:
        """Go on to the piece that holds an event; gives the end of the piece."""
        if self._stream is None:
            return None
        while self.piece is None or self.piece.stop <= event:
            self.piece, self.n_weights = next(self._stream)
        return self.piece.stop

    def column(self, event: int) -> tuple[ndarray, bool, int] | None:
        return None if self.piece is None else (self.piece.data, self.piece.big, self.piece.first(event))


def _feed(filler: Any, source: EventSource, select: SelectSettings) -> bool:
    """Give a filler all events; False if it refuses some."""
    singles = [event_stream(source, name, EVENT_BRANCHES[name]) for name in ("run", "event", "trigger")]
    names = ["jet_eta", "jet_clean", "jet_n_trk"]
    pt = jet_stream(source, "jet_pt", JET_BRANCHES["jet_pt"])
    assert pt is not None
    jets = [pt, *(jet_stream(source, name, JET_BRANCHES[name], pt) for name in names)]
    jets.append(jet_stream(source, "jet_label", "int8", pt) if select.labelled else None)
    jets += [jet_stream(source, VARIED_N_TRK[name], "uint16", pt) for name in select.varied]
    weights = _Weights(source, select)
    of_jets = [stream for stream in jets if stream is not None]
    streams = [stream for stream in singles if stream is not None] + of_jets
    at, n_events = 0, source.stop - source.start
    while at < n_events:
        ends = [stream.reach(at) for stream in streams]
        end = min(*ends, weights.reach(at) or n_events)
        n_jets = pt.piece.first(end) - pt.piece.first(at)
        if any(stream.piece.first(end) - stream.piece.first(at) != n_jets for stream in of_jets):
            return False
        columns = [*_columns(singles, at), weights.column(at), *_columns(jets, at)]
        assert pt.piece.offsets is not None
        offsets = pt.piece.offsets[at - pt.piece.start : end - pt.piece.start + 1]
        if not filler.add(end - at, weights.n_weights, offsets, columns):
            return False
        at = end
    return True


def _columns(streams: list[Stream | None], event: int) -> list[tuple[ndarray, bool, int] | None]:
    return [None if stream is None else stream.column(event) for stream in streams]


def _looks_wrong(seen: dict[str, Any], source: EventSource, select: SelectSettings, fill: FillSettings) -> bool:
    """Whether there may be something to complain of: labels, pT, or weights that are too large for 64 bits."""
    return bool(
        2 * max(seen["low"], seen["high"]) >= max(seen["pairs"], 1)
        or (select.labelled and seen["unmatched"] > allowed_unmatched(seen["labels"], source.layout))
        # As `fill` bounds the sums: two jets of each event in one cell, and in a replica up to 8 times.
        or 16 * max(seen["size"], seen["square"]) * 2.0**fill.weight_bits >= MOST
    )


def _ranges(seen: dict[str, Any], source: EventSource) -> tuple[RunRange, ...]:
    """The range of event numbers of each run; an event must not appear twice."""
    if seen["ordered"]:
        return (RunRange(seen["run"], seen["first"], seen["last"]),)
    run, event = source.flat("run"), source.flat("event")
    refuse_repeated(source.path, run, event)
    return run_ranges(run, event)
