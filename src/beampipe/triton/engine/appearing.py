"""Folders that appear under their names only when they are complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["appearing"]


@contextmanager
def appearing(folder: Path, is_there: Callable[[], bool]) -> Iterator[Path]:
    """A scratch folder to fill, which gets its name if the block ends well and is removed if not.

    Args:
        folder: where the folder shall be; its parent must exist.
        is_there: whether somebody else was quicker; theirs is then left.
    """
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        try:
            scratch.rename(folder)
        except OSError:
            if not is_there():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
