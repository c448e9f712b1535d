"""ROOT files: a fast reader of plain trees, and uproot for everything else.

The classes of the fast reader have the interface of uproot's. Unsupported cases are delegated to an object of uproot,
which is created on first use. Most files need none, and then uproot is not even imported. Only the class versions that
current ROOT and uproot write are supported. All numbers are big-endian. A serialised object begins with its size and
its version; members follow in a fixed order.

`open_root` opens files, local or remote. `read_flat` and `read_lists` read branches; baskets are decompressed into
reused memory. Every error of a file becomes a `FileError` that names it.
"""

from __future__ import annotations

import importlib
import lzma
import mmap
import re
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import pairwise
from operator import lt
from pathlib import Path
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64, UInt8
from beampipe.calibration.kernels import native
from beampipe.calibration.layout import address, is_remote
from beampipe.errors import BeampipeError, FileError

_BASKET_KEY: Final = struct.Struct(">ihiIh")  # bytes with key, version, uncompressed bytes, date, bytes of the key

_BASKET: Final = struct.Struct(">Hiiii")  # at the end of its key: version, two sizes, entries, end of the data

_CHECKSUM: Final = 8
"""Bytes before an LZ4 block."""

_ZSTD_FLAGS, _ZSTD_CHECKED = 4, 0x04
"""Place of the flags of ZSTD in a block, and that of a checksum at its end."""

_BLOCK: Final = 9
"""Bytes before each packed block: name and version of the method, sizes packed and unpacked in 3 bytes each."""


@dataclass(eq=False)
class Buffer:
    """Memory into which the baskets of one column are decompressed, one after the other.

    Attributes:
        data: bytes of a basket.
        offsets: first number of each of its lists.
    """

    data: UInt8[ndarray, " b"] = field(default_factory=lambda: np.empty(0, np.uint8))
    offsets: Int64[ndarray, " o"] = field(default_factory=lambda: np.empty(0, np.int64))

    def for_data(self, n: int) -> UInt8[ndarray, " n"]:
        """An array of n bytes; previous contents are overwritten."""
        if len(self.data) < n:
            self.data = np.empty(n + n // 4, np.uint8)
        return self.data[:n]

    def for_offsets(self, n: int) -> Int64[ndarray, " n"]:
        """An array of n offsets; previous contents are overwritten."""
        if len(self.offsets) < n:
            self.offsets = np.empty(n + n // 4, np.int64)
        return self.offsets[:n]


class UnpackedBasket(NamedTuple):
    """A decompressed basket.

    Attributes:
        data: its bytes.
        end: end of its numbers; the offsets of its lists may follow.
        key_size: bytes of its key, which offsets of lists include.
    """

    data: UInt8[ndarray, " n"]
    end: int
    key_size: int


def key_of(packed: memoryview) -> tuple[int, int]:
    """Number of uncompressed bytes of an object, and of the key that it begins with.

    Args:
        packed: the compressed object with its key.

    Raises:
        ValueError: the key has another format.
    """
    n_bytes, _, n_unpacked, _, key_size = _BASKET_KEY.unpack_from(packed)
    if n_bytes != len(packed) or not _BASKET_KEY.size < key_size <= n_bytes:
        raise ValueError("not the key of an object")
    return n_unpacked, key_size


def open_basket(
    packed: memoryview, memory: Buffer | None = None, wanted: int | None = None, *, offsets: bool = True
) -> UnpackedBasket:
    """A basket's bytes.

    Args:
        packed: the compressed basket with its key.
        memory: where the data are unpacked; by default new memory.
        wanted: number of bytes to decompress; the others are undefined. By default all of them.
        offsets: whether the offsets of lists are needed besides the numbers.

    Raises:
        Exception: the basket is damaged.
    """
    n, key_size = key_of(packed)
    *_, end = _BASKET.unpack_from(packed, key_size - _BASKET.size - 1)
    if not 0 <= end - key_size <= n:
        raise ValueError("not the key of a basket")
    blocks = packed[key_size:]
    if len(blocks) == n:
        return UnpackedBasket(np.frombuffer(blocks, np.uint8), end - key_size, key_size)
    data = (memory or Buffer()).for_data(n)
    # Decompression of a part copies the part, which takes longer than the last bytes unless they are many.
    most = end - key_size if not offsets and 10 * (end - key_size) < 9 * n else n
    unpack_into(blocks, data.data, most if wanted is None else min(wanted, most))
    return UnpackedBasket(data, end - key_size, key_size)


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
    """Decompress the first bytes of an object.

    Args:
        packed: its compressed blocks.
        out: output. All of it is valid afterwards if it is as long as the object, otherwise the first `n` bytes.
        n: number of bytes to decompress.

    Raises:
        Exception: a block is damaged, or the blocks do not fit into `out`.
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


class _OfThread(threading.local):
    """The ZSTD decompressor of a thread, with its working memory."""

    @cached_property
    def decompressor(self) -> Any:
        from zstandard import ZstdDecompressor

        return ZstdDecompressor()


_of_thread: Final = _OfThread()


def _unpack(method: bytes, packed: memoryview, out: memoryview, wanted: int) -> None:
    """Decompress one block: all of it if it has a checksum, else at least `wanted` bytes."""
    if method == b"ZS":
        checked = packed[_ZSTD_FLAGS] & _ZSTD_CHECKED
        with _of_thread.decompressor.stream_reader(packed, read_size=len(packed)) as stream:
            n = int(stream.readinto(out if checked else out[:wanted]))
            if checked and stream.read(1):
                raise ValueError("a block is longer than it says")
    elif method == b"L4":
        import cramjam
        import xxhash

        checksum, packed = int.from_bytes(packed[:_CHECKSUM], "big"), packed[_CHECKSUM:]
        if xxhash.xxh64(packed).intdigest() != checksum:
            raise ValueError("a block has another checksum than it says")
        n = cramjam.lz4.decompress_block_into(packed, out, output_len=len(out))
    elif method in (b"ZL", b"XZ"):
        content = zlib.decompress(packed, bufsize=len(out)) if method == b"ZL" else lzma.decompress(packed)
        n = len(content)
        out[:n] = content
    else:
        raise ValueError(f"packed by {method!r}")
    if not min(wanted, len(out)) <= n <= len(out):
        raise ValueError("a block has another size than it says")


_SIZED: Final = 0x40000000
"""Flag of a number that is the count of the bytes that follow."""

_NEW_CLASS: Final = 0xFFFFFFFF

_OLD_CLASS: Final = 0x80000000
"""Tags of objects: the class name follows, or the other bits refer to an earlier class."""

_FIRST: Final = 2
"""Offset of references to classes and objects."""

_HEADER: Final = Struct(">4sii")  # name, version, first byte

_NAME_SIZE: Final = {False: (Struct(">i"), 28), True: (Struct(">i"), 36)}  # large file or not: format, position

_LARGE: Final = 1000000

_DIRECTORY: Final = Struct(">hIIii")  # version, two dates, two sizes; three positions follow, of the keys last

_KEY: Final = Struct(">ihiIhh")  # size, version, uncompressed size, date, size of the key, cycle

_FAR: Final = 1000
"""Directories and keys above this version have file positions of 8 bytes."""

# Numbers; then of objects: bytes that follow and version; of TObjects: version, id and bits.
_NUMBER, _TWO, _LONG, _START, _BITS = map(Struct, (">I", ">ii", ">q", ">IH", ">Hii"))

_TREE: Final = Struct(">5qd4iI6q")  # entries first, number of clusters last but six

_BRANCH: Final = Struct(">4iq")  # the fourth: number of baskets

_MORE: Final = Struct(">iIi4q")  # the second: capacity for baskets; then entries, first entry

_LEAF: Final = Struct(">iii??")  # numbers per entry, bytes of one, offset, with a range, unsigned

_TYPES: Final = {
    "TLeafO": "?",
    "TLeafB": "i1",
    "TLeafS": "i2",
    "TLeafI": "i4",
    "TLeafL": "i8",
    "TLeafF": "f4",
    "TLeafD": "f8",
}
"""Class of a leaf -> type of its numbers."""


class UnknownKindError(ValueError):
    """An unsupported or damaged object; the caller delegates to uproot."""


@dataclass(frozen=True, eq=False)
class BranchFacts:
    """Metadata of a branch.

    Attributes:
        name: name of the branch.
        stored: type of its numbers in the file; None if they are not plain numbers.
        counter: name of the branch with the number of values per entry; empty for one value per entry.
        text: whether an entry is a text.
        entries: (n_baskets + 1,) first entry of each basket, and the number of all entries.
        seek: (n_baskets,) file position of each basket.
        sizes: (n_baskets,) compressed bytes of each basket with its key.
    """

    name: str
    stored: np.dtype[Any] | None
    counter: str
    text: bool
    entries: tuple[int, ...]
    seek: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TreeFacts:
    """Metadata of a tree.

    Attributes:
        n_entries: number of entries.
        branches: the branches by name, in the order of the file.
    """

    n_entries: int
    branches: dict[str, BranchFacts]


class _Leaf(NamedTuple):
    """The type of the numbers of a branch."""

    name: str
    kind: str
    length: int
    unsigned: bool
    counter: _Leaf | None


class Key(NamedTuple):
    """Position of an object of a directory in the file.

    Attributes:
        name: name of the object.
        cycle: number of this version of it.
        kind: name of its class.
        seek: file position of its key.
        size: compressed bytes of the object with its key.
        key_size: bytes of its key.
        n_unpacked: uncompressed bytes of the object.
    """

    name: str
    cycle: int
    kind: str
    seek: int
    size: int
    key_size: int
    n_unpacked: int


def tree_keys(data: Any) -> list[Key]:
    """The objects of the first directory of a file, in the order of the file.

    Args:
        data: all bytes of the file.

    Raises:
        Exception: it is no ROOT file, or damaged.
    """
    magic, version, begin = _HEADER.unpack_from(data)
    if magic != b"root":
        raise UnknownKindError("no ROOT file")
    layout, where = _NAME_SIZE[version >= _LARGE]
    (name_size,) = layout.unpack_from(data, where)
    version, *_ = _DIRECTORY.unpack_from(data, begin + name_size)
    number = _LONG if version > _FAR else _NUMBER
    (keys,) = number.unpack_from(data, begin + name_size + _DIRECTORY.size + 2 * number.size)
    head = _KEY.unpack_from(data, keys)
    (n_keys,) = _NUMBER.unpack_from(data, keys + head[4])
    cursor = _Cursor(data, keys + head[4] + _NUMBER.size)
    return [_key(cursor) for _ in range(n_keys)]


def _key(cursor: _Cursor) -> Key:
    begin = cursor.at
    size, version, n_unpacked, _, key_size, cycle = cursor.take(_KEY)
    number = _LONG if version > _FAR else _NUMBER
    (seek,) = cursor.take(number)
    cursor.take(number)
    kind, name = cursor.text(), cursor.text()
    if cursor.at > begin + key_size:  # of a damaged file; without an end, such keys would fill the memory
        raise UnknownKindError("a key that is longer than its size")
    cursor.at = begin + key_size
    return Key(name, cycle, kind, seek, size, key_size, n_unpacked)


def read_tree(data: Any, key: Key) -> TreeFacts:
    """The metadata of a tree.

    Args:
        data: all bytes of the file.
        key: position of the tree.

    Raises:
        Exception: the tree or one of its branches is unsupported or damaged.
    """
    packed = memoryview(data)[key.seek + key.key_size : key.seek + key.size]
    cursor = _Cursor(bytes(unpacked(packed, key.n_unpacked)), 0, key.key_size)
    cursor.enter("TTree", 20)
    for _ in range(4):  # its name, and drawing attributes
        cursor.skip()
    n_entries, *_ = members = cursor.take(_TREE)
    cursor.at += 2 * (1 + _LONG.size * members[10])
    cursor.skip()
    branches: dict[str, BranchFacts] = {}
    for branch in cursor.array():
        if not isinstance(branch, BranchFacts) or branch.name in branches or branch.entries[-1] != n_entries:
            raise UnknownKindError("not only plain branches")
        branches[branch.name] = branch
    return TreeFacts(n_entries, branches)


class _Cursor:
    """Reads serialised members one after the other.

    Args:
        data: bytes.
        at: position to start from.
        before: number of bytes before `data` that references to classes and objects include.
    """

    def __init__(self, data: Any, at: int, before: int = 0) -> None:
        self.data, self.at, self._before = data, at, before
        self._classes: dict[int, str] = {}
        self._objects: dict[int, Any] = {}

    def take(self, layout: Struct) -> tuple[Any, ...]:
        """Read numbers."""
        numbers = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return numbers

    def text(self) -> str:
        """Read a text with its length before it."""
        n = self.data[self.at]
        self.at += 1
        if n == 255:
            (n,) = self.take(_NUMBER)
        begin, self.at = self.at, self.at + int(n)
        return bytes(self.data[begin : self.at]).decode(errors="surrogateescape")

    def enter(self, what: str, version: int) -> int:
        """Enter an object of the expected version; returns the position of its end."""
        end, stored_version = self._start()
        if stored_version != version:
            raise UnknownKindError(f"{what} of version {stored_version}")
        return end

    def skip(self) -> None:
        """Skip an object."""
        self.at, _ = self._start()

    def _start(self) -> tuple[int, int]:
        size, version = self.take(_START)
        end = self.at - 2 + (size & ~_SIZED)  # the version has two bytes
        if not size & _SIZED or end > len(self.data):
            raise UnknownKindError("an object of unknown size")
        return end, version

    def named(self) -> str:
        """Read the name of a TNamed."""
        end = self.enter("TNamed", 1)
        self._bits()
        name = self.text()
        self.at = end
        return name

    def _bits(self) -> None:
        """Skip the TObject header: unique id and status bits."""
        _, _, bits = self.take(_BITS)
        self.at += 2 if bits & 0x10 else 0

    def array(self) -> Iterator[Any]:
        """Read the objects of an array."""
        self.enter("TObjArray", 3)
        self._bits()
        self.text()
        n, _ = self.take(_TWO)
        for _ in range(n):
            yield self._any()

    def _any(self) -> Any:
        """Read an object of any class, or a reference to an earlier one; None for a null pointer."""
        begin = self.at + self._before + _FIRST
        (size,) = self.take(_NUMBER)
        if not size & _SIZED or size == _NEW_CLASS:
            if size == 0:
                return None
            return self._objects[size]
        end = self.at + (size & ~_SIZED)
        position = self.at + self._before + _FIRST
        (tag,) = self.take(_NUMBER)
        if tag == _NEW_CLASS:
            stop = self.at
            while self.data[stop]:
                stop += 1
            kind = self._classes[position] = bytes(self.data[self.at : stop]).decode()
            self.at = stop + 1
        elif tag & _OLD_CLASS:
            kind = self._classes[tag & ~_OLD_CLASS]
        else:
            raise UnknownKindError("an object in place of a class")
        value = self._objects[begin] = self._known(kind)
        if self.at > end:
            raise UnknownKindError(f"{kind}: longer than it says")
        self.at = end
        return value

    def _known(self, kind: str) -> Any:
        if kind == "TBranch":
            return self._branch()
        return self._leaf(kind) if kind.startswith("TLeaf") else kind

    def _leaf(self, kind: str) -> _Leaf:
        self.enter(kind, 1)
        self.enter("TLeaf", 2)
        name = self.named()
        length, _, _, _, unsigned = self.take(_LEAF)
        counter = self._any()
        if not isinstance(counter, _Leaf | None):
            raise UnknownKindError(f"leaf {name!r}: its counter is none")
        return _Leaf(name, kind, length, unsigned, counter)

    def _branch(self) -> BranchFacts:
        self.enter("TBranch", 13)
        name = self.named()
        self.skip()
        n_baskets = self.take(_BRANCH)[3]
        self.skip()
        _, capacity, _, n_entries, first, *_ = self.take(_MORE)
        inner, leaves, inside = list(self.array()), list(self.array()), list(self.array())
        sizes, entries, seek = (self._numbers(kind, capacity) for kind in (">i4", ">i8", ">i8"))
        elsewhere = self.text()
        good = not (inner or any(inside) or elsewhere or first) and 0 < n_baskets < capacity
        entries, seek, sizes = entries[: n_baskets + 1], seek[:n_baskets], sizes[:n_baskets]
        good = good and entries[0] == 0 and entries[-1] == n_entries and all(map(lt, entries, entries[1:]))
        if not (good and min(seek) > 0 and min(sizes) > 0 and all(isinstance(leaf, _Leaf) for leaf in leaves)):
            raise UnknownKindError(f"branch {name!r} is not plain")
        leaf = leaves[0] if len(leaves) == 1 else None
        kind = _TYPES.get(leaf.kind) if leaf is not None and leaf.length == 1 else None
        stored = np.dtype(">" + (kind.replace("i", "u") if leaf.unsigned else kind)) if leaf and kind else None
        counter = leaf.counter.name if leaf is not None and leaf.counter is not None else ""
        text = leaf is not None and leaf.kind == "TLeafC" and not counter
        return BranchFacts(name, stored, counter, text, tuple(entries), tuple(seek), tuple(sizes))

    def _numbers(self, kind: str, n: int) -> list[int]:
        """Read an array of n numbers, which one byte precedes."""
        numbers = np.frombuffer(self.data, kind, n, self.at + 1)
        self.at += 1 + numbers.nbytes
        whole: list[int] = numbers.tolist()
        return whole


_KINDS: Final = {"b1": "bool", "f4": "float", "f8": "double", "i1": "int8_t", "u1": "uint8_t"}
"""Type of numbers -> its name in uproot; other integers follow the same pattern."""


SCRATCH: Final = Buffer()
"""Memory for baskets that are copied afterwards."""


class PlainFile:
    """A local file.

    Args:
        path: the file.
        by_uproot: opens it by uproot, and caches the result.

    Raises:
        Exception: it is no ROOT file, or damaged.
    """

    def __init__(self, path: Path, by_uproot: Callable[[], Any]) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._slow, self._keys = by_uproot, tree_keys(self._data)
        self._trees: dict[str, PlainTree | None] = {}

    def keys(self, *, recursive: bool = True) -> list[str]:
        """Name and cycle of the objects, as in uproot's directories."""
        if recursive and any(key.kind.startswith("TDirectory") for key in self._keys):
            return list(self._slow().keys())
        return [f"{key.name};{key.cycle}" for key in self._keys]

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __contains__(self, name: str) -> bool:
        return any(key.name == name for key in self._keys) or name in self._slow()

    def __getitem__(self, name: str) -> Any:
        if name not in self._trees:
            self._trees[name] = self._tree(name)
        tree = self._trees[name]
        return self._slow()[name] if tree is None else tree

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow(), name)

    def _tree(self, name: str) -> PlainTree | None:
        """The newest tree of a name; None if uproot must read it."""
        cycles = [key for key in self._keys if key.name == name]
        key = max(cycles, key=lambda each: each.cycle, default=None)
        if key is None or key.kind != "TTree":
            return None
        try:
            facts = read_tree(self._data, key)
        except MemoryError:
            raise
        except Exception:  # unsupported or damaged: uproot reads it, or reports the error
            return None
        return PlainTree(facts, self._data, cache(lambda: self._slow()[name]))


class PlainTree:
    """A tree of plain branches.

    Args:
        facts: its metadata.
        data: all bytes of the file.
        by_uproot: returns uproot's tree.
    """

    def __init__(self, facts: TreeFacts, data: Any, by_uproot: Callable[[], Any]) -> None:
        self.num_entries = facts.n_entries
        self._facts, self._data, self._slow = facts, data, by_uproot
        self._branches: dict[str, PlainBranch] = {}

    def keys(self) -> list[str]:
        """Names of the branches."""
        return list(self._facts.branches)

    def __contains__(self, name: str) -> bool:
        return name in self._facts.branches

    def __getitem__(self, name: str) -> Any:
        branch = self._branches.get(name)
        if branch is None:
            facts = self._facts.branches.get(name)
            if facts is None:
                return self._slow()[name]
            counts = self._facts.branches.get(facts.counter)
            counter = None if counts is None else self[counts.name]
            branch = PlainBranch(facts, counter, self._data, lambda: self._slow()[name])
            self._branches[name] = branch
        return branch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow(), name)

    def common_entry_offsets(self) -> list[int]:
        """Entries at which all branches start a new basket, and the number of entries."""
        return sorted(set.intersection(*(set(each.entries) for each in self._facts.branches.values())))


class _Flat:
    """The type of a branch with one number per entry."""

    def __init__(self, stored: np.dtype[Any]) -> None:
        self.from_dtype, self.numpy_dtype = stored, stored.newbyteorder("=")


class _Lists:
    """The type of a branch with a list of numbers per entry, and nothing before each list."""

    header_bytes = 0

    def __init__(self, stored: np.dtype[Any]) -> None:
        self.content = _Flat(stored)


class PlainBranch:
    """A branch of a plain tree.

    Args:
        facts: its metadata.
        counter: the branch with the number of values per entry; None if there is none.
        data: all bytes of the file.
        by_uproot: returns uproot's branch.
    """

    def __init__(
        self, facts: BranchFacts, counter: PlainBranch | None, data: Any, by_uproot: Callable[[], Any]
    ) -> None:
        self.name, self.counter, self.num_baskets = facts.name, counter, len(facts.seek)
        self.entry_offsets, self.embedded_baskets = facts.entries, ()
        self._facts, self._data, self._slow = facts, data, by_uproot
        self._first: ndarray = np.empty(0, np.int64)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow(), name)

    @cached_property
    def interpretation(self) -> Any:
        """Its type: number, list, or uproot's interpretation."""
        stored = self._facts.stored
        if stored is None:
            return self._slow().interpretation
        return _Lists(stored) if self._facts.counter else _Flat(stored)

    @property
    def typename(self) -> str:
        """Name of its type, as in uproot."""
        stored = self._facts.stored
        if stored is None:
            return str(self._slow().typename)
        name = _KINDS.get(stored.str[1:], f"{'u' * (stored.kind == 'u')}int{8 * stored.itemsize}_t")
        return f"{name}[]" if self._facts.counter else name

    def packed(self, number: int) -> memoryview:
        """The compressed bytes of a basket with its key.

        Raises:
            ValueError: the file is too short.
        """
        seek, size = self._facts.seek[number], self._facts.sizes[number]
        if seek + size > len(self._data):
            raise ValueError(f"branch {self.name!r}: basket {number} lies behind the end of the file")
        return memoryview(self._data)[seek : seek + size]

    def first_counts(self, n: int) -> ndarray | None:
        """Number of values of each of the first n entries, from the counter; None if there is none."""
        if self.counter is None:
            return None
        if len(self.counter._first) < n:
            self.counter._first = self.counter.array(0, n, library="np")
        return self.counter._first[:n]

    def array(self, entry_start: int = 0, entry_stop: int | None = None, *, library: str = "ak") -> Any:
        """Entries, as by uproot's branches: numbers of any range; texts and lists only of the whole branch."""
        facts, stop = self._facts, self.entry_offsets[-1] if entry_stop is None else entry_stop
        whole = (entry_start, stop) == (0, self.entry_offsets[-1])
        if library == "np" and facts.stored is not None and not facts.counter:
            return self._flat(facts.stored, entry_start, stop)
        if library == "np" and whole and (facts.text or facts.stored is not None):
            values = [each for number in range(self.num_baskets) for each in self._objects(number)]
            out = np.empty(len(values), object)
            out[:] = values
            return out
        return self._slow().array(entry_start=entry_start, entry_stop=entry_stop, library=library)

    def _flat(self, stored: np.dtype[Any], start: int, stop: int) -> ndarray:
        """Numbers of a range of entries; only the required bytes are decompressed."""
        parts = [np.empty(0, stored.newbyteorder("="))]
        for number, (first, last) in enumerate(pairwise(self.entry_offsets)):
            low, high = max(start, first), min(stop, last)
            if low < high:
                basket = open_basket(self.packed(number), SCRATCH, (high - first) * stored.itemsize)
                if basket.end != (last - first) * stored.itemsize:
                    raise ValueError(f"branch {self.name!r}: not as many numbers as entries")
                numbers = basket.data[: (high - first) * stored.itemsize].view(stored)
                parts.append(numbers[low - first :].astype(stored.newbyteorder("=")))
        return np.concatenate(parts)

    def _objects(self, number: int) -> list[Any]:
        """Texts or lists of the entries of a basket."""
        basket = open_basket(self.packed(number))
        n = self.entry_offsets[number + 1] - self.entry_offsets[number]
        begin = np.frombuffer(basket.data, ">i4", n, basket.end + 4) - basket.key_size
        parts = [basket.data[a:b] for a, b in pairwise([*begin.tolist(), basket.end])]
        stored = self._facts.stored
        if stored is not None:
            return [part.view(stored).astype(stored.newbyteorder("=")) for part in parts]
        # The length of a text precedes it: one byte, or a byte 255 and four bytes.
        return [bytes(part[5 if part[0] == 255 else 1 :]).decode(errors="surrogateescape") for part in parts]


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """A file opened for a block, by the fast reader if possible, otherwise by uproot.

    Raises:
        FileError: the file does not exist, cannot be reached, or is not a ROOT file.
    """
    # Nothing is read twice, so caches would only occupy memory.
    options: dict[str, Any] = {"object_cache": None, "array_cache": None}
    if is_remote(path):
        with _remote_errors(path):
            import uproot

            url = address(path)
            for module in _PACKAGES[url.partition(":")[0]]:
                importlib.import_module(module)
            # Name the handler: uproot's default depends on the installed packages.
            options["handler"] = uproot.source.fsspec.FSSpecSource
            with _keeping_models(), uproot.open(address(path), **options) as file:
                yield file
        return
    if not path.is_file():
        raise FileError(f"{path}: is not there; expected a ROOT file", path=path)
    with file_errors(path, "header"), ExitStack() as stack:

        @cache
        def by_uproot() -> Any:
            import uproot

            stack.enter_context(_keeping_models())
            return stack.enter_context(uproot.open(path, handler=uproot.source.file.MemmapSource, **options))

        reader: Any
        try:
            reader = PlainFile(path, by_uproot)
        except MemoryError:
            raise
        except Exception:  # unsupported or damaged: uproot opens it, or reports the error
            reader = by_uproot()
        yield reader


@contextmanager
def _keeping_models() -> Iterator[None]:
    """Undo what a file changes in uproot's own models of ROOT's classes, which all files of a process share.

    A damaged file may state another version of a class. uproot then replaces its own model by one made from that file,
    and fails on the next good file.
    """
    try:
        yield
    finally:
        for versions, own in _models_of_uproot():
            versions.update(own)


@cache
def _models_of_uproot() -> tuple[tuple[dict[int, type], dict[int, type]], ...]:
    """For each of ROOT's classes: uproot's dictionary of its models by version, and a copy of its own models."""
    import uproot

    dispatchers = [each for each in uproot.classes.values() if issubclass(each, uproot.model.DispatchByVersion)]
    return tuple(
        (
            each.known_versions,
            {n: model for n, model in each.known_versions.items() if model.__module__.startswith("uproot.models.")},
        )
        for each in dispatchers
    )


def remote_digest(path: Path) -> str:
    """Identification of a remote file: its URL, its size, and its UUID from ROOT.

    Raises:
        FileError: as by `open_root`.
    """
    with open_root(path) as file:
        return f"{address(path)} {file.file.fEND} {file.file.uuid}"


@contextmanager
def _remote_errors(path: Path) -> Iterator[None]:
    """Convert errors of a remote file: missing, no package for the protocol, or damaged."""
    try:
        with file_errors(path, "header"):
            yield
    except FileError as error:
        cause = error.__cause__
        if isinstance(cause, ImportError):
            protocol = address(path).partition(":")[0]
            packages = {"root": "fsspec-xrootd xrootd", "s3": "s3fs"}.get(protocol, "'beampipe[calibration]'")
            raise FileError(
                f"{address(path)}: no package for the protocol {protocol} is there ({cause}); pip install {packages}",
                path=path,
            ) from error
        if isinstance(cause, FileNotFoundError) or "[3011]" in str(cause):  # XRootD's error number
            raise FileError(f"{address(path)}: is not there; expected a ROOT file", path=path) from error
        # For several ranges at once, fsspec returns errors instead of bytes, which uproot then fails to slice.
        broken = re.match(r"'(\w+)' object is not subscriptable", str(cause))
        if isinstance(cause, OSError | TimeoutError) or "client" in type(cause).__module__ or broken:
            what = broken[1] if broken else error_line(cause)
            raise FileError(f"{address(path)}: cannot be reached ({what}); try again later", path=path) from error
        raise


_PACKAGES: Final = {
    "http": ("fsspec", "aiohttp"),
    "https": ("fsspec", "aiohttp"),
    "root": ("fsspec", "fsspec_xrootd", "XRootD.client"),
    "s3": ("fsspec", "s3fs"),
}
"""Protocol -> modules required for it."""


@contextmanager
def file_errors(path: Path, what: str) -> Iterator[None]:
    """Convert any error of uproot on a damaged file to a `FileError` that names it."""
    try:
        yield
    except (BeampipeError, MemoryError):
        raise
    except Exception as error:
        # uproot meets a damaged file in many ways: IndexError, struct.error, ValueError, errors of each codec.
        raise FileError(
            f"{address(path)}: {what!r} cannot be read ({error_line(error)});"
            " the file is truncated or damaged: copy or make it again",
            path=path,
            name=what,
        ) from error


def branch_error(path: Path, branch: str, problem: str) -> FileError:
    """The error about a branch of a file."""
    return FileError(f"{path}: branch {branch!r}: {problem}", path=path, name=branch)


def error_line(error: BaseException | None) -> str:
    """The type of an error and the first line of its text."""
    first = str(error).strip().splitlines()[:1]
    return f"{type(error).__name__}: {first[0]}" if first else type(error).__name__


_PLAIN: Final = (0, 10)
"""Bytes before each list on disk: of arrays with a counter, and of a ``std::vector`` of numbers."""


@dataclass(frozen=True, eq=False)
class Basket:
    """A piece of a branch of lists as in the file: list i is ``content[offsets[i]:offsets[i + 1]]``.

    Attributes:
        start: first entry of the piece, counted from the start of the requested range.
        offsets: (n_lists + 1,) int64, where each list begins and ends in `content`.
        content: numbers of all lists, of either byte order; read-only.
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
        """Numbers of the lists of this piece only."""
        return self.content[self.offsets[0] : self.offsets[-1]]


def _refuse_packed(path: Path, branch: Any) -> None:
    """Refuse arrays of numbers that ROOT packs into fewer bits: uproot takes the bits for floats, or fails.

    Single packed numbers, and Double32_t without a range, are read as they should be.
    """
    if isinstance(branch, PlainBranch) or not hasattr(branch, "member"):
        return
    for leaf in branch.member("fLeaves"):
        name, title = _PACKED.get(leaf.classname, ""), str(leaf.member("fTitle"))
        with_range = name == "Float16_t" or re.search(r"/.*\[", title)
        if name and with_range and (leaf.member("fLen") > 1 or leaf.member("fLeafCount") is not None):
            numbers = f"ROOT::RVecF({branch.name}.begin(), {branch.name}.end())"
            raise branch_error(
                path,
                branch.name,
                f"got an array of {name} ({branch.title}), which uproot misreads; write it as float, in ROOT:"
                f' RDataFrame(TREE, FILE).Redefine("{branch.name}", "{numbers}").Snapshot(TREE, NEW)',
            )


_PACKED: Final = {"TLeafF16": "Float16_t", "TLeafD32": "Double32_t with a range"}
"""Leaves of packed numbers -> their type."""


def friends_of(path: Path, tree: str) -> str:
    """A sentence about the friends of a tree, whose branches are not read; empty if there are none."""
    import uproot

    friends: list[str] = []
    with suppress(Exception), uproot.open(address(path), minimal_ttree_metadata=False) as file:
        elements = file[tree].member("fFriends") or ()
        friends = [f"{each.member('fTreeName')} in {each.member('fTitle') or path.name}" for each in elements]
    advice = f"write one tree of all, in ROOT: RDataFrame(file.Get({tree!r})).Snapshot({tree!r}, NEW)"
    every = ", ".join(friends)
    return f"tree {tree!r} has friends, whose branches are not read: {every}; {advice}" if friends else ""


def is_flat(path: Path, tree: Any, branch: str) -> bool:
    """Whether a branch has one number per event, and no list.

    Raises:
        FileError: the branch cannot be read.
    """
    with file_errors(path, branch):
        _refuse_packed(path, tree[branch])
        kind = getattr(tree[branch], "interpretation", None)
        if kind is None:  # a field of an RNTuple
            return bool(tree[branch].array(entry_start=0, entry_stop=1, library="ak").ndim == 1)
    return not hasattr(kind, "content") and getattr(kind, "numpy_dtype", np.dtype(object)).kind in "buif"


def read_flat(path: Path, tree: Any, branch: str, start: int, stop: int) -> ndarray:
    """(stop - start,) array of a branch with one number per event.

    Raises:
        FileError: the branch cannot be read, or does not have one number per event.
    """
    with file_errors(path, branch):
        _refuse_packed(path, tree[branch])
        values: ndarray = tree[branch].array(entry_start=start, entry_stop=stop, library="np")
    if values.dtype.kind not in "buif" or values.ndim != 1:
        raise branch_error(path, branch, f"got {tree[branch].typename}, expected one number per event")
    return values


def read_lists(
    path: Path, tree: Any, branch: str, start: int, stop: int, buffer: Buffer | None = None
) -> Iterator[Basket]:
    """A branch with lists of numbers, one basket after the other, without copies of whole ranges.

    This applies to arrays with a counter and vectors of numbers; for all other kinds (fixed arrays, vectors in a
    structure, fields of an RNTuple) the range is read at once.

    Args:
        path: file of the tree, for errors.
        tree: tree with the branch.
        branch: name of the branch.
        start: first entry.
        stop: one past the last entry.
        buffer: memory that is reused for each basket, which is then valid until the next one; None for new memory.

    Raises:
        FileError: the branch cannot be read, or holds no lists of numbers.
    """
    with file_errors(path, branch):
        lists = tree[branch]
        _refuse_packed(path, lists)
        kind: Any = getattr(lists, "interpretation", None)
    stored: Any = getattr(getattr(kind, "content", None), "from_dtype", None)
    plain = isinstance(stored, np.dtype) and stored.kind in "buif" and stored.shape == ()
    if not plain or getattr(kind, "header_bytes", None) not in _PLAIN:
        yield _whole(path, lists, branch, start, stop)
        return
    at_start = None
    with suppress(Exception):  # a damaged basket: the read below reports the error
        at_start = first_lists(lists, stop) if start == 0 else None
    if at_start is not None:
        yield at_start
        return
    for number, (first, last) in enumerate(pairwise(lists.entry_offsets)):
        low, high = max(start, first), min(stop, last)
        if low < high:
            with file_errors(path, branch):
                offsets, content = _lists_of_basket(lists, number, last - first, buffer)
                offsets = offsets[low - first : high - first + 1]
                if len(offsets) != high - low + 1 or offsets[0] < 0 or offsets[-1] > len(content):
                    raise ValueError(f"basket {number} lacks some of its lists")
                if np.any(offsets[1:] < offsets[:-1]):
                    raise ValueError(f"basket {number} has a list of negative length")
            yield Basket(low - start, offsets, content)


def _lists_of_basket(
    branch: Any, number: int, n_lists: int, buffer: Buffer | None
) -> tuple[Int64[ndarray, " m"], ndarray]:
    """Where the lists of a basket begin and end, and their numbers."""
    stored, compiled = stored_type(branch), native()
    if stored is not None and compiled is not None:
        buffer = Buffer() if buffer is None else buffer
        try:
            data, end, key = unpack_basket(branch, number, buffer)
            offsets = buffer.for_offsets(n_lists + 1)
            if len(data) >= end + 4 + 4 * len(offsets) and compiled.list_offsets(
                data[end + 4 :], key, stored.itemsize, end, offsets
            ):
                return offsets, data[:end].view(stored)
        except MemoryError:
            raise
        except Exception:  # unsupported or damaged: uproot reads it, or reports the error
            pass
    return _plain_lists(
        branch.basket(number), branch.interpretation.content.from_dtype, branch.interpretation.header_bytes
    )


def _plain_lists(basket: Any, stored: np.dtype[Any], header: int) -> tuple[Int64[ndarray, " m"], ndarray]:
    """Where the lists of a basket begin and end, and their numbers.

    The offsets are in the basket, in bytes, or follow from the counter. A vector has 10 bytes before its numbers: its
    size in bytes, a version, and the number of values.
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
    """A range of a branch of any other kind, as one piece."""
    import awkward as ak

    with file_errors(path, branch):
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
        raise branch_error(path, branch, f"got {kind}, expected a list of numbers per event") from error
    return Basket(0, np.concatenate([[0], np.cumsum(counts)]), content)


def lossless(path: Path, branch: str, values: ndarray, dtype: str) -> Any:
    """Numbers converted to another type: whole numbers must stay equal, others are rounded to the nearest value.

    Raises:
        FileError: a number does not fit.
    """
    wanted = np.dtype(dtype)
    if values.dtype.newbyteorder("=") == wanted:
        return values.astype(wanted, copy=False)
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
        number, kind = values[~kept].ravel()[0], values.dtype.newbyteorder("=")
        raise branch_error(path, branch, f"got {number} ({kind}), expected {limits}")
    return out


def stored_type(branch: Any) -> np.dtype[Any] | None:
    """Type of the numbers of a branch with one number or one plain list per event; None for other branches."""
    kind = getattr(branch, "interpretation", None)
    if getattr(kind, "header_bytes", 0) != 0:
        return None
    stored = getattr(getattr(kind, "content", kind), "from_dtype", None)
    return stored if isinstance(stored, np.dtype) and stored.kind in "buif" and stored.shape == () else None


def has_whole_baskets(branch: Any, start: int, stop: int) -> bool:
    """Whether the range begins and ends at basket borders of plain numbers, or of lists with a counter branch."""
    plain = isinstance(branch, PlainBranch) and stored_type(branch) is not None
    counted = plain and (branch.counter is not None or not hasattr(branch.interpretation, "content"))
    return counted and {start, stop}.issubset(branch.entry_offsets)


def whole_baskets(branch: PlainBranch, start: int, stop: int, memory: Buffer) -> Iterator[tuple[int, int, ndarray]]:
    """First event, one past the last, and the numbers of each basket of a range that `has_whole_baskets`.

    Offsets of lists are not decompressed, as they are known from another column. Numbers are valid until the next
    basket.

    Raises:
        Exception: a basket is damaged.
    """
    stored = np.dtype(stored_type(branch))
    for number, (first, last) in enumerate(pairwise(branch.entry_offsets)):
        if start <= first < stop:
            data, end, _ = open_basket(branch.packed(number), memory, offsets=False)
            yield first - start, last - start, data[:end].view(stored)


def first_lists(branch: Any, stop: int) -> Basket | None:
    """The lists before `stop`, if they are at the start of a long basket.

    The counter branch gives their number, so that only this part of the basket is decompressed.

    Raises:
        Exception: the basket is damaged.
    """
    stored = stored_type(branch)
    if not isinstance(branch, PlainBranch) or stored is None or 2 * stop > branch.entry_offsets[1]:
        return None
    counts = branch.first_counts(stop)
    if counts is None:
        return None
    offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    n_bytes = int(offsets[-1]) * stored.itemsize
    basket = open_basket(branch.packed(0), None, n_bytes)
    if counts.min(initial=0) < 0 or n_bytes > basket.end:
        raise ValueError("not as many numbers as are counted")
    return Basket(0, offsets, basket.data[:n_bytes].view(stored))


def unpack_basket(branch: Any, number: int, memory: Buffer) -> UnpackedBasket:
    """A basket of a branch.

    Raises:
        Exception: it is missing or damaged.
    """
    if isinstance(branch, PlainBranch):
        return open_basket(branch.packed(number), memory)
    if number >= branch.num_baskets - len(branch.embedded_baskets):
        raise ValueError("a basket inside the tree")
    seek, size = int(branch.member("fBasketSeek")[number]), int(branch.member("fBasketBytes")[number])
    return open_basket(memoryview(branch.file.source.chunk(seek, seek + size).raw_data), memory)
