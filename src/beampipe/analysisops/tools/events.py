"""Tools that read files, derive columns, select and count events and objects, fill histograms, and export results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError, require_name
from beampipe.analysisops.tools.data_folder import DataFile
from beampipe.analysisops.tools.expressions import check_name, condition, evaluate, object_condition
from beampipe.analysisops.tools.handles import (
    Artifact,
    Column,
    Events,
    Histogram,
    Jagged,
    ToolContext,
    TrackLabels,
    Workspace,
    column_of,
    flat_column,
    frozen,
    jagged_column,
)

_LOOKED_AT: Final = 20_000
"""Number of events from which the range of a branch is determined."""


def list_local_root_files_tool(context: ToolContext) -> Mapping[str, Any]:
    """List the data files and what is known of each; name, size in bytes, role (data, signal_mc, background_mc, ...).

    Simulated samples may say cross_section_pb, sum_of_weights and luminosity_fb.
    """
    return {"files": [file.to_json() for file in context.folder.files()], "public": context.folder.public}


def inspect_root_schema_tool(
    context: ToolContext, file_path: str, max_branches_per_tree: int = 200
) -> Mapping[str, Any]:
    """Show trees and branches of a ROOT file with type and range; ranges tell MeV from GeV.

    Args:
        file_path: name of the file, as list_local_root_files_tool gives it.
        max_branches_per_tree: so many branches are shown at most.
    """
    file = context.file(file_path)
    with reading(file) as root:
        trees = {}
        for name in _tree_names(root):
            tree, branches = root[name], {}
            shown = tree.keys()[: max(0, max_branches_per_tree)]
            for branch in shown:
                context.check_time()
                branches[branch] = _branch(tree[branch], tree.num_entries)
            truncated = len(tree.keys()) > len(shown)
            trees[name] = {"n_entries": int(tree.num_entries), "branches": branches, "truncated": truncated}
    return {"file": file.name, "trees": trees}


@contextmanager
def reading(file: DataFile) -> Iterator[Any]:
    """A ROOT file that is open during a block.

    Raises:
        ToolRefusedError: it is not a ROOT file; the message does not show its path.
    """
    import uproot

    try:
        root = uproot.open(file.path)
    except (ValueError, OSError, KeyError) as error:
        raise ToolRefusedError(
            f"file {file.name}: got something that is no ROOT file, expected one"
            " (read_log_tool and query_metrics_tool read logs and metrics)"
        ) from error
    with root:
        yield root


def _tree_names(root: Any) -> list[str]:
    return sorted({key.split(";")[0] for key, kind in root.classnames().items() if kind == "TTree"})


def _branch(branch: Any, n: int) -> dict[str, Any]:
    import awkward as ak

    shown: dict[str, Any] = {"type": str(branch.typename), "jagged": False, "min": None, "max": None, "median": None}
    try:
        array = branch.array(entry_stop=min(n, _LOOKED_AT), library="ak")
        shown["jagged"] = array.ndim > 1
        values = np.asarray(ak.ravel(array), float)
    except Exception:  # strings and classes have no range
        return shown
    values = values[np.isfinite(values)]
    if len(values):
        numbers = {"min": values.min(), "max": values.max(), "median": np.median(values)}
        shown.update({key: float(value) for key, value in numbers.items() if math.isfinite(value)})
    return shown


def download_atlas_data_tool(
    context: ToolContext,
    skim: str = "",
    release: str = "",
    dataset: str = "data",
    protocol: str = "https",
    max_files: int = 0,
) -> Mapping[str, Any]:
    """Download the data of this task; files that are here already are only listed.

    Args:
        skim: which selection of events; empty: that of the task.
        release: of the open data; empty: that of the task.
        dataset: "data" or a number of a simulated sample.
        protocol: how to download.
        max_files: at most so many files; 0: as many as the task allows.
    """
    # The host downloads the data of the task before the assessment.
    facts = context.folder.public
    for name, value in (("skim", skim), ("release", release)):
        if value and value != facts.get(name):
            raise ToolRefusedError(
                f"{name}: got {value[:60]!r}, expected {facts.get(name) or 'none'}; only the data of this task are here"
            )
    return {"files": [{"name": file.name, "bytes": file.path.stat().st_size} for file in context.folder.files()]}


WEIGHT: Final = "weight"
"""The column of weights that `combine_tool` creates."""

_STEP: Final = 200_000
"""Number of events that are read at a time."""

_LARGEST_EXACT: Final = 2.0**53
"""Larger integers are not exact as doubles."""


def load_kinematics_tool(
    context: ToolContext,
    file_path: str | list[str],
    tree_name: str,
    branches: dict[str, str],
    entry_start: int = 0,
    entry_stop: int | None = None,
) -> Mapping[str, Any]:
    """Load branches of a ROOT file as columns of events; values keep the unit of the file.

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
        part
        for name in names
        for part in _read(context, context.file(name), tree_name, branches, entry_start, entry_stop)
    ]
    return {"handle": context.keep(events := _joined(parts)), **describe(events)}


def combine_tool(context: ToolContext, events: list[str], scale: list[float] | None = None) -> Mapping[str, Any]:
    """Join events of several handles; their column `weight`, 1 if there is none, is multiplied by the scale.

    Args:
        events: handles; only columns that all of them have are kept.
        scale: a factor on the weights for each handle, such as cross section * luminosity / sum of weights.
    """
    factors = [1.0] * len(events) if scale is None else scale
    if not events or len(factors) != len(events):
        raise ToolRefusedError(f"scale: got {len(factors)} factors for {len(events)} handles, expected one for each")
    parts = []
    for handle, factor in zip(events, factors, strict=True):
        part = context.events(handle)
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
    return {"handle": context.keep(joined), **describe(joined), "dropped_columns": dropped}


def describe(events: Events, names: Iterable[str] | None = None) -> dict[str, Any]:
    """A summary of events for agents: their number, and the range of all columns or of those named."""
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
    context: ToolContext, file: DataFile, tree_name: str, branches: Mapping[str, str], start: int, stop: int | None
) -> list[Events]:
    with reading(file) as root:
        trees = _tree_names(root)
        require_name(f"file {file.name}, tree", tree_name, trees)
        tree = root[tree_name]
        names = tree.keys()
        for branch in branches.values():
            require_name(f"file {file.name}, tree {tree_name}, branch", branch, names)
        last = tree.num_entries if stop is None else min(stop, tree.num_entries)
        if not 0 <= start <= last:
            raise ToolRefusedError(
                f"entry_start: got {start} to {last}, expected a range within 0 to {tree.num_entries}"
            )
        parts: list[Events] = []
        for first in range(start, max(last, start + 1), _STEP):
            context.check_time()
            context.store.check_room(sum(array.nbytes for part in parts for array in part.arrays()))
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


def derive_tool(context: ToolContext, events: str, name: str, expression: str) -> Mapping[str, Any]:
    """Give events one more column; computed from those they have.

    Args:
        events: handle of events.
        name: of the new column.
        expression: such as "sqrt(px**2 + py**2)" or "count(pt > 20)".
    """
    check_name(name)
    given = context.events(events)
    made = given.with_columns({name: evaluate(given, expression)})
    return {"handle": context.keep(made), **describe(made, [name])}


def select_tool(context: ToolContext, events: str, expression: str) -> Mapping[str, Any]:
    """Keep the events that fulfil a condition. Weights are those of column `weight`, or 1 if there is none.

    Args:
        events: handle of events.
        expression: a condition on each event, such as "met > 30 and count(pt > 20) >= 2".
    """
    given = context.events(events)
    kept = given.rows(condition(given, expression))
    weight = flat_column(kept, WEIGHT) if WEIGHT in kept.columns else np.ones(kept.n)
    return {
        "handle": context.keep(kept),
        "n_events": kept.n,
        "n_before": given.n,
        "sum_weights": float(weight.sum()),
        "sum_weights_error": float(np.sqrt(np.square(weight).sum())),
    }


def select_objects_tool(context: ToolContext, events: str, columns: list[str], expression: str) -> Mapping[str, Any]:
    """Keep the objects that fulfil a condition; all events stay, and the columns are those of one collection.

    Args:
        events: handle of events.
        columns: all columns of the collection that you go on using, such as ["pt", "eta", "phi", "e"].
        expression: a condition on each object, such as "pt > 20 and abs(eta) < 2.5".
    """
    given = context.events(events)
    good = object_condition(given, expression)
    thinned: dict[str, Column] = {}
    first: Jagged | None = None
    for name in columns:
        column = jagged_column(given, name)
        if not column.same_collection(good):
            raise ToolRefusedError(
                f"column {name}: got other objects than those of {expression[:60]!r}, expected the same"
            )
        kept = column.thinned(good.values)
        first = first or kept
        thinned[name] = Jagged(first.offsets, kept.values)
    if first is None:
        raise ToolRefusedError("columns: got none, expected the columns of the collection")
    made = given.with_columns(thinned)
    return {
        "handle": context.keep(made),
        **describe(made, columns),
        "n_objects": len(first.values),
        "n_objects_before": len(good.values),
    }


def count_tool(context: ToolContext, events: str, expression: str = "", weight: str | None = None) -> Mapping[str, Any]:
    """Count events that fulfil a condition, and sum up their weights.

    Args:
        events: handle of events.
        expression: a condition on each event; empty: all of them.
        weight: column of weights; left out: each event counts 1.
    """
    given = context.events(events)
    good = condition(given, expression) if expression else np.ones(given.n, bool)
    weights = np.ones(given.n) if weight is None else flat_column(given, weight)
    kept = np.asarray(weights[good], float)
    return {"n": int(good.sum()), "sum_weights": float(kept.sum()), "error": float(np.sqrt(np.square(kept).sum()))}


MOST_BINS: Final = 400
"""Maximum number of bins of a histogram."""


def histogram_tool(
    context: ToolContext, events: str, column: str, bins: int, low: float, high: float, weight: str | None = None
) -> Mapping[str, Any]:
    """Fill a histogram of a column with equal bins; of events or objects.

    Args:
        events: handle of events.
        column: what to fill.
        bins: number of bins, at most 400.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        weight: column of weights of the events; left out: each entry counts 1.
    """
    if not 1 <= bins <= MOST_BINS or not low < high:
        raise ToolRefusedError(f"bins: got {bins} from {low:g} to {high:g}, expected 1 to {MOST_BINS} and low < high")
    given = context.events(events)
    values, weights = values_of(given, column, weight)
    filled = fill(values, weights, np.linspace(low, high, bins + 1), column)
    return {"handle": context.keep(filled), **filled.to_json()}


def values_of(events: Events, column: str, weight: str | None) -> tuple[ndarray, ndarray]:
    """Finite values of a column with their weights; each object has the weight of its event."""
    chosen = column_of(events, column)
    weights = np.ones(events.n) if weight is None else np.asarray(flat_column(events, weight), float)
    if isinstance(chosen, Jagged):
        values, weights = np.asarray(chosen.values, float), weights[chosen.parents]
    else:
        values = np.asarray(chosen, float)
    good = np.isfinite(values) & np.isfinite(weights)
    return values[good], weights[good]


def fill(values: ndarray, weights: ndarray, edges: ndarray, column: str) -> Histogram:
    """Fill a histogram; the last bin includes its upper edge."""
    inside = (values >= edges[0]) & (values <= edges[-1])
    contents = np.histogram(values, edges, weights=weights)[0]
    squares = np.histogram(values, edges, weights=np.square(weights))[0]
    return Histogram(
        frozen(np.asarray(edges, float)),
        frozen(np.asarray(contents, float)),
        frozen(np.asarray(squares, float)),
        float(weights[values < edges[0]].sum()),
        float(weights[values > edges[-1]].sum()),
        int(inside.sum()),
        column,
    )


def export_tool(context: ToolContext, handle: str, name: str) -> Mapping[str, Any]:
    """Name a result as an artifact; the answer that you hand in then holds its handle.

    Args:
        handle: of events, a histogram, a workspace or labels of tracks.
        name: what the artifact is called in the answer.
    """
    check_name(name)
    content = context.content(handle)
    if isinstance(content, Artifact):
        content = content.content
    if isinstance(content, Histogram):
        kind, n = "histogram", content.n
    elif isinstance(content, Events):
        kind, n = "events", content.n
    elif isinstance(content, Workspace):
        kind, n = "workspace", len(content.specification["channels"])
    elif isinstance(content, TrackLabels):
        kind, n = "labels", len(content.track_id)
    else:
        raise ToolRefusedError(f"handle {handle}: got a graph, expected a result; make labels with label_tracks_tool")
    return {"artifact": context.keep(Artifact(name, content)), "name": name, "kind": kind, "n": n}
