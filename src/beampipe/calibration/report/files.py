"""Files that are there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from beampipe.workflow.parts import sweep_parts, unfinished

__all__ = ["sweep", "write_whole"]

_PARTS = ".parts"


def write_whole(path: Path, make: Callable[[Path], object]) -> Path:
    """Write a file under another name, then give it its own.

    Args:
        path: where it shall be; its folder is made.
        make: writes it to the path it is called with, which ends alike.
    """
    parts = path.parent / _PARTS
    parts.mkdir(parents=True, exist_ok=True)
    with unfinished(parts, path.suffix) as part:
        make(part)
        part.replace(path)
    return path


def sweep(folder: Path) -> None:
    """Remove what dead writers left, and the folders for it if nothing is in them."""
    for parts in folder.rglob(_PARTS):
        sweep_parts(parts)
        if not any(parts.iterdir()):
            parts.rmdir()
