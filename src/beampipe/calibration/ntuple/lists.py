"""Branches as arrays: one number per event, or lists of numbers, basket after basket where the file allows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.ntuple.opening import faults
from beampipe.errors import FileError

__all__ = ["Basket", "is_flat", "lossless", "read_flat", "read_lists", "to_native"]

_PLAIN: Final = (0, 10)
"""Bytes before each list on disk: of arrays with a counter, and of a ``std::vector`` of numbers."""


@dataclass(frozen=True, eq=False)
class Basket:
    """A piece of a branch of lists, as the file holds it: list i is ``content[offsets[i]:offsets[i + 1]]``.

    Attributes:
        start: first entry of the piece, counted from the start of the range that was asked for.
        offsets: (n_lists + 1,) int64, where each list begins and ends in `content`.
        content: numbers of all lists, of either byte order, and not to be written to.
    """

    start: int
    offsets: Int64[ndarray, " m"]
    content: ndarray

    @property
    def stop(self) -> int:
        """One past the last entry of the piece, counted like `start`."""
        return self.start + len(self.offsets) - 1

    @property
    def size(self) -> int:
        """Number of entries of all lists together."""
        return int(self.offsets[-1] - self.offsets[0])

    @property
    def numbers(self) -> ndarray:
        """Numbers of the lists of this piece, and no others."""
        found: ndarray = self.content[self.offsets[0] : self.offsets[-1]]
        return found


def is_flat(path: Path, tree: Any, branch: str) -> bool:
    """Whether a branch has one number per event, and no list.

    Raises:
        FileError: the branch cannot be read.
    """
    with faults(path, branch):
        kind = getattr(tree[branch], "interpretation", None)
        if kind is None:  # a field of an RNTuple
            return bool(tree[branch].array(entry_start=0, entry_stop=1, library="ak").ndim == 1)
    return not hasattr(kind, "content") and getattr(kind, "numpy_dtype", np.dtype(object)).kind in "buif"


def read_flat(path: Path, tree: Any, branch: str, start: int, stop: int) -> ndarray:
    """(stop - start,) array of a branch with one number per event.

    Raises:
        FileError: the branch cannot be read, or has no or more numbers per event.
    """
    with faults(path, branch):
        values = tree[branch].array(entry_start=start, entry_stop=stop, library="np")
    if values.dtype.kind not in "buif" or values.ndim != 1:
        raise FileError(
            f"{path}: branch {branch!r}: got {tree[branch].typename}, expected one number per event",
            path=path,
            name=branch,
        )
    found: ndarray = values
    return found


def read_lists(path: Path, tree: Any, branch: str, start: int, stop: int) -> Iterator[Basket]:
    """A branch with lists of numbers: one basket after the other, so that only what is taken from one is copied.

    Arrays with a counter and vectors of numbers are read so; for all other kinds (fixed arrays, vectors in a structure,
    fields of an RNTuple) the range is read as a whole.

    Raises:
        FileError: the branch cannot be read, or holds no lists of numbers.
    """
    with faults(path, branch):
        lists = tree[branch]
        kind: Any = getattr(lists, "interpretation", None)
    stored: Any = getattr(getattr(kind, "content", None), "from_dtype", None)
    plain = isinstance(stored, np.dtype) and stored.kind in "buif" and stored.shape == ()
    if not plain or getattr(kind, "header_bytes", None) not in _PLAIN:
        yield _whole(path, lists, branch, start, stop)
        return
    for number, (first, last) in enumerate(pairwise(lists.entry_offsets)):
        low, high = max(start, first), min(stop, last)
        if low < high:
            with faults(path, branch):
                offsets, content = _plain_lists(lists.basket(number), stored, kind.header_bytes)
                offsets = offsets[low - first : high - first + 1]
                if len(offsets) != high - low + 1 or offsets[0] < 0 or offsets[-1] > len(content):
                    raise ValueError(f"basket {number} lacks some of its lists")
                if np.any(offsets[1:] < offsets[:-1]):
                    raise ValueError(f"basket {number} has a list of negative length")
            yield Basket(low - start, offsets, content)


def _plain_lists(basket: Any, stored: np.dtype[Any], header: int) -> tuple[Int64[ndarray, " m"], ndarray]:
    """Where the lists of a basket begin and end, and their numbers.

    A file may say where with numbers of bytes, or leave it to the counter. A vector has 10 bytes before its numbers:
    its own size in bytes, a version, and how many numbers follow.
    """
    if basket.byte_offsets is None:
        counted: ndarray = np.concatenate([[0], np.cumsum(basket.counts)]).astype(np.int64)
        return counted, basket.data.view(stored)
    if header == 0:
        in_items: ndarray = np.floor_divide(basket.byte_offsets, stored.itemsize, dtype=np.int64)
        return in_items, basket.data.view(stored)
    at = np.asarray(basket.byte_offsets, np.int64)
    sizes = np.diff(at) - header
    if np.any(sizes < 0) or np.any(sizes % stored.itemsize):
        raise ValueError("a vector lacks some of its numbers")
    keep = np.ones(int(at[-1]), bool)
    keep[(at[:-1, None] + np.arange(header)).ravel()] = False
    offsets: ndarray = np.concatenate([[0], np.cumsum(sizes // stored.itemsize)])
    return offsets, basket.data[: at[-1]][keep].view(stored)


def _whole(path: Path, lists: Any, branch: str, start: int, stop: int) -> Basket:
    """A range of a branch of any other kind as one piece."""
    import awkward as ak

    with faults(path, branch):
        values = lists.array(entry_start=start, entry_stop=stop, library="ak")
    try:
        if values.ndim != 2:
            raise ValueError(f"{values.ndim - 1} dimensions per event")
        counts = ak.to_numpy(ak.num(values)).astype(np.int64)
        content = ak.to_numpy(ak.flatten(values))
        if content.dtype.kind not in "buif":
            raise ValueError(f"elements of type {content.dtype}")
    except (ValueError, TypeError) as error:
        kind = getattr(lists, "typename", str(values.type))
        raise FileError(
            f"{path}: branch {branch!r}: got {kind}, expected a list of numbers per event", path=path, name=branch
        ) from error
    return Basket(0, np.concatenate([[0], np.cumsum(counts)]), content)


def to_native(values: ndarray) -> ndarray:
    """The same numbers in the byte order of this machine."""
    found: ndarray = values.astype(values.dtype.newbyteorder("="), copy=False)
    return found


def lossless(path: Path, branch: str, values: ndarray, dtype: str) -> Any:
    """Numbers as another type: whole numbers must stay what they are, others are rounded to the nearest one.

    Raises:
        FileError: a number does not fit.
    """
    wanted = np.dtype(dtype)
    if values.dtype.newbyteorder("=") == wanted:
        return to_native(values)
    with np.errstate(invalid="ignore", over="ignore"):
        out = values.astype(wanted)
        # Compared as numbers, -1 and its image among the unsigned ones differ only if neither type is widened.
        kept = out.astype(values.dtype) == values
        if values.dtype.kind in "if" and wanted.kind in "ub":
            kept &= values >= 0
    if wanted.kind == "f":
        kept = np.isfinite(out) | ~np.isfinite(values) if values.dtype.kind == "f" else np.isfinite(out)
    if not kept.all():
        limits = (
            f"whole numbers from {np.iinfo(wanted).min} to {np.iinfo(wanted).max}" if wanted.kind in "iu" else dtype
        )
        raise FileError(
            f"{path}: branch {branch!r}: got {values[~kept].ravel()[0]} ({values.dtype.newbyteorder('=')}), expected"
            f" {limits}",
            path=path,
            name=branch,
        )
    return out
