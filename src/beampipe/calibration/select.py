"""Stage 1, `select`: the events of a ROOT file that can count, as a table of dijet events."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32, Float64, Int8, Int64
from numpy import ndarray

from beampipe.calibration.config import Regions, Selection
from beampipe.calibration.dijets import CUTS, FLAVOURS, LARGEST_SHIFT, CutFlow, Dijets
from beampipe.calibration.kernels.pairs import choose_pairs
from beampipe.calibration.ntuple import EVENT_BRANCHES, JET_BRANCHES, MC_BRANCHES, VARIED_N_TRK
from beampipe.calibration.reading import Jagged, open_events, read_flat, read_jagged
from beampipe.errors import FileError

__all__ = ["SelectSettings", "cut_values", "regions_of", "select"]

_FLAVOUR_OF_LABEL: Final = {1: "light", 2: "light", 3: "light", 4: "charm", 5: "bottom", 21: "gluon"}


@dataclass(frozen=True)
class SelectSettings:
    """All that `select` depends on besides the file.

    Attributes:
        selection: cuts.
        regions: forward and central.
        weight_bits: of the sample.
        simulated: weights are in the file.
        labelled: and labels, which are then asked for.
        weights: places of the weights to keep; nominal first.
        varied: variations of n_trk to keep.
    """

    selection: Selection
    regions: Regions
    weight_bits: int
    simulated: bool
    labelled: bool
    weights: tuple[int, ...] = (0,)
    varied: tuple[str, ...] = ()


def select(path: Path, start: int, stop: int, settings: SelectSettings) -> Dijets:
    """The dijet events among the entries `start` to `stop` of a file.

    Args:
        path: of the ROOT file.
        start: first entry.
        stop: one past the last entry.
        settings: cuts, regions and what to keep.

    Raises:
        FileError: the file cannot be read, a number is not finite, or an event number appears twice.
    """
    with open_events(path) as tree:
        arrays = _Arrays(path, tree, start, stop)
        run, event = arrays.flat("run"), arrays.flat("event")
        _refuse_repeated(path, run, event)
        pt = arrays.jets("jet_pt")
        varied = {name: arrays.jets(VARIED_N_TRK[name]).content for name in settings.varied}
        n_trk = arrays.jets("jet_n_trk").content
        most = np.maximum.reduce([n_trk, *varied.values()])
        flavour = flavours(arrays.jets("jet_label").content) if settings.labelled else np.empty(0, np.int8)
        weights = arrays.weights() if settings.simulated else None
        nominal = np.ones(len(run), np.float32) if weights is None else weights.content[weights.offsets[:-1]]
        _refuse_not_finite(path, start, "weight", nominal)
        eta = arrays.jets("jet_eta")
        counts, sums = np.zeros(len(CUTS), np.int64), np.zeros(len(CUTS), np.int64)
        events, pairs = choose_pairs(
            arrays.flat("trigger"),
            pt.offsets,
            pt.content,
            eta.content,
            arrays.jets("jet_clean").content,
            most,
            n_trk,
            flavour,
            nominal,
            cut_values(settings.selection),
            LARGEST_SHIFT,
            2.0**settings.weight_bits,
            counts,
            sums,
        )
        taken = {name: arrays.jets(f"jet_{name}").content[pairs] for name in ("pt", "eta", "width", "c1")}
        for name, values in taken.items():
            _refuse_not_finite(path, start, f"jet_{name}", values, events)
        if weights is None:
            kept = np.ones((len(events), 1), np.float32)
        else:
            kept = weights.content[weights.offsets[events][:, None] + np.array(settings.weights)]
        _refuse_not_finite(path, start, "weight", kept, events)
        return Dijets(
            run=run[events],
            event=event[events],
            weight=kept,
            **taken,
            n_trk=n_trk[pairs],
            label=flavour[pairs] if settings.labelled else np.zeros(pairs.shape, np.int8),
            region=regions_of(taken["eta"], settings.regions),
            ranges=_ranges(run, event),
            varied_n_trk={name: values[pairs] for name, values in varied.items()},
            cut_flow=CutFlow(counts, sums),
        )


def cut_values(selection: Selection) -> Float64[ndarray, " 6"]:
    """The cuts as the kernels take them."""
    return np.array(
        [
            selection.min_subleading_pt,
            selection.max_leading_pt,
            selection.max_pt_ratio,
            selection.max_abs_eta,
            selection.min_n_trk,
            selection.max_abs_weight,
        ]
    )


def flavours(label: Int8[ndarray, " n"]) -> Int8[ndarray, " n"]:
    """Numbers in `FLAVOURS` of PDG numbers; -1 for jets without a parton."""
    table = np.full(256, -1, np.int8)
    for pdg, name in _FLAVOUR_OF_LABEL.items():
        table[pdg] = FLAVOURS.index(name)
    return table[label.view(np.uint8)]


def regions_of(eta: Float32[ndarray, "n 2"], regions: Regions) -> Int8[ndarray, "n 2"]:
    """Numbers in `REGIONS` of each jet of a pair, -1 for neither; see `Regions`."""
    size = np.abs(eta)
    if regions.rule == "eta_split":
        return (size < regions.split).astype(np.int8)
    out = np.stack([size[:, 0] < size[:, 1], size[:, 0] >= size[:, 1]], axis=1).astype(np.int8)
    out[np.abs(size[:, 0] - size[:, 1]) < regions.min_eta_gap] = -1
    return out


class _Arrays:
    """Branches of one range of events, jagged ones checked against each other, each read once."""

    def __init__(self, path: Path, tree: Any, start: int, stop: int) -> None:
        self._where = (path, tree)
        self._range = (start, stop)
        self._jets: dict[str, Jagged] = {}

    def flat(self, branch: str) -> Any:
        return read_flat(*self._where, branch, EVENT_BRANCHES[branch], *self._range)

    def jets(self, branch: str) -> Jagged:
        if branch not in self._jets:
            dtype = "uint16" if branch in VARIED_N_TRK.values() else (JET_BRANCHES | MC_BRANCHES)[branch]
            read = read_jagged(*self._where, branch, dtype, *self._range)
            first = next(iter(self._jets.values()), read)
            if len(read.content) != len(first.content):
                raise FileError(
                    f"{self._where[0]}: branch {branch!r}: got {len(read.content)} jets, expected {len(first.content)} as in"
                    " the other branches of jets"
                )
            self._jets[branch] = read
        return self._jets[branch]

    def weights(self) -> Jagged:
        return read_jagged(*self._where, "weight", MC_BRANCHES["weight"], *self._range)


def _ranges(run: ndarray, event: ndarray) -> tuple[tuple[int, int, int], ...]:
    out = []
    for number in np.unique(run):
        of_run = event[run == number]
        out.append((int(number), int(of_run.min()), int(of_run.max())))
    return tuple(out)


def _refuse_not_finite(
    path: Path, start: int, branch: str, values: ndarray, events: Int64[ndarray, " m"] | None = None
) -> None:
    """One bad number refuses the file: which events it would change is not ours to guess."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        entry = start + (row if events is None else int(events[row]))
        raise FileError(
            f"{path}: branch {branch!r}: got {values[bad][0]} at entry {entry}, expected finite numbers; make the file again"
        )


def _refuse_repeated(path: Path, run: ndarray, event: ndarray) -> None:
    """Event numbers of a range must differ: they key the bootstrap, and a repeated event counts twice."""
    if np.all(event[1:] > event[:-1]) and (len(run) == 0 or run[0] == run[-1]):
        return
    order = np.lexsort((event, run))
    same = (event[order][1:] == event[order][:-1]) & (run[order][1:] == run[order][:-1])
    if same.any():
        first = order[int(np.argmax(same))]
        raise FileError(
            f"{path}: got run {run[first]}, event {event[first]} more than once, expected each event once; was the file merged"
            " with itself?"
        )
