"""Random numbers that are functions of an event: the same for any order, chunk or worker."""

from __future__ import annotations

from typing import Final, no_type_check

import numpy as np
from numba import njit

__all__ = ["POISSON", "event_keys", "mix", "poisson_table"]


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def mix(key):
    """A 64-bit integer with all bits of `key` in each of its own.

    The finalizer of SplitMix64, doi:10.1145/2714064.2660195.
    """
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@njit(cache=True, nogil=True)
@no_type_check
def event_keys(dataset, run, event):
    """(n,) uint64: one key per event from dataset (uint64), run (n,) and event number (n,)."""
    keys = np.empty(len(run), np.uint64)
    for i in range(len(run)):
        keys[i] = mix(mix(dataset + np.uint64(run[i])) + event[i])
    return keys


def poisson_table() -> np.ndarray:
    """(65536,) uint8: a Poisson number of mean 1 for each 16-bit uniform one, by inversion.

    The rounding to 16 bits leaves a mean of 1 within 2e-5.
    """
    table = np.zeros(65536, np.uint8)
    probability, cumulated = np.exp(-1.0), 0.0
    for k in range(1, 9):
        cumulated += probability
        table[int(np.rint(cumulated * 65536)) :] = k
        probability /= k
    return table


POISSON: Final = poisson_table()
"""Poisson numbers of mean 1, made once; see `poisson_table`."""
