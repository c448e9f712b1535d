"""How the variations of one source become one uncertainty.

For shifts d_v(pT) of a scale factor:

    envelope     max over v of |d_v|
    quadrature   sqrt(sum over v of d_v^2)
    up_down      the same over all ups and over all downs; the larger of the two
    difference   |d| of the one variation there is
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config.systematics import Rule
from beampipe.errors import ConfigError

__all__ = ["combine", "shift_vectors"]


def combine(rule: Rule, names: Sequence[str], shifts: Float64[ndarray, "v ..."]) -> Float64[ndarray, "*p"]:
    """The uncertainty, with the axes behind the first.

    Raises:
        ConfigError: the rule does not fit the variations.
    """
    check_rule(rule, names)
    if rule == "envelope":
        largest: ndarray = np.max(np.abs(shifts), axis=0)
        return largest
    if rule == "up_down":
        ups, downs = _ways(names)
        larger: ndarray = np.maximum(_quadrature(shifts[ups]), _quadrature(shifts[downs]))
        return larger
    return _quadrature(shifts)


def check_rule(rule: Rule, names: Sequence[str]) -> None:
    """A rule that does not fit the variations is refused: see `combine`."""
    if not names:
        raise ConfigError(f"rule {rule}: got no variation, expected at least one")
    if rule == "difference" and len(names) != 1:
        raise ConfigError(f"rule difference: got {len(names)} variations, expected one; take envelope or quadrature")
    if rule == "up_down":
        ups, downs = _ways(names)
        if len(ups) + len(downs) != len(names) or len(ups) != len(downs):
            raise ConfigError(f"rule up_down: got {', '.join(names)}, expected as many names ending _up as _down")


def shift_vectors(rule: Rule, names: Sequence[str], shifts: Float64[ndarray, "v p"]) -> Float64[ndarray, "m p"]:
    """Shifts, each correlated over all bins, whose squares add up to the square of `combine` in every bin.

    Those of ``up_down`` point to where up goes, so that shifts of several scale factors can be put side by side.
    """
    quoted = combine(rule, names, shifts)
    if rule == "envelope":
        largest = np.argmax(np.abs(shifts), axis=0)
        return np.take_along_axis(shifts, largest[None], axis=0)
    if rule == "up_down":
        ups, downs = _ways(names)
        ways = (shifts[ups], shifts[downs])
        chosen, other = sorted(ways, key=lambda way: float(np.nansum(way**2)), reverse=True)
        size = _quadrature(chosen)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where the larger way moves nothing, the other one is what is quoted.
            vectors: ndarray = np.where(size == 0, -other, chosen * (quoted / size))
        return vectors if chosen is ways[0] else -vectors
    return shifts


def _ways(names: Sequence[str]) -> tuple[list[int], list[int]]:
    ups = [k for k, name in enumerate(names) if name.endswith("_up")]
    downs = [k for k, name in enumerate(names) if name.endswith("_down")]
    return ups, downs


def _quadrature(shifts: Float64[ndarray, "v ..."]) -> Float64[ndarray, "*p"]:
    total: Float64[ndarray, "*p"] = np.sqrt(np.cumsum(shifts**2, axis=0)[-1])
    return total
