"""A glance at the first events of a file: ranges, codes of labels, and what is too unlikely to be right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.calibration.layout.expressions import is_expression, names_in
from beampipe.calibration.ntuple.columns import EVENT_BRANCHES, JET_BRANCHES, VARIED_N_TRK
from beampipe.calibration.ntuple.labels import median_of, pt_complaint, unmatched_complaint
from beampipe.calibration.ntuple.source import DERIVED, EventSource, columns_of
from beampipe.errors import FileError

__all__ = ["Glance", "Seen", "glance"]

N_EVENTS: Final = 5000
"""Number of events that are looked at."""


@dataclass(frozen=True)
class Seen:
    """What the first events have in a column.

    Attributes:
        branches: branches of the column; empty for one that is derived or made up.
        kind: type of the first branch, as uproot writes it.
        low: smallest number, as the file has it.
        high: largest number, as the file has it.
        codes: how often each code is there, for labels of leading jets.
        unmatched: number of leading jets without a parton, for labels.
    """

    branches: tuple[str, ...]
    kind: str
    low: float
    high: float
    codes: Mapping[int, int]
    unmatched: int = 0


@dataclass(frozen=True)
class Glance:
    """What the first events of a file show.

    Attributes:
        seen: what is in each column, by the name of its branch in our own files.
        median_pt: median pT of leading jets [GeV]; NaN without jets.
        problems: what is wrong, each as one line.
    """

    seen: Mapping[str, Seen]
    median_pt: float
    problems: tuple[str, ...]


class _Look:
    """One glance that is going on.

    Args:
        whole: all events of the file.
        labelled: whether labels are needed.
        needs: columns of jets that are needed beside those that always are.
        min_pt: pT that both leading jets must exceed for their labels to count [GeV].
    """

    def __init__(self, whole: EventSource, labelled: bool, needs: tuple[str, ...], min_pt: float) -> None:
        stop = min(whole.start + N_EVENTS, whole.stop)
        self.source = EventSource(whole.path, whole.tree, whole.layout, whole.start, stop)
        self.labelled, self.needs, self.min_pt = labelled, needs, min_pt
        self.seen: dict[str, Seen] = {}
        self.problems: list[str] = []
        self.median = float("nan")

    def guarded(self, column: str, look: Any) -> Any:
        """What `look` returns; None after a fault of the file, which becomes a problem."""
        try:
            return look()
        except FileError as error:
            line = str(error).removeprefix(f"{self.source.path}: ")
            if line not in self.problems:
                self.problems.append(line)
            return None

    def flat(self, column: str) -> None:
        """Look at a column with one number per event."""
        values = self.guarded(column, lambda: self.source.flat(column))
        if values is not None:
            self.note(column, values)

    def lists(self, column: str) -> tuple[ndarray, ndarray] | None:
        """Offsets and numbers of a column of jets, as the file has them."""

        def look() -> tuple[ndarray, ndarray]:
            counts, numbers = self.source.whole_column(column)
            return np.concatenate([[0], np.cumsum(counts)]), numbers

        found: tuple[ndarray, ndarray] | None = self.guarded(column, look)
        if found is not None:
            self.note(column, found[1])
        return found

    def note(self, column: str, values: ndarray) -> None:
        """Keep the range of a column."""
        branches = columns_of(self.source.layout, column)
        plain = branches and not is_expression(branches[0])
        kind = str(getattr(self.source.tree[branches[0]], "typename", "")) if plain else ""
        low, high = (float(values.min()), float(values.max())) if len(values) else (float("nan"), float("nan"))
        self.seen[column] = Seen(branches, kind, low, high, {})


def glance(whole: EventSource, *, labelled: bool, needs: tuple[str, ...], min_pt: float = 0.0) -> Glance:
    """Look at the first events of a file.

    Args:
        whole: all events of the file.
        labelled: whether labels are needed.
        needs: observables of jets that are needed, of `DERIVED`.
        min_pt: pT that both leading jets of an event must exceed for their labels to count [GeV].
    """
    look = _Look(whole, labelled, needs, min_pt)
    for column in EVENT_BRANCHES:
        look.flat(column)
    pt = look.lists("jet_pt")
    if pt is not None:
        _jets(look, *pt)
    return Glance(look.seen, look.median, tuple(look.problems))


def _jets(look: _Look, offsets: ndarray, pt: ndarray) -> None:
    """Look at the columns of jets, and compare them with pT."""
    layout = look.source.layout
    unit = 1.0 if look.source.changes("jet_pt") else layout.unit  # what changes jets gives GeV
    event = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    same = event[1:] == event[:-1]
    falls = not np.any(same & ~(pt[1:] <= pt[:-1]))
    order = np.arange(len(pt)) if falls else np.lexsort((-pt.astype(np.float64), event))
    rank = np.arange(len(pt)) - offsets[event]
    leading, pair = order[rank == 0], order[rank < 2]
    soft = np.ones(len(offsets) - 1, bool)
    second = order[rank == 1]
    soft[event[second]] = ~(pt[second] * unit > look.min_pt)
    high = ~soft[event[pair]]
    if layout.falling_pt and np.any(same & (pt[1:] > pt[:-1])):
        look.problems.append(
            f"branch {', '.join(layout.branches.pt)!r}: got jets that are not sorted by falling pT; set"
            " layout.falling_pt = false to have the leading ones searched for"
        )
    with np.errstate(invalid="ignore"):
        look.median = median_of(pt[leading]) * unit if len(leading) else float("nan")
        complaint = pt_complaint(pt[leading].astype(np.float64) * unit, layout)
    if complaint:
        look.problems.append(f"branch {', '.join(layout.branches.pt)!r}: {complaint}")
    wanted = [name for name in JET_BRANCHES if name not in ("jet_pt", "jet_phi")]
    wanted = [name for name in wanted if name.removeprefix("jet_") not in DERIVED or name[4:] in look.needs]
    wanted += [name for name in VARIED_N_TRK.values() if _there(look.source, name)] if look.labelled else []
    for column in (*wanted, *(("jet_label",) if look.labelled else ())):
        found = look.lists(column)
        if found is None:
            continue
        branch = ", ".join(columns_of(layout, column)) or column
        if not np.array_equal(found[0], offsets):
            look.problems.append(
                f"branch {branch!r}: got {found[0][-1]} numbers in {len(offsets) - 1} events, expected {offsets[-1]},"
                f" one per jet, as in {', '.join(layout.branches.pt)!r}"
            )
            continue
        codes = found[1][pair]
        pdg = look.guarded(column, lambda column=column, codes=codes: look.source.converted(column, codes))
        if column == "jet_label":
            _labels(look, branch, codes, pdg, high)


def _labels(look: _Look, branch: str, codes: ndarray, pdg: ndarray | None, high: ndarray) -> None:
    """Count the labels of leading jets; only those of `high` pT must have partons."""
    numbers, counts = np.unique(codes, return_counts=True)
    table = {int(number): int(count) for number, count in zip(numbers, counts, strict=True)}
    before = look.seen["jet_label"]
    unmatched = 0 if pdg is None else int(np.count_nonzero(pdg == 0))
    look.seen["jet_label"] = Seen(before.branches, before.kind, before.low, before.high, table, unmatched)
    complaint = "" if pdg is None else unmatched_complaint(pdg[high], codes[high], look.source.layout)
    if complaint:
        look.problems.append(f"branch {branch!r}: {complaint}")


def _there(source: EventSource, column: str) -> bool:
    """Whether the file has the branch of a column."""
    branches = columns_of(source.layout, column)
    return bool(branches) and all(name in source.tree for branch in branches for name in names_in(branch))
