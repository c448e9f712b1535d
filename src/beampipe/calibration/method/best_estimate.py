"""One set of scale factors from several: those of two pairs of regions, say, of dijets and of a photon with a jet.

The best linear unbiased estimate of one scale factor x (its bins of pT) from measurements y of it (those of all sets,
one after the other) with their covariance C is

    x = W y     W = (A^T C^-1 A)^-1 A^T C^-1     covariance W C W^T     chi2 = (y - A x)^T C^-1 (y - A x)

where A says which bin a measurement is of (L. Lyons, D. Gibaut, P. Clifford, doi:10.1016/0168-9002(88)90018-6). A bin
that one set has no valid error in is taken from the others.

C has the statistical covariance of each set, that between the sets if they share events, and the sources: one of the
same name moves all sets at once, one that a single set has moves only that one. Each scale factor is estimated from
measurements of itself alone. Their joint covariance follows from the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.method.joint import JointUncertainties, plain_numbers
from beampipe.calibration.method.scale_factors import statistical
from beampipe.errors import ConfigError, InputError

__all__ = ["BestEstimate", "best_estimate", "read_sets", "statistical_between"]

_SINGULAR: Final = 1e-12
"""Size of an eigenvalue of C, relative to the largest one, below which it counts as 0."""


@dataclass(frozen=True, eq=False)
class BestEstimate:
    """Scale factors from several sets.

    Attributes:
        names: names of the sets.
        joint: the scale factors with their uncertainties, like those of one set.
        weights: (n_sets, n_keys, n_pt, n_pt) weight of each bin of a set in each bin of the estimate, which comes
            first; over sets and their bins the weights of a bin add up to 1, those of other bins to 0.
        chi2: (n_keys,) chi2 of the sets against the estimate.
        ndf: (n_keys,) number of degrees of freedom: bins that two sets have, and again for each further set.
    """

    names: tuple[str, ...]
    joint: JointUncertainties
    weights: Float64[ndarray, "s k p p"]
    chi2: Float64[ndarray, " k"]
    ndf: Int64[ndarray, " k"]

    def shares(self, key: FactorKey) -> Float64[ndarray, "s p"]:
        """Weight of each set's own bin in each bin of one scale factor; over the sets they add up to 1."""
        return np.diagonal(self.weights[:, self.joint.keys.index(key)], axis1=1, axis2=2).copy()

    def plain(self) -> dict[str, Any]:
        """For JSON: as of `JointUncertainties`, which reads it, with the weights and chi2 of each scale factor."""
        estimates = [
            {
                **key._asdict(),
                "chi2": float(self.chi2[k]),
                "ndf": int(self.ndf[k]),
                "weights": {name: plain_numbers(self.weights[s, k]) for s, name in enumerate(self.names)},
            }
            for k, key in enumerate(self.joint.keys)
        ]
        return {**self.joint.plain(), "sets": self.names, "estimates": estimates}

    def write(self, path: Path) -> None:
        """Write what `plain` gives as JSON."""
        path.write_text(json.dumps(self.plain()) + "\n", encoding="utf-8")


def best_estimate(
    sets: Mapping[str, JointUncertainties],
    between: Mapping[tuple[str, str], Float64[ndarray, "n n"]] | None = None,
    separate: Sequence[str] = (),
) -> BestEstimate:
    """The best linear unbiased estimate.

    Args:
        sets: two or more sets of the same scale factors in the same bins of pT, by name.
        between: statistical covariance between two sets by their names, the first with the second, from
            `statistical_between`; sets that are not named have no events in common.
        separate: names of sources that move each set on its own though several have them.

    Raises:
        InputError: there are fewer than two sets, or they are of different scale factors or bins.
        ConfigError: sets have different variations of a source, which then is not one and the same.
    """
    named = {name: _apart(one, name, separate) for name, one in sets.items()}
    _check(named)
    for pair in between or {}:
        if len(set(pair)) != 2 or not set(pair) <= set(sets):
            raise InputError(f"covariance between sets: got {pair}, expected two of {', '.join(sets)}")
    first, n_sets = next(iter(named.values())), len(named)
    n_pt = len(first.pt_edges) - 1
    vectors, spread = _side_by_side(named), _statistical(named, between or {})
    weights = np.zeros((n_sets, len(first.keys), n_pt, n_pt))
    chi2, ndf = np.zeros(len(first.keys)), np.zeros(len(first.keys), np.int64)
    for k, key in enumerate(first.keys):
        place = first.part(key)
        covariance = spread[:, place, :, place].reshape(n_sets * n_pt, -1).copy()
        for moved in vectors.values():
            each = moved[..., place].reshape(len(moved), -1)
            covariance += each.T @ each
        measured = np.stack([one.nominal[place] for one in named.values()])
        weights[:, k], chi2[k], ndf[k] = _estimate(measured, covariance)
    return BestEstimate(tuple(sets), _combined(named, vectors, spread, weights), weights, chi2, ndf)


def read_sets(arguments: Sequence[str]) -> dict[str, JointUncertainties]:
    """The sets that ``NAME=FILE`` name, each a file of `JointUncertainties`.

    Raises:
        InputError: an argument is another text, or a name stands twice.
        FileError: a file is missing, or another one.
    """
    found: dict[str, JointUncertainties] = {}
    for text in arguments:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in found:
            raise InputError(f"sets to combine: got {text!r}, expected NAME=FILE, each name once: dijets=joint.json")
        found[name] = JointUncertainties.read(Path(path))
    return found


def statistical_between(first: Float64[ndarray, "b n"], second: Float64[ndarray, "b n"]) -> Float64[ndarray, "n n"]:
    """Statistical covariance between two sets that share events, from their replicas: see `joint_replicas`.

    An event has the same Poisson number in replica b of both, if both are of the same dataset and seed.
    """
    n = first.shape[1]
    both: ndarray = statistical(np.concatenate([first, second], axis=1))[1]
    return both[:n, n:]


def _apart(one: JointUncertainties, name: str, separate: Sequence[str]) -> JointUncertainties:
    """The set with another name, its own, for each source that is no other set's."""

    def named(sources: Mapping[str, Any]) -> dict[str, Any]:
        return {f"{source}_{name}" if source in separate else source: each for source, each in sources.items()}

    return replace(one, shifts=named(one.shifts), vectors=named(one.vectors))


def _check(sets: Mapping[str, JointUncertainties]) -> None:
    if len(sets) < 2:
        raise InputError(f"sets to combine: got {len(sets)}, expected two or more")
    for (one_name, one), (name, other) in combinations(sets.items(), 2):
        if (other.keys, other.pt_edges) != (one.keys, one.pt_edges):
            raise InputError(
                f"sets {one_name} and {name}: got other scale factors or bins of pT, expected the same taggers, working"
                " points and pt_edges in both"
            )
        for source in one.shifts.keys() & other.shifts.keys():
            members = [set(each.shifts[source]) for each in (one, other)]
            if members[0] != members[1] or len(one.vectors[source]) != len(other.vectors[source]):
                differ = ", ".join(sorted(members[0] ^ members[1])) or "the number of vectors"
                raise ConfigError(
                    f"source {source}: got other variations in {one_name} than in {name} ({differ}), expected the same:"
                    " one source moves both; name it separate, or give one of them another name"
                )


def _side_by_side(sets: Mapping[str, JointUncertainties]) -> dict[str, Float64[ndarray, "m s n"]]:
    """Vectors of the sources in all sets; 0 in a set that lacks the source."""
    out: dict[str, Float64[ndarray, "m s n"]] = {}
    for s, one in enumerate(sets.values()):
        for source, vectors in one.vectors.items():
            empty = np.zeros((len(vectors), len(sets), len(one.nominal)))
            out.setdefault(source, empty)[:, s] = vectors
    return out


def _statistical(
    sets: Mapping[str, JointUncertainties], shared: Mapping[tuple[str, str], Float64[ndarray, "n n"]]
) -> Float64[ndarray, "s n s n"]:
    names = list(sets)
    n = len(next(iter(sets.values())).nominal)
    spread = np.zeros((len(names), n, len(names), n))
    for s, one in enumerate(sets.values()):
        spread[s, :, s] = one.statistical
    for (one_name, other_name), covariance in shared.items():
        row, column = names.index(one_name), names.index(other_name)
        spread[row, :, column], spread[column, :, row] = covariance, covariance.T
    return spread


def _estimate(
    measured: Float64[ndarray, "s p"], covariance: Float64[ndarray, "sp sp"]
) -> tuple[Float64[ndarray, "s p p"], float, int]:
    """Weights, chi2 and degrees of freedom of one scale factor."""
    n_sets, n_pt = measured.shape
    known = np.isfinite(measured.reshape(-1)) & np.isfinite(np.diagonal(covariance))
    bins = np.tile(np.arange(n_pt), n_sets)[known]
    there = np.unique(bins)
    weights = np.zeros((n_pt, n_sets * n_pt))
    if len(there) == 0:
        return weights.reshape(n_pt, n_sets, n_pt).transpose(1, 0, 2), 0.0, 0
    inside = covariance[np.ix_(known, known)]
    inverse = np.linalg.pinv((inside + inside.T) / 2, rcond=_SINGULAR, hermitian=True)
    design = (bins[:, None] == there).astype(np.float64)
    normal = design.T @ inverse
    found = np.linalg.solve(normal @ design, normal)
    weights[np.ix_(there, np.flatnonzero(known))] = found
    y = measured.reshape(-1)[known]
    left = y - design @ (found @ y)
    parts = weights.reshape(n_pt, n_sets, n_pt).transpose(1, 0, 2)
    return parts, float(left @ inverse @ left), len(bins) - len(there)


def _combined(
    sets: Mapping[str, JointUncertainties],
    vectors: Mapping[str, Float64[ndarray, "m s n"]],
    spread: Float64[ndarray, "s n s n"],
    weights: Float64[ndarray, "s k p p"],
) -> JointUncertainties:
    """The estimate in the form of one set."""
    every = tuple(sets.values())
    first, n = every[0], len(every[0].nominal)
    lost = ~weights.any(axis=(0, 3)).reshape(-1)
    whole = np.zeros((len(every), n, n))
    for k, key in enumerate(first.keys):
        whole[:, first.part(key), first.part(key)] = weights[:, k]

    def weighted(values: Float64[ndarray, "s n"]) -> Float64[ndarray, " n"]:
        """A number that is not known has no weight, unless nothing is known of its bin."""
        return np.where(lost, np.nan, np.einsum("sij,sj->i", whole, np.nan_to_num(values)))

    shifts: dict[str, dict[str, Float64[ndarray, " n"]]] = {}
    for source in vectors:
        members = dict.fromkeys(member for one in every for member in one.shifts.get(source, {}))
        shifts[source] = {
            member: weighted(np.stack([one.shifts.get(source, {}).get(member, np.zeros(n)) for one in every]))
            for member in members
        }
    drawn = np.einsum("sij,sjtk,tlk->il", whole, np.nan_to_num(spread), whole)
    drawn[lost], drawn[:, lost] = np.nan, np.nan
    moved = {source: np.array([weighted(one) for one in each]).reshape(-1, n) for source, each in vectors.items()}
    nominal = weighted(np.stack([one.nominal for one in every]))
    return JointUncertainties(first.pt_edges, first.keys, nominal, (drawn + drawn.T) / 2, shifts, moved)
