"""Check event lists against the data: each event must exist, be listed once, and have the stated mass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.artifacts.candidates import Candidates, read_candidates
from beampipe.analysisops.artifacts.form import Artifacts, lists_of
from beampipe.analysisops.artifacts.reading import Rows
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.arrays import Float64

_LARGEST_EXACT: Final = 2.0**53


@dataclass(frozen=True)
class Limits:
    """Required accuracy of a list.

    Attributes:
        rounding: relative difference allowed between a listed mass and that of the data. Results are computed from the
            masses of the data, so this tolerance does not affect them.
        faulty: share of rows that may be wrong; a list with more is void.
    """

    rounding: float = 1e-3
    faulty: float = 1e-3


@dataclass(frozen=True)
class CheckedList:
    """A list after the check.

    Attributes:
        masses: masses of the correct rows, computed from the data [GeV], in the order of the list.
        rows: number of submitted rows.
        faults: kind of fault -> number of rows with it; each row counts once.
        sources: data file -> its SHA-256.
        void: why the list is void; empty if it is valid.
    """

    masses: Float64[ndarray, " n"]
    rows: int
    faults: Mapping[str, int]
    sources: Mapping[str, str] = field(default_factory=dict)
    void: str = ""


@dataclass(frozen=True)
class Checked:
    """All lists of a task.

    Attributes:
        lists: lists by name.
    """

    lists: Mapping[str, CheckedList]

    @property
    def void(self) -> str:
        """Why the submission is void; empty if all lists are valid."""
        return "; ".join(f"{name}: {one.void}" for name, one in self.lists.items() if one.void)


def check_artifacts(
    artifacts: Artifacts, family: str, data: Path, hidden: HiddenTruth, limits: Limits | None = None
) -> Checked:
    """Check the artifacts of an agent against the data of its instance.

    Args:
        artifacts: the agent's artifacts.
        family: family of the task.
        data: folder of the instance's data, the host's own and not the agent's copy.
        hidden: the hidden truth of the instance.
        limits: required accuracy of lists.

    Raises:
        UnknownNameError: the family accepts no artifacts.
        FileError: the host's data are damaged.
    """
    return Checked(
        {
            wanted.name: check_rows(
                artifacts.rows[wanted.name],
                read_candidates(data, hidden, wanted.role, wanted.collection, wanted.number),
                limits or Limits(),
            )
            for wanted in lists_of(family)
        }
    )


def check_rows(rows: Rows, candidates: Candidates, limits: Limits) -> CheckedList:
    """Check one list."""
    finite = np.isfinite(rows.event) & np.isfinite(rows.mass)
    # Larger integers are not exact as doubles, so two could be one event. A row without a mass also uses up its event.
    event = np.where(np.abs(rows.event) <= _LARGEST_EXACT, rows.event, -1.0)
    found = candidates.nearest(event, np.where(finite, rows.mass, 0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        same = np.abs(found - rows.mass) <= limits.rounding * np.abs(found)
    first = np.zeros(len(event), bool)
    first[np.unique(event, return_index=True)[1]] = True

    faults, left = {}, np.ones(len(event), bool)
    for kind, good in (
        ("not finite", finite),
        ("no such event", np.isfinite(found)),
        ("another mass than the data have", same),
        ("an event that was there before", first),
    ):
        faults[kind] = int(np.count_nonzero(left & ~good))
        left &= good
    wrong = len(event) - int(np.count_nonzero(left))
    void = ""
    if not len(event):
        void = "got no events, expected those that were selected"
    elif wrong > limits.faulty * len(event):
        told = ", ".join(f"{number} {kind}" for kind, number in faults.items() if number)
        void = f"got {wrong} of {len(event)} rows that the data do not have ({told}), expected events of the data once"
    return CheckedList(found[left], len(event), faults, candidates.sources, void)
