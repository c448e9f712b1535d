"""The ledger: every call of a tool with its result, signed and append-only.

Each line is an entry as JSON, with a code (HMAC-SHA256) over the entry and the code before it. Without the key, entries
can be neither added nor changed, nor removed from before another entry. A truncated end is detected with the code of
the last entry.
Only the host has the key, and agents never see the file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from beampipe.errors import FileError

_DEEPEST: Final = 40
"""Maximum depth of nested arguments; deeper values are replaced."""

_LONGEST_TEXT: Final = 200
"""Maximum length of a value that is not JSON [characters]."""

_FIRST: Final = ""
"""Code before the first entry."""


@dataclass(frozen=True)
class Entry:
    """One call of a tool.

    Attributes:
        number: number of the call, from 1 on.
        tool: name of the tool.
        arguments: its arguments.
        result: its result; None if it was refused.
        error: why it was refused; empty if it was not.
        sources: names of the data files that the result depends on; empty if it uses no data.
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
    """A ledger to write to, from several threads at once.

    Args:
        path: file of the ledger; it must be new or empty.
        key: secret key of the host.

    Raises:
        FileError: the ledger exists already.
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

    @property
    def last(self) -> str:
        """Code of the last entry, with which `read_ledger` detects a truncated end; empty if there is no entry."""
        return self._code

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
        """Write one entry; it is on disk when this returns.

        Args:
            tool: name of the tool, as called.
            arguments: arguments of the agent; values that are not JSON, such as NaN, are stored as text.
            result: result of the tool, JSON without NaN; None if it refused.
            error: why it refused.
            sources: names of the data files that the result depends on.
            seconds: time that it took [s].

        Raises:
            ValueError: the result holds NaN or infinity.
            TypeError: the result is not JSON.
            FileError: the entry cannot be written; the ledger is unchanged.
        """
        with self._lock:
            plain = {
                "number": len(self._entries) + 1,
                "tool": _as_json(tool),
                "arguments": _as_json(arguments),
                "result": None if result is None else dict(result),
                "error": _as_json(error),
                "sources": sorted(set(sources)),
                "seconds": round(seconds, 6),
            }
            code = _sign(self._key, self._code, plain)
            line = json.dumps({**plain, "code": code}, allow_nan=False)
            self._write(line + "\n")
            entry = entry_from_json(json.loads(line))
            self._entries.append(entry)
            self._code = code
            return entry

    def _write(self, line: str) -> None:
        before = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):  # an incomplete entry would make the rest unreadable
                os.truncate(self._path, before)
            raise FileError(
                f"{self._path}: cannot be written ({error.strerror}), make room", path=self._path
            ) from error


def read_ledger(path: Path, key: bytes, last: str | None = None) -> tuple[Entry, ...]:
    """The entries of a ledger, after verifying all signatures.

    Args:
        path: file of the ledger.
        key: secret key of the host that wrote it.
        last: code of the last entry (`Ledger.last`); without it a truncated end is not detected.

    Raises:
        FileError: the ledger does not exist, or an entry was added, changed or removed without the key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise FileError(f"{path}: cannot be read ({reason}), expected a ledger", path=path) from error
    entries, before = [], _FIRST
    for number, line in enumerate(lines, 1):
        entry = None
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            plain = json.loads(line)
            code = str(plain.pop("code"))
            right = hmac.compare_digest(code.encode(), _sign(key, before, plain).encode())
            if right and plain["number"] == number:
                entry = entry_from_json({**plain, "code": code})
        if entry is None:
            raise FileError(
                f"{path}: got an entry {number} that its host has not signed, expected a ledger as it was written",
                path=path,
            )
        entries.append(entry)
        before = entry.code
    if last is not None and not hmac.compare_digest(before, last):
        raise FileError(
            f"{path}: got {len(entries)} entries that do not end with the last one of its host, expected all of them",
            path=path,
        )
    return tuple(entries)


def entry_from_json(plain: Mapping[str, Any]) -> Entry:
    """An entry of a log or a line of a ledger."""
    return Entry(**{**plain, "sources": tuple(plain["sources"])})


def entries_to_json(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The entries as JSON types, for a log."""
    return [{**asdict(entry), "sources": list(entry.sources)} for entry in entries]


def _as_json(value: Any, depth: int = 0) -> Any:
    """A value as JSON without NaN; other values become text."""
    if depth > _DEEPEST:
        return "..."
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):  # a lone surrogate cannot be written
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {_as_json(str(name)): _as_json(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item, depth + 1) for item in value]
    return repr(value)[:_LONGEST_TEXT]


def _sign(key: bytes, before: str, plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hmac.new(key, f"{before}\n{text}".encode(), hashlib.sha256).hexdigest()
