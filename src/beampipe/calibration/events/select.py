"""Stage 1, `select`: the dijet events of a ROOT file, by the compiled filler or by numpy.

`run_filler` is the interface to the compiled loop that selects events and optionally fills histograms in one pass.
Where it refuses an event, `select_by_numpy` repeats the selection step by step and reports the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, replace
from functools import cache
from math import inf
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float32, Int8, Int64
from beampipe.calibration.config import REGIONS, DijetSelection, Regions
from beampipe.calibration.events.dijets import (
    CUT_NAMES,
    FLAVOURS,
    LARGEST_SHIFT,
    CutFlow,
    Dijets,
    RunRange,
    WeightUnits,
    not_read,
)
from beampipe.calibration.kernels import native
from beampipe.calibration.layout import BEAMPIPE, Labels, Layout
from beampipe.calibration.ntuple.columns import (
    HIGHEST_PT,
    LOWEST_PT,
    SCORE,
    EventSource,
    allowed_unmatched,
    columns_of,
    is_stored_as,
    open_source,
    pdg_table,
    pt_complaint,
    segments,
    unmatched_complaint,
)
from beampipe.calibration.ntuple.root_files import branch_error
from beampipe.errors import BeampipeError, FileError
from beampipe.jets.ntuple_format import NOMINAL_WEIGHT, VARIED_N_TRK

_BY_RANK: Final = Regions()


def assign_regions(eta: Float32[ndarray, "n 2"], regions: Regions) -> Int8[ndarray, "n 2"]:
    """Numbers in `REGIONS` of each jet of a pair, -1 for neither; see `Regions`."""
    size = np.abs(eta)
    if regions.rule == "eta_split":
        central: ndarray = size < regions.split
        return central.astype(np.int8)
    out = np.empty(size.shape, np.int8)
    np.less(size[:, 0], size[:, 1], out=out[:, 0], casting="unsafe")
    np.subtract(1, out[:, 0], out=out[:, 1])
    if regions.min_eta_gap > 0:
        out[np.abs(size[:, 0] - size[:, 1]) < regions.min_eta_gap] = -1
    return out


PT_CUTS: Final = 3
"""Number of cuts on pT, which follow each other in `CUT_NAMES`."""

_N_CUTS: Final = len(CUT_NAMES)

# Indices in `CUT_NAMES`.
_ALL, _TRIGGER, _TWO_JETS, _ETA, _, _, _PT_RATIO, _CLEAN, _N_TRK, _LABEL, _WEIGHT = range(_N_CUTS)


class PairColumns(NamedTuple):
    """The columns that `choose_pairs` uses, of events with two leading jets; the leading jet of each pair comes first.

    Attributes:
        pt: (m, 2) float32, transverse momentum of each jet [GeV].
        eta: (m, 2) float32, pseudorapidity of each jet.
        clean: (m, 2) bool, whether each jet passes jet cleaning.
        n_trk: (m, 2) uint16, number of tracks of each jet.
        flavour: (m, 2) int8, negative where the jet has no label; empty if labels are not required.
    """

    pt: Any
    eta: Any
    clean: Any
    n_trk: Any
    flavour: Any


def enough_tracks(first: ndarray, second: ndarray, cuts: DijetSelection) -> Any:
    """Whether both jets of pairs pass the cut on n_trk, given n_trk of each."""
    return (first >= np.float64(cuts.min_n_trk)) & (second >= np.float64(cuts.min_n_trk))


def pt_cuts_passed(high: ndarray, low: ndarray, cuts: DijetSelection) -> Any:
    """Number of cuts on pT that pairs pass before the first one they fail; `PT_CUTS` if they pass all.

    Args:
        high: (n,) float64, pT of the harder jets [GeV].
        low: (n,) float64, pT of the softer jets [GeV].
        cuts: limits of the selection.
    """
    first = low > cuts.min_subleading_pt
    second = first & (high < cuts.max_leading_pt)
    third = second & (high < cuts.max_pt_ratio * low)
    return first.astype(np.int64) + second + third


def round_to_units(values: ndarray) -> Int64[ndarray, "*n"]:
    """The nearest whole numbers, halves to even; values outside 64 bits become the smallest int64."""
    with np.errstate(invalid="ignore"):
        rounded = np.rint(values)
        fits = (rounded >= -(2.0**63)) & (rounded < 2.0**63)
        return np.where(fits, rounded, -(2.0**63)).astype(np.int64)


def leading_pairs(
    trigger: Bool[ndarray, " n"], offsets: Int64[ndarray, " n_1"], pt: Float32[ndarray, " j"]
) -> tuple[Int64[ndarray, " m"], Int64[ndarray, "m 2"]]:
    """The two leading jets of each triggered event that has two.

    Args:
        trigger: whether the trigger accepted each event.
        offsets: first jet of each event.
        pt: transverse momentum of each jet [GeV].

    Returns:
        Events, and indices of their leading and subleading jets in `pt`; of jets with equal pT the first one leads.
    """
    events = np.flatnonzero(trigger & (np.diff(offsets) >= 2))
    lead = offsets[events]
    second = lead + 1
    turned = pt[second] > pt[lead]
    lead, second = np.where(turned, second, lead), np.where(turned, lead, second)
    n_jets = np.diff(offsets)[events]
    for k in range(2, int(n_jets.max(initial=0))):
        more = np.flatnonzero(n_jets > k)
        jet, a, b = offsets[events[more]] + k, lead[more], second[more]
        first = pt[jet] > pt[a]
        second[more] = np.where(first, a, np.where(pt[jet] > pt[b], jet, b))
        lead[more] = np.where(first, jet, a)
    return events, np.stack([lead, second], axis=1)


def choose_pairs(
    trigger: Bool[ndarray, " n"],
    weight: Float32[ndarray, " n"],
    entries: Int64[ndarray, " m"],
    pairs: PairColumns,
    cuts: DijetSelection,
    max_weight: float,
    margin: float,
    scale: float,
) -> tuple[Int64[ndarray, " k"], Int64[ndarray, " c"], Int64[ndarray, " c"]]:
    """The events that some variation may select, and the cut flow with nominal pT and n_trk.

    Args:
        trigger: whether the trigger accepted each event.
        weight: nominal weight of each event.
        entries: the events with two leading jets, in rising order.
        pairs: columns of these events.
        cuts: limits of the selection.
        max_weight: limit that the size of the nominal weight must stay below.
        margin: largest relative change of a pT by a variation.
        scale: units in a weight of 1.

    Returns:
        Rows of `entries`; events after each of `CUT_NAMES`; sums of their nominal weights in units of 1 / scale.
    """
    # Count events by the last cut they pass, then sum backwards from the last cut.
    high, low = (pairs.pt[:, j].astype(np.float64) for j in range(2))
    labelled = (pairs.flavour >= 0).all(axis=1) if len(pairs.flavour) else np.ones(len(entries), bool)
    clean = pairs.clean.all(axis=1)
    inside = (np.abs(pairs.eta).astype(np.float64) < cuts.max_abs_eta).all(axis=1)
    light = np.abs(weight[entries]).astype(np.float64) < max_weight
    n_pt_cuts = pt_cuts_passed(high, low, cuts)
    answers = [
        (np.full(len(entries), _TWO_JETS), inside),
        (_ETA + n_pt_cuts, n_pt_cuts == PT_CUTS),
        (np.full(len(entries), _PT_RATIO), clean),
        (np.full(len(entries), _CLEAN), enough_tracks(pairs.n_trk[:, 0], pairs.n_trk[:, 1], cuts)),
        (np.full(len(entries), _N_TRK), labelled),
        (np.full(len(entries), _LABEL), light),
    ]
    last = np.where(trigger, _TRIGGER, _ALL)
    last[entries] = np.select([~passed for _, passed in answers], [before for before, _ in answers], _WEIGHT)
    near = pt_cuts_passed(high * (1 - margin), low * (1 + margin), cuts) == PT_CUTS
    chosen = clean & labelled & inside & light & near
    events, sums = np.zeros(_N_CUTS, np.int64), np.zeros(_N_CUTS, np.int64)
    np.add.at(events, last, 1)
    np.add.at(sums, last, round_to_units(weight.astype(np.float64) * scale))
    return np.flatnonzero(chosen), np.cumsum(events[::-1])[::-1].copy(), np.cumsum(sums[::-1])[::-1].copy()


_REFUSED: Final = -2
"""Flavour number of codes that the layout does not expect."""

_FLAVOUR_OF_LABEL: Final = {1: "light", 2: "light", 3: "light", 4: "charm", 5: "bottom", 21: "gluon"}


@dataclass(frozen=True)
class SelectSettings:
    """All settings of `select`.

    Attributes:
        selection: cuts on the two leading jets.
        units: units that weights are rounded to.
        simulated: whether weights are in the file.
        labelled: whether labels are in the file; events without a label are then left out.
        weights: indices of the weights to keep; nominal first.
        varied: names of the variations of n_trk to keep.
        layout: mapping of branches to columns.
        max_weight: limit that the size of the nominal weight must stay below; 0 for no limit.
        observables: whether the table has width, c1 and scores of the files, for taggers other than n_trk.
        region_in_files: whether the files have the region of each jet.
        kept: branches with a number per event that the table has for cuts.
    """

    selection: DijetSelection
    units: WeightUnits
    simulated: bool
    labelled: bool
    weights: tuple[int, ...] = (0,)
    varied: tuple[str, ...] = ()
    layout: Layout = BEAMPIPE
    max_weight: float = 0.0
    observables: bool = False
    region_in_files: bool = False
    kept: tuple[str, ...] = ()

    @property
    def nominal(self) -> SelectSettings:
        """The settings without variations, which alone determine the selected events."""
        return replace(self, weights=(0,), varied=())


class RefusedError(BeampipeError):
    """The compiled filler met an invalid or implausible event; `select_by_numpy` then decides and reports why."""


def select(path: Path, start: int, stop: int, settings: SelectSettings) -> Dijets:
    """The dijet events among the entries `start` to `stop` of a file.

    The compiled filler selects them. If it refuses an event, numpy repeats the selection: it checks only the numbers
    that matter, and gives a specific error.

    Args:
        path: ROOT file with the events.
        start: first entry to read.
        stop: one past the last entry to read.
        settings: cuts and columns to keep.

    Raises:
        FileError: the file cannot be read, a number is not finite, or an event number appears twice.
    """
    if native() is not None:
        with suppress(BeampipeError), open_source(path, settings.layout, start, stop) as source:
            return run_filler(source, settings, with_table=True).dijets
    return select_by_numpy(path, start, stop, settings)


def with_variations(dijets: Dijets, path: Path, start: int, stop: int, settings: SelectSettings) -> Dijets:
    """A table of `select` with the weights and the numbers of tracks of variations; only their branches are read.

    Args:
        dijets: the table, with the nominal weight.
        path: ROOT file that its events are from.
        start: first entry of its range.
        stop: one past the last entry of its range.
        settings: weights and variations of n_trk to add.

    Raises:
        FileError: a branch cannot be read, or a weight is not finite.
    """
    if settings == settings.nominal:
        return dijets
    with open_source(path, settings.layout, start, stop) as source:
        weight, varied = dijets.weight, {}
        if len(settings.weights) > 1:
            weight = _read_weights(source, settings.weights)[dijets.entry]
            source.refuse_weights(weight, settings.weights, dijets.entry.astype(np.int64))
        for name in settings.varied:
            column = VARIED_N_TRK[name]
            counts, numbers = source.whole_column(column)
            if (dijets.jet >= counts[dijets.entry][:, None]).any():
                raise branch_error(path, _branch(source, column), "got fewer jets than in other columns of jets")
            first = np.cumsum(counts) - counts
            varied[name] = source.converted(column, numbers[first[dijets.entry][:, None] + dijets.jet])
        return replace(dijets, weight=weight, varied_n_trk=varied)


class FilledEvents(NamedTuple):
    """The result of one pass of the compiled filler.

    Attributes:
        n_selected: number of events that some variation may select.
        size: sum over selected events of their largest absolute weight.
        square: sum over selected events of the square of their largest weight.
        dijets: table of the selected events, with the cut flow of all events; empty if it was not requested.
    """

    n_selected: int
    size: float
    square: float
    dijets: Dijets


def run_filler(
    source: EventSource,
    settings: SelectSettings,
    *,
    with_table: bool,
    regions: Regions = _BY_RANK,
    histograms: Mapping[str, Any] | None = None,
    sums: tuple[ndarray, ...] | None = None,
) -> FilledEvents:
    """Pass the events of a range through the compiled filler.

    Args:
        source: range of a file.
        settings: cuts and weights.
        with_table: whether to return the table of selected events; if there are histograms, without the weights and
            n_trk of variations.
        regions: rule that assigns jets to regions, for the histograms.
        histograms: axes and variations of the histograms, as the filler takes them; None for none.
        sums: arrays to add to, if there are histograms.

    Raises:
        RefusedError: an event is refused, or pT or labels are implausible.
        FileError: a branch cannot be read, or an event number appears twice.
    """
    compiled, layout = native(), settings.layout
    assert compiled is not None
    floats: list[str] = []
    if with_table and settings.observables:
        floats = [f"jet_{name}" for name in ("width", "c1") if source.present(f"jet_{name}")]
        floats += [SCORE + score.name for score in layout.scores]
    flavours_of_codes: Sequence[int] = []
    if settings.labelled:
        as_stored = is_stored_as(source, "jet_label", "int8")
        flavours_of_codes = _flavours_by_code(layout.labels if as_stored else None)
    chosen = filler_settings(settings, flavours_of_codes, regions)
    table_rows = source.stop - source.start if with_table else 0
    filler = compiled.Filler(chosen, histograms or {}, sums, len(settings.varied), len(floats), table_rows)
    every_segment = segments(
        source,
        weighted=settings.simulated,
        labels=settings.labelled,
        regions=settings.region_in_files,
        varied=settings.varied,
        floats=floats,
    )
    for segment in every_segment:
        if not filler.add(*segment):
            raise RefusedError(f"{source.path}: {filler.refusal}")
    counts = filler.finish()
    if 2 * max(counts["low"], counts["high"]) >= max(counts["pairs"], 1):
        raise RefusedError(f"{source.path}: half of the leading jets have an unlikely pT")
    if counts["unmatched"] > allowed_unmatched(counts["labels"], layout) and settings.labelled:
        raise RefusedError(f"{source.path}: too many leading jets have no label")
    nominal_only = histograms is not None or not settings.simulated
    table = filler.take_table(1 if nominal_only else len(settings.weights))
    ranges: tuple[RunRange, ...] = (RunRange(counts["run"], counts["first"], counts["last"]),)
    table["run"] = np.broadcast_to(np.uint32(counts["run"]), len(table["entry"]))
    if not counts["ordered"]:
        run, event = source.flat("run"), source.flat("event")
        refuse_repeated(source.path, run, event)
        ranges, table["run"] = run_ranges(run, event), run[table["entry"]]
    if not settings.region_in_files:
        table["region"] = None
    table["event"] = table["event"].view(np.uint64)  # numpy has two distinct types of this size
    varied, numbers = (
        dict(zip(names, table.pop(key), strict=True))
        for names, key in ((settings.varied, "varied_n_trk"), (floats, "floats"))
    )
    missing = not_read(table["pt"].shape)
    dijets = Dijets(
        **table,
        width=numbers.get("jet_width", missing),
        c1=numbers.get("jet_c1", missing),
        ranges=ranges,
        varied_n_trk=varied if histograms is None else {},
        scores={name.removeprefix(SCORE): values for name, values in numbers.items() if name.startswith(SCORE)},
        kept=_kept(source, settings, table["entry"]) if with_table else {},
        cut_flow=CutFlow(np.array(counts["events"], np.int64), np.array(counts["weights"], np.int64)),
    )
    return FilledEvents(counts["selected"], counts["size"], counts["square"], dijets)


def filler_settings(
    settings: SelectSettings, flavours_of_codes: Sequence[int], regions: Regions, *, done: bool = False
) -> dict[str, Any]:
    """The settings of the selection, as the compiled filler takes them.

    Args:
        settings: cuts and weights.
        flavours_of_codes: number in `FLAVOURS` by code of a label, from -128 on; empty without labels.
        regions: rule that assigns jets to regions.
        done: whether the events are a table of selected ones.
    """
    *limits, _ = astuple(settings.selection)  # max_weight is in units of the median
    return {
        "cuts": (*limits, settings.max_weight or inf),
        "margin": LARGEST_SHIFT,
        "scale": settings.units.scale,
        "square_scale": settings.units.square_scale,
        "regions": (regions.rule == "eta_split", regions.min_eta_gap, regions.split),
        "flavours": flavours_of_codes,
        "weights": list(settings.weights) if settings.simulated else [],
        "likely_pt": (LOWEST_PT, HIGHEST_PT),
        "done": done,
    }


@cache
def _flavours_by_code(labels: Labels | None) -> list[int]:
    """Number in `FLAVOURS` by code of a label, from -128 on; by PDG number, if labels are converted before."""
    codes = range(-128, 128)
    if labels is None:
        return [int(flavour) for flavour in flavours(np.array(codes, np.int8))]
    pdg_of, refused = pdg_table(labels)
    every = flavours(np.array([pdg_of.get(code, 0) for code in codes], np.int8))
    return [_REFUSED if code in refused else int(flavour) for code, flavour in zip(codes, every, strict=True)]


def select_by_numpy(path: Path, start: int, stop: int, settings: SelectSettings) -> Dijets:
    """As `select`, without the compiled filler: the same events, several times slower.

    Args:
        path: ROOT file with the events.
        start: first entry to read.
        stop: one past the last entry to read.
        settings: cuts and columns to keep.

    Raises:
        FileError: as by `select`.
    """
    with open_source(path, settings.layout, start, stop) as source:
        run, event, trigger = (source.flat(name) for name in ("run", "event", "trigger"))
        refuse_repeated(path, run, event)
        weights = _read_weights(source, settings.weights) if settings.simulated else np.ones((len(run), 1), np.float32)
        nominal = weights[:, NOMINAL_WEIGHT]
        source.refuse_weights(weights[:, [NOMINAL_WEIGHT]], settings.weights)
        counts, numbers = source.whole_column("jet_pt")
        first, pt = np.concatenate([[0], np.cumsum(counts)]), source.converted("jet_pt", numbers)
        events, places = leading_pairs(trigger, first, pt)
        jets = _LeadingJets(source, first, events, places, pt[places])
        eta, clean, n_trk = (jets.take(name) for name in ("jet_eta", "jet_clean", "jet_n_trk"))
        for name, values in (("jet_pt", jets.pt), ("jet_eta", eta)):  # comparisons with NaN would drop them silently
            _refuse_not_finite(path, start, _branch(source, name), values, jets.events)
        varied = {name: jets.take(VARIED_N_TRK[name]) for name in settings.varied}
        cuts, scale = settings.selection, settings.units.scale
        flavour = _flavours_of(jets, cuts.min_subleading_pt) if settings.labelled else np.empty((0, 2), np.int8)
        _refuse_unlikely(source, "jet_pt", pt_complaint(jets.pt[:, 0], settings.layout))
        pairs = PairColumns(jets.pt, eta, clean, n_trk, flavour)
        rows, passed, sums = choose_pairs(
            trigger, nominal, jets.events, pairs, cuts, settings.max_weight or inf, LARGEST_SHIFT, scale
        )
        chosen, chosen_eta = jets.only(rows), eta.take(rows, axis=0)
        taken = dict.fromkeys(("width", "c1"), not_read(chosen.places.shape))
        for name in (each for each in taken if settings.observables and source.present(f"jet_{each}")):
            taken[name] = chosen.take(f"jet_{name}")
            _refuse_not_finite(path, start, _branch(source, f"jet_{name}"), taken[name], chosen.events)
        kept = weights[chosen.events]
        source.refuse_weights(kept, settings.weights, chosen.events)
        return Dijets(
            run=run[chosen.events],
            event=event[chosen.events],
            entry=chosen.events.astype(np.uint32),
            jet=(chosen.places - chosen.first[chosen.events][:, None]).astype(np.uint16),
            weight=kept,
            pt=chosen.pt,
            eta=chosen_eta,
            **taken,
            n_trk=n_trk.take(rows, axis=0),
            label=flavour.take(rows, axis=0) if settings.labelled else np.zeros((len(rows), 2), np.int8),
            region=_regions(chosen) if settings.region_in_files else None,
            ranges=run_ranges(run, event),
            varied_n_trk={name: values.take(rows, axis=0) for name, values in varied.items()},
            scores=_scores(chosen, start) if settings.observables else {},
            kept=_kept(source, settings, chosen.events),
            cut_flow=CutFlow(passed, sums),
        )


def _regions(chosen: _LeadingJets) -> Int8[ndarray, "m 2"]:
    """Numbers in `REGIONS` of the jets, from the file."""
    numbers: Int8[ndarray, "m 2"] = chosen.take("jet_region")
    bad = (numbers < -1) | (numbers >= len(REGIONS))
    if bad.any():
        problem = f"got region {numbers[bad][0]}, expected 0, 1, or -1 for neither"
        raise branch_error(chosen.source.path, _branch(chosen.source, "jet_region"), problem)
    return numbers


def _scores(chosen: _LeadingJets, start: int) -> dict[str, Float32[ndarray, "m 2"]]:
    """Scores of taggers that the file has."""
    out = {}
    for score in chosen.source.layout.scores:
        out[score.name] = chosen.take(SCORE + score.name)
        _refuse_not_finite(chosen.source.path, start, score.branch, out[score.name], chosen.events)
    return out


def _kept(source: EventSource, settings: SelectSettings, entries: ndarray) -> dict[str, ndarray]:
    """Numbers of the selected events for cuts, in the byte order of this machine."""
    numbers = {name: source.numbers(name)[entries] for name in settings.kept}
    return {name: values.astype(values.dtype.newbyteorder("=")) for name, values in numbers.items()}


def flavours(label: Int8[ndarray, "*n"]) -> Int8[ndarray, "*n"]:
    """Numbers in `FLAVOURS` of jets with given PDG numbers; -1 for jets without a parton."""
    table = np.full(256, -1, np.int8)
    for pdg, name in _FLAVOUR_OF_LABEL.items():
        table[pdg] = FLAVOURS.index(name)
    return table.take(label.view(np.uint8))


def _branch(source: EventSource, column: str) -> str:
    """Name of the branch of a column, for messages."""
    return ", ".join(columns_of(source.layout, column)) or column


def _read_weights(source: EventSource, columns: tuple[int, ...]) -> Float32[ndarray, "n w"]:
    """The weights of all events, restricted to some columns."""
    tables = [table for _, table in source.weights()]
    widths = [table.shape[1] for table in tables]
    if min(widths) <= max(columns):
        problem = (
            f"got {min(widths)} to {max(widths)} weights an event, expected the same number for all, and more than"
            f" {max(columns)}"
        )
        raise branch_error(source.path, source.layout.weights.nominal, problem)
    return np.concatenate([table[:, list(columns)].astype(np.float32) for table in tables])


def _flavours_of(jets: _LeadingJets, min_pt: float) -> Int8[ndarray, "m 2"]:
    """Numbers in `FLAVOURS` of the leading jets; an error if too many jets above `min_pt` have no label."""
    source = jets.source
    codes = jets.raw("jet_label")
    pdg = source.converted("jet_label", codes)
    high = jets.pt[:, 1] > min_pt
    _refuse_unlikely(source, "jet_label", unmatched_complaint(pdg[high], codes[high], source.layout))
    return flavours(pdg)


def _refuse_unlikely(source: EventSource, column: str, complaint: str) -> None:
    """Raise an error that names the branch, unless the complaint is empty."""
    if complaint:
        raise branch_error(source.path, _branch(source, column), complaint)


@dataclass(frozen=True, eq=False)
class _LeadingJets:
    """Pairs of jets, and access to their other columns.

    Attributes:
        source: range of the file that the jets are in.
        first: (n + 1,) first jet of each event of the range.
        events: (m,) events that have a pair, rising.
        places: (m, 2) indices of the pair among all jets of the range.
        pt: (m, 2) transverse momenta of the pair [GeV].
    """

    source: EventSource
    first: Int64[ndarray, " n_1"]
    events: Int64[ndarray, " m"]
    places: Int64[ndarray, "m 2"]
    pt: Float32[ndarray, "m 2"]

    def only(self, rows: Int64[ndarray, " k"]) -> _LeadingJets:
        """The pairs of some rows."""
        return replace(self, **{name: getattr(self, name).take(rows, axis=0) for name in ("events", "places", "pt")})

    def take(self, column: str) -> Any:
        """(m, 2) array of another column of jets."""
        return self.source.converted(column, self.raw(column))

    def raw(self, column: str) -> Any:
        """(m, 2) array of another column of jets, not converted from the numbers in the file."""
        counts, numbers = self.source.whole_column(column)
        if not np.array_equal(np.cumsum(counts), self.first[1:]):
            problem = f"got {len(numbers)} jets in {len(counts)} entries from {self.source.start} on, expected"
            problem += f" {self.first[-1]} as in {_branch(self.source, 'jet_pt')!r}"
            raise branch_error(self.source.path, _branch(self.source, column), problem)
        return numbers[self.places]


def run_ranges(run: ndarray, event: ndarray) -> tuple[RunRange, ...]:
    """The range of event numbers of each run, with a fast path for a single run."""
    one_run = len(run) > 0 and run.min() == run.max()
    by_run = {run[0]: event} if one_run else {number: event[run == number] for number in np.unique(run)}
    return tuple(RunRange(int(number), int(own.min()), int(own.max())) for number, own in by_run.items())


def _refuse_not_finite(
    path: Path, start: int, branch: str, values: ndarray, events: Int64[ndarray, " m"] | None = None
) -> None:
    """Raise an error at the first number that is not finite: its effect on the selection cannot be known."""
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        entry = start + (row if events is None else int(events[row]))
        problem = f"got {values[bad][0]} at entry {entry}, expected finite numbers; make the file again"
        raise branch_error(path, branch, problem)


def refuse_repeated(path: Path, run: ndarray, event: ndarray) -> None:
    """Raise an error if an event number is repeated: it seeds the bootstrap, and the event would count twice."""
    if np.all(event[1:] > event[:-1]) and (len(run) == 0 or run[0] == run[-1]):
        return
    order = np.lexsort((event, run))
    same = (event[order][1:] == event[order][:-1]) & (run[order][1:] == run[order][:-1])
    if same.any():
        first = order[int(np.argmax(same))]
        raise FileError(
            f"{path}: got run {run[first]}, event {event[first]} more than once, expected each event once;"
            " was the file merged with itself?",
            path=path,
        )
