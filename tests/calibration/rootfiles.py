"""ROOT files with a fault: written like `beampipe.simulation.ntuples.write_ntuple` does, but for what is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot

from beampipe.jets.ntuple_format import BOOKKEEPING, EVENTS
from beampipe.simulation.ntuples import Events, read_bookkeeping, read_ntuple, toy_events, write_ntuple


def bookkeeping_of(events: Events, **changes: Any) -> dict[str, Any]:
    """Of one file that is its whole dataset."""
    n_weights = 1 if events.weight is None else events.weight.shape[1]
    sums = np.full(1, float(len(events))) if events.weight is None else events.weight.sum(axis=0, dtype=np.float64)
    standard = {
        "format": 1,
        "dataset": "odd",
        "slice": 0,
        "n_slices": 1,
        "file_number": 0,
        "n_files": 1,
        "n_generated": len(events),
        "cross_section": 100.0,
        "filter_efficiency": 1.0,
        "sum_weights": sums,
        "weight_names": ",".join(["nominal", *(f"w{k}" for k in range(1, n_weights))]),
        "settings": "{}",
    }
    return standard | changes


def write_odd(
    path: Path,
    events: Events,
    *,
    trees: Mapping[str, str] = {EVENTS: EVENTS, BOOKKEEPING: BOOKKEEPING},
    without: Sequence[str] = (),
    types: Mapping[str, str] = {},
    scale: Mapping[str, float] = {},
    n_weights: Sequence[int] = (),
    books: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] = {},
) -> Path:
    """A file whose trees have other names, or that lacks branches, or has more, or branches of other types."""
    columns = {
        name: np.asarray(values).astype(types.get(name, values.dtype))
        for name, values in {**events.columns, **more}.items()
    }
    columns |= {name: (columns[name] * factor).astype(columns[name].dtype) for name, factor in scale.items()}
    table: dict[str, Any] = {name: columns[name] for name in ("run", "event", "trigger") if name not in without}
    jets = {name[4:]: values for name, values in columns.items() if name[:4] == "jet_" and name not in without}
    table["jet"] = ak.unflatten(ak.zip(jets), np.diff(events.offset))
    if "weight" in columns and "weight" not in without:
        table["weight"] = ak.from_regular(columns["weight"])
        if n_weights:
            lists = [row[:size] for row, size in zip(columns["weight"].tolist(), n_weights, strict=True)]
            table["weight"] = ak.values_astype(ak.Array(lists), np.float32)
    book = {name: value for name, value in (books or bookkeeping_of(events)).items() if name not in without}
    entry: dict[str, Any] = {}
    for name, value in book.items():
        as_list = isinstance(value, str) or np.ndim(value) == 1
        entry[name] = ak.Array([value.tolist() if np.ndim(value) == 1 else value]) if as_list else np.array([value])
    content = {EVENTS: table, BOOKKEEPING: entry}
    with uproot.recreate(path) as file:
        for tree, name in trees.items():
            kinds = {
                branch: values.dtype if isinstance(values, np.ndarray) else values.type.content
                for branch, values in content[tree].items()
            }
            file.mktree(name, kinds).extend(content[tree])
    return path


def small_events(n: int = 200, seed: int = 5, **more: Any) -> Events:
    return toy_events(n, seed, n_weights=3, **more)


def rewrite(path: Path, **changes: Any) -> None:
    """The same file but for some columns, each by a function of it that returns what takes its place."""
    events, books = read_ntuple(path), read_bookkeeping(path)
    columns = {name: values.copy() for name, values in events.columns.items()}
    for name, change in changes.items():
        columns[name] = change(columns[name])
    write_ntuple(path, Events(offset=events.offset, **columns), books)
