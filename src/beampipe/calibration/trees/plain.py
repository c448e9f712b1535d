"""A ROOT file as uproot shows it, as far as the calibration asks: plain trees are read here, all else by uproot.

Each class answers what is asked most and costs most, in the words of uproot's class, and leaves the rest to an object
of uproot, which is made when it is first needed. Most files need none, and uproot is not even imported.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.calibration.trees.blocks import Room, open_basket
from beampipe.calibration.trees.objects import BranchFacts, TreeFacts, read_tree, tree_keys

__all__ = ["PlainBranch", "PlainFile", "PlainTree"]

_KINDS: Final = {"b1": "bool", "f4": "float", "f8": "double", "i1": "int8_t", "u1": "uint8_t"}
"""Type of numbers -> how uproot calls it; of other whole numbers as of these."""


_ROOM: Final = Room()
"""Memory for baskets of which a copy is taken."""


class PlainFile:
    """A file of this machine.

    Args:
        path: the file.
        by_uproot: opens it by uproot, and remembers it.

    Raises:
        Exception: it is no ROOT file, or damaged.
    """

    def __init__(self, path: Path, by_uproot: Callable[[], Any]) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._slow, self._keys = by_uproot, tree_keys(self._data)
        self._trees: dict[str, PlainTree | None] = {}

    def keys(self, *, recursive: bool = True) -> list[str]:
        """Name and cycle of the objects, as uproot's directories give them."""
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
        found = self._trees[name]
        return self._slow()[name] if found is None else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow(), name)

    def _tree(self, name: str) -> PlainTree | None:
        """The newest tree of a name; None if uproot must be asked."""
        cycles = [key for key in self._keys if key.name == name]
        key = max(cycles, key=lambda each: each.cycle, default=None)
        if key is None or key.kind != "TTree":
            return None
        try:
            facts = read_tree(self._data, key)
        except MemoryError:
            raise
        except Exception:  # of another kind, or damaged: what it is, and what is wrong, is for uproot to say
            return None
        return PlainTree(facts, self._data, cache(lambda: self._slow()[name]))


class PlainTree:
    """A tree of plain branches.

    Args:
        facts: what the file says of it.
        data: all bytes of the file.
        by_uproot: gives the tree as uproot has it.
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
        found = self._branches.get(name)
        if found is None:
            facts = self._facts.branches.get(name)
            if facts is None:
                return self._slow()[name]
            counts = self._facts.branches.get(facts.counter)
            counter = None if counts is None else self[counts.name]
            found = PlainBranch(facts, counter, self._data, lambda: self._slow()[name])
            self._branches[name] = found
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._slow(), name)

    def common_entry_offsets(self) -> list[int]:
        """Entries at which all branches begin a basket, and the number of entries."""
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
        facts: what the file says of it.
        counter: the branch that says how many numbers an entry has; None if it is one, or if there is none.
        data: all bytes of the file.
        by_uproot: gives the branch as uproot has it.
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
        """Its type: of a number, of a list, or uproot's."""
        stored = self._facts.stored
        if stored is None:
            return self._slow().interpretation
        return _Lists(stored) if self._facts.counter else _Flat(stored)

    @property
    def typename(self) -> str:
        """Its type as uproot writes it."""
        stored = self._facts.stored
        if stored is None:
            return str(self._slow().typename)
        name = _KINDS.get(stored.str[1:], f"{'u' * (stored.kind == 'u')}int{8 * stored.itemsize}_t")
        return f"{name}[]" if self._facts.counter else name

    def packed(self, number: int) -> memoryview:
        """The bytes of a basket, packed, with its key.

        Raises:
            ValueError: they are not there.
        """
        seek, size = self._facts.seek[number], self._facts.sizes[number]
        if seek + size > len(self._data):
            raise ValueError(f"branch {self.name!r}: basket {number} lies behind the end of the file")
        return memoryview(self._data)[seek : seek + size]

    def first_counts(self, n: int) -> ndarray | None:
        """How many numbers each of the first n entries has, by the counter; None if there is none."""
        if self.counter is None:
            return None
        if len(self.counter._first) < n:
            self.counter._first = self.counter.array(0, n, library="np")
        return self.counter._first[:n]

    def array(self, entry_start: int = 0, entry_stop: int | None = None, *, library: str = "ak") -> Any:
        """Entries as uproot's branches give them: numbers of a range, texts and lists only all at once."""
        facts, stop = self._facts, self.entry_offsets[-1] if entry_stop is None else entry_stop
        whole = (entry_start, stop) == (0, self.entry_offsets[-1])
        if library == "np" and facts.stored is not None and not facts.counter:
            return self._flat(facts.stored, entry_start, stop)
        if library == "np" and whole and (facts.text or facts.stored is not None):
            found = [each for number in range(self.num_baskets) for each in self._objects(number)]
            out = np.empty(len(found), object)
            out[:] = found
            return out
        return self._slow().array(entry_start=entry_start, entry_stop=entry_stop, library=library)

    def _flat(self, stored: np.dtype[Any], start: int, stop: int) -> ndarray:
        """Numbers of the entries of a range, of which no more is unpacked than needed."""
        parts = [np.empty(0, stored.newbyteorder("="))]
        for number, (first, last) in enumerate(pairwise(self.entry_offsets)):
            low, high = max(start, first), min(stop, last)
            if low < high:
                basket = open_basket(self.packed(number), _ROOM, (high - first) * stored.itemsize)
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
        # A text has its length before it, in one byte, or in four after a byte 255.
        return [bytes(part[5 if part[0] == 255 else 1 :]).decode(errors="surrogateescape") for part in parts]
