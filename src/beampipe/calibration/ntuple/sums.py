"""Names of weights and their sums, for files that do not carry our bookkeeping."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.calibration.ntuple.opening import faults
from beampipe.calibration.ntuple.source import EventSource
from beampipe.errors import ColumnError, FileError, nearest

__all__ = ["sums_of_weights", "weight_names"]


def weight_names(source: EventSource) -> tuple[str, ...]:
    """Names of all weights, the nominal one first; how many there are is seen in the first event.

    Raises:
        FileError: there are more or fewer names in the layout than weights in the file.
    """
    asked = source.layout.weights
    first = EventSource(source.path, source.tree, source.layout, source.start, source.start + 1)
    n_weights = next(first.weights())[1].shape[1]
    sizes = [first.count(each.branch) for each in asked.variations]
    names = ["nominal", *(f"weight_{k}" for k in range(1, n_weights - sum(sizes)))]
    for each, size in zip(asked.variations, sizes, strict=True):
        names += [each.name] if size == 1 else [f"{each.name}_{k}" for k in range(size)]
    if asked.names and len(asked.names) != len(names):
        raise FileError(
            f"{source.path}: got {len(names)} weights an event, expected {len(asked.names)} as in layout.weights.names",
            path=source.path,
        )
    return asked.names or tuple(names)


def sums_of_weights(file: Any, source: EventSource, n_weights: int, given: tuple[float, ...]) -> tuple[float, ...]:
    """Sum of each weight over all generated events of a file, from where the layout says.

    Args:
        file: the file, open.
        source: all of its events.
        n_weights: number of weights.
        given: sums by a manifest.

    Raises:
        FileError: the sums are not where the layout says, or are not finite.
    """
    path, asked = source.path, source.layout.sums
    if asked.source == "events":
        parts = [table.sum(axis=0, dtype=np.float64) for _, table in source.weights(generated=True)]
        sums = tuple(math.fsum(column) for column in np.stack(parts, axis=1))
    elif asked.source == "manifest":
        sums = given
    elif asked.source in ("runs", "histogram"):
        sums = _from_object(file, source, n_weights)
    elif asked.source == "cutbookkeepers":
        sums = _from_records(file, source, n_weights)
    else:
        raise FileError(
            f"{path}: got no sum of weights: layout.sums.source is {asked.source!r}, expected runs,"
            " cutbookkeepers, histogram, manifest, or events if no event was left out when the files were written",
            path=path,
        )
    if len(sums) == 1 < n_weights:
        sums = sums * n_weights
    if len(sums) != n_weights or not np.isfinite(sums).all():
        raise FileError(
            f"{path}: got {len(sums)} sums of weights ({asked.source}), expected {n_weights} finite ones", path=path
        )
    return sums


def _from_object(file: Any, source: EventSource, n_weights: int) -> tuple[float, ...]:
    """Sums from a tree with sums of runs, or from a histogram; those of variations are beside that of the nominal."""
    layout, path = source.layout, source.path
    asked, variations = layout.sums, layout.weights.variations
    if asked.source == "runs":
        tree = _object(path, file, asked.object)
        total = _column(path, tree, asked.object, asked.branch)
    else:
        tree, total = None, _bins(path, file, asked.object)[None, asked.bin : asked.bin + 1]
    n_own = n_weights - sum(source.count(each.branch) for each in variations)
    if total.shape[1] not in (1, n_own):
        raise FileError(f"{path}: got {total.shape[1]} sums in {asked.branch!r}, expected 1 or {n_own}", path=path)
    nominal = total[:, layout.weights.index if total.shape[1] > 1 else 0][:, None]
    order = [layout.weights.index, *(k for k in range(n_own) if k != layout.weights.index)]
    columns = [total[:, order] if total.shape[1] > 1 else np.repeat(nominal, n_own, axis=1)]
    for each in variations:
        size = source.count(each.branch)
        if not each.sums:
            columns.append(np.repeat(nominal, size, axis=1))
            continue
        own = (
            _column(path, tree, asked.object, each.sums) if tree is not None else _bins(path, file, each.sums)[None, 1:]
        )
        if own.shape[1] < size:
            raise FileError(f"{path}: got {own.shape[1]} sums in {each.sums!r}, expected {size}", path=path)
        columns.append(own[:, :size] * nominal if each.sums_ratio else own[:, :size])
    return tuple(math.fsum(column) for column in np.concatenate(columns, axis=1).T)


_ALL_EVENTS: Final = "AllExecutedEvents"
"""Name of the record of ATLAS' bookkeeping that counts all events before any was left out."""

_STREAMS: Final = ("StreamAOD", "StreamDAOD_PHYSLITE", "StreamEVGEN")
"""Streams whose record is that of the generated events."""


def _from_records(file: Any, source: EventSource, n_weights: int) -> tuple[float, ...]:
    """Sums by ATLAS' bookkeeping: a container of records for each weight, the nominal one's without a number.

    Each step of the production adds a record of all events that it saw; the first step has the highest cycle.
    """
    path, asked = source.path, source.layout.sums
    tree = _object(path, file, asked.object)
    known = {str(name).rpartition("/")[2] for name in tree.keys()}  # noqa: SIM118 - a tree is no dictionary

    def column(container: str, name: str) -> Any:
        branch = f"{container}.{name}"
        if branch not in known:
            raise ColumnError(
                f"{path}: tree {asked.object!r}: got no branch {branch!r} (layout.sums), expected it"
                f"{nearest(branch, known)}; if a weight has no record, take layout.sums.source = 'manifest'",
                path=path,
                name=branch,
            )
        with faults(path, branch):
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
                f"{path}: tree {asked.object!r}: got records {', '.join(map(str, names[entry])) or 'none'}, expected"
                f" {_ALL_EVENTS!r} of one of {', '.join(_STREAMS)}",
                path=path,
                name=asked.object,
            )
        places.append(-max(rows)[1])
    out = []
    n_own = n_weights - sum(source.count(each.branch) for each in source.layout.weights.variations)
    index = source.layout.weights.index
    for number in [index, *(k for k in range(n_own) if k != index)]:
        container = f"CutBookkeepers_weight_{number}Aux" if number else "CutBookkeepersAux"
        sums = column(container, "sumOfEventWeights")
        out.append(math.fsum(float(values[place]) for values, place in zip(sums, places, strict=True)))
    return (*out, *(out[0] for _ in range(n_weights - n_own)))


def _object(path: Path, file: Any, name: str) -> Any:
    """An object of a file, or an error that names the nearest one."""
    known = {str(key).split(";")[0] for key in file}
    if name not in known:
        raise ColumnError(
            f"{path}: got no {name!r} (layout.sums.object), expected it beside {', '.join(sorted(known)[:8])}"
            f"{nearest(name, known)}",
            path=path,
            name=name,
        )
    with faults(path, name):
        return file[name]


def _column(path: Path, tree: Any, name: str, branch: str) -> ndarray:
    """(n_entries, k) float64 of a branch with a number or a list per entry."""
    import awkward as ak

    if branch not in tree:
        raise ColumnError(
            f"{path}: tree {name!r}: got no branch {branch!r} (layout.sums), expected it{nearest(branch, tree.keys())}",
            path=path,
            name=branch,
        )
    with faults(path, branch):
        values = tree[branch].array(library="ak")
        table: ndarray = np.asarray(ak.to_numpy(values), np.float64)
    return table[:, None] if table.ndim == 1 else table


def _bins(path: Path, file: Any, name: str) -> ndarray:
    """Contents of a histogram, with the bins of what lies below and above."""
    found = _object(path, file, name)
    if not hasattr(found, "values"):
        raise FileError(f"{path}: {name!r}: got no histogram, expected one (layout.sums.object)", path=path, name=name)
    values: ndarray = np.asarray(found.values(flow=True), np.float64)
    return values
