"""Tools that make events out of files, and more events out of events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.contents import Column, Events, Jagged, frozen
from beampipe.analysisops.tools.events.files import open_tree, reading
from beampipe.analysisops.tools.expressions.parser import check_name
from beampipe.analysisops.tools.folder import DataFile
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["WEIGHT", "combine_tool", "describe", "load_kinematics_tool"]

WEIGHT: Final = "weight"
"""The column that `combine_tool` makes, and that weighted tools are told by name."""

_STEP: Final = 200_000
"""Events that are read at a time."""

_LARGEST_EXACT: Final = 2.0**53
"""Whole numbers beyond it are not exact as floating-point numbers."""


def load_kinematics_tool(
    bench: Bench,
    file_path: str | list[str],
    tree_name: str,
    branches: dict[str, str],
    entry_start: int = 0,
    entry_stop: int | None = None,
) -> Mapping[str, Any]:
    """Load branches of a ROOT file as columns of events, and give a handle; values keep the unit of the file.

    Args:
        file_path: name of the file, or a list of names whose events shall follow one another.
        tree_name: name of the tree, as inspect_root_schema_tool shows it.
        branches: name that a column shall have -> name of its branch, such as {"pt": "lep_pt", "eta": "lep_eta"}.
        entry_start: first event, counted in each file.
        entry_stop: event after the last; left out: to the end.
    """
    if not branches:
        raise ToolRefusedError("branches: got none, expected at least one, such as {'pt': 'lep_pt'}")
    for short in branches:
        check_name(short)
    names = [file_path] if isinstance(file_path, str) else file_path
    if not names or len(set(names)) != len(names):
        raise ToolRefusedError("file_path: got no name or one name twice, expected names of different files")
    parts = [
        part for name in names for part in _read(bench, bench.file(name), tree_name, branches, entry_start, entry_stop)
    ]
    return {"handle": bench.keep(events := _joined(parts)), **describe(events)}


def combine_tool(bench: Bench, events: list[str], scale: list[float] | None = None) -> Mapping[str, Any]:
    """Put events of several handles one after the other; column `weight` is made, or multiplied by the scale.

    Args:
        events: handles; only columns that all of them have are kept.
        scale: a factor on the weights for each handle, such as cross section * luminosity / sum of weights.
    """
    factors = [1.0] * len(events) if scale is None else scale
    if not events or len(factors) != len(events):
        raise ToolRefusedError(f"scale: got {len(factors)} factors for {len(events)} handles, expected one for each")
    parts = []
    for handle, factor in zip(events, factors, strict=True):
        part = bench.events(handle)
        weight = part.columns.get(WEIGHT, np.ones(part.n))
        if isinstance(weight, Jagged):
            raise ToolRefusedError(f"handle {handle}: got a column {WEIGHT} of objects, expected one of events")
        parts.append(part.with_columns({WEIGHT: frozen(np.asarray(weight, float) * factor)}))
    shared = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    for name in shared:
        if len({isinstance(part.columns[name], Jagged) for part in parts}) > 1:
            raise ToolRefusedError(f"column {name}: got values for objects here and for events there; rename one")
    joined = _joined([Events(part.n, {name: part.columns[name] for name in shared}) for part in parts])
    dropped = sorted({name for part in parts for name in part.columns} - set(shared))
    return {"handle": bench.keep(joined), **describe(joined), "dropped_columns": dropped}


def describe(events: Events, names: Iterable[str] | None = None) -> dict[str, Any]:
    """What an agent is shown of events: how many, and the range of columns, if not of all then of those named."""
    columns = {}
    for name in events.columns if names is None else names:
        column = events.columns[name]
        values = np.asarray(column.values if isinstance(column, Jagged) else column, float)
        good = values[np.isfinite(values)]
        columns[name] = {
            "jagged": isinstance(column, Jagged),
            "n_values": len(values),
            "min": float(good.min()) if len(good) else None,
            "max": float(good.max()) if len(good) else None,
            "mean": float(good.mean()) if len(good) else None,
        }
    return {"n_events": events.n, "columns": columns}


def _read(
    bench: Bench, file: DataFile, tree_name: str, branches: Mapping[str, str], start: int, stop: int | None
) -> list[Events]:
    with reading(file) as root:
        tree = open_tree(root, file, tree_name)
        known = tree.keys()
        for branch in branches.values():
            if branch not in known:
                raise ToolRefusedError(
                    f"file {file.name}, tree {tree_name}: got a branch {branch!r}, expected one of"
                    f" {', '.join(known[:60])}{nearest(branch, known)}"
                )
        last = tree.num_entries if stop is None else min(stop, tree.num_entries)
        if not 0 <= start <= last:
            raise ToolRefusedError(
                f"entry_start: got {start} to {last}, expected a range within 0 to {tree.num_entries}"
            )
        parts: list[Events] = []
        for first in range(start, max(last, start + 1), _STEP):
            bench.check_time()
            bench.shelf.check_room(sum(array.nbytes for part in parts for array in part.arrays()))
            arrays = {
                short: tree[branch].array(entry_start=first, entry_stop=min(first + _STEP, last), library="ak")
                for short, branch in branches.items()
            }
            parts.append(_events(file, branches, arrays))
    return parts


def _events(file: DataFile, branches: Mapping[str, str], arrays: Mapping[str, Any]) -> Events:
    columns: dict[str, Column] = {}
    collections: list[Jagged] = []
    n = 0
    for short, array in arrays.items():
        n = len(array)
        column = _column(array, f"file {file.name}, branch {branches[short]}")
        if isinstance(column, Jagged):
            same = next((other for other in collections if other.same_collection(column)), None)
            if same is None:
                collections.append(column)
            else:  # columns of one collection share their offsets
                column = Jagged(same.offsets, column.values)
        columns[short] = column
    return Events(n, columns)


def _column(array: Any, where: str) -> Column:
    import awkward as ak

    try:
        values = ak.to_numpy(ak.ravel(array))
        plain = np.asarray(values, bool if values.dtype == bool else float)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ToolRefusedError(f"{where}: got values that are no numbers, expected numbers; load another") from error
    if values.dtype.kind in "iu" and len(values) and np.abs(plain).max() > _LARGEST_EXACT:
        raise ToolRefusedError(f"{where}: got whole numbers above 2**53, expected smaller ones; load another branch")
    if array.ndim == 1:
        return frozen(plain.copy())
    if array.ndim > 2:
        raise ToolRefusedError(f"{where}: got lists of lists for each event, expected a number or a list of numbers")
    return Jagged.of(np.asarray(ak.num(array, axis=1), np.int64), plain.copy())


def _joined(parts: Sequence[Events]) -> Events:
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Column] = {}
    offsets: dict[tuple[int, ...], ndarray] = {}
    for name in parts[0].columns:
        pieces = [part.columns[name] for part in parts]
        jagged = [piece for piece in pieces if isinstance(piece, Jagged)]
        if len(jagged) == len(pieces):
            joined = Jagged.of(
                np.concatenate([piece.counts for piece in jagged]), np.concatenate([piece.values for piece in jagged])
            )
            key = tuple(id(piece.offsets) for piece in jagged)
            columns[name] = Jagged(offsets.setdefault(key, joined.offsets), joined.values)
        elif jagged:
            raise ToolRefusedError(f"column {name}: got values for objects in one file and for events in another")
        else:
            columns[name] = frozen(np.concatenate([piece for piece in pieces if not isinstance(piece, Jagged)]))
    return Events(sum(part.n for part in parts), columns)
