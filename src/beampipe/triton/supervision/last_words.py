"""The line with which Triton's handler of fatal signals begins, as it appears in the log.

The handler prints a stack trace, for which it needs memory. After a corruption of the heap it then waits for ever for
the lock of `malloc`: the process does not end, and its health addresses go on saying that all is well.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["LastWords"]

_FATAL: Final = re.compile(rb"^Signal \((6|11)\) received", re.M)
"""Said on SIGABRT and SIGSEGV, and of other numbers on signals after which a server ends in order."""
_HALF: Final = 64
"""Length [bytes] of the longest half line that may become that one, and is therefore read again."""


class LastWords:
    """Looks for the line in what has been added to a log.

    Args:
        log: file to which the server writes.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0
        self.skip()

    def skip(self) -> None:
        """Leave out what is there by now, which an earlier server has said."""
        with suppress(OSError):
            self._read = self._log.stat().st_size

    def said(self) -> bool:
        """Whether the line is in what was added since the last look, or since `skip`."""
        try:
            with self._log.open("rb") as stream:
                stream.seek(self._read)
                added = stream.read()
        except OSError:
            return False
        if _FATAL.search(added):
            self._read += len(added)
            return True
        half = len(added) - 1 - added.rfind(b"\n")
        self._read += len(added) - (half if half < _HALF else 0)
        return False
