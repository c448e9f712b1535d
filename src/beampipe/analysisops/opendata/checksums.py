"""What is known of the contents of a file: digests, and the length that a ROOT file tells of itself."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from beampipe.errors import InputError

__all__ = ["WANTED", "Checksum", "checksum_in", "digests_of", "root_fault"]

WANTED: Final = {"Want-Digest": "sha-256, md5;q=0.5, adler32;q=0.3", "Want-Repr-Digest": "sha-256=5"}
"""Headers of a request that ask for a digest of the whole file (RFC 3230, RFC 9530); storage of CERN gives adler32."""

_CHUNK: Final = 1 << 20
_LARGE: Final = 1_000_000
"""A ROOT file with a version from here on has lengths of 64 bits in its header."""


@dataclass(frozen=True)
class Checksum:
    """A digest of the contents of a file.

    Attributes:
        algorithm: ``"sha256"``, ``"md5"`` or ``"adler32"``.
        digits: the digest in lower-case hexadecimal digits.

    Raises:
        InputError: another algorithm, or not the digits of one.
    """

    algorithm: str
    digits: str

    def __post_init__(self) -> None:
        length = _LENGTHS.get(self.algorithm)
        if length is None or not re.fullmatch(f"[0-9a-f]{{{length}}}", self.digits):
            raise InputError(
                f"checksum: got {self.algorithm}:{self.digits[:80]}, expected one of {', '.join(_LENGTHS)} in"
                " hexadecimal digits"
            )


class _Digest(Protocol):
    def update(self, data: bytes, /) -> object: ...

    def hexdigest(self) -> str: ...


class _Adler32:
    """Adler-32 with the methods of `hashlib`."""

    def __init__(self) -> None:
        self._sum = 1

    def update(self, data: bytes, /) -> None:
        self._sum = zlib.adler32(data, self._sum)

    def hexdigest(self) -> str:
        return f"{self._sum:08x}"


_MAKERS: Final[Mapping[str, Callable[[], _Digest]]] = {
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "adler32": _Adler32,
}
_LENGTHS: Final = {"sha256": 64, "md5": 32, "adler32": 8}


def digests_of(path: Path, *algorithms: str) -> dict[str, str]:
    """Digests of a file by algorithm; it is read once."""
    digests = {name: _MAKERS[name]() for name in algorithms}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for digest in digests.values():
                digest.update(chunk)
    return {name: digest.hexdigest() for name, digest in digests.items()}


def checksum_in(headers: Mapping[str, str]) -> Checksum | None:
    """The strongest digest of the whole file that a server tells; None if it tells none that is understood.

    Args:
        headers: of the answer, with names in lower case.
    """
    found = {}
    for name in ("digest", "repr-digest"):
        for part in headers.get(name, "").split(","):
            algorithm, _, text = part.strip().partition("=")
            algorithm = algorithm.lower().replace("sha-256", "sha256")
            digits = _digits(algorithm, text.strip().strip(":"))
            if digits is not None:
                found[algorithm] = digits
    best = next((name for name in _MAKERS if name in found), None)
    return None if best is None else Checksum(best, found[best])


def root_fault(path: Path) -> str:
    """What speaks against a file being a whole ROOT file; empty if nothing does.

    A ROOT file begins with ``root``, its version, the place of its first record, and where it ends; free bytes may
    follow.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(24)
    if not head.startswith(b"root"):
        return "an HTML page" if head.lstrip()[:1] == b"<" else f"something that begins with {head[:8]!r}"
    if len(head) < 24:
        return f"{size} bytes"
    (version,) = struct.unpack(">i", head[4:8])
    (told,) = struct.unpack(">q", head[12:20]) if version >= _LARGE else struct.unpack(">i", head[12:16])
    return "" if 0 < told <= size else f"{size} bytes of a file that says it has {told}"


def _digits(algorithm: str, text: str) -> str | None:
    """The hexadecimal digits of a digest: it may be in base 64."""
    length = _LENGTHS.get(algorithm)
    if length is None or not text:
        return None
    if re.fullmatch("[0-9a-fA-F]+", text) and (len(text) == length or algorithm == "adler32"):
        return text.lower().zfill(length)[:length]
    try:
        raw: Any = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) * 2 == length else None
