"""Inspection of a file: required branches, sanity checks of its first events, sums of weights.

All problems of a file are collected in one `FileError`, which names the file, the tree and the branches.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.calibration.layout import BEAMPIPE, Layout, likely_presets
from beampipe.calibration.ntuple.bookkeeping import FileInfo, FileOrigin
from beampipe.calibration.ntuple.columns import (
    DECLARED,
    DERIVED,
    SCORE,
    EventSource,
    columns_of,
    median_of,
    pt_complaint,
    unmatched_complaint,
)
from beampipe.calibration.ntuple.root_files import file_errors, friends_of, is_flat, open_root, read_flat
from beampipe.calibration.taggers import CONSTITUENTS_OF_JETS, Tagger
from beampipe.columns import MOST_UNUSABLE, Column, ColumnScan, suspicion
from beampipe.errors import ColumnError, FileError, nearest
from beampipe.expressions import is_expression, names_in
from beampipe.jets.ntuple_format import (
    BOOKKEEPING_BRANCHES,
    EVENT_BRANCHES,
    FORMAT,
    JET_BRANCHES,
    NOMINAL_WEIGHT,
    VARIED_N_TRK,
)


def weight_counts(source: EventSource) -> tuple[int, ...]:
    """Number of weights of the nominal branch, then of each branch of variations, in the first event."""
    first = source.between(source.start, source.start + 1)
    sizes = [first.count(each.branch) for each in source.layout.weights.variations]
    return next(first.weights())[1].shape[1] - sum(sizes), *sizes


def weight_names(source: EventSource, counts: tuple[int, ...]) -> tuple[str, ...]:
    """Names of all weights, the nominal one first.

    Args:
        source: events of a file.
        counts: numbers of weights, as by `weight_counts`.

    Raises:
        FileError: there are more or fewer names in the layout than weights in the file.
    """
    weights = source.layout.weights
    names = ["nominal", *(f"weight_{k}" for k in range(1, counts[0]))]
    for each, size in zip(weights.variations, counts[1:], strict=True):
        names += [each.name] if size == 1 else [f"{each.name}_{k}" for k in range(size)]
    if weights.names and len(weights.names) != len(names):
        raise FileError(
            f"{source.path}: got {len(names)} weights an event, expected {len(weights.names)} as in"
            " layout.weights.names",
            path=source.path,
        )
    return weights.names or tuple(names)


class SumsByBranch(NamedTuple):
    """Sums of weights over all generated events of a file.

    Attributes:
        sums: sums of the weights.
        counts: number of them that are of the nominal branch, then of each branch of variations.
    """

    sums: tuple[float, ...]
    counts: tuple[int, ...]


def sums_of_weights(
    file: Any, source: EventSource, counts: tuple[int, ...] | None, given: tuple[float, ...]
) -> SumsByBranch:
    """Sum of each weight over all generated events of a file, from the source in the layout.

    Args:
        file: the file, open.
        source: all of its events.
        counts: numbers of weights, as by `weight_counts`; None for a file without events, for which the sums are all
            that the source has.
        given: sums by a manifest.

    Raises:
        FileError: the sums are missing, or are not finite.
    """
    path, settings = source.path, source.layout.sums
    n_weights = sum(counts or ())
    sums: tuple[float, ...]
    if settings.source == "events" and counts is None:
        sums = (0.0,)
    elif settings.source == "events":
        parts = [table.sum(axis=0, dtype=np.float64) for _, table in source.weights(generated=True)]
        sums = tuple(math.fsum(column) for column in np.stack(parts, axis=1))
    elif settings.source == "manifest":
        sums = given
    elif settings.source in ("runs", "histogram"):
        by_branch = _from_object(file, source, counts)
        sums = tuple(value for values in by_branch for value in values)
        if counts is None:
            n_weights, counts = len(sums), tuple(map(len, by_branch))
    elif settings.source == "cutbookkeepers":
        sums = _from_records(file, source, counts)
    else:
        raise FileError(
            f"{path}: got no sum of weights: layout.sums.source is {settings.source!r}, expected runs,"
            " cutbookkeepers, histogram, manifest, or events if no event was left out when the files were written",
            path=path,
        )
    if counts is None:
        n_weights, counts = len(sums), (len(sums),)
    if len(sums) == 1 < n_weights:
        sums = sums * n_weights
    if settings.source == "events" and not np.isfinite(sums).all():
        for start, table in source.weights(generated=True):
            source.refuse_weights(table, start=start)
    if len(sums) != n_weights or not np.isfinite(sums).all():
        raise FileError(
            f"{path}: got sums of weights {', '.join(f'{each:g}' for each in sums)} ({settings.source}), nominal first;"
            f" expected {n_weights} finite ones: weights must not be nan or infinite",
            path=path,
        )
    return SumsByBranch(sums, counts)


def _from_object(file: Any, source: EventSource, counts: tuple[int, ...] | None) -> list[tuple[float, ...]]:
    """Sums from a tree with sums of runs or from a histogram: of the nominal branch, and of each of variations."""
    layout, path = source.layout, source.path
    settings, variations = layout.sums, layout.weights.variations
    if settings.source == "runs":
        tree = _object(path, file, settings.object)
        total = _column(path, tree, settings.object, settings.branch)
    else:
        tree, total = None, _bins(path, file, settings.object)[None, settings.bin : settings.bin + 1]
    n_own = counts[0] if counts else total.shape[1]
    if total.shape[1] not in (1, n_own):
        raise FileError(f"{path}: got {total.shape[1]} sums in {settings.branch!r}, expected 1 or {n_own}", path=path)
    nominal = total[:, layout.weights.index if total.shape[1] > 1 else 0][:, None]
    order = [layout.weights.index, *(k for k in range(n_own) if k != layout.weights.index)]
    columns = [total[:, order] if total.shape[1] > 1 else np.repeat(nominal, n_own, axis=1)]
    for each, size in zip(variations, counts[1:] if counts else (0,) * len(variations), strict=True):
        if not each.sums:
            columns.append(np.repeat(nominal, size, axis=1))
            continue
        own = (
            _column(path, tree, settings.object, each.sums)
            if tree is not None
            else _bins(path, file, each.sums)[None, 1:]
        )
        if own.shape[1] < size:
            raise FileError(f"{path}: got {own.shape[1]} sums in {each.sums!r}, expected {size}", path=path)
        own = own[:, :size] if counts else own
        columns.append(own * nominal if each.sums_ratio else own)
    return [tuple(math.fsum(column) for column in columns_of_branch.T) for columns_of_branch in columns]


_ALL_EVENTS: Final = "AllExecutedEvents"
"""Name of the ATLAS CutBookkeeper record of all events before any selection."""

_STREAMS: Final = ("StreamAOD", "StreamDAOD_PHYSLITE", "StreamEVGEN")
"""Streams whose record is that of the generated events."""


def _from_records(file: Any, source: EventSource, counts: tuple[int, ...] | None) -> tuple[float, ...]:
    """Sums from ATLAS CutBookkeepers: one container of records per weight, that of the nominal one without a number.

    Each step of the production adds a record of its input events; the first step has the highest cycle.
    """
    path, settings = source.path, source.layout.sums
    tree = _object(path, file, settings.object)
    branches = {str(name).rpartition("/")[2] for name in tree.keys()}  # noqa: SIM118 - a tree is no dictionary

    def column(container: str, name: str) -> Any:
        branch = f"{container}.{name}"
        if branch not in branches:
            advice = "; if a weight has no record, take layout.sums.source = 'manifest'"
            raise _no_branch(path, settings.object, branch, branches, " (layout.sums)", advice)
        with file_errors(path, branch):
            return tree[f"{container}./{branch}"].array(library="np")

    names, cycles, streams = (column("CutBookkeepersAux", name) for name in ("name", "cycle", "inputStream"))
    places = []
    for entry in range(len(names)):
        rows = [
            (int(cycle), -row)
            for row, (name, cycle, stream) in enumerate(zip(names[entry], cycles[entry], streams[entry], strict=True))
            if name == _ALL_EVENTS and stream in _STREAMS
        ]
        if not rows:
            raise FileError(
                f"{path}: tree {settings.object!r}: got records {', '.join(map(str, names[entry])) or 'none'}, expected"
                f" {_ALL_EVENTS!r} of one of {', '.join(_STREAMS)}",
                path=path,
                name=settings.object,
            )
        places.append(-max(rows)[1])
    out = []
    containers = {re.fullmatch(r"CutBookkeepers_weight_(\d+)Aux\.sumOfEventWeights", name) for name in branches}
    n_own = counts[0] if counts else 1 + max((int(match[1]) for match in containers if match), default=0)
    index = source.layout.weights.index
    for number in [index, *(k for k in range(n_own) if k != index)]:
        container = f"CutBookkeepers_weight_{number}Aux" if number else "CutBookkeepersAux"
        sums = column(container, "sumOfEventWeights")
        out.append(math.fsum(float(values[row_of_sum]) for values, row_of_sum in zip(sums, places, strict=True)))
    return (*out, *(out[0] for _ in range(sum(counts or ()) - n_own)))


def _no_branch(
    path: Path, tree: str, branch: str, branches: Iterable[str], key: str = "", advice: str = ""
) -> ColumnError:
    """The error for a missing branch; it suggests the nearest name."""
    message = f"{path}: tree {tree!r}: got no branch {branch!r}{key}, expected it{nearest(branch, branches)}{advice}"
    return ColumnError(message, path=path, name=branch)


def _object(path: Path, file: Any, name: str) -> Any:
    """An object of a file; the error for a missing one suggests the nearest name."""
    names = {str(key).split(";")[0] for key in file}
    if name not in names:
        raise ColumnError(
            f"{path}: got no {name!r} (layout.sums.object), expected it beside {', '.join(sorted(names)[:8])}"
            f"{nearest(name, names)}",
            path=path,
            name=name,
        )
    with file_errors(path, name):
        return file[name]


def _column(path: Path, tree: Any, name: str, branch: str) -> ndarray:
    """(n_entries, k) float64 of a branch with a number or a list per entry."""
    import awkward as ak

    if branch not in tree:
        raise _no_branch(path, name, branch, tree.keys(), " (layout.sums)")
    with file_errors(path, branch):
        values = tree[branch].array(library="ak")
        table: ndarray = np.asarray(ak.to_numpy(values), np.float64)
    return table[:, None] if table.ndim == 1 else table


def _bins(path: Path, file: Any, name: str) -> ndarray:
    """Contents of a histogram, with underflow and overflow."""
    histogram = _object(path, file, name)
    if not hasattr(histogram, "values"):
        raise FileError(f"{path}: {name!r}: got no histogram, expected one (layout.sums.object)", path=path, name=name)
    return np.asarray(histogram.values(flow=True), np.float64)


N_EVENTS: Final = 5000
"""Number of events for the sanity checks."""


_FEW_EQUAL: Final = 100
"""Number of jets from which on all of them are unlikely to be equal."""

_GLUON: Final = 21

_FAR_FROM_1: Final = 0.15
"""Mean distance from 1 of ratios of weights beyond which they may be no ratios, if other numbers are nearer to 1."""


@dataclass(frozen=True)
class ColumnSummary:
    """Summary of a column in the first events.

    Attributes:
        branches: branches of the column; empty for a derived or default column.
        kind: type of the first branch, as uproot writes it.
        low: smallest number, in the unit of the file.
        high: largest number, in the unit of the file.
        codes: number of occurrences of each code, for labels of leading jets.
        unmatched: number of leading jets without a parton, for labels.
    """

    branches: tuple[str, ...]
    kind: str
    low: float
    high: float
    codes: Mapping[int, int]
    unmatched: int = 0


class SanityChecks:
    """Sanity checks of the first events of a file: ranges, units, codes of labels.

    Args:
        whole: all events of the file.
        labelled: whether labels are needed.
        needs: observables of jets that are needed, as of `needed_observables`.
        min_pt: pT that both leading jets of an event must exceed for their numbers to count [GeV].
        max_abs_eta: limit of their \\|eta\\|.

    Attributes:
        columns: summary of each column, by the name of its branch in our own files.
        median_pt: median pT of leading jets [GeV]; NaN without jets.
        problems: problems, one line each.
    """

    def __init__(
        self,
        whole: EventSource,
        *,
        labelled: bool,
        needs: tuple[str, ...],
        min_pt: float = 0.0,
        max_abs_eta: float = math.inf,
    ) -> None:
        self._limits = min_pt, max_abs_eta
        self.columns: dict[str, ColumnSummary] = {}
        self.median_pt = float("nan")
        self.problems: list[str] = []
        self._source = whole.between(whole.start, min(whole.start + N_EVENTS, whole.stop))
        for column in EVENT_BRANCHES:
            with self._problems():
                self._note(column, self._source.flat(column))
        pt = self._lists("jet_pt")
        if pt is not None:
            self._check_jets(*pt, labelled, needs)
        if labelled:
            with self._problems():
                self._check_weights()

    @contextmanager
    def _problems(self) -> Iterator[None]:
        """Take an error of a file as a problem."""
        try:
            yield
        except FileError as error:
            self._add_problem(error)

    def _add_problem(self, error: FileError) -> None:
        line = str(error).removeprefix(f"{self._source.path}: ")
        if line not in self.problems:
            self.problems.append(line)

    def _lists(self, column: str) -> tuple[ndarray, ndarray] | None:
        """Offsets and numbers of a column of jets, in the unit of the file; None if it cannot be read."""
        try:
            counts, numbers = self._source.whole_column(column)
        except FileError as error:
            self._add_problem(error)
            return None
        self._note(column, numbers)
        return np.concatenate([[0], np.cumsum(counts)]), numbers

    def _note(self, column: str, values: ndarray) -> None:
        """Record the range of a column."""
        branches = columns_of(self._source.layout, column)
        plain = branches and not is_expression(branches[0])
        kind = str(getattr(self._source.tree[branches[0]], "typename", "")) if plain else ""
        low, high = (float(values.min()), float(values.max())) if len(values) else (float("nan"), float("nan"))
        self.columns[column] = ColumnSummary(branches, kind, low, high, {})

    def _check_jets(self, offsets: ndarray, pt: ndarray, labelled: bool, needs: tuple[str, ...]) -> None:
        """Check the columns of jets, and compare their numbers of jets with that of pT."""
        source, layout = self._source, self._source.layout
        pt_branch = ", ".join(layout.branches.pt)
        unit = 1.0 if source.changes("jet_pt") else layout.unit  # functions and corrections of jets return GeV
        event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        same = event[1:] == event[:-1]
        falls = not np.any(same & ~(pt[1:] <= pt[:-1]))
        order = np.arange(len(pt)) if falls else np.lexsort((-pt.astype(np.float64), event))
        rank = np.arange(len(pt)) - offsets[event]
        leading, pair = order[rank == 0], order[rank < 2]
        soft = np.ones(len(offsets) - 1, bool)
        second = order[rank == 1]
        soft[event[second]] = ~(pt[second] * unit > self._limits[0])
        counted = high = ~soft[event[pair]]
        with np.errstate(invalid="ignore"):
            self.median_pt = median_of(pt[leading]) * unit if len(leading) else float("nan")
            complaint = pt_complaint(pt[leading].astype(np.float64) * unit, layout)
        if complaint:
            self.problems.append(f"branch {pt_branch!r}: {complaint}")
        wanted = [name for name in JET_BRANCHES if name not in ("jet_pt", "jet_phi")]
        wanted = [name for name in wanted if name.removeprefix("jet_") not in DERIVED or name[4:] in needs]
        if labelled:
            wanted += [*(name for name in VARIED_N_TRK.values() if source.present(name)), "jet_label"]
        wanted += [SCORE + score.name for score in layout.scores]
        for column in wanted:
            lists = self._lists(column)
            if lists is None:
                continue
            branch = ", ".join(columns_of(layout, column)) or column
            if not np.array_equal(lists[0], offsets):
                self.problems.append(
                    f"branch {branch!r}: got {lists[0][-1]} numbers in {len(offsets) - 1} events, expected"
                    f" {offsets[-1]}, one per jet, as in {pt_branch!r}"
                )
                continue
            codes, pdg = lists[1][pair], None
            with self._problems():
                pdg = source.converted(column, codes)
            if column == "jet_label":
                self._check_labels(branch, codes, pdg, high)
            elif column in ("jet_clean", "jet_region"):
                continue
            else:
                self._check_numbers(branch, DECLARED.get(column[4:], Column(column)), codes[counted].astype(np.float64))
            if column == "jet_eta":
                counted = high & ~np.isin(event[pair], event[pair][~(np.abs(codes) < self._limits[1])])

    def _check_numbers(self, branch: str, column: Column, numbers: ndarray) -> None:
        """Check the numbers of jets that a run counts: their range, their type, and numbers that stand for none."""
        scan = ColumnScan(column)
        usable = numbers[scan.add(numbers)]
        problem = str(scan) if scan.share > MOST_UNUSABLE else suspicion(usable)
        if not problem and len(usable) >= _FEW_EQUAL and usable.min() == usable.max():
            problem = f"all numbers are {usable[0]:g}"
        if problem:
            cut = f"{branch} >= {column.low:g}" if math.isfinite(column.low) else f"abs({branch}) < 99"
            self.problems.append(
                f"branch {branch!r}: in the leading jets {problem}; check its unit and type, or leave out jets without"
                f" a value, e.g. layout.branches.clean = '{cut}'"
            )

    def _check_weights(self) -> None:
        """Check that the weights of variations are full weights, or ratios, as the layout says."""
        source, settings = self._source, self._source.layout.weights
        if not settings.nominal:
            return
        nominal = np.concatenate([table[:, 0] for _, table in source.weights(generated=True)]).astype(np.float64)
        some = (nominal != 0) & np.isfinite(nominal)
        if not some.any():
            self.problems.append(f"branch {settings.nominal!r}: got weights 0 of the first {len(nominal)} events")
            return
        for each in settings.variations:
            varied = source.read_weights(each.branch)[some, 0].astype(np.float64)
            over = varied / nominal[some]
            as_ratios, as_weights = (float(np.minimum(np.abs(ratios - 1), 1).mean()) for ratios in (varied, over))
            used, other = (as_ratios, as_weights) if each.ratio else (as_weights, as_ratios)
            if used > max(_FAR_FROM_1, 5 * other):
                kinds = ("full weights", "ratios to the nominal weight")
                self.problems.append(
                    f"branch {each.branch!r} (layout.weights.variations.{each.name}): got a median of"
                    f" {median_of(over):.4g} of its numbers over the nominal weight, and of {median_of(varied):.4g} of"
                    f" its numbers: read as {kinds[each.ratio]}, they look like {kinds[not each.ratio]}; set ratio ="
                    f" {str(not each.ratio).lower()}"
                )

    def _check_labels(self, branch: str, codes: ndarray, pdg: ndarray | None, high: ndarray) -> None:
        """Count the labels of leading jets; only those of `high` pT must have partons."""
        numbers, counts = np.unique(codes, return_counts=True)
        table = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
        unmatched = 0 if pdg is None else int(np.count_nonzero(pdg == 0))
        self.columns["jet_label"] = replace(self.columns["jet_label"], codes=table, unmatched=unmatched)
        complaint = "" if pdg is None else unmatched_complaint(pdg[high], codes[high], self._source.layout)
        partons = np.empty(0) if pdg is None else pdg[high & (pdg != 0)]
        if not complaint and len(partons) >= _FEW_EQUAL and len(set((partons == _GLUON).tolist())) == 1:
            kind = "gluons" if partons[0] == _GLUON else "quarks"
            complaint = f"got {kind} only among {len(partons)} leading jets, expected both: check layout.labels"
        if complaint:
            self.problems.append(f"branch {branch!r}: {complaint}")


def inspect_file(
    path: Path,
    layout: Layout = BEAMPIPE,
    origin: FileOrigin | None = None,
    *,
    needs: tuple[str, ...] = DERIVED,
    min_pt: float = 0.0,
    max_abs_eta: float = math.inf,
) -> FileInfo:
    """Inspect a file: bookkeeping, branches, baskets, and sanity checks of its first events.

    Args:
        path: ROOT file.
        layout: mapping of branches to columns.
        origin: position of the file in its dataset, if it has no bookkeeping of its own.
        needs: required observables of jets, as of `needed_observables`.
        min_pt: pT that both leading jets of an event must exceed for their numbers to count [GeV].
        max_abs_eta: limit of their \\|eta\\|.

    Raises:
        FileError: the file cannot be read, a tree is missing, the bookkeeping has another format, or units or
            labels are implausible.
        ColumnError: a branch is missing.
    """
    with open_root(path) as file, file_errors(path, layout.tree):
        _require_trees(path, file, layout)
        books = _books(path, file, layout) if layout.own_books else []
        events = file[layout.tree]
        if events.num_entries == 0:
            return _empty_facts(path, file, events, layout, origin, books)
        branches = branches_of(events)
        marks = [
            *(name for text in layout.branches.label for name in names_in(text)),
            *([layout.weights.nominal] if layout.own_books else []),
        ]
        simulated = bool(set(marks) & branches) or bool(origin and origin.simulated)
        source = EventSource(path, events, layout, 0, int(events.num_entries))
        fits = BranchContent(source).fits
        missing = missing_branches(layout, branches, simulated=simulated, needs=needs, fits=fits)
        lines = [f"tree {layout.tree!r}: {line}" for line in missing.values()]
        lines += _missing_of_variations(path, file, layout, missing) if simulated else []
        if lines:
            if simulated and layout.branches.label and not set(marks) & branches:
                lines.append('if this is data, which has no labels, set kind = "data" for its sample')
            lines += filter(None, [friends_of(path, layout.tree)])
            raise ColumnError(f"{path}: {_joined(lines)}", path=path, name=next(iter(missing), ""))
        limits = {"min_pt": min_pt, "max_abs_eta": max_abs_eta}
        problems = _older_cycles(file, layout.tree, source.stop)
        problems += SanityChecks(source, labelled=simulated, needs=needs, **limits).problems
        if problems:
            raise FileError(f"{path}: {_joined(problems)}", path=path)
        varied = tuple(name for name, column in VARIED_N_TRK.items() if source.present(column))
        varied_layouts = {each.name: layout.varied(each.name) for each in layout.variations if simulated}
        about = {
            "n_events": int(events.num_entries),
            "borders": _borders(events, layout),
            "borders_of": tuple((name, _borders(file[own.tree], own)) for name, own in varied_layouts.items()),
            "varied": varied if simulated else (),
            "simulated": simulated,
            "median_weight": _median_weight(source) if simulated else 0.0,
        }
        if books:
            return _own_facts(books, about)
        if origin is None:
            raise FileError(f"{path}: got no bookkeeping, expected what says which dataset it is of", path=path)
        names: tuple[str, ...] = ("nominal",)
        sums = SumsByBranch((float(source.stop),), (1,))
        if origin.simulated:
            counts = weight_counts(source)
            names = weight_names(source, counts)
            sums = sums_of_weights(file, source, counts, origin.sum_weights)
        return _given_facts(origin, names, sums, about)


def _older_cycles(file: Any, tree: str, n_events: int) -> list[str]:
    """A problem if an older cycle of the tree has more events than the newest one, which is read."""
    cycles = sorted(key for key in file.keys(recursive="/" in tree) if key.rpartition(";")[0] == tree)
    entries = {key: int(file[key].num_entries) for key in cycles} if len(cycles) > 1 else {}
    counts = ", ".join(f"{key}: {n}" for key, n in entries.items())
    problem = f"got events {counts}, expected most in the newest cycle, which is read; was the file written twice?"
    return [problem] if max(entries.values(), default=0) > n_events else []


def _empty_facts(
    path: Path, file: Any, events: Any, layout: Layout, origin: FileOrigin | None, books: list[dict[str, Any]]
) -> FileInfo:
    """Facts of a file of which a skim kept no event: its sums of weights count. Its tree may lack all branches."""
    simulated = float(books[0]["cross_section"]) > 0 if books else bool(origin and origin.simulated)
    about = {"simulated": simulated}
    if books:
        return _own_facts(books, about)
    if origin is None:
        raise FileError(f"{path}: got no bookkeeping, expected what says which dataset it is of", path=path)
    sums = SumsByBranch((0.0,), (1,))
    if simulated:
        sums = sums_of_weights(file, EventSource(path, events, layout, 0, 0), None, origin.sum_weights)
    return _given_facts(origin, (), sums, about)


def _given_facts(origin: FileOrigin, names: tuple[str, ...], sums: SumsByBranch, about: Mapping[str, Any]) -> FileInfo:
    """Facts of a file without bookkeeping of its own."""
    given = {**vars(origin), "sum_weights": sums.sums, "weight_counts": sums.counts}
    return FileInfo(**{**given, "weight_names": names, **about})


_MEDIAN_EVENTS: Final = 1000
"""Number of events for the median weight: a unit, of which the power of 2 matters, and the scale of `max_weight`."""


def _median_weight(source: EventSource) -> float:
    """Median size of the nominal weights of the first events that are neither 0, infinite nor NaN; 0 without any."""
    first = source.between(source.start, min(source.stop, source.start + _MEDIAN_EVENTS))
    sizes = np.abs(np.concatenate([table[:, NOMINAL_WEIGHT] for _, table in first.weights()]).astype(np.float64))
    sizes = sizes[(sizes > 0) & np.isfinite(sizes)]
    return median_of(sizes) if len(sizes) else 0.0


def _missing_of_variations(path: Path, file: Any, layout: Layout, nominal: Collection[str]) -> list[str]:
    """Missing branches and trees of variations of the layout, one line each; without branches missing in `nominal`."""
    lines = []
    for each in layout.variations:
        varied = layout.varied(each.name)
        if varied.tree not in file:
            trees = trees_of(file)
            lines.append(
                f"got no tree {varied.tree!r} of variation {each.name!r}, expected it beside"
                f" {', '.join(sorted(trees))}{nearest(varied.tree, trees)}"
            )
            continue
        tree = file[varied.tree]
        fits = BranchContent(EventSource(path, tree, varied, 0, int(tree.num_entries))).fits
        missing = missing_branches(varied, branches_of(tree), simulated=True, needs=("n_trk",), fits=fits)
        where = f"tree {varied.tree!r}, variation {each.name!r}"
        key = f"set layout.variations.{each.name}."
        lines += [
            f"{where}: {line.replace('set layout.', key)}" for name, line in missing.items() if name not in nominal
        ]
    return lines


def _joined(lines: Collection[str]) -> str:
    """Join lines: a single line unchanged, several as a list."""
    return "\n    ".join(["", *lines]) if len(lines) > 1 else "".join(lines)


def branches_of(tree: Any) -> set[str]:
    """Names of all branches of a tree, both with and without the names of their parent branches."""
    names = set(tree.keys())
    return names | {name.rpartition("/")[2] for name in names}


def trees_of(file: Any) -> dict[str, Any]:
    """All trees and RNTuples of a file by their names, with the folders that they are in."""
    kinds = file.classnames()
    names = {key.split(";")[0] for key, kind in kinds.items() if kind.startswith(_TREES) or "RNTuple" in kind}
    return {name: file[name] for name in sorted(names)}


_TREES: Final = ("TTree", "TNtuple", "TChain")
"""Beginnings of the names of ROOT's classes of trees."""


def needed_observables(layout: Layout, taggers: Iterable[Tagger] = ()) -> tuple[str, ...]:
    """The observables of jets that a run reads: n_trk, all of `DERIVED` for our own files, and what taggers read."""
    read = {"n_trk", *(DERIVED if layout.own_books else ()), *(name for each in taggers for name in each.kind.reads)}
    return tuple(name for name in (*DERIVED, CONSTITUENTS_OF_JETS) if name in read)


class BranchContent:
    """Whether branches can hold columns, by the numbers of the first events.

    Args:
        source: events of a file.
    """

    def __init__(self, source: EventSource) -> None:
        self._source = source.between(source.start, min(source.stop, source.start + _FEW))
        self._known: dict[str, tuple[ndarray | None, ndarray] | None] = {}
        self._jets: ndarray | None = None
        for branch in source.layout.branches.pt[:1]:
            self.jets_as_in(branch)

    def jets_as_in(self, branch: str) -> None:
        """Let columns of jets fit only if they have as many numbers in each event as a branch."""
        content = None if is_expression(branch) or branch not in self._source.tree else self._read(branch)
        if content is not None:
            self._jets = content[0]

    def fits(self, key: str, branch: str, *, flat: bool = False) -> bool:
        """Whether a branch can be what a key of the layout names; True for keys without a rule.

        Args:
            key: key of the layout, such as ``branches.pt``.
            branch: name of the branch.
            flat: whether the branch holds a number of one jet for each event, in place of lists.
        """
        column = key.removeprefix("branches.")
        if column not in _RULES:
            return True
        content = self._read(branch)
        if content is None:
            return False
        counts, numbers = content
        if column in EVENT_BRANCHES or flat:
            one_per_event = counts is None
        elif column == "weights.nominal":
            one_per_event = counts is None or len(np.unique(counts)) == 1
        else:
            one_per_event = counts is not None and (self._jets is None or np.array_equal(counts, self._jets))
        if not one_per_event or not len(numbers):
            return False
        finite = numbers[np.isfinite(numbers)].astype(np.float64)
        return len(finite) > 0 and _RULES[column](finite, numbers.dtype.kind in "buiS")

    def _read(self, branch: str) -> tuple[ndarray | None, ndarray] | None:
        """Numbers of each list, or None without lists, and all numbers; None for other types."""
        if branch not in self._known:
            self._known[branch] = None
            source = self._source
            with suppress(Exception):  # e.g. vectors of vectors, texts
                if is_flat(source.path, source.tree, branch):
                    values = read_flat(source.path, source.tree, branch, source.start, source.stop)
                    content: tuple[ndarray | None, ndarray] = (None, values)
                else:
                    content = source.whole(branch)
                if content[1].dtype.kind in "buif":
                    self._known[branch] = content
        return self._known[branch]


_FEW: Final = 500
"""Number of events whose numbers decide whether a branch can hold a column."""

_CODES: Final = (*range(-5, 6), 21, -21, -9, -99, -999, -999999)
"""Usual codes of partons, and of none."""


def _is_label(x: ndarray) -> bool:
    """Whether numbers are codes of partons: mostly usual ones, at least two of which are partons."""
    partons = set(np.unique(np.abs(x)).tolist()) & {1.0, 2.0, 3.0, 4.0, 5.0, 21.0}
    return float(np.isin(x, _CODES).mean()) > 0.95 and (21.0 in partons or len(partons) > 2)


def _is_count(x: ndarray) -> bool:
    """Whether numbers can be numbers of tracks: whole, of several sizes, and not codes of partons."""
    whole = bool((x == np.rint(x)).all()) and float(x.min()) >= 0
    return whole and float(x.max()) < 2000 and len(np.unique(x)) > 5 and not _is_label(x)


_RULES: Final[Mapping[str, Callable[[ndarray, bool], bool]]] = {
    "run": lambda x, whole: whole and float(x.min()) >= 0,
    "event": lambda x, whole: whole and float(x.min()) >= 0 and len(np.unique(x)) > 0.9 * len(x),
    "pt": lambda x, whole: not whole and float(x.min()) >= 0 and float(np.median(x)) > 1,
    "eta": lambda x, whole: not whole and float(np.abs(x).max()) < 10 and float(x.min()) < 0 < float(x.max()),
    "phi": lambda x, whole: not whole and float(np.abs(x).max()) < 6.3 and float(np.ptp(x)) > 1,
    "n_trk": lambda x, _: _is_count(x),
    "width": lambda x, whole: not whole and float(x.min()) >= -1 and 0 < float(x.max()) < 3,
    "c1": lambda x, whole: not whole and float(x.min()) >= -1 and 0 < float(x.max()) <= 1.5,
    "label": lambda x, _: _is_label(x),
    "weights.nominal": lambda x, whole: not whole and bool(x.any()),
    "flag": lambda x, whole: whole and set(np.unique(x).tolist()) <= {0.0, 1.0},
}
"""Key of a column -> whether numbers fit, given them and whether their type is one of whole numbers."""


def _require_trees(path: Path, file: Any, layout: Layout) -> None:
    """Check that the trees of the layout exist; the error suggests a preset that fits the file."""
    for tree in (*((layout.sums.object,) if layout.own_books else ()), layout.tree):
        if tree in file:
            continue
        trees = {name: branches_of(each) for name, each in trees_of(file).items()}
        preset, share = next(iter(likely_presets(trees).items()))
        hint = f"; did you mean layout.preset = {preset!r}?" if share >= LIKELY and preset != layout.preset else ""
        advice = "" if hint else f"; if it has another name, set layout.tree{nearest(tree, trees)}"
        raise FileError(
            f"{path}: got no tree {tree!r}, expected it beside {', '.join(sorted(trees)) or 'nothing'}"
            f"{hint or advice}; try: beampipe calibration inspect {path}",
            path=path,
            name=tree,
        )


LIKELY: Final = 0.5
"""Smallest fraction of the branches of a preset for which it is used or suggested."""


OPTIONAL: Final = {
    "branches.run": "all events are of run 1",
    "branches.trigger": "all events pass",
    "branches.clean": "all jets are clean",
    "weights.nominal": "all weights are 1",
}
"""Optional branch -> assumption without it."""


def requirements(layout: Layout, *, simulated: bool, needs: tuple[str, ...]) -> dict[str, str]:
    """The branches that a run reads: name -> key of the layout that names it.

    A required column without a branch is listed under its own key: ``branches.width`` -> ``branches.width``.

    Args:
        layout: mapping of branches to columns.
        simulated: whether labels and weights are needed.
        needs: observables that are needed.
    """
    derived = bool(layout.constituents.pt)
    constituents, needs = CONSTITUENTS_OF_JETS in needs, tuple(key for key in needs if key != CONSTITUENTS_OF_JETS)
    out = _inputs_of_changes(layout)
    keys = ["run", "event", "trigger", "pt", "eta", "clean", "region", *(DERIVED if layout.own_books else needs)]
    for key in (*keys, "label") if simulated else keys:
        names = getattr(layout.branches, key)
        out |= {branch: f"branches.{key}" for name in names for branch in names_in(name)}
        if not names and (key == "label" or (key in DERIVED and not derived)):
            out[f"branches.{key}"] = f"branches.{key}"
    if constituents or (derived and any(not getattr(layout.branches, key) for key in needs)):
        out |= {branch: f"constituents.{key}" for key, branch in layout.constituents.branches.items()}
        out |= dict.fromkeys(layout.branches.phi, "branches.phi")
    for score in layout.scores:
        out |= dict.fromkeys(names_in(score.branch), f"scores.{score.name}.branch")
    if simulated and layout.weights.nominal:
        out[layout.weights.nominal] = "weights.nominal"
        for each in layout.weights.variations:
            out |= dict.fromkeys(names_in(each.branch), f"weights.variations.{each.name}.branch")
    if simulated:
        out |= {branch: "weights.factors" for text in layout.weights.factors for branch in names_in(text)}
    return out


def missing_branches(
    layout: Layout,
    branches: Collection[str],
    *,
    simulated: bool,
    needs: tuple[str, ...],
    fits: Callable[[str, str], bool],
) -> dict[str, str]:
    """The `requirements` that a tree lacks: name of the branch -> a line about it with the nearest name.

    Args:
        layout: mapping of branches to columns.
        branches: names of the branches of the tree.
        simulated: whether labels and weights are needed.
        needs: observables that are needed.
        fits: whether a branch can be what a key names, given both, as by `BranchContent.fits`; no other is suggested.
    """
    lines: dict[str, str] = {}
    wanted = requirements(layout, simulated=simulated, needs=needs)
    for branch, key in wanted.items():
        if branch == key:
            name = key.removeprefix("branches.")
            derive = " (or layout.constituents, to derive it)" if name in DERIVED else ""
            near = _suggestion(f"jet_{name}", key, branches, fits)
            lines[name] = f"got no layout.{key}, expected the name of a branch{near}{derive}"
    for branch, key in wanted.items():
        if branch not in branches and branch != key:
            suggestion = _suggestion(branch, key, branches, fits)
            close = suggestion.split("'")[1] if suggestion else "NAME"
            advice = f'{suggestion}; if so, set layout.{key} = "{close}"'
            if key.endswith(_OF_LISTS):
                advice = f"{suggestion}; if so, name it in layout.{key}"
            if layout.own_books and key.startswith("constituents."):
                advice = "; simulate files that have it: beampipe calibration simulate --constituents"
            if key in OPTIONAL:
                advice += f', or layout.{key} = "" where there is none: {OPTIONAL[key]}'
            lines[branch] = f"got no branch {branch!r}, expected it{advice}"
    return lines


def _suggestion(name: str, key: str, branches: Collection[str], fits: Callable[[str, str], bool]) -> str:
    """As `nearest`, of the branches whose content fits."""
    close = next((each for each in get_close_matches(name, list(branches), n=8, cutoff=0.5) if fits(key, each)), "")
    return f"; did you mean {close!r}?" if close else ""


_OF_LISTS: Final = ("inputs", "seed")
"""Last parts of the keys that list several branches in order."""


def _inputs_of_changes(layout: Layout) -> dict[str, str]:
    """Input branches of functions, corrections and smearing of jets, and the key that names each."""
    keys: dict[str, str] = {}
    if layout.function is not None:
        keys |= dict.fromkeys(layout.function.inputs, "function.inputs")
    if layout.correction is not None:
        keys |= {text: "correction.inputs" for text in layout.correction.inputs if not text.startswith("=")}
    if layout.smearing is not None:
        keys |= {text: f"smearing.{key}" for text, key in layout.smearing.inputs.items()}
    branches: dict[str, str] = {}
    for text, key in keys.items():
        columns = getattr(layout.branches, text, ())
        made = text in EVENT_BRANCHES or (text in DERIVED and layout.constituents.pt)
        for each in columns or (() if made else (text,)):
            branches |= dict.fromkeys(names_in(each), key)
    return branches


def _borders(events: Any, layout: Layout) -> tuple[int, ...]:
    """Entries at which all branches in use start a new basket; only both ends if the file does not provide them."""
    if not hasattr(events, "common_entry_offsets"):
        return (0, int(events.num_entries))
    if layout.own_books:
        return tuple(int(border) for border in events.common_entry_offsets())
    every = (name for columns in vars(layout.branches).values() for text in columns for name in names_in(text))
    offsets = [set(events[name].entry_offsets) for name in set(every) if name in events]
    return tuple(sorted(int(border) for border in set.intersection(*offsets) | {0, events.num_entries}))


def _books(path: Path, file: Any, layout: Layout) -> list[dict[str, Any]]:
    """The entries of the bookkeeping tree, one for each file that was merged into this one."""
    name = layout.sums.object
    book = file[name]
    names = set(book.keys())
    for branch in BOOKKEEPING_BRANCHES:
        if branch not in names:
            raise _no_branch(path, name, branch, names)
    with file_errors(path, name):
        columns = {branch: book[branch].array(library="np") for branch in BOOKKEEPING_BRANCHES}
    if book.num_entries < 1:
        raise FileError(f"{path}: got no entry in {name!r}, expected 1", path=path)
    entries = [{branch: values[k] for branch, values in columns.items()} for k in range(int(book.num_entries))]
    for entry in entries:
        if int(entry["format"]) != FORMAT:
            raise FileError(
                f"{path}: got format {int(entry['format'])}, expected {FORMAT}; make the file again", path=path
            )
        weights, sums = str(entry["weight_names"]).split(","), tuple(float(value) for value in entry["sum_weights"])
        if len(weights) != len(sums) or not all(np.isfinite(sums)):
            raise FileError(
                f"{path}: tree {name!r}: got {len(weights)} names of weights and sums {sums[:4]}...,"
                " expected one finite sum per name",
                path=path,
                name=name,
            )
    for branch in ("dataset", "slice", "n_slices", "n_files", "cross_section", "filter_efficiency", "weight_names"):
        values = {str(entry[branch]) for entry in entries}
        if len(values) > 1:
            raise FileError(
                f"{path}: got {branch} {' and '.join(sorted(values))} in {name!r}, expected one: files of different"
                " datasets or slices were merged; merge those of one slice only",
                path=path,
                name=name,
            )
    return entries


def _own_facts(entries: list[dict[str, Any]], about: dict[str, Any]) -> FileInfo:
    """Facts of a file with its own bookkeeping."""
    entries = sorted(entries, key=lambda entry: int(entry["file_number"]))
    first = entries[0]
    counts: dict[str, Any] = {name: int(first[name]) for name in ("slice", "n_slices", "file_number", "n_files")}
    sums = [tuple(float(value) for value in entry["sum_weights"]) for entry in entries]
    return FileInfo(
        dataset=str(first["dataset"]),
        **counts,
        cross_section=float(first["cross_section"]),
        filter_efficiency=float(first["filter_efficiency"]),
        sum_weights=sums[0],
        weight_names=tuple(str(first["weight_names"]).split(",")),
        weight_counts=(len(sums[0]),),
        settings=str(first["settings"]),
        merged=tuple((int(entry["file_number"]), own) for entry, own in zip(entries[1:], sums[1:], strict=True)),
        **about,
    )
