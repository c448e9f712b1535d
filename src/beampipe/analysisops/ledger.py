"""The ledger: every call of a tool with its result, signed, and only ever appended to.

Each line is an entry as JSON, with a code (HMAC-SHA256) over the entry and the code before it. Whoever has no key can
neither add nor change one, nor leave one out before another. The host alone has the key, and agents never see the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.errors import FileError

__all__ = ["Entry", "Ledger", "entries_to_json", "read_ledger"]

_FIRST: Final = ""
"""What stands before the first entry in place of a code."""


@dataclass(frozen=True)
class Entry:
    """One call of a tool.

    Attributes:
        number: place of the call, from 1 on.
        tool: name of the tool.
        arguments: what it was called with.
        result: what it gave; None if it was refused.
        error: why it was refused; empty if it was not.
        sources: names of the data files that the result descends from; none if it was made of nothing.
        seconds: time that it took [s].
        code: signature of this entry and all before it, in hexadecimal digits.
    """

    number: int
    tool: str
    arguments: Mapping[str, Any]
    result: Mapping[str, Any] | None
    error: str
    sources: tuple[str, ...]
    seconds: float
    code: str


class Ledger:
    """A ledger that is being written; used by several threads at once.

    Args:
        path: file of the ledger; it must not be there, or be empty.
        key: secret of the host.

    Raises:
        FileError: there is a ledger already.
    """

    def __init__(self, path: Path, key: bytes) -> None:
        if path.exists() and path.stat().st_size:
            raise FileError(f"{path}: got a ledger that is there, expected a new file", path=path)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._key, self._path = key, path
        self._code = _FIRST
        self._entries: list[Entry] = []
        self._lock = threading.Lock()
        path.touch(mode=0o600)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries so far."""
        return tuple(self._entries)

    def append(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        *,
        error: str = "",
        sources: Sequence[str] = (),
        seconds: float = 0.0,
    ) -> Entry:
        """Write one entry; it is on disk when this returns. Arguments and result must be JSON without NaN."""
        with self._lock:
            plain = {
                "number": len(self._entries) + 1,
                "tool": tool,
                "arguments": dict(arguments),
                "result": None if result is None else dict(result),
                "error": error,
                "sources": sorted(set(sources)),
                "seconds": round(seconds, 6),
            }
            self._code = _sign(self._key, self._code, plain)
            line = json.dumps({**plain, "code": self._code}, allow_nan=False)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
            entry = _entry(json.loads(line))
            self._entries.append(entry)
            return entry


def read_ledger(path: Path, key: bytes) -> tuple[Entry, ...]:
    """The entries of a ledger, each signature checked.

    Raises:
        FileError: there is none, or an entry was added, changed or left out by somebody without the key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror}), expected a ledger", path=path) from error
    entries, before = [], _FIRST
    for number, line in enumerate(lines, 1):
        try:
            plain = json.loads(line)
            code = str(plain.pop("code"))
            good = plain["number"] == number and hmac.compare_digest(code, _sign(key, before, plain))
        except (ValueError, TypeError, KeyError, AttributeError):
            good = False
        if not good:
            raise FileError(
                f"{path}: got an entry {number} that its host has not signed, expected a ledger as it was written",
                path=path,
            )
        entries.append(_entry({**plain, "code": code}))
        before = code
    return tuple(entries)


def entries_to_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The entries as JSON types, for a log."""
    return [{**asdict(entry), "sources": list(entry.sources)} for entry in entries]


def _entry(plain: Mapping[str, Any]) -> Entry:
    return Entry(**{**plain, "sources": tuple(plain["sources"])})


def _sign(key: bytes, before: str, plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, f"{before}\n{text}".encode(), hashlib.sha256).hexdigest()
