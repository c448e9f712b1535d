"""A range of events as a layout describes it: columns, whichever branches they are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.calibration.layout.expressions import evaluate, is_expression, names_in
from beampipe.calibration.layout.functions import corrected_pt, load_function
from beampipe.calibration.layout.settings import Layout
from beampipe.calibration.layout.smearing import smeared_pt
from beampipe.calibration.layout.weights import VariedWeight
from beampipe.calibration.ntuple.baskets import first_lists, plain_baskets
from beampipe.calibration.ntuple.columns import EVENT_BRANCHES, JET_BRANCHES, MC_BRANCHES, VARIED_N_TRK
from beampipe.calibration.ntuple.constituents import derive
from beampipe.calibration.ntuple.labels import pdg_numbers
from beampipe.calibration.ntuple.lists import Basket, is_flat, lossless, read_flat, read_lists
from beampipe.calibration.ntuple.opening import faults, opened
from beampipe.calibration.trees.blocks import Room
from beampipe.errors import FileError

__all__ = ["DERIVED", "SCORE", "EventSource", "columns_of", "open_source"]

DERIVED: Final = ("n_trk", "width", "c1")
"""Columns that can be derived from the constituents of jets."""

_ROOM: Final = Room()
"""Memory for baskets of which a copy is taken."""

SCORE: Final = "score:"
"""What the name of a column of scores begins with; the name of the tagger follows."""

_TYPES: Final = {
    **EVENT_BRANCHES,
    **JET_BRANCHES,
    **MC_BRANCHES,
    **dict.fromkeys(VARIED_N_TRK.values(), "uint16"),
    "jet_region": "int8",
}
"""Column, under the name that its branch has in our own files -> type."""


def columns_of(layout: Layout, name: str) -> tuple[str, ...]:
    """Branches of a column that is called by the name of its branch in our own files."""
    if name.startswith(SCORE):
        return tuple(each.branch for each in layout.scores if SCORE + each.name == name)
    found: tuple[str, ...] = getattr(layout.branches, name.removeprefix("jet_"))
    return found


@contextmanager
def open_source(path: Path, layout: Layout, start: int, stop: int) -> Iterator[EventSource]:
    """A range of entries of a file, open while the block runs.

    Raises:
        FileError: the file cannot be read.
    """
    with opened(path) as file, faults(path, layout.tree):
        yield EventSource(path, file[layout.tree], layout, start, stop)


@dataclass(frozen=True, eq=False)
class EventSource:
    """A range of entries of the tree of events. Columns are called as their branches are in our own files.

    Attributes:
        path: ROOT file.
        tree: tree of events, open.
        layout: which branch holds what.
        start: first entry of the range.
        stop: one past its last entry.
    """

    path: Path
    tree: Any
    layout: Layout
    start: int
    stop: int
    _derived: dict[str, Basket] = field(default_factory=dict)
    _functions: dict[str, Basket] = field(default_factory=dict)

    def has(self, column: str) -> bool:
        """Whether there are branches of a column, or it can be derived."""
        derived = column.removeprefix("jet_") in DERIVED and bool(self.layout.constituents.pt)
        return bool(columns_of(self.layout, column)) or derived or self.changes(column)

    def flat(self, column: str) -> Any:
        """A column with one number per event.

        Raises:
            FileError: a branch of it cannot be read, or a number does not fit.
        """
        branches = columns_of(self.layout, column)
        found = [self._numbers(branch) for branch in branches]
        if column == "trigger":
            if len(found) == 1 and found[0].dtype == bool:
                return found[0]
            n_events = self.stop - self.start
            return np.logical_or.reduce([values != 0 for values in found]) if found else np.ones(n_events, bool)
        if not found:
            return np.ones(self.stop - self.start, EVENT_BRANCHES[column])
        return lossless(self.path, branches[0], found[0], EVENT_BRANCHES[column])

    def lists(self, column: str) -> Iterator[Basket]:
        """A column with a list of numbers per event, as the file holds them; see `converted`.

        Raises:
            FileError: a branch of it cannot be read.
        """
        branches, name = columns_of(self.layout, column), column.removeprefix("jet_")
        if self.changes(column):
            yield self._changed(column)
        elif len(branches) > 1:
            yield self._side_by_side(branches)
        elif branches and is_expression(branches[0]):
            yield self._calculated(branches[0])
        elif branches:
            yield from read_lists(self.path, self.tree, branches[0], self.start, self.stop)
        elif name in DERIVED and self.layout.constituents.pt:
            if not self._derived:
                self._derived.update(derive(self.path, self.tree, self.layout, self.start, self.stop))
            yield self._derived[name]
        elif column == "jet_clean":
            for basket in self.lists("jet_pt"):
                yield Basket(basket.start, basket.offsets, np.ones(len(basket.content), bool))
        else:
            raise FileError(
                f"{self.path}: got no layout.branches.{name}, expected the name of a branch", path=self.path
            )

    def _numbers(self, text: str) -> ndarray:
        """One number per event, of a branch or an expression."""

        def read(branch: str) -> ndarray:
            return read_flat(self.path, self.tree, branch, self.start, self.stop)

        found = evaluate(text, read)
        return found if found.ndim else np.full(self.stop - self.start, found)

    def _calculated(self, text: str) -> Basket:
        """Lists by an expression of lists, and of numbers that hold for all members of a list."""
        names = names_in(text)
        flat = [name for name in names if is_flat(self.path, self.tree, name)]
        lists = {name: self.whole(name) for name in names if name not in flat}
        if not lists:
            raise FileError(
                f"{self.path}: expression {text!r}: got numbers of events, expected a branch of lists",
                path=self.path,
                name=text,
            )
        first = next(iter(lists))
        counts = lists[first][0]
        for name, (others, _) in lists.items():
            if not np.array_equal(counts, others):
                raise FileError(
                    f"{self.path}: expression {text!r}: got {others.sum()} numbers in {name!r}, expected"
                    f" {counts.sum()} as in {first!r}",
                    path=self.path,
                    name=name,
                )

        def values(name: str) -> ndarray:
            return lists[name][1] if name in lists else np.repeat(self._numbers(name), counts)

        return Basket(0, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), evaluate(text, values))

    def per_jet(self, text: str, counts: ndarray) -> ndarray:
        """One number per jet of a branch or an expression; what holds for an event is repeated for each of its jets.

        Raises:
            FileError: a branch cannot be read, or has another number of jets.
        """
        names = names_in(text)
        if all(is_flat(self.path, self.tree, name) for name in names):
            return np.repeat(self._numbers(text), counts)
        found = self._calculated(text)
        if not np.array_equal(np.diff(found.offsets), counts):
            raise FileError(
                f"{self.path}: {text!r}: got {found.size} numbers, expected {counts.sum()}, one per jet",
                path=self.path,
                name=text,
            )
        return found.numbers

    def whole(self, branch: str) -> tuple[ndarray, ndarray]:
        """Number of members of each list of a branch, and all members.

        Raises:
            FileError: the branch cannot be read, or holds no lists.
        """
        try:
            if self.start == 0 and (found := first_lists(self.tree[branch], self.stop)) is not None:
                return found
            return _joined(plain_baskets(self.tree[branch], self.start, self.stop, _ROOM))
        except Exception:  # another kind of branch, or a damaged one: what is wrong is for others to say
            return _joined(read_lists(self.path, self.tree, branch, self.start, self.stop))

    def whole_column(self, column: str) -> tuple[ndarray, ndarray]:
        """Number of members of each list of a column, and all members, as the file has them.

        Raises:
            FileError: a branch of it cannot be read.
        """
        branches = columns_of(self.layout, column)
        plain = len(branches) == 1 and not is_expression(branches[0]) and not self.changes(column)
        return self.whole(branches[0]) if plain else _joined(self.lists(column))

    def _side_by_side(self, branches: tuple[str, ...]) -> Basket:
        """Lists of which each member is in a branch of its own."""
        columns = [self._numbers(branch) for branch in branches]
        content = np.stack(columns, axis=1).ravel()
        return Basket(0, np.arange(0, len(content) + 1, len(branches), dtype=np.int64), content)

    def converted(self, column: str, values: ndarray) -> Any:
        """Numbers of a branch as numbers of its column: unit, rule of labels, type.

        Raises:
            FileError: a number does not fit, or labels have signs that the layout does not expect.
        """
        branch = ", ".join(columns_of(self.layout, column)) or column
        if self.changes(column) and column != "jet_label":
            return lossless(self.path, branch, values, _TYPES[column])
        if column == "jet_pt" and self.layout.unit != 1:
            values = values.astype(np.float64) * self.layout.unit
        if column == "jet_label":
            return pdg_numbers(self.path, branch, values, self.layout.labels)
        if column == "jet_clean" and values.dtype != bool:
            return values >= self.layout.clean_from
        return lossless(self.path, branch, values, "float32" if column.startswith(SCORE) else _TYPES[column])

    def changes(self, column: str) -> bool:
        """Whether a function or a correction changes a column of jets."""
        function, name = self.layout.function, column.removeprefix("jet_")
        return (function is not None and name in function.changes) or (
            name == "pt" and bool(self.layout.files_of_changes)
        )

    def _changed(self, column: str) -> Basket:
        """A column of jets as the layout's correction, smearing and function leave it, pT in GeV."""
        if not self._functions:
            self._functions.update(change_jets(self, self.layout.unchanged))
        return self._functions[column.removeprefix("jet_")]

    def weights(self, *, generated: bool = False) -> Iterator[tuple[int, ndarray]]:
        """First event, and (n, n_weights) big-endian float32, of pieces of the range; the nominal weight comes first.

        Args:
            generated: whether weights of the generator are wanted, without the factors of the layout.

        Raises:
            FileError: a branch cannot be read, or events have different numbers of weights.
        """
        asked = self.layout.weights
        if asked.factors and not generated:
            factor = np.multiply.reduce([self._numbers(text).astype(np.float64) for text in asked.factors])
            for start, table in self.weights(generated=True):
                yield start, (table * factor[start : start + len(table), None]).astype(">f4")
            return
        if not asked.nominal:
            yield 0, np.ones((self.stop - self.start, 1), ">f4")
            return
        pieces = self._tables(asked.nominal)
        if not asked.variations and asked.index == 0:
            for start, table in pieces:
                yield start, table.astype(">f4", copy=False)
            return
        whole = np.concatenate([table for _, table in pieces])
        if not 0 <= asked.index < whole.shape[1]:
            raise FileError(
                f"{self.path}: branch {asked.nominal!r}: got {whole.shape[1]} weights an event and"
                f" layout.weights.index {asked.index}, expected less",
                path=self.path,
                name=asked.nominal,
            )
        order = [asked.index, *(k for k in range(whole.shape[1]) if k != asked.index)]
        nominal = whole[:, asked.index : asked.index + 1].astype(np.float64)
        parts = [whole[:, order], *(self._varied(each, nominal) for each in asked.variations)]
        yield 0, np.concatenate([part.astype(">f4") for part in parts], axis=1)

    def count(self, branch: str) -> int:
        """Number of weights that a branch has for an event."""
        first = EventSource(self.path, self.tree, self.layout, self.start, self.start + 1)
        return int(next(first._tables(branch))[1].shape[1])

    def _varied(self, each: VariedWeight, nominal: ndarray) -> ndarray:
        """(n, k) whole weights of variations."""
        table = np.concatenate([part for _, part in self._tables(each.branch)])
        return table * nominal if each.ratio else table

    def _tables(self, branch: str) -> Iterator[tuple[int, ndarray]]:
        """First event and (n, k) numbers of pieces of a branch with a number, or equally many, for each event."""
        if is_expression(branch):
            yield 0, self._numbers(branch)[:, None]
            return
        if is_flat(self.path, self.tree, branch):
            yield 0, read_flat(self.path, self.tree, branch, self.start, self.stop)[:, None]
            return
        for basket in read_lists(self.path, self.tree, branch, self.start, self.stop):
            counts = np.diff(basket.offsets)
            if np.any(counts != counts[0]):
                raise FileError(
                    f"{self.path}: branch {branch!r}: got {counts.min()} to {counts.max()} weights an event, expected"
                    " the same number for all",
                    path=self.path,
                    name=branch,
                )
            yield basket.start, basket.numbers.reshape(len(counts), -1)


def _joined(baskets: Iterable[Basket]) -> tuple[ndarray, ndarray]:
    """Number of members of each list, and all members."""
    counts, numbers = [], []
    for basket in baskets:  # a piece may be good only until the next one is asked for
        counts.append(np.diff(basket.offsets))
        numbers.append(basket.numbers.copy())
    return np.concatenate(counts), np.concatenate(numbers)


def change_jets(source: EventSource, plain: Layout) -> dict[str, Basket]:
    """Columns of jets after the correction, the smearing and the function of a layout.

    Args:
        source: range of events, with the layout.
        plain: the layout `unchanged`.

    Raises:
        FileError: a branch cannot be read, or the function returns something else.
        ConfigError: there is no such function or correction.
    """
    before = EventSource(source.path, source.tree, plain, source.start, source.stop)
    counts, stored = before.whole_column("jet_pt")
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    known = {"pt": before.converted("jet_pt", stored).astype(np.float64)}
    correction, smearing, function = source.layout.correction, source.layout.smearing, source.layout.function

    def per_jet(text: str) -> ndarray:
        return _input(before, text, counts, known)

    if correction is not None:
        texts = [each for each in correction.inputs if not each.startswith("=")]
        known["pt"] = corrected_pt(correction, known["pt"], {each: per_jet(each) for each in texts})
    if smearing is not None:
        known["pt"] = smeared_pt(smearing, known["pt"], per_jet, before.whole, counts, plain.unit)
    changed = {"pt": known["pt"]} if source.layout.files_of_changes else {}
    if function is not None:
        given = {each: per_jet(each) for each in function.inputs}
        found = load_function(function.call, Path.cwd())(given)
        for name in function.changes:
            values = np.asarray(found[name]) if isinstance(found, Mapping) and name in found else np.empty(0)
            if values.shape != stored.shape or values.dtype.kind not in "buif":
                raise FileError(
                    f"{source.path}: function {function.call}: got {name} of shape {values.shape}, expected numbers of"
                    f" shape {stored.shape}, one per jet, in a mapping from {', '.join(function.changes)}",
                    path=source.path,
                    name=name,
                )
            changed[name] = values
    return {name: Basket(0, offsets, values) for name, values in changed.items()}


def _input(source: EventSource, name: str, counts: ndarray, known: Mapping[str, ndarray]) -> ndarray:
    """One number per jet of what a function asks for: a column, a branch, or an expression."""
    if name in known:
        return known[name]
    column = name if name in EVENT_BRANCHES else f"jet_{name}"
    if column in EVENT_BRANCHES:
        return np.repeat(source.flat(column), counts)
    if column in _TYPES and source.has(column):
        found: ndarray = source.converted(column, source.whole_column(column)[1])
        return found
    return source.per_jet(name, counts)
