"""ROOT files and their branches: opening, flat branches, lists, and baskets decompressed into reused memory.

Every error of a file becomes a `FileError` that names it.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.calibration.kernels import native
from beampipe.calibration.layout import address, is_remote
from beampipe.calibration.ntuple.plain_root import Buffer, PlainBranch, PlainFile, UnpackedBasket, open_basket
from beampipe.errors import BeampipeError, FileError


@contextmanager
def open_root(path: Path) -> Iterator[Any]:
    """A file opened for a block, by the fast reader of `plain_root` if possible, otherwise by uproot.

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
