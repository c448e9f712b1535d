"""Random numbers as a function of counters: an event gets the same ones however events are grouped.

G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014 (splitmix64).
G. E. P. Box, M. E. Muller, Ann. Math. Statist. 29 (1958) 610.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, UInt64

# The constants of splitmix64.
_STEP: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)


def keys(*what: Any) -> UInt64[ndarray, " n"]:
    """A well-mixed 64-bit key for each object that needs random numbers, such as an event, a jet or a particle.

    Args:
        what: numbers that identify the object, e.g. a seed, a kind, a run and an event: integers that are not
            negative, or (n,) arrays of them.
    """
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(column)).astype(np.uint64) for column in what))
    state = np.zeros(columns[0].shape, dtype=np.uint64)
    for column in columns:
        state = mix(state + _STEP + column)
    return state


def uniform(key: UInt64[ndarray, " n"], draw: int) -> Float64[ndarray, " n"]:
    """Random numbers that are uniform in (0, 1).

    Args:
        key: (n,) keys, from `keys`.
        draw: index of the random number within its key.
    """
    bits = mix(key + np.full(1, draw + 1, dtype=np.uint64) * _STEP)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def normal(key: UInt64[ndarray, " n"], draw: int) -> Float64[ndarray, " n"]:
    """Random numbers of the standard normal distribution, by Box and Muller, from the draws `draw` and `draw` + 1."""
    value: ndarray = np.sqrt(-2 * np.log(uniform(key, draw))) * np.cos(2 * np.pi * uniform(key, draw + 1))
    return value


def poisson(chance: Float64[ndarray, " n"], mean: Float64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Random numbers of the Poisson distribution by inversion, for small means.

    Args:
        chance: (n,) uniform random numbers; the result grows with them.
        mean: (n,) means of the distributions; the result grows with them.
    """
    term = np.exp(-mean)
    below = term.copy()
    count = np.zeros(len(mean), dtype=np.int64)
    left = chance > below
    while left.any():
        count[left] += 1
        term = term * mean / np.maximum(count, 1)
        below = np.where(left, below + term, below)
        left &= (chance > below) & (count < 1000)
    return count


def mix(key: UInt64[ndarray, "*n"]) -> UInt64[ndarray, "*n"]:
    """A 64-bit hash in which each bit depends on all bits of `key`: the last step of splitmix64."""
    key = (key ^ (key >> np.uint64(30))) * _MIX_1
    key = (key ^ (key >> np.uint64(27))) * _MIX_2
    mixed: ndarray = key ^ (key >> np.uint64(31))
    return mixed
