"""Events that lie in several files with one stem: `event000000012-hits.csv`, `event000000012-truth.csv`, ..."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Int64
from beampipe.errors import FileError

__all__ = ["Family", "expected_family", "family_of", "rows_of"]

_NAME: Final = re.compile(r"(?P<stem>.*?(?P<number>\d+))-(?P<kind>[a-z_\-]+)\.csv(?:\.gz)?")


@dataclass(frozen=True)
class Family:
    """The files of one event.

    Attributes:
        folder: folder that the files lie in.
        stem: beginning of the files' names, e.g. ``event000000012``.
        event_id: number of the event, from the stem.
    """

    folder: Path
    stem: str
    event_id: int

    def path(self, kind: str) -> Path:
        """The file of that kind; the plain one if neither it nor a gzipped one exists."""
        plain = self.folder / f"{self.stem}-{kind}.csv"
        zipped = plain.with_name(plain.name + ".gz")
        return zipped if not plain.is_file() and zipped.is_file() else plain


def family_of(path: Path) -> tuple[Family, str] | None:
    """The family and the kind of a file, None if its name is of no family."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    return Family(path.parent, match["stem"], int(match["number"])), match["kind"]


def expected_family(path: Path, kind: str) -> Family:
    """The family of a file that is read as one of that kind.

    Raises:
        FileError: its name is of no family.
    """
    found = family_of(path)
    if found is None:
        raise FileError(f"{path}: expected the name eventNNN-{kind}.csv; rename the files of the event")
    return found[0]


def rows_of(wanted: ndarray, there: ndarray, path: Path, name: str, where: Path) -> Int64[ndarray, " n_wanted"]:
    """The row in `there` (unique numbers, any order) of each of `wanted`.

    Raises:
        FileError: `there` holds a number twice, or one of `wanted` is not there.
    """
    order = np.argsort(there, kind="stable")
    ranked = there[order]
    twice = np.flatnonzero(ranked[1:] == ranked[:-1])
    if len(twice):
        raise FileError(f"{where}: got {name} {ranked[twice[0]]} twice, expected each once", path=where)
    at = np.searchsorted(ranked, wanted)
    found = at < len(ranked)
    found[found] = ranked[at[found]] == wanted[found]
    if not found.all():
        row = int(np.argmin(found))
        raise FileError(f"{path}: got {name} {wanted[row]} at row {row}, which {where} does not have", path=path)
    return order[at].astype(np.int64)
