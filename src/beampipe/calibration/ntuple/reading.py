"""What is known of a ROOT file before its events are read: its place in a dataset, sums of weights, branches, baskets.

Every fault of a file becomes a `FileError` that names the file, the tree and the branch, and all of them at once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from beampipe.calibration.layout.datasets import Origin
from beampipe.calibration.layout.expressions import names_in
from beampipe.calibration.layout.presets import BEAMPIPE, likely_presets
from beampipe.calibration.layout.settings import Layout
from beampipe.calibration.ntuple.columns import BOOKKEEPING_BRANCHES, EVENT_BRANCHES, FORMAT, VARIED_N_TRK
from beampipe.calibration.ntuple.glance import glance
from beampipe.calibration.ntuple.opening import faults, opened
from beampipe.calibration.ntuple.source import DERIVED, EventSource
from beampipe.calibration.ntuple.sums import sums_of_weights, weight_names
from beampipe.errors import ColumnError, FileError, nearest

__all__ = ["Facts", "branches_of", "inspect_file", "missing_branches"]


@dataclass(frozen=True)
class Facts:
    """What is known of a file without reading its events.

    Attributes:
        dataset: name of the dataset that the file says it belongs to.
        slice: number of the slice that the file belongs to.
        n_slices: number of slices of the dataset.
        file_number: number of the file in its slice.
        n_files: number of files of the slice.
        cross_section: cross section of the slice [pb].
        filter_efficiency: share of the slice's events that the generator kept.
        sum_weights: sums of weights over all generated events of the file, one per weight.
        weight_names: names of the weights, nominal first.
        n_events: number of entries of the tree of events.
        borders: numbers of entries at which all branches start a new basket, from 0 to `n_events`.
        varied: names of the variations of n_trk that have a branch.
        simulated: whether labels and weights are there.
        settings: JSON of the generator's settings.
        merged: numbers and sums of weights of the other files that were merged into this one.
        luminosity: integrated luminosity of the file's period [1/pb]; 0 for that of its sample.
        borders_of: name of each variation of the layout -> `borders` of its tree of events.
    """

    dataset: str
    slice: int
    n_slices: int
    file_number: int
    n_files: int
    cross_section: float
    filter_efficiency: float
    sum_weights: tuple[float, ...]
    weight_names: tuple[str, ...]
    n_events: int
    borders: tuple[int, ...]
    varied: tuple[str, ...]
    simulated: bool
    settings: str
    merged: tuple[tuple[int, tuple[float, ...]], ...] = ()
    luminosity: float = 0.0
    borders_of: tuple[tuple[str, tuple[int, ...]], ...] = ()

    @property
    def parts(self) -> tuple[tuple[int, tuple[float, ...]], ...]:
        """Number and sums of weights of each file that this one was merged from; of itself, if it was not."""
        return ((self.file_number, self.sum_weights), *self.merged)

    def plain(self) -> dict[str, Any]:
        """The facts as JSON takes them."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Facts:
        """The facts from what `plain` gave, as JSON gives it back."""
        return cls(**{key: _tuples(each) for key, each in plain.items()})


def _tuples(value: Any) -> Any:
    """Lists as tuples, at any depth."""
    if not isinstance(value, list | tuple):
        return value
    return tuple([_tuples(each) if isinstance(each, list | tuple) else each for each in value])


def inspect_file(
    path: Path,
    layout: Layout = BEAMPIPE,
    origin: Origin | None = None,
    *,
    needs: tuple[str, ...] = DERIVED,
    min_pt: float = 0.0,
) -> Facts:
    """Look at a file: bookkeeping, branches, baskets, and a glance at its first events.

    Args:
        path: ROOT file.
        layout: which branch holds what.
        origin: where the file stands in its dataset, if it has no bookkeeping of its own.
        needs: observables of jets that are needed, of n_trk, width and c1.
        min_pt: pT that both leading jets of an event must exceed for their labels to count [GeV].

    Raises:
        FileError: the file cannot be read, a tree is missing or empty, the bookkeeping is of another kind, or units or
            labels look wrong.
        ColumnError: a branch is missing.
    """
    with opened(path) as file, faults(path, layout.tree):
        _require_trees(path, file, layout)
        books = _books(path, file, layout) if layout.own_books else []
        events = file[layout.tree]
        if events.num_entries == 0:
            raise FileError(
                f"{path}: tree {layout.tree!r} is empty; leave the file out, or make it again",
                path=path,
                name=layout.tree,
            )
        branches = branches_of(events)
        marks = [
            *(name for text in layout.branches.label for name in names_in(text)),
            *([layout.weights.nominal] if layout.own_books else []),
        ]
        simulated = bool(set(marks) & branches) or bool(origin and origin.simulated)
        missing = missing_branches(layout, branches, simulated=simulated, needs=needs)
        lines = [f"tree {layout.tree!r}: {line}" for line in missing.values()]
        lines += _missing_of_variations(file, layout, missing) if simulated else []
        if lines:
            raise ColumnError(f"{path}: {_joined(lines)}", path=path, name=next(iter(missing), ""))
        source = EventSource(path, events, layout, 0, int(events.num_entries))
        problems = glance(source, labelled=simulated, needs=needs, min_pt=min_pt).problems
        if problems:
            raise FileError(f"{path}: {_joined(problems)}", path=path)
        varied = tuple(name for name, column in VARIED_N_TRK.items() if _has(layout, branches, column))
        about = {
            "n_events": int(events.num_entries),
            "borders": _borders(events, layout),
            "borders_of": _borders_of(file, layout) if simulated else (),
            "varied": varied if simulated else (),
            "simulated": simulated,
        }
        if books:
            return _own_facts(books, about)
        if origin is None:
            raise FileError(f"{path}: got no bookkeeping, expected what says which dataset it is of", path=path)
        return _given_facts(file, source, origin, about)


def _missing_of_variations(file: Any, layout: Layout, known: Collection[str]) -> list[str]:
    """What variations of the layout name and the file has not, each as one line; not what is `known` to be missing."""
    lines = []
    trees = {key.split(";")[0] for key in file.keys(recursive=False)}
    for each in layout.variations:
        varied = layout.varied(each.name)
        if varied.tree not in trees:
            lines.append(
                f"got no tree {varied.tree!r} of variation {each.name!r}, expected it beside"
                f" {', '.join(sorted(trees))}{nearest(varied.tree, trees)}"
            )
            continue
        missing = missing_branches(varied, branches_of(file[varied.tree]), simulated=True, needs=("n_trk",))
        where = f"tree {varied.tree!r}, variation {each.name!r}"
        key = f"set layout.variations.{each.name}."
        told = (line.replace("set layout.", key) for name, line in missing.items() if name not in known)
        lines += [f"{where}: {line}" for line in told]
    return lines


def _borders_of(file: Any, layout: Layout) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Name of each variation of the layout, and where baskets begin in its tree."""
    varied = {each.name: layout.varied(each.name) for each in layout.variations}
    return tuple((name, _borders(file[one.tree], one)) for name, one in varied.items())


def _joined(lines: Collection[str]) -> str:
    """One line as it is, several below each other."""
    return "\n    ".join(["", *lines]) if len(lines) > 1 else "".join(lines)


def branches_of(tree: Any) -> set[str]:
    """Names of all branches of a tree, with and without the names of those that they are in."""
    names = set(tree.keys())
    return names | {name.rpartition("/")[2] for name in names}


def _require_trees(path: Path, file: Any, layout: Layout) -> None:
    """The trees that the layout needs, or an error that says what else the file may be."""
    trees = {key.split(";")[0] for key in file.keys(recursive=False)}
    for tree in (*((layout.sums.object,) if layout.own_books else ()), layout.tree):
        if tree in file:
            continue
        found = {name: branches_of(file[name]) for name in trees if hasattr(file[name], "num_entries")}
        preset, share = next(iter(likely_presets(found).items()))
        hint = f"; did you mean layout.preset = {preset!r}?" if share >= _LIKELY and preset != layout.preset else ""
        advice = "" if hint else f"; if it has another name, set layout.tree{nearest(tree, trees)}"
        raise FileError(
            f"{path}: got no tree {tree!r}, expected it beside {', '.join(sorted(trees)) or 'nothing'}"
            f"{hint or advice}; try: beampipe calibration inspect {path}",
            path=path,
            name=tree,
        )


_LIKELY: Final = 0.5
"""Share of the branches of a preset from which on a file is taken for one of its kind."""


def _has(layout: Layout, branches: Collection[str], column: str) -> bool:
    names = getattr(layout.branches, column.removeprefix("jet_"))
    return bool(names) and all(branch in branches for name in names for branch in names_in(name))


_OPTIONAL: Final = {
    "branches.run": "all events are of run 1",
    "branches.trigger": "all events pass",
    "branches.clean": "all jets are clean",
    "weights.nominal": "all weights are 1",
}
"""Branch that need not be -> what holds without it."""


def missing_branches(
    layout: Layout, branches: Collection[str], *, simulated: bool, needs: tuple[str, ...]
) -> dict[str, str]:
    """What a layout names or needs and a tree has not: name of the branch -> what to say of it, with the nearest name.

    Args:
        layout: which branch holds what.
        branches: names of the branches of the tree.
        simulated: whether labels and weights are needed.
        needs: observables that are needed.
    """
    wanted: dict[str, str] = {}
    keys = ["run", "event", "trigger", "pt", "eta", "clean", "region", *(needs if not layout.own_books else DERIVED)]
    keys += ["label"] if simulated else []
    found: dict[str, str] = {}
    derived = layout.constituents.pt
    for key in keys:
        names = getattr(layout.branches, key)
        if not names and key in (*DERIVED, "label") and not (derived and key in DERIVED):
            found[key] = (
                f"got no layout.branches.{key}, expected the name of a branch"
                f"{nearest(f'jet_{key}', branches)}"
                + (" (or layout.constituents, to derive it)" if key in DERIVED else "")
            )
        wanted |= {branch: f"branches.{key}" for name in names for branch in names_in(name)}
    if derived and any(not getattr(layout.branches, key) for key in needs):
        wanted |= {branch: f"constituents.{key}" for key, branch in layout.constituents.branches.items()}
        wanted |= dict.fromkeys(layout.branches.phi, "branches.phi")
    for score in layout.scores:
        wanted |= dict.fromkeys(names_in(score.branch), f"scores.{score.name}.branch")
    if simulated and layout.weights.nominal:
        wanted[layout.weights.nominal] = "weights.nominal"
        for each in layout.weights.variations:
            wanted |= dict.fromkeys(names_in(each.branch), f"weights.variations.{each.name}.branch")
    wanted = {**_inputs_of_changes(layout), **wanted}
    if simulated:
        wanted |= {branch: "weights.factors" for text in layout.weights.factors for branch in names_in(text)}
    for branch, key in wanted.items():
        if branch not in branches:
            suggestion = nearest(branch, branches)
            close = suggestion.split("'")[1] if suggestion else "NAME"
            told = f'{suggestion}; if so, set layout.{key} = "{close}"'
            if key.endswith(_OF_LISTS):
                told = f"{suggestion}; if so, name it in layout.{key}"
            if key in _OPTIONAL:
                told += f', or layout.{key} = "" where there is none: {_OPTIONAL[key]}'
            found[branch] = f"got no branch {branch!r}, expected it{told}"
    return found


_OF_LISTS: Final = ("inputs", "seed")
"""What the keys end with that name several branches in their order."""


def _inputs_of_changes(layout: Layout) -> dict[str, str]:
    """Branches that a function, a correction or a smearing of jets takes, and the key that names each."""
    asked: dict[str, str] = {}
    if layout.function is not None:
        asked |= dict.fromkeys(layout.function.inputs, "function.inputs")
    if layout.correction is not None:
        asked |= {text: "correction.inputs" for text in layout.correction.inputs if not text.startswith("=")}
    if layout.smearing is not None:
        asked |= {text: f"smearing.{key}" for text, key in layout.smearing.inputs.items()}
    found: dict[str, str] = {}
    for text, key in asked.items():
        columns = getattr(layout.branches, text, ())
        made = text in EVENT_BRANCHES or (text in DERIVED and layout.constituents.pt)
        for each in columns or (() if made else (text,)):
            found |= dict.fromkeys(names_in(each), key)
    return found


def _borders(events: Any, layout: Layout) -> tuple[int, ...]:
    """Entries at which all branches that are read start a new basket; a file that does not say has none inside."""
    if not hasattr(events, "common_entry_offsets"):
        return (0, int(events.num_entries))
    if layout.own_books:
        return tuple(int(border) for border in events.common_entry_offsets())
    every = (name for columns in vars(layout.branches).values() for text in columns for name in names_in(text))
    offsets = [set(events[name].entry_offsets) for name in set(every) if name in events]
    return tuple(sorted(int(border) for border in set.intersection(*offsets) | {0, events.num_entries}))


def _books(path: Path, file: Any, layout: Layout) -> list[dict[str, Any]]:
    """The entries of the bookkeeping, one for each file that this one was merged from."""
    name = layout.sums.object
    book = file[name]
    known = set(book.keys())
    for branch in BOOKKEEPING_BRANCHES:
        if branch not in known:
            raise ColumnError(
                f"{path}: tree {name!r}: got no branch {branch!r}, expected it{nearest(branch, known)}",
                path=path,
                name=branch,
            )
    with faults(path, name):
        columns = {branch: book[branch].array(library="np") for branch in BOOKKEEPING_BRANCHES}
    if book.num_entries < 1:
        raise FileError(f"{path}: got no entry in {name!r}, expected 1", path=path)
    entries = [{branch: values[k] for branch, values in columns.items()} for k in range(int(book.num_entries))]
    for entry in entries:
        _check_book(path, name, entry)
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


def _check_book(path: Path, tree: str, entry: Mapping[str, Any]) -> None:
    if int(entry["format"]) != FORMAT:
        raise FileError(f"{path}: got format {int(entry['format'])}, expected {FORMAT}; make the file again", path=path)
    names, sums = str(entry["weight_names"]).split(","), tuple(float(value) for value in entry["sum_weights"])
    if len(names) != len(sums) or not all(np.isfinite(sums)):
        raise FileError(
            f"{path}: tree {tree!r}: got {len(names)} names of weights and sums {sums[:4]}...,"
            " expected one finite sum per name",
            path=path,
            name=tree,
        )


def _own_facts(entries: list[dict[str, Any]], about: dict[str, Any]) -> Facts:
    """Facts of a file that carries its bookkeeping."""
    entries = sorted(entries, key=lambda entry: int(entry["file_number"]))
    first = entries[0]
    counts: dict[str, Any] = {name: int(first[name]) for name in ("slice", "n_slices", "file_number", "n_files")}
    sums = [tuple(float(value) for value in entry["sum_weights"]) for entry in entries]
    return Facts(
        dataset=str(first["dataset"]),
        **counts,
        cross_section=float(first["cross_section"]),
        filter_efficiency=float(first["filter_efficiency"]),
        sum_weights=sums[0],
        weight_names=tuple(str(first["weight_names"]).split(",")),
        settings=str(first["settings"]),
        merged=tuple((int(entry["file_number"]), own) for entry, own in zip(entries[1:], sums[1:], strict=True)),
        **about,
    )


def _given_facts(file: Any, source: EventSource, origin: Origin, about: dict[str, Any]) -> Facts:
    """Facts of a file whose place in its dataset is known from elsewhere."""
    names: tuple[str, ...] = ("nominal",)
    sums: tuple[float, ...] = (float(about["n_events"]),)
    if origin.simulated:
        names = weight_names(source)
        sums = sums_of_weights(file, source, len(names), origin.sum_weights)
    return Facts(
        dataset=origin.dataset,
        slice=origin.slice,
        n_slices=origin.n_slices,
        file_number=origin.file_number,
        n_files=origin.n_files,
        cross_section=origin.cross_section,
        filter_efficiency=origin.filter_efficiency,
        sum_weights=sums,
        weight_names=names,
        settings="{}",
        luminosity=origin.luminosity,
        **about,
    )
