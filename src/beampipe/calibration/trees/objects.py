"""What a ROOT file says of its trees: names of branches, types, and where their baskets lie.

Only objects of the versions that today's ROOT and uproot write are known. Whoever meets another kind asks uproot.
Everything is big-endian. An object begins with its size and its version; members follow in a fixed order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from operator import lt
from struct import Struct
from typing import Any, Final, NamedTuple

import numpy as np

from beampipe.calibration.trees.blocks import unpacked

__all__ = ["BranchFacts", "Key", "TreeFacts", "UnknownKindError", "read_tree", "tree_keys"]

_SIZED: Final = 0x40000000
"""Bit of a number that says how many bytes follow."""

_NEW_CLASS: Final = 0xFFFFFFFF
_OLD_CLASS: Final = 0x80000000
"""Marks of objects: the name of the class follows, or is where the other bits say."""

_FIRST: Final = 2
"""Places of classes and objects are counted from here on."""

_HEADER: Final = Struct(">4sii")  # name, version, first byte
_NAME_SIZE: Final = {False: (Struct(">i"), 28), True: (Struct(">i"), 36)}  # by whether the file is large; and where
_LARGE: Final = 1000000
_DIRECTORY: Final = Struct(">hIIii")  # version, two dates, two sizes; three places follow, that of the keys last
_KEY: Final = Struct(">ihiIhh")  # size, version, size unpacked, date, size of the key, cycle
_FAR: Final = 1000
"""Versions of directories and keys from which on places have 8 bytes."""

_NUMBER, _COUNT, _TWO, _LONG = Struct(">I"), Struct(">H"), Struct(">ii"), Struct(">q")
_TREE: Final = Struct(">5qd4iI6q")  # entries first, number of clusters last but six
_BRANCH: Final = Struct(">4iq")  # the fourth: number of baskets
_MORE: Final = Struct(">iIi4q")  # the second: room for baskets; then entries, first entry
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
    """Something that is not plain, or that is damaged: uproot is to be asked."""


@dataclass(frozen=True, eq=False)
class BranchFacts:
    """What a tree says of one of its branches.

    Attributes:
        name: name of the branch.
        stored: type of its numbers as the file has them; None if they are no plain numbers.
        counter: name of the branch that says how many numbers an entry has; empty if it is one.
        text: whether an entry is a text.
        entries: (n_baskets + 1,) first entry of each basket, and the number of all entries.
        seek: (n_baskets,) first byte of each basket.
        sizes: (n_baskets,) bytes of each basket, packed, with its key.
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
    """What a file says of a tree.

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
    """Where an object of a directory lies.

    Attributes:
        name: name of the object.
        cycle: number of this version of it.
        kind: name of its class.
        seek: first byte of its key.
        size: bytes of the object, packed, with its key.
        key_size: bytes of its key.
        n_unpacked: bytes of the object, unpacked.
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
    place = _LONG if version > _FAR else _NUMBER
    (keys,) = place.unpack_from(data, begin + name_size + _DIRECTORY.size + 2 * place.size)
    head = _KEY.unpack_from(data, keys)
    (n_keys,) = _NUMBER.unpack_from(data, keys + head[4])
    cursor = _Cursor(data, keys + head[4] + _NUMBER.size)
    return [_key(cursor) for _ in range(n_keys)]


def _key(cursor: _Cursor) -> Key:
    begin = cursor.at
    size, version, n_unpacked, _, key_size, cycle = cursor.take(_KEY)
    place = _LONG if version > _FAR else _NUMBER
    (seek,) = cursor.take(place)
    cursor.take(place)
    kind, name = cursor.text(), cursor.text()
    cursor.at = begin + key_size
    return Key(name, cycle, kind, seek, size, key_size, n_unpacked)


def read_tree(data: Any, key: Key) -> TreeFacts:
    """What a tree says of itself.

    Args:
        data: all bytes of the file.
        key: where the tree lies.

    Raises:
        Exception: the tree or one of its branches is of another kind, or damaged.
    """
    packed = memoryview(data)[key.seek + key.key_size : key.seek + key.size]
    cursor = _Cursor(bytes(unpacked(packed, key.n_unpacked)), 0, key.key_size)
    cursor.enter("TTree", 20)
    for _ in range(4):  # its name, and how it is drawn
        cursor.skip()
    n_entries, *_ = members = cursor.take(_TREE)
    cursor.at += 2 * (1 + _LONG.size * members[10])
    cursor.skip()
    found: dict[str, BranchFacts] = {}
    for branch in cursor.array():
        if not isinstance(branch, BranchFacts) or branch.name in found or branch.entries[-1] != n_entries:
            raise UnknownKindError("not only plain branches")
        found[branch.name] = branch
    return TreeFacts(n_entries, found)


class _Cursor:
    """Reads one thing after the other.

    Args:
        data: bytes.
        at: where to begin.
        before: bytes that are not here but that places of classes and objects count.
    """

    def __init__(self, data: Any, at: int, before: int = 0) -> None:
        self.data, self.at, self._before = data, at, before
        self._classes: dict[int, str] = {}
        self._objects: dict[int, Any] = {}

    def take(self, layout: Struct) -> tuple[Any, ...]:
        """Numbers."""
        found = layout.unpack_from(self.data, self.at)
        self.at += layout.size
        return found

    def text(self) -> str:
        """A text, whose length is before it."""
        n = self.data[self.at]
        self.at += 1
        if n == 255:
            (n,) = self.take(_NUMBER)
        begin, self.at = self.at, self.at + int(n)
        return bytes(self.data[begin : self.at]).decode(errors="surrogateescape")

    def enter(self, what: str, version: int) -> int:
        """The start of an object of a known version; gives its end."""
        end, found = self._start()
        if found != version:
            raise UnknownKindError(f"{what} of version {found}")
        return end

    def skip(self) -> None:
        """Go to the end of an object."""
        self.at, _ = self._start()

    def _start(self) -> tuple[int, int]:
        (size,) = self.take(_NUMBER)
        end = self.at + (size & ~_SIZED)
        (version,) = self.take(_COUNT)
        if not size & _SIZED or end > len(self.data):
            raise UnknownKindError("an object of unknown size")
        return end, version

    def named(self) -> str:
        """The name of an object that has one."""
        end = self.enter("TNamed", 1)
        self._bits()
        name = self.text()
        self.at = end
        return name

    def _bits(self) -> None:
        """What each object says of its life in memory."""
        self.take(_COUNT)
        _, bits = self.take(_TWO)
        self.at += 2 if bits & 0x10 else 0

    def array(self) -> Iterator[Any]:
        """The objects of an array."""
        self.enter("TObjArray", 3)
        self._bits()
        self.text()
        n, _ = self.take(_TWO)
        for _ in range(n):
            yield self._any()

    def _any(self) -> Any:
        """An object of any class, or one that was there before; None for none."""
        begin = self.at + self._before + _FIRST
        (size,) = self.take(_NUMBER)
        if not size & _SIZED or size == _NEW_CLASS:
            if size == 0:
                return None
            return self._objects[size]
        end = self.at + (size & ~_SIZED)
        place = self.at + self._before + _FIRST
        (tag,) = self.take(_NUMBER)
        if tag == _NEW_CLASS:
            stop = self.at
            while self.data[stop]:
                stop += 1
            kind = self._classes[place] = bytes(self.data[self.at : stop]).decode()
            self.at = stop + 1
        elif tag & _OLD_CLASS:
            kind = self._classes[tag & ~_OLD_CLASS]
        else:
            raise UnknownKindError("an object in place of a class")
        found = self._objects[begin] = self._known(kind)
        if self.at > end:
            raise UnknownKindError(f"{kind}: longer than it says")
        self.at = end
        return found

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
        _, room, _, n_entries, first, *_ = self.take(_MORE)
        inner, leaves, inside = list(self.array()), list(self.array()), list(self.array())
        sizes, entries, seek = (self._numbers(kind, room) for kind in (">i4", ">i8", ">i8"))
        elsewhere = self.text()
        good = not (inner or any(inside) or elsewhere or first) and 0 < n_baskets < room
        entries, seek, sizes = entries[: n_baskets + 1], seek[:n_baskets], sizes[:n_baskets]
        good = good and entries[0] == 0 and entries[-1] == n_entries and all(map(lt, entries, entries[1:]))
        if not (good and min(seek) > 0 and min(sizes) > 0 and all(isinstance(leaf, _Leaf) for leaf in leaves)):
            raise UnknownKindError(f"branch {name!r} is not plain")
        leaf = leaves[0] if len(leaves) == 1 else None
        stored = _stored(leaf) if leaf is not None else None
        counter = leaf.counter.name if leaf is not None and leaf.counter is not None else ""
        text = leaf is not None and leaf.kind == "TLeafC" and not counter
        return BranchFacts(name, stored, counter, text, tuple(entries), tuple(seek), tuple(sizes))

    def _numbers(self, kind: str, n: int) -> list[int]:
        """An array of n numbers; one byte is before it."""
        found = np.frombuffer(self.data, kind, n, self.at + 1)
        self.at += 1 + found.nbytes
        whole: list[int] = found.tolist()
        return whole


def _stored(leaf: _Leaf) -> np.dtype[Any] | None:
    """The type of the numbers of a leaf, if each entry has one of them, or a list of them."""
    kind = _TYPES.get(leaf.kind)
    if kind is None or leaf.length != 1:
        return None
    return np.dtype(">" + kind.replace("i", "u") if leaf.unsigned else ">" + kind)
