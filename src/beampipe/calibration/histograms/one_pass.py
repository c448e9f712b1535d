"""Stages 1 and 3 in one pass over the events of a chunk, compiled: no table of events is made between them.

`select` and `fill` say the same step by step, and are what is compared with. They are also asked where this pass sees
something that it does not know or that looks wrong: what is wrong is theirs to say.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.calibration.histograms.fill import FillSettings
from beampipe.calibration.histograms.streams import (
    Piece,
    Stream,
    event_stream,
    is_stored_as,
    jet_stream,
    weight_stream,
)
from beampipe.calibration.histograms.sums import MOST, Filled
from beampipe.calibration.jets.dijets import LARGEST_SHIFT, CutFlow, RunRange
from beampipe.calibration.jets.energy import MODEL, energy_shifts, eta_nodes
from beampipe.calibration.jets.hashing import POISSON
from beampipe.calibration.jets.kinematics import dataset_key
from beampipe.calibration.jets.select import SelectSettings, flavours, refuse_repeated, run_ranges
from beampipe.calibration.kernels.loading import native
from beampipe.calibration.layout.settings import Labels
from beampipe.calibration.ntuple.columns import EVENT_BRANCHES, JET_BRANCHES, NOMINAL_WEIGHT, VARIED_N_TRK
from beampipe.calibration.ntuple.labels import HIGHEST_PT, LOWEST_PT, allowed_unmatched, pdg_numbers
from beampipe.calibration.ntuple.source import EventSource, open_source
from beampipe.errors import FileError

__all__ = ["FilledChunk", "fill_in_one_pass"]

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


def fill_in_one_pass(
    path: Path, start: int, stop: int, select: SelectSettings, fill: FillSettings
) -> FilledChunk | None:
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
