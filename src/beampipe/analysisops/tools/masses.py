"""Tools for invariant masses of pairs, systems and combinations.

    m^2 = (sum E)^2 - (sum p_x)^2 - (sum p_y)^2 - (sum p_z)^2

with p_x = p_T cos(phi), p_y = p_T sin(phi), p_z = p_T sinh(eta); a small negative m^2, from rounding, counts as 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.events import describe
from beampipe.analysisops.tools.expressions import check_name
from beampipe.analysisops.tools.handles import Column, Events, Jagged, ToolContext, column_of, frozen, jagged_column

_MOST_COMBINATIONS: Final = 5000
"""Maximum number of combinations of the objects of one event."""

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

    fits = _pairs_fit(charges, types)
    if pairing == "leading":
        members = _leading(objects, 2)
        members[~fits(members) | (members < 0).any(1)] = -1
    else:
        members = _best(context, objects, 2, fits, target)
    kept, made = _with_mass(given, objects, members, name)
    if pairing == "closest":
        made = made.with_columns(_pair_columns(objects, members, kept))
    return _result(context, given, made, name)


def _pairs_fit(charges: ndarray | None, types: ndarray | None) -> Callable[[ndarray], ndarray]:
    """Whether pairs have opposite charges and the same type, if these are given; members (..., 2) -> (...)."""

    def fits(members: ndarray) -> ndarray:
        good = np.ones(members.shape[:-1], bool)
        if charges is not None:
            good &= charges[members].sum(-1) == 0
        if types is not None:
            good &= types[members[..., 0]] == types[members[..., 1]]
        return good

    return fits


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
    if not pt or len({len(pt), len(eta), len(phi), len(e)}) > 1:
        raise ToolRefusedError(
            "pt, eta, phi, e: got lists of different lengths, expected one entry for each collection"
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
