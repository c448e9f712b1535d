"""How long an event takes where the kernels were not compiled, and the numpy reference runs in their place.

The time is told before the work begins: a dense event would keep a newcomer waiting for an hour without a word.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

from beampipe.errors import TooLargeError

__all__ = ["LONGEST", "check_reference_time", "reference_seconds"]

LONGEST: Final = 60.0
"""Longest time [s] that events may take by the reference, unless somebody asks for more."""

_PER_HIT: Final = 1e-4
_PER_HIT2: Final = 1e-7
"""Time of the reference [s] that grows with hits, and with their square: `module_map` and `exatrkx` on one core."""


def reference_seconds(n_hits: int) -> float:
    """Time that the reference needs for an event of so many hits [s], right within a factor of three or so."""
    return _PER_HIT * n_hits + _PER_HIT2 * n_hits * n_hits


def check_reference_time(name: str, sizes: Sequence[int], *, refuses: bool) -> None:
    """Refuse events that would take too long, or warn with the time that they will take.

    Args:
        name: name of the pipeline, for the message.
        sizes: number of hits of each event.
        refuses: whether they are refused; if not, one warning tells the time.

    Raises:
        TooLargeError: they would take longer than `LONGEST`.
    """
    seconds = sum(map(reference_seconds, sizes))
    if seconds <= LONGEST:
        return
    got = f"{name}: got {max(sizes)} hits, for which the numpy reference needs about {_told(seconds)}"
    mend = "the kernels were not compiled: install a C++ compiler and then beampipe again, or a wheel"
    if refuses:
        raise TooLargeError(
            f"{got}, expected at most {_told(LONGEST)}; {mend}; or take smaller events,"
            " or go on with --force (check=False)"
        )
    warnings.warn(f"{got}; {mend}", RuntimeWarning, stacklevel=2)


def _told(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
