"""Baskets of plain branches, unpacked into memory that is used again: what uproot does beyond that costs as much."""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np
from jaxtyping import Int64, UInt8
from numpy import ndarray

from beampipe.calibration.kernels.loading import native
from beampipe.calibration.ntuple.lists import Basket

__all__ = ["Room", "plain_baskets", "stored_type"]

_KEY: Final = struct.Struct(
    ">ihiIhh"
)  # of a basket: bytes with key, version, bytes unpacked, date, bytes of key, cycle
_BASKET: Final = struct.Struct(">Hiiii")  # at the end of its key: version, two sizes, entries, end of the data
_CHECKSUM: Final = 8  # bytes before an LZ4 block
_BLOCK: Final = 9
"""Bytes before each packed block: name and version of the method, sizes packed and unpacked in 3 bytes each."""


@dataclass(eq=False)
class Room:
    """Memory that baskets of one column are unpacked into, one after the other.

    Attributes:
        data: bytes of a basket.
        offsets: where its lists begin.
    """

    data: UInt8[ndarray, " b"] = field(default_factory=lambda: np.empty(0, np.uint8))
    offsets: Int64[ndarray, " o"] = field(default_factory=lambda: np.empty(0, np.int64))

    def for_data(self, n: int) -> UInt8[ndarray, " n"]:
        """Room for n bytes; what was in it is lost."""
        if len(self.data) < n:
            self.data = np.empty(n + n // 4, np.uint8)
        return self.data[:n]

    def for_offsets(self, n: int) -> Int64[ndarray, " n"]:
        """Room for n offsets; what was in it is lost."""
        if len(self.offsets) < n:
            self.offsets = np.empty(n + n // 4, np.int64)
        return self.offsets[:n]


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
        data, end, key = _unpacked(branch, number, room)
        n = last - first + 1
        if not jagged:
            offsets = np.arange(n, dtype=np.int64)
            if end != (n - 1) * stored.itemsize:
                raise ValueError("not as many numbers as entries")
        else:
            offsets = room.for_offsets(n)
            _list_offsets(data, end, key, stored.itemsize, offsets)
        yield Basket(low - start, offsets[low - first : high - first + 1], data[:end].view(stored))


def _list_offsets(data: ndarray, end: int, key: int, item: int, out: ndarray) -> None:
    """Where lists begin, which a basket holds after its data: how many, then numbers of bytes."""
    compiled = native()
    if len(data) < end + 4 + 4 * len(out) or compiled is None:
        raise ValueError("a basket does not say where its lists begin")
    if not compiled.list_offsets(data[end + 4 :], key, item, end, out):
        raise ValueError("a basket does not say where its lists begin")


def _unpacked(branch: Any, number: int, room: Room) -> tuple[UInt8[ndarray, " n"], int, int]:
    """Bytes of a basket, the end of its data among them, and the number of bytes of its key."""
    seek, size = int(branch.member("fBasketSeek")[number]), int(branch.member("fBasketBytes")[number])
    packed = memoryview(branch.file.source.chunk(seek, seek + size).raw_data)
    n_bytes, _, n_unpacked, _, n_key, _ = _KEY.unpack_from(packed)
    *_, end = _BASKET.unpack_from(packed, n_key - _BASKET.size - 1)
    if n_bytes != size or not 0 <= end - n_key <= n_unpacked:
        raise ValueError("not the key of a basket")
    if n_unpacked == n_bytes - n_key:
        return np.frombuffer(packed[n_key:], np.uint8), end - n_key, n_key
    data = room.for_data(n_unpacked)
    at = filled = 0
    packed = packed[n_key:]
    while at < len(packed):
        method, sizes = bytes(packed[at : at + 2]), bytes(packed[at + 3 : at + _BLOCK])
        n_in, n_out = int.from_bytes(sizes[:3], "little"), int.from_bytes(sizes[3:], "little")
        at += _BLOCK + n_in
        if at > len(packed) or filled + n_out > n_unpacked:
            raise ValueError("blocks of a basket do not fit")
        _unpack(method, packed[at - n_in : at], data.data[filled : filled + n_out])
        filled += n_out
    if filled != n_unpacked:
        raise ValueError("blocks of a basket are missing")
    return data, end - n_key, n_key


def _unpack(method: bytes, packed: memoryview, out: memoryview) -> None:
    """Unpack one block."""
    import cramjam

    if method == b"ZS":
        n = cramjam.zstd.decompress_into(packed, out)
    elif method == b"L4":
        import xxhash

        checksum, packed = int.from_bytes(packed[:_CHECKSUM], "big"), packed[_CHECKSUM:]
        if xxhash.xxh64(packed).intdigest() != checksum:
            raise ValueError("a block has another checksum than it says")
        n = cramjam.lz4.decompress_block_into(packed, out, output_len=len(out))
    elif method in (b"ZL", b"XZ"):
        found = zlib.decompress(packed, bufsize=len(out)) if method == b"ZL" else lzma.decompress(packed)
        n = len(found)
        out[:] = found
    else:
        raise ValueError(f"packed by {method!r}")
    if n != len(out):
        raise ValueError("a block has another size than it says")
