"""Displays of events that others drop into a folder, each an HTML page that is complete in itself."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["POLICY", "Display", "list_displays", "read_display"]

POLICY: Final = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""Content-Security-Policy of a display: it may draw, and ask nobody; it is a stranger to the page that shows it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.html")
_LARGEST: Final = 64 << 20
"""Largest display [bytes]."""
_MOST: Final = 100
"""Number of displays that are listed, the newest."""


class Display(NamedTuple):
    """A display of an event.

    Attributes:
        name: name of its file.
        time: when it was written [s since 1970].
    """

    name: str
    time: float


def list_displays(folder: Path | None) -> list[Display]:
    """The newest displays of a folder, the newest first; none if there is no folder."""
    found: list[Display] = []
    if folder is None:
        return found
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # removed meanwhile
                if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    found.append(Display(entry.name, entry.stat(follow_symlinks=False).st_mtime))
    return sorted(found, key=lambda display: (-display.time, display.name))[:_MOST]


def read_display(folder: Path | None, name: str) -> bytes | None:
    """The bytes of a display; None if no regular file of the folder itself has that name, or it is too large.

    Args:
        folder: folder of the displays; None if there is none.
        name: name of the file, as a client asks for it.
    """
    if folder is None or not _NAME.fullmatch(name):
        return None
    try:
        # Not a link, which could lead elsewhere; not a pipe, which could make us wait.
        file = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return None
        with os.fdopen(file, "rb", closefd=False) as stream:
            return stream.read(_LARGEST)
    finally:
        os.close(file)
