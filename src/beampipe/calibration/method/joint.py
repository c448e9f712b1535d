"""All scale factors together: their covariance over taggers, working points, flavours, quantities and bins of pT.

The numbers stand in one vector: the bins of pT of the first scale factor, then those of the second, and so on. With
replicas b and shifts d of the sources

    C = C_statistical + sum over sources and their vectors of d d^T

so that the block of one scale factor is its own covariance. C has no negative eigenvalue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.calibration.config.configuration import Configuration
from beampipe.calibration.method.combine import shift_vectors
from beampipe.calibration.method.efficiencies import Efficiencies
from beampipe.calibration.method.factors import FLAVOUR_NAMES, FactorKey, Factors
from beampipe.calibration.method.scale_factors import replicas_of, statistical
from beampipe.calibration.method.shifts import treated_shifts
from beampipe.errors import FileError

__all__ = ["JointUncertainties", "joint_replicas", "joint_uncertainties", "plain_numbers", "principal_components"]

_FORMAT: Final = 1

_ENOUGH: Final = 1 - 1e-6
"""Share of the variance that the principal components hold together."""


@dataclass(frozen=True, eq=False)
class JointUncertainties:
    """Uncertainties of all scale factors in one vector of n = (number of scale factors) x (number of bins of pT).

    Attributes:
        pt_edges: edges of the bins of jet pT [GeV].
        keys: the scale factors, in the order of the vector.
        nominal: (n,) the scale factors.
        statistical: (n, n) covariance of the statistical uncertainty; nan in bins that have no valid error.
        shifts: (n,) what each variation does to the scale factors, with its sign, by source and variation.
        vectors: (n_vectors, n) shifts by source after its rule, each correlated over all bins.
    """

    pt_edges: tuple[float, ...]
    keys: tuple[FactorKey, ...]
    nominal: Float64[ndarray, " n"]
    statistical: Float64[ndarray, "n n"]
    shifts: Mapping[str, Mapping[str, Float64[ndarray, " n"]]]
    vectors: Mapping[str, Float64[ndarray, "_ n"]]

    @property
    def covariance(self) -> Float64[ndarray, "n n"]:
        """(n, n) covariance of statistical uncertainty and all sources; nan in bins that have no valid error."""
        total = self.statistical.copy()
        for vectors in self.vectors.values():
            for one in vectors:
                total += one[:, None] * one
        lost = ~np.isfinite(self.nominal)
        total[lost], total[:, lost] = np.nan, np.nan
        return total

    @property
    def valid(self) -> Bool[ndarray, " n"]:
        """(n,) whether there is a value with a total uncertainty."""
        valid: Bool[ndarray, " n"] = np.isfinite(np.diagonal(self.covariance))
        return valid

    def part(self, key: FactorKey) -> slice:
        """The places of one scale factor in the vector."""
        n_pt = len(self.pt_edges) - 1
        start = self.keys.index(key) * n_pt
        return slice(start, start + n_pt)

    def plain(self) -> dict[str, Any]:
        """What JSON holds; None is not known."""
        return {
            "format": _FORMAT,
            "about": {
                "order": "bins of pt_edges of the first of scale_factors, then of the second, and so on",
                "covariance": "statistical and all sources; null in bins without a valid error",
                "shifts": "what each variation of a source does, with its sign",
                "vectors": "shifts of a source after its rule: covariance = statistical_covariance + sum of v v^T",
            },
            "pt_edges": self.pt_edges,
            "scale_factors": [key._asdict() for key in self.keys],
            "nominal": plain_numbers(self.nominal),
            "covariance": plain_numbers(self.covariance),
            "statistical_covariance": plain_numbers(self.statistical),
            "sources": {
                name: {
                    "shifts": {member: plain_numbers(values) for member, values in members.items()},
                    "vectors": plain_numbers(self.vectors[name]),
                }
                for name, members in self.shifts.items()
            },
        }

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
                _array(plain["nominal"]),
                _array(plain["statistical_covariance"]),
                {name: {member: _array(v) for member, v in one["shifts"].items()} for name, one in sources.items()},
                {name: _array(one["vectors"]) for name, one in sources.items()},
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
        factors: the scale factors that were made of them.
    """
    places = list(_places(efficiencies, factors))
    shifts: dict[str, dict[str, Float64[ndarray, " n"]]] = {}
    vectors: dict[str, Float64[ndarray, "_ n"]] = {}
    treated = [
        treated_shifts(measured, place, key.quantity, factors.by_name[key].statistical, configuration)
        for key, measured, place in places
    ]
    for source in configuration.systematics:
        found = [one[source.name] for one in treated]
        side_by_side = np.concatenate([one.values for one in found], axis=1)
        shifts[source.name] = dict(zip(found[0].members, side_by_side, strict=True))
        each = [shift_vectors(source.rule, one.members, one.values) for one in found]
        vectors[source.name] = np.concatenate(each, axis=1)
    spread = statistical(joint_replicas(efficiencies, factors))[1]
    return JointUncertainties(
        factors.pt_edges,
        tuple(factors.by_name),
        np.concatenate([one.nominal for one in factors.by_name.values()]),
        (spread + spread.T) / 2,
        shifts,
        vectors,
    )


def joint_replicas(efficiencies: Mapping[str, Efficiencies], factors: Factors) -> Float64[ndarray, "b n"]:
    """All scale factors in every replica, in the order of `JointUncertainties.nominal`.

    Args:
        efficiencies: efficiencies of all replicas, by tagger.
        factors: the scale factors that were made of them.
    """
    drawn = [replicas_of(measured, place, key.quantity) for key, measured, place in _places(efficiencies, factors)]
    return np.concatenate(drawn, axis=1)


def principal_components(joint: JointUncertainties) -> Float64[ndarray, "k n"]:
    """Independent shifts of all scale factors, the largest first, whose squares add up to the covariance.

    They are the eigenvectors of the covariance, each times the root of its eigenvalue, its largest number positive: as
    few as hold all variance but a share of 1e-6. nan in bins without a valid error.
    """
    covariance, valid = joint.covariance, joint.valid
    inside = covariance[np.ix_(valid, valid)]
    values, columns = np.linalg.eigh((inside + inside.T) / 2)
    values, columns = np.clip(values[::-1], 0, None), columns[:, ::-1]
    held = np.cumsum(values)
    count = int(np.searchsorted(held, _ENOUGH * held[-1])) + 1 if len(held) and held[-1] > 0 else 0
    components = np.full((count, len(valid)), np.nan)
    for k in range(count):
        one = columns[:, k] * np.sqrt(values[k])
        components[k, valid] = one if one[np.argmax(np.abs(one))] > 0 else -one
    return components


def _places(
    efficiencies: Mapping[str, Efficiencies], factors: Factors
) -> Iterator[tuple[FactorKey, Efficiencies, tuple[int, int]]]:
    """Each scale factor with the efficiencies of its tagger, and its places on the axes of these."""
    for key in factors.by_name:
        place = (factors.working_points.index(key.working_point), FLAVOUR_NAMES.index(key.flavour))
        yield key, efficiencies[key.tagger], place


def plain_numbers(values: ndarray) -> Any:
    """Numbers for JSON: nested lists with None for what is not finite."""
    return (
        [plain_numbers(row) for row in values]
        if values.ndim > 1
        else [x if isfinite(x) else None for x in values.tolist()]
    )


def _array(values: Any) -> Any:
    return np.array(values, dtype=np.float64)  # None becomes nan
