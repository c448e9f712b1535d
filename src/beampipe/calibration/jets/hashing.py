"""Random numbers that are functions of an event: the same for any order, chunk or worker."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Integer, UInt8, UInt64
from beampipe.calibration.kernels.loading import native

__all__ = ["POISSON", "event_keys", "mix", "poisson_table"]


def mix(key: UInt64[ndarray, "*n"]) -> UInt64[ndarray, "*n"]:
    """64-bit integers with all bits of each `key` in each of their own.

    The finalizer of SplitMix64, doi:10.1145/2714064.2660195.
    """
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: ndarray = key ^ (key >> np.uint64(31))
    return mixed


def event_keys(
    dataset: int | np.uint64, run: Integer[ndarray, " n"], event: Integer[ndarray, " n"]
) -> UInt64[ndarray, " n"]:
    """One key per event.

    Args:
        dataset: key of the dataset, 64 bits.
        run: numbers of the runs.
        event: numbers of the events.
    """
    run, event = run.astype(np.uint64), event.astype(np.uint64)
    compiled = native()
    if compiled is None:
        return mix(mix(np.uint64(dataset) + run) + event)
    keys = np.empty(len(run), np.uint64)
    compiled.event_keys(int(dataset), run, event, keys)
    return keys


def poisson_table() -> UInt8[ndarray, " p"]:
    """A Poisson number of mean 1 for each 16-bit uniform one, by inversion.

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
