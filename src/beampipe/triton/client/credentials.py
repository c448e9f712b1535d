"""Where a client finds the token that its user was given."""

from __future__ import annotations

from pathlib import Path

from beampipe.errors import FileError

__all__ = ["read_token"]


def read_token(path: Path) -> str:
    """The one word in a file.

    Raises:
        FileError: it cannot be read, or holds no word or several.
    """
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: {error}; expected a file with a token", path=path) from None
    if len(lines) != 1:
        raise FileError(f"{path}: got {len(lines)} words, expected one token", path=path)
    return lines[0]
