"""Baskets of plain branches, unpacked into memory that is used again: what uproot does beyond that costs as much."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.kernels.loading import native
from beampipe.calibration.ntuple.lists import Basket
from beampipe.calibration.trees.blocks import Opened, Room, open_basket
from beampipe.calibration.trees.plain import PlainBranch

__all__ = ["first_lists", "has_whole_baskets", "plain_baskets", "stored_type", "unpack_basket", "whole_baskets"]

_ROOM: Final = Room()
"""Memory for baskets of which a copy is taken."""


def stored_type(branch: Any) -> np.dtype[Any] | None:
    """Type of the numbers of a branch with one of them, or a plain list of them, per event; None for other branches."""
    kind = getattr(branch, "interpretation", None)
    if getattr(kind, "header_bytes", 0) != 0:
        return None
    stored = getattr(getattr(kind, "content", kind), "from_dtype", None)
    return stored if isinstance(stored, np.dtype) and stored.kind in "buif" and stored.shape == () else None


def plain_baskets(branch: Any, start: int, stop: int, room: Room) -> Iterator[Basket]:
    """Baskets of a branch of a `stored_type`, each good until the next one is asked for.

    The one of a branch with one number per event counts as lists of one number each.

    Raises:
        Exception: as by uproot, if the branch is of another kind or damaged.
    """
    stored = stored_type(branch)
    if stored is None:
        raise ValueError("no plain branch")
    jagged = hasattr(branch.interpretation, "content")
    n_stored = branch.num_baskets - len(branch.embedded_baskets)
    for number, (first, last) in enumerate(pairwise(branch.entry_offsets)):
        low, high = max(start, first), min(stop, last)
        if low >= high:
            continue
        if number >= n_stored:
            raise ValueError("a basket inside the tree")
        data, end, key = unpack_basket(branch, number, room)
        n = last - first + 1
        if not jagged:
            offsets = _counting(n)
            if end != (n - 1) * stored.itemsize:
                raise ValueError("not as many numbers as entries")
        else:
            offsets = room.for_offsets(n)
            _list_offsets(data, end, key, stored.itemsize, offsets)
        yield Basket(low - start, offsets[low - first : high - first + 1], data[:end].view(stored))


def _counting(n: int) -> Int64[ndarray, " n"]:
    """0, 1, 2, ...: where lists of one number begin. To be read only."""
    global _counted
    if len(_counted) < n:
        _counted = np.arange(2 * n, dtype=np.int64)
        _counted.flags.writeable = False
    return _counted[:n]


_counted = np.arange(0, dtype=np.int64)


def has_whole_baskets(branch: Any, start: int, stop: int) -> bool:
    """Whether the lists of a range are counted by another branch, and the range begins and ends where baskets do."""
    counted = isinstance(branch, PlainBranch) and branch.counter is not None and stored_type(branch) is not None
    return counted and {start, stop}.issubset(branch.entry_offsets)


def whole_baskets(branch: PlainBranch, start: int, stop: int, room: Room) -> Iterator[tuple[int, int, ndarray]]:
    """First event, one past the last, and the numbers of each basket of a range that `has_whole_baskets`.

    Where lists begin is not unpacked: that is known from elsewhere. Numbers are good until the next basket.

    Raises:
        Exception: a basket is damaged.
    """
    stored = np.dtype(stored_type(branch))
    for number, (first, last) in enumerate(pairwise(branch.entry_offsets)):
        if start <= first < stop:
            data, end, _ = open_basket(branch.packed(number), room, offsets=False)
            yield first - start, last - start, data[:end].view(stored)


def first_lists(branch: Any, stop: int) -> tuple[ndarray, ndarray] | None:
    """Number of members of each list before `stop`, and all members, if they are at the start of a long basket.

    The branch that counts them is asked, so that of a basket only these members are unpacked, and no more.

    Raises:
        Exception: as by `plain_baskets`.
    """
    stored = stored_type(branch)
    if not isinstance(branch, PlainBranch) or stored is None or 2 * stop > branch.entry_offsets[1]:
        return None
    counts = branch.first_counts(stop)
    if counts is None:
        return None
    n_bytes = int(counts.sum()) * stored.itemsize
    basket = open_basket(branch.packed(0), _ROOM, n_bytes)
    if counts.min(initial=0) < 0 or n_bytes > basket.end:
        raise ValueError("not as many numbers as are counted")
    return counts.astype(np.int64), basket.data[:n_bytes].view(stored).copy()


def _list_offsets(data: ndarray, end: int, key: int, item: int, out: ndarray) -> None:
    """Where lists begin, which a basket holds after its data: how many, then numbers of bytes."""
    compiled = native()
    if len(data) < end + 4 + 4 * len(out) or compiled is None:
        raise ValueError("a basket does not say where its lists begin")
    if not compiled.list_offsets(data[end + 4 :], key, item, end, out):
        raise ValueError("a basket does not say where its lists begin")


def unpack_basket(branch: Any, number: int, room: Room) -> Opened:
    """A basket of a branch.

    Raises:
        Exception: it is not there, or damaged.
    """
    if isinstance(branch, PlainBranch):
        return open_basket(branch.packed(number), room)
    seek, size = int(branch.member("fBasketSeek")[number]), int(branch.member("fBasketBytes")[number])
    return open_basket(memoryview(branch.file.source.chunk(seek, seek + size).raw_data), room)
