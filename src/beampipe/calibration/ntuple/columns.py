"""Columns of events and jets, read from the branches that a layout names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.calibration.jet_changes import corrected_pt, load_function, smeared_pt
from beampipe.calibration.layout import Labels, Layout
from beampipe.calibration.ntuple.root_files import (
    SCRATCH,
    Basket,
    Buffer,
    branch_error,
    file_errors,
    has_whole_baskets,
    is_flat,
    lossless,
    open_root,
    read_flat,
    read_lists,
    stored_type,
    whole_baskets,
)
from beampipe.columns import Column
from beampipe.errors import FileError
from beampipe.expressions import evaluate, is_expression, names_in
from beampipe.jets.ntuple_format import EVENT_BRANCHES, JET_BRANCHES, MC_BRANCHES, VARIED_N_TRK
from beampipe.jets.substructure import NEUTRAL_PT, ONLY_IN_FAKES, TRACK_PT, JetConstituents, observables

_LABELS: Final = "partontruthlabelid partonflavor partonflavour truthlabelid truthlabel parton flavour flavor partonid"

_WEIGHTS: Final = (
    "weights genweight mcweight mceventweight mceventweights eventweight evtweight generatorweight weightmc"
)

DECLARED: Final = {
    name: Column(name, tuple(aliases.split()), low=low, high=high)
    for name, aliases, low, high in (
        ("run", "runnumber runnum runnb runno", 0.0, np.inf),
        ("event", "eventnumber evtnum evt eventnum evtnumber eventid evtid", 0.0, np.inf),
        ("pt", "", 0.0, np.inf),
        ("eta", "", -10.0, 10.0),
        ("phi", "", -6.3, 6.3),
        ("n_trk", "ntracks numtrk ntrks ntrack chargedmultiplicity nchg nch mult", 0.0, 2000.0),
        ("width", "trackswidth trackwidth girth", 0.0, 3.0),
        ("c1", "tracksc1", 0.0, 1.5),
        ("label", f"{_LABELS} pdgid partonpdgid", -np.inf, np.inf),
        ("weight", f"{_WEIGHTS} w wgt", -np.inf, np.inf),
    )
}
"""Columns of events and of jets by name: other names of their branches, without the prefix for jets, and ranges."""

_PDG: Final = (1, 4, 5, 21)
"""PDG numbers that stand for light, charm and bottom quarks and for gluons."""

HIGHEST_PT: Final = 7000.0
"""Half of the energy of the largest collider [GeV]: no jet has more pT."""

LOWEST_PT: Final = 5.0
"""Median pT of leading jets [GeV] below which a wrong unit is assumed."""

_SIGMAS: Final = 5.0
"""Standard deviations by which a fraction must exceed its limit to be an error, so that few jets do not decide."""


def pdg_numbers(path: Path, branch: str, codes: ndarray, labels: Labels) -> Any:
    """int8 PDG numbers of partons without sign, 0 for none.

    Raises:
        FileError: codes are negative, although the layout has no signed codes.
    """
    codes = lossless(path, branch, codes, "int64")
    pdg_of, refused = pdg_table(labels)
    negative = np.isin(codes, refused)
    if negative.any():
        raise branch_error(
            path,
            branch,
            f"got signed labels: {int(negative.sum())} of {codes.size} are negative, e.g. {int(codes[negative][0])},"
            " expected none; set layout.labels.signed = true if these are antiquarks, or list the codes under"
            " layout.labels.none",
        )
    out = np.zeros(codes.shape, np.int8)
    for code, pdg in pdg_of.items():
        out[codes == code] = pdg
    return out


def pdg_table(labels: Labels) -> tuple[dict[int, int], list[int]]:
    """PDG number without sign of each code of a parton, and the negative codes that are an error."""
    pdg_of = {code: pdg for group, pdg in zip(labels.partons, _PDG, strict=True) for code in group}
    if labels.signed:
        return pdg_of | {-code: pdg for code, pdg in pdg_of.items()}, []
    return pdg_of, [-code for code in pdg_of if code > 0 and -code not in pdg_of and -code not in labels.none]


def allowed_unmatched(n: int, layout: Layout) -> float:
    """Number of n leading jets that may be without a parton."""
    limit = layout.labels.max_unmatched
    return float(n * limit + _SIGMAS * np.sqrt(n * limit * (1 - limit)))


def unmatched_complaint(pdg: ndarray, codes: ndarray, layout: Layout) -> str:
    """A complaint if too many leading jets have no parton; otherwise empty.

    Args:
        pdg: PDG numbers of the jets, as by `pdg_numbers`.
        codes: their codes in the file, for the message.
        layout: layout with the limit `Labels.max_unmatched`.
    """
    n, limit = pdg.size, layout.labels.max_unmatched
    unmatched = int(np.count_nonzero(pdg == 0))
    if unmatched <= allowed_unmatched(n, layout) or n == 0:
        return ""
    seen, counts = np.unique(codes[pdg == 0], return_counts=True)
    most = ", ".join(f"{code} ({count})" for count, code in sorted(zip(counts, seen, strict=True), reverse=True)[:4])
    return (
        f"got {unmatched} of {n} leading jets ({100 * unmatched / n:.1f} %) with labels that are no parton: {most};"
        f" expected at most {100 * limit:g} %: list the codes under layout.labels.light, charm, bottom or gluon, or"
        " raise layout.labels.max_unmatched"
    )


def median_of(values: ndarray) -> float:
    """The median, of two middle values the upper one. It avoids `np.median`, which imports masked arrays."""
    return float(np.partition(values, len(values) // 2)[len(values) // 2])


def pt_complaint(leading: ndarray, layout: Layout) -> str:
    """A complaint if the pT of leading jets is implausible, e.g. in a wrong unit; otherwise empty."""
    if len(leading) == 0:
        return ""
    median = median_of(leading)
    if median > HIGHEST_PT:
        likely, unit = "MeV" if layout.energy_unit == "GeV" else "another unit", "MeV"
    elif 0 < median < LOWEST_PT and layout.unit != 1:
        likely, unit = "GeV", "GeV"
    elif 0 <= median < LOWEST_PT:
        likely, unit = "TeV", "TeV"
    else:
        return ""
    number = median / layout.unit
    low, high = LOWEST_PT / layout.unit, HIGHEST_PT / layout.unit
    return (
        f"got a median leading pT of {number:.4g} in the file, which looks like {likely}, expected {low:g} to {high:g}"
        f" with layout.energy_unit = {layout.energy_unit!r};"
        f" set layout.energy_unit = {unit!r}"
    )


class _OfJets(NamedTuple):
    """Constituents of all jets of a range of events.

    Attributes:
        constituents: the constituents.
        first_jet: (n_events + 1,) first jet of each event.
        eta: (n_jets,) pseudorapidity of each jet.
        phi: (n_jets,) azimuth of each jet [rad].
    """

    constituents: JetConstituents
    first_jet: Int64[ndarray, " n_events_1"]
    eta: Float64[ndarray, " n_jets"]
    phi: Float64[ndarray, " n_jets"]


def read_constituents(path: Path, tree: Any, layout: Layout, start: int, stop: int) -> _OfJets:
    """The constituents of all jets of a range, in the order of the file.

    Raises:
        FileError: a branch cannot be read, or branches do not fit together.
    """
    settings, n_events = layout.constituents, stop - start

    def read(branch: str) -> tuple[ndarray, ndarray]:
        return _joined(read_lists(path, tree, branch, start, stop, SCRATCH))

    counts, values = {}, {}
    for key, branch in settings.branches.items():
        counts[key], values[key] = read(branch)
    for key in counts:
        as_in = "jet" if key == "link" else "pt"
        if key != "jet" and not np.array_equal(counts[key], counts[as_in]):
            branch, other = settings.branches[key], settings.branches[as_in]
            problem = f"got {counts[key].sum()} numbers, expected {counts[as_in].sum()} as in {other!r}"
            raise branch_error(path, branch, problem)
    n_jets, jet_eta = read(layout.branches.eta[0])
    _, jet_phi = read(layout.branches.phi[0])
    first_jet, first = (np.concatenate([[0], np.cumsum(each)]) for each in (n_jets, counts["pt"]))
    event = np.repeat(np.arange(n_events), counts["jet"])
    local = values["jet"].astype(np.int64)
    member = first[event] + values["link"].astype(np.int64) if settings.link else np.arange(len(local))
    kept = (local >= 0) & (local < n_jets[event])
    if np.any((member[kept] < first[event][kept]) | (member[kept] >= first[event + 1][kept])):
        branch = settings.link or settings.jet
        raise branch_error(path, branch, "got numbers of constituents that are not there")
    owner = (first_jet[event] + local)[kept]
    order = np.argsort(owner, kind="stable")
    member = member[kept][order]
    charged, variation = (values.get(key, np.zeros(len(values["pt"])))[member] for key in ("charge", "variation"))
    constituents = JetConstituents(
        np.searchsorted(owner[order], np.arange(len(jet_eta) + 1)).astype(np.int64),
        values["pt"][member].astype(np.float64) * layout.unit,
        values["eta"][member].astype(np.float64),
        values["phi"][member].astype(np.float64),
        charged != 0,
        variation.astype(np.uint8),
    )
    return _OfJets(constituents, first_jet.astype(np.int64), jet_eta.astype(np.float64), jet_phi.astype(np.float64))


def derive(path: Path, tree: Any, layout: Layout, start: int, stop: int) -> dict[str, Basket]:
    """n_trk, width and c1 of all jets of a range, by the definition in `Constituents`.

    Raises:
        FileError: a branch cannot be read, or branches do not fit together.
    """
    every, lists, eta, phi = read_constituents(path, tree, layout, start, stop)
    settings = layout.constituents
    some = every.only((every.pt > settings.min_pt) & (every.variation != ONLY_IN_FAKES))
    some = some.only(some.charged) if settings.charged else some
    n_trk, width, c1 = observables(some.offset, some.pt, some.eta, some.phi, eta, phi, settings.beta)
    derived = {"n_trk": n_trk, "width": width.astype(np.float32), "c1": c1.astype(np.float32)}
    return {name: Basket(0, lists, content) for name, content in derived.items()}


def constituents_of(path: Path, layout: Layout, start: int, stop: int, entry: ndarray, jet: ndarray) -> JetConstituents:
    """Constituents of chosen jets above their lower limits of pT; eta and phi are relative to the jet's axis.

    Args:
        path: ROOT file.
        layout: mapping of branches to columns.
        start: first entry of a range.
        stop: one past its last entry.
        entry: (n,) entry in the range of each event.
        jet: (n, k) index in its event of each jet.

    Raises:
        FileError: a branch cannot be read, or branches do not fit together.
    """
    with open_source(path, layout, start, stop) as source:
        every, first_jet, eta, phi = read_constituents(path, source.tree, layout, start, stop)
    if np.any(jet >= np.diff(first_jet)[entry][:, None]):
        raise branch_error(path, layout.branches.eta[0], "got fewer jets than in other columns of jets")
    rows = (first_jet[entry][:, None] + jet).reshape(-1)
    chosen = every.take(rows)
    axis = np.repeat(rows, np.diff(chosen.offset))
    around = (chosen.phi - phi[axis] + np.pi) % (2 * np.pi) - np.pi
    relative = replace(chosen, eta=chosen.eta - eta[axis], phi=around)
    return relative.only(relative.pt > np.where(relative.charged, TRACK_PT, NEUTRAL_PT))


DERIVED: Final = ("n_trk", "width", "c1")
"""Columns that can be derived from the constituents of jets."""

SCORE: Final = "score:"
"""Prefix of the names of columns of scores; the name of the tagger follows."""

_TYPES: Final = {
    **EVENT_BRANCHES,
    **JET_BRANCHES,
    **MC_BRANCHES,
    **dict.fromkeys(VARIED_N_TRK.values(), "uint16"),
    "jet_region": "int8",
}
"""Column, under the name that its branch has in our own files -> type."""


def columns_of(layout: Layout, name: str) -> tuple[str, ...]:
    """Branches of a column, which is given by the name of its branch in our own files."""
    if name.startswith(SCORE):
        return tuple(each.branch for each in layout.scores if SCORE + each.name == name)
    branches: tuple[str, ...] = getattr(layout.branches, name.removeprefix("jet_"))
    return branches


@contextmanager
def open_source(path: Path, layout: Layout, start: int, stop: int) -> Iterator[EventSource]:
    """A range of entries of a file, open while the block runs.

    Raises:
        FileError: the file cannot be read.
    """
    with open_root(path) as file, file_errors(path, layout.tree):
        yield EventSource(path, file[layout.tree], layout, start, stop)


@dataclass(frozen=True, eq=False)
class EventSource:
    """A range of entries of the tree of events. Columns have the names of the branches in our own files.

    Attributes:
        path: ROOT file.
        tree: tree of events, open.
        layout: mapping of branches to columns.
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

    def between(self, start: int, stop: int) -> EventSource:
        """Other entries of the same tree."""
        return EventSource(self.path, self.tree, self.layout, start, stop)

    def has(self, column: str) -> bool:
        """Whether the layout has branches of a column, or it can be derived."""
        derived = column.removeprefix("jet_") in DERIVED and bool(self.layout.constituents.pt)
        return bool(columns_of(self.layout, column)) or derived or self.changes(column)

    def present(self, column: str) -> bool:
        """Whether the tree has all branches of a column, or it can be derived."""
        names = [name for text in columns_of(self.layout, column) for name in names_in(text)]
        if not names and column.removeprefix("jet_") in DERIVED and not self.changes(column):
            constituents = self.layout.constituents.branches.values()
            names = [name for text in (*constituents, *self.layout.branches.phi) for name in names_in(text)]
        return self.has(column) and all(name in self.tree for name in names)

    def flat(self, column: str) -> Any:
        """A column with one number per event.

        Raises:
            FileError: a branch of it cannot be read, or a number does not fit.
        """
        branches = columns_of(self.layout, column)
        if not branches:
            return np.ones(self.stop - self.start, EVENT_BRANCHES[column])
        numbers = [self.numbers(branch) for branch in branches]
        if column == "trigger":
            return np.logical_or.reduce([values != 0 for values in numbers])
        return lossless(self.path, branches[0], numbers[0], EVENT_BRANCHES[column])

    def lists(self, column: str) -> Iterator[Basket]:
        """A column with a list of numbers per event, not converted; see `converted`.

        Raises:
            FileError: a branch of it cannot be read.
        """
        branches, name = columns_of(self.layout, column), column.removeprefix("jet_")
        if self.changes(column):
            if not self._functions:
                self._functions.update(change_jets(self, self.layout.unchanged))
            yield self._functions[name]
        elif len(branches) > 1:
            content = np.stack([self.numbers(branch) for branch in branches], axis=1).ravel()
            yield Basket(0, np.arange(0, len(content) + 1, len(branches), dtype=np.int64), content)
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

    def numbers(self, text: str) -> ndarray:
        """One number per event, of a branch or an expression.

        Raises:
            FileError: a branch cannot be read, or holds lists.
        """

        def read(branch: str) -> ndarray:
            return read_flat(self.path, self.tree, branch, self.start, self.stop)

        values = evaluate(text, read)
        return values if values.ndim else np.full(self.stop - self.start, values)

    def _calculated(self, text: str) -> Basket:
        """Lists by an expression of lists and of numbers per event, which apply to all members of a list."""
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
            return lists[name][1] if name in lists else np.repeat(self.numbers(name), counts)

        return Basket(0, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), evaluate(text, values))

    def per_jet(self, text: str, counts: ndarray) -> ndarray:
        """One number per jet of a branch or an expression; numbers per event are repeated for each jet.

        Raises:
            FileError: a branch cannot be read, or has another number of jets.
        """
        names = names_in(text)
        if all(is_flat(self.path, self.tree, name) for name in names):
            return np.repeat(self.numbers(text), counts)
        lists = self._calculated(text)
        if not np.array_equal(np.diff(lists.offsets), counts):
            raise FileError(
                f"{self.path}: {text!r}: got {lists.size} numbers, expected {counts.sum()}, one per jet",
                path=self.path,
                name=text,
            )
        return lists.numbers

    def whole(self, branch: str) -> tuple[ndarray, ndarray]:
        """Number of members of each list of a branch, and all members.

        Raises:
            FileError: the branch cannot be read, or holds no lists.
        """
        return _joined(read_lists(self.path, self.tree, branch, self.start, self.stop, SCRATCH))

    def whole_column(self, column: str) -> tuple[ndarray, ndarray]:
        """Number of members of each list of a column, and all members, not converted.

        Raises:
            FileError: a branch of it cannot be read.
        """
        branches = columns_of(self.layout, column)
        plain = len(branches) == 1 and not is_expression(branches[0]) and not self.changes(column)
        return self.whole(branches[0]) if plain else _joined(self.lists(column))

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

    def weights(self, *, generated: bool = False) -> Iterator[tuple[int, ndarray]]:
        """First event, and (n, n_weights) big-endian float32, of pieces of the range; the nominal weight comes first.

        Args:
            generated: whether to return generator weights, without the factors of the layout.

        Raises:
            FileError: a branch cannot be read, or events have different numbers of weights.
        """
        settings = self.layout.weights
        if settings.factors and not generated:
            factor = np.multiply.reduce([self.numbers(text).astype(np.float64) for text in settings.factors])
            for start, table in self.weights(generated=True):
                yield start, (table * factor[start : start + len(table), None]).astype(">f4")
            return
        if not settings.nominal:
            yield 0, np.ones((self.stop - self.start, 1), ">f4")
            return
        pieces = self._tables(settings.nominal)
        if not settings.variations and settings.index == 0:
            for start, table in pieces:
                yield start, table.astype(">f4", copy=False)
            return
        whole, index = np.concatenate([table for _, table in pieces]), settings.index
        if not 0 <= index < whole.shape[1]:
            problem = f"got {whole.shape[1]} weights an event and layout.weights.index {index}, expected less"
            raise branch_error(self.path, settings.nominal, problem)
        order = [index, *(k for k in range(whole.shape[1]) if k != index)]
        nominal = whole[:, index : index + 1].astype(np.float64)
        parts = [whole[:, order]]
        for each in settings.variations:
            table = self.read_weights(each.branch)
            parts.append(table * nominal if each.ratio else table)
        yield 0, np.concatenate([part.astype(">f4") for part in parts], axis=1)

    def branch_of_weight(self, number: int, event: int) -> str:
        """The branch or expression that a weight of an event that is not finite comes from.

        Args:
            number: number of the weight, as in `weights`.
            event: number of the event in the range.
        """
        one, settings = self.between(self.start + event, self.start + event + 1), self.layout.weights
        for text in settings.factors:
            if not np.isfinite(one.numbers(text)).all():
                return text
        varied = [each.branch for each in settings.variations for _ in range(self.count(each.branch))]
        n_own = next(one.weights())[1].shape[1] - len(varied)
        return settings.nominal if number < n_own else varied[number - n_own]

    def refuse_weights(
        self, weights: ndarray, columns: Sequence[int] = (), events: ndarray | None = None, start: int = 0
    ) -> None:
        """Raise an error at the first weight that is not finite; it names the branch that the number comes from.

        Args:
            weights: (m, n_weights) weights of some events.
            columns: index of each of them among all weights of the file; none if these are all.
            events: numbers of the events in the range; None for consecutive ones.
            start: number of the first of consecutive events.

        Raises:
            FileError: a weight is not finite.
        """
        bad = ~np.isfinite(weights)
        if bad.any():
            row, column = np.argwhere(bad)[0].tolist()
            event = start + row if events is None else int(events[row])
            branch = self.branch_of_weight(columns[column] if columns else column, event)
            problem = f"got {weights[row, column]} at entry {self.start + event}, expected finite numbers"
            raise branch_error(self.path, branch, f"{problem}; make the file again")

    def count(self, branch: str) -> int:
        """Number of weights that a branch has for an event."""
        return int(next(self.between(self.start, self.start + 1)._tables(branch))[1].shape[1])

    def read_weights(self, branch: str) -> ndarray:
        """(n, k) weights of a branch or an expression with a number, or equally many, for each event.

        Raises:
            FileError: the branch cannot be read, or events have different numbers of weights.
        """
        return np.concatenate([table for _, table in self._tables(branch)])

    def _tables(self, branch: str) -> Iterator[tuple[int, ndarray]]:
        """First event and (n, k) numbers of pieces of a branch with a number, or equally many, for each event."""
        if is_expression(branch):
            yield 0, self.numbers(branch)[:, None]
            return
        if is_flat(self.path, self.tree, branch):
            yield 0, read_flat(self.path, self.tree, branch, self.start, self.stop)[:, None]
            return
        for basket in read_lists(self.path, self.tree, branch, self.start, self.stop):
            counts = np.diff(basket.offsets)
            if np.any(counts != counts[0]):
                problem = f"got {counts.min()} to {counts.max()} weights an event, expected the same number for all"
                raise branch_error(self.path, branch, problem)
            yield basket.start, basket.numbers.reshape(len(counts), -1)


def _joined(baskets: Iterable[Basket]) -> tuple[ndarray, ndarray]:
    """Number of members of each list, and all members."""
    counts, numbers = [], []
    for basket in baskets:  # a piece may be valid only until the next one is read
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
    pt: ndarray = before.converted("jet_pt", stored).astype(np.float64)
    correction, smearing, function = source.layout.correction, source.layout.smearing, source.layout.function

    def per_jet(text: str) -> ndarray:
        """One number per jet of an input: a column (pT as changed so far), a branch, or an expression."""
        column = text if text in EVENT_BRANCHES else f"jet_{text}"
        if text == "pt":
            return pt
        if column in EVENT_BRANCHES:
            return np.repeat(before.flat(column), counts)
        if column in _TYPES and before.has(column):
            numbers: ndarray = before.converted(column, before.whole_column(column)[1])
            return numbers
        return before.per_jet(text, counts)

    if correction is not None:
        texts = [each for each in correction.inputs if not each.startswith("=")]
        pt = corrected_pt(correction, pt, {each: per_jet(each) for each in texts})
    if smearing is not None:
        pt = smeared_pt(smearing, pt, per_jet, before.whole, counts, plain.unit)
    changed = {"pt": pt} if source.layout.files_of_changes else {}
    if function is not None:
        inputs = {each: per_jet(each) for each in function.inputs}
        returned = load_function(function.call, Path.cwd())(inputs)
        for name in function.changes:
            values = np.asarray(returned[name]) if isinstance(returned, Mapping) and name in returned else np.empty(0)
            if values.shape != stored.shape or values.dtype.kind not in "buif":
                raise FileError(
                    f"{source.path}: function {function.call}: got {name} of shape {values.shape}, expected numbers of"
                    f" shape {stored.shape}, one per jet, in a mapping from {', '.join(function.changes)}",
                    path=source.path,
                    name=name,
                )
            changed[name] = values
    return {name: Basket(0, offsets, values) for name, values in changed.items()}


_BUFFERS: Final[defaultdict[str, Buffer]] = defaultdict(Buffer)
"""Memory of each column, kept for the next chunk."""


_NOTHING: Final = Basket(0, np.zeros(1, np.int64), np.empty(0, np.uint8))


@dataclass(eq=False)
class Stream:
    """An iterator over the pieces of a column, with a current piece.

    Attributes:
        pieces: the pieces that follow.
        branch: branch whose baskets the pieces are; None if they are not baskets.
        piece: the current piece; of a column with a number, or equally many, for each event, offsets count events.
    """

    pieces: Iterator[Basket]
    branch: Any = None
    piece: Basket = _NOTHING

    def reach(self, event: int) -> int:
        """Advance to the piece that contains an event; returns the end of the piece."""
        while self.piece.stop <= event:
            self.piece = next(self.pieces)
        return self.piece.stop

    def first(self, event: int) -> int:
        """Where an event of the piece begins."""
        return int(self.piece.offsets[event - self.piece.start])

    def column(self, event: int) -> tuple[ndarray, bool, int]:
        """The numbers from an event on, as the filler takes them: bytes, whether big-endian, first number."""
        content = self.piece.content
        data = np.ascontiguousarray(content).reshape(-1).view(np.uint8)
        return data, content.dtype.byteorder == ">", self.first(event)


@lru_cache(maxsize=8)
def _whole_numbers(n: int) -> ndarray:
    """The whole numbers from 0 to n."""
    return np.arange(n + 1)


def _by_event(start: int, values: ndarray) -> Basket:
    """A piece of a column with a number, or equally many, for each event."""
    return Basket(start, _whole_numbers(len(values)), values)


def is_stored_as(source: EventSource, column: str, dtype: str, *, listed: bool = True) -> bool:
    """Whether a column is one plain branch with numbers of a type, in a list for each event or one for each."""
    branches = columns_of(source.layout, column)
    stored = len(branches) == 1 and not is_expression(branches[0]) and not source.changes(column)
    return stored and _is_plain(source.tree[branches[0]], dtype, listed=listed)


def _is_plain(branch: Any, dtype: str, *, listed: bool = True) -> bool:
    stored = stored_type(branch)
    same = stored is not None and stored.newbyteorder("=") == np.dtype(dtype)
    return same and hasattr(branch.interpretation, "content") == listed


def event_stream(source: EventSource, column: str) -> Stream | None:
    """A column with one number per event; None if there is no branch of it."""
    branches = columns_of(source.layout, column)
    if not branches:
        return None
    branch = source.tree[branches[0]] if is_stored_as(source, column, EVENT_BRANCHES[column], listed=False) else None
    if has_whole_baskets(branch, source.start, source.stop):
        return Stream(_numbers_of_events(branch, source, column))
    return Stream(iter((_by_event(0, source.flat(column)),)))


def jet_stream(source: EventSource, column: str, dtype: str, leader: Stream | None = None) -> Stream | None:
    """A column of jets; None if there is no branch of it, and it is not derived.

    Args:
        source: range of events.
        column: name of the column.
        dtype: type that the compiled filler takes.
        leader: column of the same jets, which is read first for each event. Its offsets are reused if both branches
            have the same counter and the same baskets.
    """
    if is_stored_as(source, column, dtype) and (column != "jet_pt" or source.layout.unit == 1):
        name = columns_of(source.layout, column)[0]
        branch = source.tree[name]
        if leader is not None and _goes_along(branch, leader.branch, source):
            return Stream(_following(source, branch, column, leader), branch)
        return Stream(read_lists(source.path, source.tree, name, source.start, source.stop, _BUFFERS[column]), branch)
    if column == "jet_clean" and not (columns_of(source.layout, column) or source.changes(column)):
        return None
    return Stream(
        Basket(basket.start, basket.offsets - basket.offsets[0], source.converted(column, basket.numbers))
        for basket in source.lists(column)
    )


def _goes_along(branch: Any, leader: Any, source: EventSource) -> bool:
    """Whether two branches share a counter and basket borders, so that their offsets agree."""
    return (
        has_whole_baskets(branch, source.start, source.stop)
        and has_whole_baskets(leader, source.start, source.stop)
        and branch.counter is leader.counter
        and branch.entry_offsets == leader.entry_offsets
    )


def _following(source: EventSource, branch: Any, column: str, leader: Stream) -> Iterator[Basket]:
    """Pieces of a branch with the offsets of `leader`, which has advanced to the same basket before."""
    for start, stop, numbers in whole_baskets(branch, source.start, source.stop, _BUFFERS[column]):
        piece = leader.piece
        if (piece.start, piece.stop) != (start, stop) or len(numbers) != piece.offsets[-1]:
            raise ValueError("not as many numbers as in another column of jets")
        yield Basket(start, piece.offsets, numbers)


def weight_stream(source: EventSource) -> Stream:
    """Weights, (n, n_weights) in each piece, nominal first.

    If the branch has a counter, an error is raised as a `ValueError` where events have different numbers of weights.
    """
    settings = source.layout.weights
    as_stored = settings.nominal and not (settings.variations or settings.index or settings.factors)
    branch = source.tree[settings.nominal] if as_stored else None
    if _is_plain(branch, "float32") and has_whole_baskets(branch, source.start, source.stop):
        return Stream(_numbers_of_events(branch, source, "weight"))
    return Stream(_by_event(start, table) for start, table in source.weights())


def _numbers_of_events(branch: Any, source: EventSource, column: str) -> Iterator[Basket]:
    """Numbers of a branch, (n, k) in each piece; k must be the same for all events."""
    counts = None if branch.counter is None else branch.counter.array(source.start, source.stop, library="np")
    k = 1 if counts is None else int(counts[0])
    for start, stop, numbers in whole_baskets(branch, source.start, source.stop, _BUFFERS[column]):
        if counts is not None and np.any(counts[start:stop] != k):
            raise ValueError("events have different numbers of weights")
        if len(numbers) != (stop - start) * k:
            raise ValueError("not as many numbers as events need")
        yield _by_event(start, numbers.reshape(stop - start, k))


class Segment(NamedTuple):
    """Consecutive events as the compiled filler takes them.

    Attributes:
        n: number of events.
        n_weights: number of weights of an event.
        offsets: first jet of each event in the column of pT.
        columns: bytes, byte order and first number of run, event, trigger, weight; of pT, eta, cleaning, n_trk, label
            and region; of each varied n_trk; of the other columns of jets. None for a missing column.
    """

    n: int
    n_weights: int
    offsets: Int64[ndarray, " n_1"]
    columns: list[tuple[ndarray, bool, int] | None]


def segments(
    source: EventSource, *, weighted: bool, labels: bool, regions: bool, varied: Iterable[str], floats: Iterable[str]
) -> Iterator[Segment]:
    """The events of a range, divided where a column begins a new basket.

    Args:
        source: range of events.
        weighted: whether weights are required.
        labels: whether labels are required.
        regions: whether the region of each jet is required.
        varied: names of the variations of n_trk.
        floats: names of columns of jets that are passed on unchanged.

    Raises:
        FileError: a branch cannot be read, or columns of jets have different numbers of jets.
    """
    events = [event_stream(source, name) for name in ("run", "event", "trigger")]
    pt = jet_stream(source, "jet_pt", JET_BRANCHES["jet_pt"])
    assert pt is not None
    names = ["jet_eta", "jet_clean", "jet_n_trk"]
    jets = [pt, *(jet_stream(source, name, JET_BRANCHES[name], pt) for name in names)]
    jets += [jet_stream(source, "jet_label", "int8", pt) if labels else None]
    jets += [jet_stream(source, "jet_region", "int8", pt) if regions else None]
    jets += [jet_stream(source, VARIED_N_TRK[name], "uint16", pt) for name in varied]
    jets += [jet_stream(source, name, "float32", pt) for name in floats]
    weight = weight_stream(source) if weighted else None
    of_jets, others = ([stream for stream in group if stream is not None] for group in (jets, (*events, weight)))
    at, n_events = 0, source.stop - source.start
    while at < n_events:
        # Advance pT first: other columns of jets may share its offsets.
        end = min([stream.reach(at) for stream in (*of_jets, *others)])
        if len({stream.first(end) - stream.first(at) for stream in of_jets}) > 1:
            raise FileError(f"{source.path}: columns of jets have different numbers of jets", path=source.path)
        offsets = pt.piece.offsets[at - pt.piece.start : end - pt.piece.start + 1]
        columns = [None if stream is None else stream.column(at) for stream in (*events, weight, *jets)]
        yield Segment(end - at, 1 if weight is None else weight.piece.content.shape[1], offsets, columns)
        at = end
