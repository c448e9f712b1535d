"""Tokens of clients: the file holds their hashes and whose they are, the token itself is shown once."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.files import replacing

__all__ = ["add_token", "read_tokens", "revoke_token"]

_LINE: Final = re.compile(r"([0-9a-f]{64}) ([A-Za-z0-9_.@-]{1,64})")
_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def read_tokens(path: Path) -> dict[str, str]:
    """Names by the SHA-256 of their tokens.

    Raises:
        FileError: the file cannot be read, or a line is not one of ours.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected a file of tokens; do: beampipe fleet token add") from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise FileError(f"{path}: got {line[:20]!r}... in line {number}, expected SHA256 NAME")
        found[match[1]] = match[2]
    return found


def add_token(path: Path, name: str) -> str:
    """A new token for somebody, whose hash is put into the file.

    Args:
        path: the file, made if it is not there.
        name: whose token it is, as the file of tokens shows it.

    Returns:
        The token, which is kept nowhere.

    Raises:
        ConfigError: the name has other signs than letters, digits and ``_.@-``, or has a token already.
        FileError: the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"token: got the name {name!r}, expected letters, digits and _.@- only")
    known = read_tokens(path) if path.exists() else {}
    if name in known.values():
        raise ConfigError(f"{path}: got a second token for {name}, expected one; revoke the first, or add a number")
    token = secrets.token_urlsafe(32)
    _write(path, {**known, hashlib.sha256(token.encode()).hexdigest(): name})
    return token


def revoke_token(path: Path, name: str) -> None:
    """Forget somebody's token.

    Raises:
        UnknownNameError: nobody of that name has one.
        FileError: the file cannot be read or written.
    """
    known = read_tokens(path)
    if name not in known.values():
        raise UnknownNameError(f"holder of a token in {path}", name, sorted(known.values()))
    _write(path, {digest: holder for digest, holder in known.items() if holder != name})


def _write(path: Path, tokens: Mapping[str, str]) -> None:
    with replacing(path) as part:
        part.touch(mode=0o600)
        part.write_text("".join(f"{digest} {name}\n" for digest, name in tokens.items()), encoding="ascii")
