"""What a key of a ROOT file says, and its packed bytes, unpacked into memory that may be used again."""

from __future__ import annotations

import lzma
import struct
import threading
import zlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64, UInt8

__all__ = ["Opened", "Room", "key_of", "open_basket", "unpack_into", "unpacked"]

_KEY: Final = struct.Struct(">ihiIh")  # bytes with key, version, bytes unpacked, date, bytes of the key
_BASKET: Final = struct.Struct(">Hiiii")  # at the end of its key: version, two sizes, entries, end of the data
_CHECKSUM: Final = 8
"""Bytes before an LZ4 block."""

_ZSTD_FLAGS, _ZSTD_CHECKED = 4, 0x04
"""Place of the flags of ZSTD in a block, and that of a checksum at its end."""

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


class Opened(NamedTuple):
    """A basket, unpacked.

    Attributes:
        data: its bytes.
        end: where its numbers end; where its lists begin may follow.
        key_size: bytes of its key, which places of lists count from.
    """

    data: UInt8[ndarray, " n"]
    end: int
    key_size: int


def key_of(packed: memoryview) -> tuple[int, int]:
    """Number of bytes of an object, unpacked, and of the key that it begins with.

    Args:
        packed: the object, packed, with its key.

    Raises:
        ValueError: there is another key.
    """
    n_bytes, _, n_unpacked, _, key_size = _KEY.unpack_from(packed)
    if n_bytes != len(packed) or not _KEY.size < key_size <= n_bytes:
        raise ValueError("not the key of an object")
    return n_unpacked, key_size


def open_basket(
    packed: memoryview, room: Room | None = None, wanted: int | None = None, *, offsets: bool = True
) -> Opened:
    """A basket's bytes.

    Args:
        packed: the basket, packed, with its key.
        room: memory for it; by default new one.
        wanted: number of bytes that are wanted; others may be anything. By default all of them.
        offsets: whether where lists begin is wanted beside the numbers.

    Raises:
        Exception: the basket is damaged.
    """
    n, key_size = key_of(packed)
    *_, end = _BASKET.unpack_from(packed, key_size - _BASKET.size - 1)
    if not 0 <= end - key_size <= n:
        raise ValueError("not the key of a basket")
    blocks = packed[key_size:]
    if len(blocks) == n:
        return Opened(np.frombuffer(blocks, np.uint8), end - key_size, key_size)
    data = (room or Room()).for_data(n)
    most = n if offsets else end - key_size
    unpack_into(blocks, data.data, most if wanted is None else min(wanted, most))
    return Opened(data, end - key_size, key_size)


def unpacked(packed: memoryview, n: int) -> UInt8[ndarray, " n"]:
    """The n bytes of an object.

    Raises:
        Exception: as by `unpack_into`.
    """
    if len(packed) == n:
        return np.frombuffer(packed, np.uint8)
    out = np.empty(n, np.uint8)
    unpack_into(packed, out.data, n)
    return out


def unpack_into(packed: memoryview, out: memoryview, n: int) -> None:
    """Unpack the first bytes of an object.

    Args:
        packed: blocks that it is packed in.
        out: where its bytes go. If it is as long as the object, all of it is good afterwards, else the first `n` bytes.
        n: number of bytes that are wanted.

    Raises:
        Exception: a block is damaged, or they do not fit.
    """
    at = filled = 0
    while at < len(packed) and filled < n:
        method, sizes = bytes(packed[at : at + 2]), bytes(packed[at + 3 : at + _BLOCK])
        n_in, n_out = int.from_bytes(sizes[:3], "little"), int.from_bytes(sizes[3:], "little")
        at += _BLOCK + n_in
        if at > len(packed) or filled + n_out > len(out):
            raise ValueError("blocks of an object do not fit")
        _unpack(method, packed[at - n_in : at], out[filled : filled + n_out], n - filled)
        filled += n_out
    if filled < n:
        raise ValueError("blocks of an object are missing")


def _unpack(method: bytes, packed: memoryview, out: memoryview, wanted: int) -> None:
    """Unpack one block: all of it, if it has a checksum, else at least as many bytes as are wanted."""
    if method == b"ZS":
        n = _zstd(packed, out, wanted)
    elif method == b"L4":
        import cramjam
        import xxhash

        checksum, packed = int.from_bytes(packed[:_CHECKSUM], "big"), packed[_CHECKSUM:]
        if xxhash.xxh64(packed).intdigest() != checksum:
            raise ValueError("a block has another checksum than it says")
        n = cramjam.lz4.decompress_block_into(packed, out, output_len=len(out))
    elif method in (b"ZL", b"XZ"):
        found = zlib.decompress(packed, bufsize=len(out)) if method == b"ZL" else lzma.decompress(packed)
        n = len(found)
        out[:n] = found
    else:
        raise ValueError(f"packed by {method!r}")
    if not min(wanted, len(out)) <= n <= len(out):
        raise ValueError("a block has another size than it says")


class _OfThread(threading.local):
    """What unpacks ZSTD in a thread, with the memory that it works in; None without the package zstandard."""

    def __init__(self) -> None:
        try:
            from zstandard import ZstdDecompressor
        except ImportError:
            self.decompressor = None
        else:
            self.decompressor = ZstdDecompressor()


_of_thread: Final = _OfThread()


def _zstd(packed: memoryview, out: memoryview, wanted: int) -> int:
    """Unpack a block by the package zstandard, which stops where it is told to, or else by cramjam."""
    if _of_thread.decompressor is None:
        import cramjam

        return int(cramjam.zstd.decompress_into(packed, out))
    checked = packed[_ZSTD_FLAGS] & _ZSTD_CHECKED
    with _of_thread.decompressor.stream_reader(packed, read_size=len(packed)) as stream:
        n = int(stream.readinto(out if checked else out[:wanted]))
        if checked and stream.read(1):
            raise ValueError("a block is longer than it says")
        return n
