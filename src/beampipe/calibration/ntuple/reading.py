"""ROOT files, read by branch: what is in a file, and the arrays of a range of its events.

Every fault of a file becomes a `FileError` that names the file, the tree and the branch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from beampipe.calibration.ntuple.columns import (
    BOOKKEEPING,
    BOOKKEEPING_BRANCHES,
    EVENT_BRANCHES,
    EVENTS,
    FORMAT,
    JET_BRANCHES,
    MC_BRANCHES,
    VARIED_N_TRK,
)
from beampipe.errors import ColumnError, FileError, nearest

__all__ = ["Basket", "Facts", "inspect_file", "open_event_tree", "read_flat", "read_jagged"]


@dataclass(frozen=True)
class Facts:
    """What is known of a file without reading its events.

    Attributes:
        dataset: name of the dataset that the file says it belongs to.
        slice: number of the slice that the file belongs to.
        n_slices: number of slices of the dataset.
        file_number: number of the file in its slice.
        n_files: number of files of the slice.
        cross_section: cross section of the slice [pb].
        filter_efficiency: share of the slice's events that the generator kept.
        sum_weights: sums of weights over all generated events of the file, one per weight.
        weight_names: names of the weights, nominal first.
        n_events: number of entries of the tree of events.
        borders: numbers of entries at which all branches start a new basket, from 0 to `n_events`.
        varied: names of the variations of n_trk that have a branch.
        simulated: whether labels and weights are there.
        settings: JSON of the generator's settings.
    """

    dataset: str
    slice: int
    n_slices: int
    file_number: int
    n_files: int
    cross_section: float
    filter_efficiency: float
    sum_weights: tuple[float, ...]
    weight_names: tuple[str, ...]
    n_events: int
    borders: tuple[int, ...]
    varied: tuple[str, ...]
    simulated: bool
    settings: str

    def plain(self) -> dict[str, Any]:
        """The facts as JSON takes them."""
        return asdict(self)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Facts:
        """The facts from what `plain` gave, as JSON gives it back."""
        fields: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in plain.items()}
        return cls(**fields)


@dataclass(frozen=True, eq=False)
class Basket:
    """A piece of a branch of lists, as the file holds it: list i is ``content[offsets[i]:offsets[i + 1]]``.

    Attributes:
        start: first entry of the piece, counted from the start of the range that was asked for.
        offsets: (n_lists + 1,) int64, where each list begins and ends in `content`.
        content: numbers of all lists, big-endian, and not to be written to.
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


def inspect_file(path: Path) -> Facts:
    """Look at a file: bookkeeping, branches, baskets.

    Raises:
        FileError: the file cannot be read, a tree is missing or empty, or the bookkeeping is of another kind.
        ColumnError: a branch is missing.
    """
    with _opened(path) as file, _faults(path, BOOKKEEPING):
        trees = {key.split(";")[0] for key in file.keys(recursive=False)}
        for tree in (BOOKKEEPING, EVENTS):
            if tree not in trees:
                raise FileError(
                    f"{path}: got no tree {tree!r}, expected it beside {', '.join(sorted(trees)) or 'nothing'}",
                    path=path,
                    name=tree,
                )
        book = file[BOOKKEEPING]
        _require(path, BOOKKEEPING, book.keys(), BOOKKEEPING_BRANCHES)
        if book.num_entries != 1:
            raise FileError(f"{path}: got {book.num_entries} entries in {BOOKKEEPING!r}, expected 1", path=path)
        entry = {name: book[name].array(library="np")[0] for name in BOOKKEEPING_BRANCHES}
        if int(entry["format"]) != FORMAT:
            raise FileError(
                f"{path}: got format {int(entry['format'])}, expected {FORMAT}; make the file again", path=path
            )
        events = file[EVENTS]
        if events.num_entries == 0:
            raise FileError(
                f"{path}: tree {EVENTS!r} is empty; leave the file out, or make it again", path=path, name=EVENTS
            )
        branches = set(events.keys())
        _require(path, EVENTS, branches, EVENT_BRANCHES | JET_BRANCHES)
        simulated = bool(set(MC_BRANCHES) & branches)
        if simulated:
            _require(path, EVENTS, branches, MC_BRANCHES)
        names = tuple(str(entry["weight_names"]).split(","))
        sums = tuple(float(value) for value in entry["sum_weights"])
        if len(names) != len(sums) or not all(np.isfinite(sums)):
            raise FileError(
                f"{path}: tree {BOOKKEEPING!r}: got {len(names)} names of weights and sums {sums[:4]}...,"
                " expected one finite sum per name",
                path=path,
                name=BOOKKEEPING,
            )
        counts: dict[str, Any] = {name: int(entry[name]) for name in ("slice", "n_slices", "file_number", "n_files")}
        return Facts(
            dataset=str(entry["dataset"]),
            **counts,
            cross_section=float(entry["cross_section"]),
            filter_efficiency=float(entry["filter_efficiency"]),
            sum_weights=sums,
            weight_names=names,
            n_events=int(events.num_entries),
            borders=tuple(int(border) for border in events.common_entry_offsets()),
            varied=tuple(name for name, branch in VARIED_N_TRK.items() if branch in branches),
            simulated=simulated,
            settings=str(entry["settings"]),
        )


@contextmanager
def open_event_tree(path: Path) -> Iterator[Any]:
    """The tree of events of a file, open while the block runs."""
    with _opened(path) as file, _faults(path, EVENTS):
        yield file[EVENTS]


def read_flat(path: Path, tree: Any, branch: str, dtype: str, start: int, stop: int) -> Any:
    """(stop - start,) array of a branch with one number per event."""
    with _faults(path, branch):
        values = tree[branch].array(entry_start=start, entry_stop=stop, library="np")
    _require_type(path, branch, values.dtype, dtype)
    return values


def read_jagged(path: Path, tree: Any, branch: str, dtype: str, start: int, stop: int) -> Iterator[Basket]:
    """A branch with lists of numbers, one basket after the other: only what is taken from one need be copied."""
    with _faults(path, branch):
        lists = tree[branch]
        kind, borders = lists.interpretation, lists.entry_offsets
    if not hasattr(kind, "content") or kind.header_bytes:
        raise FileError(
            f"{path}: branch {branch!r}: got {lists.typename}, expected lists of {dtype} with a counter",
            path=path,
            name=branch,
        )
    stored = kind.content.from_dtype
    _require_type(path, branch, stored, dtype)
    for number, (first, last) in enumerate(pairwise(borders)):
        low, high = max(start, first), min(stop, last)
        if low < high:
            with _faults(path, branch):
                basket = lists.basket(number)
                content = basket.data.view(stored)
                offsets = _offsets(basket, stored.itemsize)[low - first : high - first + 1]
                if len(offsets) != high - low + 1 or offsets[0] < 0 or offsets[-1] > len(content):
                    raise ValueError(f"basket {number} lacks some of its lists")
                if np.any(offsets[1:] < offsets[:-1]):
                    raise ValueError(f"basket {number} has a list of negative length")
            yield Basket(low - start, offsets, content)


def _offsets(basket: Any, item_size: int) -> Int64[ndarray, " m"]:
    """Where the lists of a basket begin and end; a file may say it with numbers of bytes or leave it to the counter."""
    if basket.byte_offsets is not None:
        in_items: ndarray = np.floor_divide(basket.byte_offsets, item_size, dtype=np.int64)
        return in_items
    offsets: ndarray = np.concatenate([[0], np.cumsum(basket.counts)]).astype(np.int64)
    return offsets


def _require_type(path: Path, branch: str, got: np.dtype[Any], expected: str) -> None:
    if got.newbyteorder("=") != np.dtype(expected):
        raise FileError(
            f"{path}: branch {branch!r}: got {got.newbyteorder('=')}, expected {expected}", path=path, name=branch
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import uproot

    if not path.is_file():
        raise FileError(f"{path}: is not there; expected a ROOT file", path=path)
    # Nothing is read twice: caches would only hold on to memory.
    caches = {"object_cache": None, "array_cache": None}
    with _faults(path, "header"), uproot.open(path, handler=uproot.source.file.MemmapSource, **caches) as file:
        yield file


@contextmanager
def _faults(path: Path, what: str) -> Iterator[None]:
    """Whatever uproot raises on a damaged file, as one error that names it."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        # uproot meets a damaged file in many ways: IndexError, struct.error, ValueError, errors of each codec.
        first = str(error).strip().splitlines()[:1]
        raise FileError(
            f"{path}: {what!r} cannot be read ({type(error).__name__}: {first[0] if first else ''});"
            " the file is truncated or damaged: copy or make it again",
            path=path,
            name=what,
        ) from error


def _require(path: Path, tree: str, got: Sequence[str] | set[str], wanted: Mapping[str, str]) -> None:
    for branch in wanted:
        if branch not in got:
            raise ColumnError(
                f"{path}: tree {tree!r}: got no branch {branch!r}, expected it{nearest(branch, got)}",
                path=path,
                name=branch,
            )
