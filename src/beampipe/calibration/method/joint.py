"""The covariance of all scale factors together, and the combination of several sets of them.

All scale factors form one vector: the bins of pT of the first scale factor, then those of the second, and so on. With
the shifts d of the sources

    C = C_statistical + sum over sources and their vectors of d d^T

where C_statistical comes from the bootstrap replicas. The block of one scale factor is its own covariance. C has no
negative eigenvalue.

*Combination*, e.g. of dijets and of a photon with a jet. The best linear unbiased estimate of one scale factor x (its
bins of pT) from measurements y of it (those of all sets, one after the other) with their covariance C is

    x = W y     W = (A^T C^-1 A)^-1 A^T C^-1     covariance W C W^T     chi2 = (y - A x)^T C^-1 (y - A x)

where A assigns each measurement to a bin (L. Lyons, D. Gibaut, P. Clifford, doi:10.1016/0168-9002(88)90018-6). A bin
without a valid error in one set is taken from the others.

C contains the statistical covariance of each set, that between the sets if they share events, and the sources: a source
of the same name is correlated between all sets, a source of a single set shifts only that one. Each scale factor is
estimated from its own measurements alone. The joint covariance follows from the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64, Int64
from beampipe.calibration.config import Configuration, JetBin, jet_bins
from beampipe.calibration.method.factors import FactorKey, Factors, array_of_numbers, json_numbers, publishable
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.method.uncertainties import replicas_of, shift_vectors, statistical, treated_shifts
from beampipe.errors import ConfigError, FileError, InputError

_FORMAT: Final = 1

_ENOUGH: Final = 1 - 1e-6
"""Fraction of the variance that the principal components contain together."""


@dataclass(frozen=True, eq=False)
class JointUncertainties:
    """Uncertainties of all scale factors in one vector of n = (number of scale factors) x (number of bins of pT).

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        keys: the scale factors, in the order of the vector.
        nominal: (n,) the scale factors.
        statistical: (n, n) covariance of the statistical uncertainty; nan in bins that have no valid error.
        shifts: (n,) signed shift of the scale factors by each variation, by source and variation.
        vectors: (n_vectors, n) shifts of each source after its rule, each fully correlated over all bins.
        eta_edges: edges of the bins of jet \\|eta\\|; none for a single bin.
    """

    pt_edges: tuple[float, ...]
    keys: tuple[FactorKey, ...]
    nominal: Float64[ndarray, " n"]
    statistical: Float64[ndarray, "n n"]
    shifts: Mapping[str, Mapping[str, Float64[ndarray, " n"]]]
    vectors: Mapping[str, Float64[ndarray, "_ n"]]
    eta_edges: tuple[float, ...] = ()

    @property
    def bins(self) -> tuple[JetBin, ...]:
        """The bins of each scale factor."""
        return jet_bins(self.pt_edges, self.eta_edges)

    @property
    def covariance(self) -> Float64[ndarray, "n n"]:
        """(n, n) covariance of statistical uncertainty and all sources; nan in bins that have no valid error."""
        total = self.statistical.copy()
        for vectors in self.vectors.values():
            for vector in vectors:
                total += vector[:, None] * vector
        lost = ~np.isfinite(self.nominal)
        total[lost], total[:, lost] = np.nan, np.nan
        return total

    @property
    def valid(self) -> Bool[ndarray, " n"]:
        """(n,) whether there is a value with a total uncertainty."""
        valid: Bool[ndarray, " n"] = np.isfinite(np.diagonal(self.covariance))
        return valid

    @property
    def published(self) -> Bool[ndarray, " n"]:
        """(n,) whether corrections contain the number."""
        with np.errstate(invalid="ignore"):
            return publishable(self.nominal, np.sqrt(np.diagonal(self.covariance)))

    def part(self, key: FactorKey) -> slice:
        """The slice of one scale factor in the vector."""
        start = self.keys.index(key) * len(self.bins)
        return slice(start, start + len(self.bins))

    def plain(self) -> dict[str, Any]:
        """The uncertainties as JSON types; None is unknown."""
        plain = {
            "format": _FORMAT,
            "about": {
                "order": "bins of pt_edges of the first of scale_factors, then of the second, and so on",
                "covariance": "statistical and all sources; null in bins without a valid error",
                "shifts": "what each variation of a source does, with its sign",
                "vectors": "shifts of a source after its rule: covariance = statistical_covariance + sum of v v^T",
            },
            "pt_edges": self.pt_edges,
            **({"eta_edges": self.eta_edges} if self.eta_edges else {}),
            "scale_factors": [key._asdict() for key in self.keys],
            "nominal": self.nominal,
            "covariance": self.covariance,
            "statistical_covariance": self.statistical,
            "sources": {
                name: {"shifts": members, "vectors": self.vectors[name]} for name, members in self.shifts.items()
            },
        }
        return dict(json_numbers(plain))

    def write(self, path: Path) -> None:
        """Write JSON; null is not known."""
        path.write_text(json.dumps(self.plain()) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> JointUncertainties:
        """Read what `write` wrote.

        Raises:
            FileError: the file is missing, or another one.
        """
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            if plain["format"] != _FORMAT:
                raise ValueError(f"format {plain['format']}, expected {_FORMAT}")
            sources = plain["sources"]
            return cls(
                tuple(plain["pt_edges"]),
                tuple(FactorKey(**key) for key in plain["scale_factors"]),
                array_of_numbers(plain["nominal"]),
                array_of_numbers(plain["statistical_covariance"]),
                {
                    name: {member: array_of_numbers(shift) for member, shift in source["shifts"].items()}
                    for name, source in sources.items()
                },
                {name: array_of_numbers(source["vectors"]) for name, source in sources.items()},
                tuple(plain.get("eta_edges", ())),
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            message = f"{path}: got no joint uncertainties ({error}); make them: beampipe calibration report"
            raise FileError(message, path=path) from error


def joint_uncertainties(
    configuration: Configuration, efficiencies: Mapping[str, Efficiencies], factors: Factors
) -> JointUncertainties:
    """The uncertainties of all scale factors together.

    Args:
        configuration: working points and systematics.
        efficiencies: efficiencies of all cases, by tagger.
        factors: the scale factors computed from them.
    """
    places = list(_places(efficiencies, factors))
    shifts: dict[str, dict[str, Float64[ndarray, " n"]]] = {}
    vectors: dict[str, Float64[ndarray, "_ n"]] = {}
    treated = [
        treated_shifts(measured, indices, key.quantity, factors.by_name[key].statistical, configuration)
        for key, measured, indices in places
    ]
    for source in configuration.systematics:
        of_factors = [by_source[source.name] for by_source in treated]
        side_by_side = np.concatenate([each.values for each in of_factors], axis=1)
        shifts[source.name] = dict(zip(of_factors[0].members, side_by_side, strict=True))
        of_rule = [shift_vectors(source.rule, each.members, each.values) for each in of_factors]
        vectors[source.name] = np.concatenate(of_rule, axis=1)
    spread = statistical(joint_replicas(efficiencies, factors))[1]
    return JointUncertainties(
        factors.pt_edges,
        tuple(factors.by_name),
        np.concatenate([factor.nominal for factor in factors.by_name.values()]),
        (spread + spread.T) / 2,
        shifts,
        vectors,
        factors.eta_edges,
    )


def joint_replicas(efficiencies: Mapping[str, Efficiencies], factors: Factors) -> Float64[ndarray, "b n"]:
    """All scale factors in every replica, in the order of `JointUncertainties.nominal`.

    Args:
        efficiencies: efficiencies of all replicas, by tagger.
        factors: the scale factors computed from them.
    """
    drawn = [replicas_of(measured, indices, key.quantity) for key, measured, indices in _places(efficiencies, factors)]
    return np.concatenate(drawn, axis=1)


def principal_components(joint: JointUncertainties) -> Float64[ndarray, "k n"]:
    """Uncorrelated shifts of all scale factors, the largest first, whose outer products add up to the covariance.

    They are the eigenvectors of the covariance times the square root of the eigenvalue, with the sign that makes the
    largest component positive: as few as contain all but 1e-6 of the variance. nan in bins that are not published.
    """
    covariance, published = joint.covariance, joint.published
    inside = covariance[np.ix_(published, published)]
    values, columns = np.linalg.eigh((inside + inside.T) / 2)
    values, columns = np.clip(values[::-1], 0, None), columns[:, ::-1]
    held = np.cumsum(values)
    count = int(np.searchsorted(held, _ENOUGH * held[-1])) + 1 if len(held) and held[-1] > 0 else 0
    components = np.full((count, len(published)), np.nan)
    for k in range(count):
        component = columns[:, k] * np.sqrt(values[k])
        components[k, published] = component if component[np.argmax(np.abs(component))] > 0 else -component
    return components


def _places(
    efficiencies: Mapping[str, Efficiencies], factors: Factors
) -> Iterator[tuple[FactorKey, Efficiencies, tuple[int, int]]]:
    """Each scale factor with the efficiencies of its tagger, and its indices on their axes."""
    for key in factors.by_name:
        yield key, efficiencies[key.tagger], factors.indices_of(key)


_SINGULAR: Final = 1e-12
"""Eigenvalue of C, relative to the largest one, below which it counts as 0."""


@dataclass(frozen=True, eq=False)
class Combination:
    """Scale factors from several sets.

    Attributes:
        names: names of the sets.
        joint: the combined scale factors with their uncertainties.
        weights: (n_sets, n_keys, n_pt, n_pt) weight, in each bin of the estimate (first pT axis), of each bin of a set
            (second). Summed over sets, the weights of the same bin add up to 1, those of any other bin to 0.
        chi2: (n_keys,) chi2 of the sets against the estimate.
        ndf: (n_keys,) number of degrees of freedom: number of valid measurements minus number of estimated bins.
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
        """JSON types: those of `JointUncertainties`, which can read it, plus weights and chi2 of each scale factor."""
        estimates = [
            {
                **key._asdict(),
                "chi2": float(self.chi2[k]),
                "ndf": int(self.ndf[k]),
                "weights": json_numbers(dict(zip(self.names, self.weights[:, k], strict=True))),
            }
            for k, key in enumerate(self.joint.keys)
        ]
        return {**self.joint.plain(), "sets": self.names, "estimates": estimates}

    def write(self, path: Path) -> None:
        """Write `plain` as JSON."""
        path.write_text(json.dumps(self.plain()) + "\n", encoding="utf-8")


def combine_sets(
    sets: Mapping[str, JointUncertainties],
    separate: Sequence[str] = (),
) -> Combination:
    """The best linear unbiased estimate.

    Args:
        sets: two or more sets of the same scale factors in the same bins of pT, by name, with no events in common.
        separate: names of sources that are uncorrelated between the sets, although several sets have them.

    Raises:
        InputError: there are fewer than two sets, or they have different scale factors or bins.
        ConfigError: sets have different variations of a source, which then cannot be correlated.
    """

    def apart(sources: Mapping[str, Any], name: str) -> dict[str, Any]:
        """The sources of a set, the uncorrelated ones under names of its own."""
        return {f"{source}_{name}" if source in separate else source: each for source, each in sources.items()}

    named = {
        name: replace(each, shifts=apart(each.shifts, name), vectors=apart(each.vectors, name))
        for name, each in sets.items()
    }
    _check(named)
    first, n_sets = next(iter(named.values())), len(named)
    n_pt, n = len(first.bins), len(first.nominal)
    # Vectors of the sources in all sets, 0 in a set that lacks the source, and the statistical covariance.
    vectors: dict[str, Float64[ndarray, "m s n"]] = {}
    spread = np.zeros((n_sets, n, n_sets, n))
    for s, joint in enumerate(named.values()):
        spread[s, :, s] = joint.statistical
        for source, of_source in joint.vectors.items():
            vectors.setdefault(source, np.zeros((len(of_source), n_sets, n)))[:, s] = of_source
    weights = np.zeros((n_sets, len(first.keys), n_pt, n_pt))
    chi2, ndf = np.zeros(len(first.keys)), np.zeros(len(first.keys), np.int64)
    for k, key in enumerate(first.keys):
        part = first.part(key)
        covariance = spread[:, part, :, part].reshape(n_sets * n_pt, -1).copy()
        for shifts in vectors.values():
            each = shifts[..., part].reshape(len(shifts), -1)
            covariance += each.T @ each
        measured = np.stack([joint.nominal[part] for joint in named.values()])
        weights[:, k], chi2[k], ndf[k] = _estimate(measured, covariance)
    return Combination(tuple(sets), _combined(named, vectors, spread, weights), weights, chi2, ndf)


def read_sets(arguments: Sequence[str]) -> dict[str, JointUncertainties]:
    """Read sets given as ``NAME=FILE``, each a file of `JointUncertainties`.

    Raises:
        InputError: an argument has another form, or a name or all numbers are repeated.
        FileError: a file is missing, or has another format.
    """
    joints: dict[str, JointUncertainties] = {}
    for text in arguments:
        name, equals, path = text.partition("=")
        if not (name and equals and path) or name in joints:
            raise InputError(f"sets to combine: got {text!r}, expected NAME=FILE, each name once: dijets=joint.json")
        joint = JointUncertainties.read(Path(path))
        if any(np.array_equal(joint.nominal, each.nominal, equal_nan=True) for each in joints.values()):
            raise InputError(f"sets to combine: got the numbers of another set in {text}, expected other events")
        joints[name] = joint
    return joints


def _check(sets: Mapping[str, JointUncertainties]) -> None:
    if len(sets) < 2:
        raise InputError(f"sets to combine: got {len(sets)}, expected two or more")
    for (first_name, first), (name, other) in combinations(sets.items(), 2):
        if (other.keys, other.bins) != (first.keys, first.bins):
            raise InputError(
                f"sets {first_name} and {name}: got other scale factors or bins, expected the same taggers,"
                " working points, pt_edges and eta_edges in both"
            )
        for source in first.shifts.keys() & other.shifts.keys():
            members = [set(each.shifts[source]) for each in (first, other)]
            if members[0] != members[1] or len(first.vectors[source]) != len(other.vectors[source]):
                differ = ", ".join(sorted(members[0] ^ members[1])) or "the number of vectors"
                raise ConfigError(
                    f"source {source}: got other variations in {first_name} than in {name} ({differ}), expected the"
                    " same: one source moves both; name it separate, or give one of them another name"
                )


def _estimate(
    measured: Float64[ndarray, "s p"], covariance: Float64[ndarray, "sp sp"]
) -> tuple[Float64[ndarray, "s p p"], float, int]:
    """Weights, chi2 and degrees of freedom of one scale factor."""
    n_sets, n_pt = measured.shape
    finite = np.isfinite(measured.reshape(-1)) & np.isfinite(np.diagonal(covariance))
    bins = np.tile(np.arange(n_pt), n_sets)[finite]
    there = np.unique(bins)
    weights = np.zeros((n_pt, n_sets * n_pt))
    if len(there) == 0:
        return weights.reshape(n_pt, n_sets, n_pt).transpose(1, 0, 2), 0.0, 0
    inside = covariance[np.ix_(finite, finite)]
    inverse = np.linalg.pinv((inside + inside.T) / 2, rcond=_SINGULAR, hermitian=True)
    design = (bins[:, None] == there).astype(np.float64)
    normal = design.T @ inverse
    solution = np.linalg.solve(normal @ design, normal)
    weights[np.ix_(there, np.flatnonzero(finite))] = solution
    y = measured.reshape(-1)[finite]
    left = y - design @ (solution @ y)
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
        """Weighted sum over the sets; unknown values have no weight, unless all values of a bin are unknown."""
        return np.where(lost, np.nan, np.einsum("sij,sj->i", whole, np.nan_to_num(values)))

    shifts: dict[str, dict[str, Float64[ndarray, " n"]]] = {}
    for source in vectors:
        members = dict.fromkeys(member for joint in every for member in joint.shifts.get(source, {}))
        shifts[source] = {
            member: weighted(np.stack([joint.shifts.get(source, {}).get(member, np.zeros(n)) for joint in every]))
            for member in members
        }
    drawn = np.einsum("sij,sjtk,tlk->il", whole, np.nan_to_num(spread), whole)
    drawn[lost], drawn[:, lost] = np.nan, np.nan
    moved = {source: np.array([weighted(vector) for vector in each]).reshape(-1, n) for source, each in vectors.items()}
    nominal = weighted(np.stack([joint.nominal for joint in every]))
    covariance = (drawn + drawn.T) / 2
    return JointUncertainties(first.pt_edges, first.keys, nominal, covariance, shifts, moved, first.eta_edges)
