"""Who may use a fleet: tokens, of which only hashes are stored, and public keys of the issuers of other tokens."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from beampipe.errors import ConfigError, FileError, ServiceUnavailableError, UnknownNameError
from beampipe.files import replacing, write_whole


@dataclass(frozen=True)
class VerificationKey:
    """A public key of an issuer of JSON Web Tokens.

    Attributes:
        name: its name in the headers of tokens, ``kid``.
        algorithm: algorithm of the signatures, such as ``RS256``.
        pem: the key in PEM.
    """

    name: str
    algorithm: str
    pem: str

    @property
    def file(self) -> str:
        """Name of a file for the key; another key has another one."""
        return f"jwt-{hashlib.sha256(self.pem.encode()).hexdigest()[:16]}.pem"


_TIMEOUT: Final = 10.0
"""Time limit [s] of an issuer's answer."""

_LARGEST: Final = 1 << 20
"""Largest JWKS that is fetched [bytes]."""

_KID: Final = re.compile(r"[A-Za-z0-9._~:/@+=-]{1,128}")

_CURVES: Final = {"P-256": ("ES256", "SECP256R1"), "P-384": ("ES384", "SECP384R1"), "P-521": ("ES512", "SECP521R1")}
"""Algorithm, and name in `cryptography`, by name of the curve in a JWKS."""

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")


def read_jwks(path: Path) -> list[VerificationKey]:
    """Read the keys for signatures of a JWKS, as RFC 7517 defines it: RSA, and elliptic curves of NIST.

    Raises:
        FileError: the file cannot be read, is no JWKS, or has no such key.
        MissingExtraError: `cryptography` is not installed.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: got {error.strerror}, expected a JWKS, the public keys of an issuer") from error
    return _parse_jwks(text, str(path))


def fetch_jwks(url: str, file: Path) -> None:
    """Fetch the keys of an issuer, and write them to a file if they are others than there.

    Raises:
        ServiceUnavailableError: the address does not answer, or redirects to another one; the file stays.
        FileError: the answer is no JWKS, or has no key for signatures; the file stays.
    """
    try:
        with urlopen(url, timeout=_TIMEOUT) as answer:
            text, address = answer.read(_LARGEST), answer.url
    except (OSError, HTTPException) as error:
        raise ServiceUnavailableError(f"{url}: got {error}, expected the JWKS of an issuer") from error
    if address != url:  # possibly one without TLS
        raise ServiceUnavailableError(f"{url}: got a redirection to {address}, expected the JWKS of an issuer")
    _parse_jwks(text, url)
    if not file.exists() or file.read_bytes() != text:
        write_whole(file, lambda part: part.write_bytes(text))


def _parse_jwks(text: bytes, where: str) -> list[VerificationKey]:
    try:
        entries = json.loads(text)["keys"]
        keys = [_verification_key(entry) for entry in entries if entry.get("use", "sig") == "sig" and "kid" in entry]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{where}: got {error!r}, expected a JWKS, the public keys of an issuer") from error
    results = [key for key in keys if key is not None]
    if not results:
        raise FileError(f"{where}: got no key for signatures with a kid, expected one or more of type RSA or EC")
    return results


def _verification_key(entry: Mapping[str, Any]) -> VerificationKey | None:
    """A key of a JWKS; None if it is of another type."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def number(name: str) -> int:
        text = entry[name]
        return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")

    if not _KID.fullmatch(entry["kid"]):
        raise ValueError(f"kid {entry['kid']!r}")
    numbers: Any
    match entry.get("kty"):
        case "RSA" if (algorithm := entry.get("alg", "RS256")) in _RSA:
            numbers = rsa.RSAPublicNumbers(number("e"), number("n"))
        case "EC" if entry["crv"] in _CURVES:
            algorithm, curve = _CURVES[entry["crv"]]
            numbers = ec.EllipticCurvePublicNumbers(number("x"), number("y"), getattr(ec, curve)())
        case _:
            return None
    pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return VerificationKey(entry["kid"], algorithm, pem.decode())


_FIRST: Final = "# Tokens of beampipe fleet: SHA-256 and holder. The last line is '# end'."
_LAST: Final = "# end"
"""First and last line of a file of tokens: it was not cut off, though it may have no token."""

_LINE: Final = re.compile(r"([0-9a-f]{64}) ([A-Za-z0-9_.@-]{1,64})")

_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def read_tokens(path: Path) -> dict[str, str]:
    """Read a file of tokens: names of their holders by the SHA-256 of the token.

    Raises:
        FileError: the file cannot be read, a line is invalid, or it was cut off.
    """
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected a file of tokens; do: beampipe fleet token add") from error
    result: dict[str, str] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise FileError(  # without the line, which may be a token
                f"{path}: line {number}: expected SHA256 NAME, the hash of a token and its holder; do: beampipe fleet"
                " token add"
            )
        if result.setdefault(match[1], match[2]) != match[2]:
            raise FileError(
                f"{path}: got one token for {result[match[1]]} and {match[2]} in line {number}, expected two"
            )
    if not result and _LAST not in lines:
        raise FileError(
            f"{path}: got no token, so that each request would be refused; do: beampipe fleet token add NAME --tokens"
            f" {path}"
        )
    if (_FIRST in lines[:1] and _LAST not in lines) or not text.endswith("\n"):
        raise FileError(f"{path}: got a file that was cut off, expected {_LAST!r} as its last line")
    return result


def add_token(path: Path, name: str) -> str:
    """Make a token, and add its hash to the file.

    Args:
        path: the file; made if it does not exist.
        name: name of the holder, which is stored with the hash.

    Returns:
        The token, which is stored nowhere.

    Raises:
        ConfigError: the name has characters other than letters, digits and ``_.@-``, or has a token already.
        FileError: the file cannot be read or written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"token: got the name {name!r}, expected letters, digits and _.@- only")
    known = read_tokens(path) if path.exists() else {}
    if name in known.values():
        raise ConfigError(f"{path}: got a second token for {name}, expected one; revoke the first, or add a number")
    token = secrets.token_urlsafe(32)
    _write_tokens(path, {**known, hashlib.sha256(token.encode()).hexdigest(): name})
    return token


def revoke_token(path: Path, name: str) -> None:
    """Remove the token of a holder.

    Raises:
        UnknownNameError: there is no token of that name.
        FileError: the file cannot be read or written.
    """
    known = read_tokens(path)
    if name not in known.values():
        raise UnknownNameError(f"holder of a token in {path}", name, sorted(known.values()))
    _write_tokens(path, {digest: holder for digest, holder in known.items() if holder != name})


def _write_tokens(path: Path, tokens: Mapping[str, str]) -> None:
    with replacing(path) as part:
        part.touch(mode=0o600)
        lines = [_FIRST, *(f"{digest} {name}" for digest, name in tokens.items()), _LAST]
        part.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
