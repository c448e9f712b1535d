"""Who may use a fleet: tokens, of which only hashes are stored, keys of issuers, certificates of a private authority.

Certificates of a private authority are for fleets inside one site; a gateway with a public name should have a
certificate of a public authority.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.files import replacing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate


_SKEW: Final = timedelta(minutes=5)
"""How long before the current time a certificate becomes valid, for clients whose clocks are behind."""


def make_authority(folder: Path, days: int = 3650) -> Path:
    """A new authority: `ca.pem` for clients, and the private key `ca-key.pem`, which must not be distributed.

    Args:
        folder: folder of both files.
        days: validity [days].

    Raises:
        ConfigError: the folder has one already.
        MissingExtraError: `cryptography` is not installed.
    """
    from cryptography import x509

    path = folder / "ca.pem"
    if path.exists():
        raise ConfigError(f"{path}: got an authority that is there, expected none; use it, or another folder")
    key = _new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "beampipe fleet")])
    builder = (
        _builder(name, name, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
    )
    certificate = _signed(builder, key)
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(folder / "ca-key.pem", _key_text(key))
    _write_private(path, _text(certificate))
    return path


def make_server(folder: Path, hosts: Sequence[str], days: int = 365, name: str = "gateway") -> Path:
    """A certificate for a gateway, with its key in one file, for `gateway.tls.certificate`.

    Args:
        folder: folder of the authority.
        hosts: host names and addresses that clients use for the gateway.
        days: validity [days].
        name: name of the file.

    Raises:
        FileError: there is no authority.
        MissingExtraError: `cryptography` is not installed.
    """
    from cryptography import x509

    if not hosts:
        raise ConfigError("hosts: got none, expected the names and addresses by which clients know the gateway")
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    return _make_leaf(folder, name, hosts[0], x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, days, names)


def make_client(folder: Path, name: str, days: int = 365) -> Path:
    """A certificate that identifies a client, with its key in one file.

    Args:
        folder: folder of the authority.
        name: name of the client, the common name of the certificate.
        days: validity [days].

    Raises:
        FileError: there is no authority.
        MissingExtraError: `cryptography` is not installed.
    """
    from cryptography import x509

    return _make_leaf(folder, name, name, x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH, days)


def certificate_expiry(path: Path) -> datetime:
    """End of the validity of a certificate.

    Raises:
        FileError: the file holds no certificate.
    """
    return _read_certificate(path).not_valid_after_utc


def _make_leaf(folder: Path, file: str, subject: str, use: Any, days: int, names: Any = None) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    authority = _read_certificate(folder / "ca.pem")
    authority_key: Any = load_pem_private_key(_read(folder / "ca-key.pem"), None)
    key = _new_key()
    builder = (
        _builder(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]), authority.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if names is not None:
        builder = builder.add_extension(names, critical=False)
    path = folder / f"{file}.pem"
    _write_private(path, _text(_signed(builder, authority_key)) + _key_text(key))
    return path


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _builder(subject: Any, issuer: Any, key: EllipticCurvePrivateKey, days: int) -> Any:
    from cryptography import x509

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: Any, key: EllipticCurvePrivateKey) -> Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256

    certificate: Certificate = builder.sign(key, SHA256())
    return certificate


def _general_name(host: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _text(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _key_text(key: EllipticCurvePrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(_read(path))
    except ValueError as error:
        raise FileError(f"{path}: got no certificate ({error}), expected one in PEM") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: got {error.strerror}; make an authority by: beampipe fleet certificate") from error


def _write_private(path: Path, data: bytes) -> None:
    with replacing(path) as part:
        part.touch(mode=0o600)
        part.write_bytes(data)


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
        entries = json.loads(path.read_text(encoding="utf-8"))["keys"]
        keys = [_verification_key(entry) for entry in entries if entry.get("use", "sig") == "sig" and "kid" in entry]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileError(f"{path}: got {error!r}, expected a JWKS, the public keys of an issuer", path=path) from error
    results = [key for key in keys if key is not None]
    if not results:
        raise FileError(
            f"{path}: got no key for signatures with a kid, expected one or more of type RSA or EC", path=path
        )
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


_LINE: Final = re.compile(r"([0-9a-f]{64}) ([A-Za-z0-9_.@-]{1,64})")

_NAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


def read_tokens(path: Path) -> dict[str, str]:
    """Read a file of tokens: names of their holders by the SHA-256 of the token.

    Raises:
        FileError: the file cannot be read, or a line is invalid.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected a file of tokens; do: beampipe fleet token add") from error
    result = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise FileError(f"{path}: got {line[:20]!r}... in line {number}, expected SHA256 NAME")
        result[match[1]] = match[2]
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
        part.write_text("".join(f"{digest} {name}\n" for digest, name in tokens.items()), encoding="ascii")
