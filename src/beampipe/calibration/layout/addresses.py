"""Files elsewhere: their addresses, kept as paths like those of files here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

__all__ = ["PROTOCOLS", "address", "is_remote"]

PROTOCOLS: Final = ("http", "https", "root", "s3")
"""Protocols by which files elsewhere are read, where fsspec knows them."""

_REMOTE: Final = re.compile(rf"^({'|'.join(PROTOCOLS)}):/+(.*)", re.DOTALL)


def is_remote(path: Path | str) -> bool:
    """Whether a path is an address elsewhere."""
    return _REMOTE.match(str(path)) is not None


def address(path: Path) -> str:
    """The address of a file: `Path` makes one slash of two, which are put back here.

    >>> address(Path("https://host/a.root"))
    'https://host/a.root'
    >>> address(Path("root://host//store/a.root"))
    'root://host//store/a.root'
    """
    found = _REMOTE.match(str(path))
    if found is None:
        return str(path)
    protocol, rest = found.groups()
    return f"{protocol}://{rest.replace('/', '//', 1) if protocol == 'root' else rest}"
