"""Tools that read files, derive columns, select and count events and objects, fill histograms, and export results.

Tools for invariant masses of pairs, systems and combinations calculate

    m^2 = (sum E)^2 - (sum p_x)^2 - (sum p_y)^2 - (sum p_z)^2

with p_x = p_T cos(phi), p_y = p_T sin(phi), p_z = p_T sinh(eta); a small negative m^2, from rounding, counts as 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

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
    parts, size = [], 0
    for handle, factor in zip(events, factors, strict=True):
        part = context.events(handle)
        size += 8 * part.n + sum(array.nbytes for array in part.arrays())
        context.store.check_room(size)
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
            read = sum(array.nbytes for part in parts for array in part.arrays())
            context.store.check_room(read + 8 * len(branches) * min(_STEP, last - first))
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


_MOST_COMBINATIONS: Final = 5000
"""Maximum number of combinations of the objects of one event."""

_MOST_COLLECTIONS: Final = 16
"""Maximum number of collections whose objects are taken together."""

Pairing = Literal["leading", "opposite_charge", "closest"]


@dataclass(frozen=True)
class _Objects:
    """Four-momenta of the objects of each event."""

    offsets: ndarray
    momenta: ndarray
    """(n_objects, 4): p_x, p_y, p_z, E."""
    pt: ndarray
    eta: ndarray
    phi: ndarray

    @property
    def counts(self) -> ndarray:
        return np.diff(self.offsets)


def calc_dilepton_mass_tool(
    context: ToolContext,
    events: str,
    pt: str,
    eta: str,
    phi: str,
    e: str,
    charge: str | None = None,
    lepton_type: str | None = None,
    pairing: Pairing = "leading",
    target: float | None = None,
    name: str = "mass",
) -> Mapping[str, Any]:
    """Keep events with a pair of objects, and give them its invariant mass; in the unit of pt and e.

    With pairing "closest" there are also columns first and second (places of the pair among the objects) and other_pt,
    other_eta, other_phi of the first object that is not in the pair (no number where there is none).

    Args:
        events: handle of events.
        pt: column of transverse momenta.
        eta: column of pseudorapidities.
        phi: column of azimuths [rad].
        e: column of energies.
        charge: column of charges; with it pairs must have opposite charge ("opposite_charge" and "closest").
        lepton_type: column of types, such as 11 and 13; with it both of a pair must be of one type.
        pairing: "leading": the two of highest pt; "opposite_charge": the pair of highest pt sum that fits;
            "closest": the pair that fits whose mass is closest to target.
        target: mass for "closest", in the unit of pt.
        name: of the new column.
    """
    check_name(name)
    if pairing == "opposite_charge" and charge is None:
        raise ToolRefusedError("charge: got none, expected the column of charges for pairing 'opposite_charge'")
    if (pairing == "closest") != (target is not None):
        raise ToolRefusedError("target: expected a mass with pairing 'closest', and none with the others")
    given = context.events(events)
    objects = _objects(given, [pt], [eta], [phi], [e])
    labels = [jagged_column(given, label) for label in (charge, lepton_type) if label is not None]
    if not all(np.array_equal(label.offsets, objects.offsets) for label in labels):
        raise ToolRefusedError("charge, lepton_type: got other objects than those of pt, expected the same")
    charges = labels[0].values if charge is not None and pairing != "leading" else None
    types = labels[-1].values if lepton_type is not None else None

    def fits(members: ndarray) -> ndarray:
        good = np.ones(members.shape[:-1], bool)
        if charges is not None:
            good &= charges[members].sum(-1) == 0
        if types is not None:
            good &= types[members[..., 0]] == types[members[..., 1]]
        return good

    if pairing == "leading":
        members = _leading(objects, 2)
        members[~fits(members) | (members < 0).any(1)] = -1
    else:
        members = _best(context, objects, 2, fits, target)
    kept, made = _with_mass(given, objects, members, name)
    if pairing == "closest":
        made = made.with_columns(_pair_columns(objects, members, kept))
    return _result(context, given, made, name)


def calc_system_invariant_mass_tool(
    context: ToolContext,
    events: str,
    pt: str | list[str],
    eta: str | list[str],
    phi: str | list[str],
    e: str | list[str],
    number: int = 0,
    name: str = "mass",
) -> Mapping[str, Any]:
    """Give events the invariant mass of their objects; all of them or the leading ones. Events with fewer are left out.

    Args:
        events: handle of events.
        pt: column of transverse momenta, or a list of columns whose objects are taken together.
        eta: column or columns of pseudorapidities, in the same order.
        phi: column or columns of azimuths [rad].
        e: column or columns of energies.
        number: so many objects of highest pt are taken; 0: all.
        name: of the new column.
    """
    check_name(name)
    given = context.events(events)
    objects = _objects(given, *([columns] if isinstance(columns, str) else columns for columns in (pt, eta, phi, e)))
    if number:
        _, made = _with_mass(given, objects, _leading(objects, number), name)
    else:
        parents = np.repeat(np.arange(given.n), objects.counts)
        total = np.stack([np.bincount(parents, objects.momenta[:, i], given.n) for i in range(4)], 1)
        full = given.with_columns({name: frozen(_mass(total))})
        made = full.rows(objects.counts > 0)
    return _result(context, given, made, name)


def calc_combination_mass_tool(
    context: ToolContext,
    events: str,
    pt: str,
    eta: str,
    phi: str,
    e: str,
    number: int = 3,
    choose: Literal["highest_pt", "closest"] = "highest_pt",
    target: float | None = None,
    must: str | None = None,
    name: str = "mass",
) -> Mapping[str, Any]:
    """Choose a combination of objects in each event, and give its invariant mass; such as three jets of a top.

    Args:
        events: handle of events.
        pt: column of transverse momenta.
        eta: column of pseudorapidities.
        phi: column of azimuths [rad].
        e: column of energies.
        number: objects of a combination, 2 to 6.
        choose: "highest_pt": the combination whose vector sum has the highest pt; "closest": the one whose mass is
            closest to target.
        target: mass for "closest", in the unit of pt.
        must: column of truth values of which exactly one must be true in a combination, such as a tag.
        name: of the new column; column name + "_pt" holds the pt of the combination.
    """
    check_name(name)
    if not 2 <= number <= 6 or (choose == "closest") != (target is not None):
        raise ToolRefusedError("number: expected 2 to 6; target: expected a mass with 'closest', and none without")
    given = context.events(events)
    objects = _objects(given, [pt], [eta], [phi], [e])
    tags = None if must is None else jagged_column(given, must)
    if tags is not None and (tags.values.dtype != bool or not np.array_equal(tags.offsets, objects.offsets)):
        raise ToolRefusedError(
            f"must {must}: expected truth values of the same objects; derive it, such as 'btag > 0.8'"
        )

    def fits(members: ndarray) -> ndarray:
        if tags is None:
            return np.ones(members.shape[:-1], bool)
        return np.asarray(tags.values[members].sum(-1) == 1)

    members = _best(context, objects, number, fits, target, by_vector_sum=True)
    kept, made = _with_mass(given, objects, members, name)
    total = objects.momenta[members[kept]].sum(1)
    made = made.with_columns({f"{name}_pt": frozen(np.hypot(total[:, 0], total[:, 1]))})
    return _result(context, given, made, name)


def _result(context: ToolContext, given: Events, made: Events, name: str) -> dict[str, Any]:
    changed = [column for column in made.columns if column not in given.columns or column == name]
    return {"handle": context.keep(made), **describe(made, changed), "n_before": given.n}


def _objects(events: Events, pt: Sequence[str], eta: Sequence[str], phi: Sequence[str], e: Sequence[str]) -> _Objects:
    """Objects of one or more collections combined; a column of events is a collection of one object each."""
    if not 1 <= len(pt) <= _MOST_COLLECTIONS or len({len(pt), len(eta), len(phi), len(e)}) > 1:
        raise ToolRefusedError(
            f"pt, eta, phi, e: got lists of {len(pt)}, {len(eta)}, {len(phi)} and {len(e)}, expected one entry for each"
            f" of 1 to {_MOST_COLLECTIONS} collections"
        )
    collections = [
        [
            column if isinstance(column, Jagged) else Jagged.of(np.ones(len(column), np.int64), column)
            for column in (column_of(events, name) for name in names)
        ]
        for names in zip(pt, eta, phi, e, strict=True)
    ]
    for names, columns in zip(zip(pt, eta, phi, e, strict=True), collections, strict=True):
        if not all(columns[0].same_collection(other) for other in columns[1:]):
            raise ToolRefusedError(
                f"columns {', '.join(names)}: got different numbers of objects, expected one collection"
            )
    parents = np.concatenate([columns[0].parents for columns in collections])
    order = np.argsort(parents, kind="stable")
    values = [
        np.concatenate([np.asarray(columns[i].values, float) for columns in collections])[order] for i in range(4)
    ]
    counts = sum((columns[0].counts for columns in collections), np.zeros(events.n, np.int64))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    p, h, f, energy = values
    with np.errstate(over="ignore"):
        momenta = np.stack([p * np.cos(f), p * np.sin(f), p * np.sinh(h), energy], 1)
    return _Objects(offsets, momenta, p, h, f)


def _mass(momenta: ndarray) -> ndarray:
    square = momenta[..., 3] ** 2 - np.square(momenta[..., :3]).sum(-1)
    return np.asarray(np.sqrt(np.maximum(square, 0.0)))


def _leading(objects: _Objects, number: int) -> ndarray:
    """Indices (n, number) of the objects of highest pt in each event, -1 if there are too few."""
    parents = np.repeat(np.arange(len(objects.counts)), objects.counts)
    order = np.lexsort((-objects.pt, parents))
    members = np.full((len(objects.counts), number), -1)
    enough = objects.counts >= number
    members[enough] = order[objects.offsets[:-1][enough][:, None] + np.arange(number)]
    return members


def _best(
    context: ToolContext,
    objects: _Objects,
    number: int,
    fits: Any,
    target: float | None,
    *,
    by_vector_sum: bool = False,
) -> ndarray:
    """Indices (n, number) of the best combination in each event, -1 if none fits.

    Events with the same number of objects are processed together, vectorised over all combinations.
    """
    best = np.full((len(objects.counts), number), -1)
    for count in np.unique(objects.counts[objects.counts >= number]):
        combinations = np.array(
            list(itertools.islice(itertools.combinations(range(count), number), _MOST_COMBINATIONS + 1))
        )
        if len(combinations) > _MOST_COMBINATIONS:
            raise ToolRefusedError(
                f"objects: got an event with {count}, expected fewer; thin them first with select_objects_tool"
            )
        rows = np.flatnonzero(objects.counts == count)
        for chunk in np.array_split(rows, max(1, len(rows) * len(combinations) // 500_000)):
            context.check_time()
            members = objects.offsets[chunk][:, None, None] + combinations
            total = objects.momenta[members].sum(2)
            if target is not None:
                rank = -np.abs(_mass(total) - target)
            elif by_vector_sum:
                rank = np.hypot(total[..., 0], total[..., 1])
            else:
                rank = objects.pt[members].sum(2)
            rank = np.where(fits(members), rank, -np.inf)
            first = rank.argmax(1)
            there = np.isfinite(rank[np.arange(len(chunk)), first])
            best[chunk[there]] = members[np.flatnonzero(there), first[there]]
    return best


def _with_mass(events: Events, objects: _Objects, members: ndarray, name: str) -> tuple[ndarray, Events]:
    kept = np.asarray((members >= 0).all(1))
    mass = _mass(objects.momenta[members[kept]].sum(1))
    return kept, events.rows(kept).with_columns({name: frozen(mass)})


def _pair_columns(objects: _Objects, members: ndarray, kept: ndarray) -> dict[str, Column]:
    starts = objects.offsets[:-1][kept]
    places = members[kept] - starts[:, None]
    counts = objects.counts[kept]
    # The first object, in the order of the file, that is not in the pair.
    other = np.select([(places != index).all(1) for index in (0, 1, 2)], [0, 1, 2], default=0)
    there = counts > 2
    columns: dict[str, Column] = {
        "first": frozen(places[:, 0].astype(float)),
        "second": frozen(places[:, 1].astype(float)),
    }
    for name, values in (("pt", objects.pt), ("eta", objects.eta), ("phi", objects.phi)):
        picked = np.full(len(starts), np.nan)
        picked[there] = values[(starts + other)[there]]
        columns[f"other_{name}"] = frozen(picked)
    return columns
