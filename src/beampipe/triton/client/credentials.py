"""Where a client finds its secrets: the token that a user was given, and that of a server on this machine."""

from __future__ import annotations

from pathlib import Path

from beampipe.errors import FileError

__all__ = ["read_token", "secret_of"]


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


def secret_of(url: str) -> tuple[str, str] | None:
    """The header that opens what a server keeps to its own user, such as mapping shared memory.

    It is looked up again for each such request: a server that was restarted has another secret.

    Args:
        url: address of the server, with its scheme: gRPC and HTTP want headers of different names.

    Returns:
        Name and value of the header; None if no server of this user on this machine has that address.
    """
    return None
