"""Certificates of a private authority, for fleets inside one site.

A gateway with a public name should have a certificate of a public authority.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from beampipe.errors import ConfigError, FileError
from beampipe.files import replacing

_SKEW: Final = timedelta(minutes=5)
"""How long before the current time a certificate becomes valid, for clients whose clocks are behind."""

_UNUSED: Final = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
"""Uses of a key that no certificate here permits; neither may it only encipher or decipher."""


_RSA_BITS: Final = 2048
"""Smallest RSA key that OpenSSL's default security level accepts [bits]."""

_HOST: Final = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
"""A host name, or a wildcard for those of a domain."""


def make_authority(folder: Path, days: int = 3650) -> Path:
    """A new authority: `ca.pem` for clients, and the private key `ca-key.pem`, which must not be distributed.

    Args:
        folder: folder of both files.
        days: validity [days].

    Raises:
        ConfigError: the folder has one already.
    """
    path = folder / "ca.pem"
    if path.exists():
        raise ConfigError(f"{path}: got an authority that is there, expected none; use it, or another folder")
    key = ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(parents=True, exist_ok=True)
    _write_private(folder / "ca-key.pem", _text_of_key(key))
    _write_private(path, _certificate("beampipe fleet", key, days))
    return path


def make_server(folder: Path, hosts: Sequence[str], days: int = 365, name: str = "gateway") -> Path:
    """A certificate for a gateway, with its key in one file, for `gateway.tls.certificate`.

    Args:
        folder: folder of the authority.
        hosts: host names and addresses that clients use for the gateway.
        days: validity [days].
        name: name of the file.

    Raises:
        ConfigError: there are no hosts, or one is neither a host name nor an address.
        FileError: there is no valid authority.
    """
    if not hosts:
        raise ConfigError("hosts: got none, expected the names and addresses by which clients know the gateway")
    names = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
    use = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    return _make_leaf(folder / f"{name}.pem", hosts[0], days, use, names)


def make_client(folder: Path, name: str, days: int = 365) -> Path:
    """A certificate that identifies a client, with its key in one file.

    Args:
        folder: folder of the authority.
        name: name of the client, the common name of the certificate.
        days: validity [days].

    Raises:
        ConfigError: the name is that of another file of the folder.
        FileError: there is no valid authority.
    """
    if name in ("", "ca", "ca-key", "gateway") or "/" in name:
        raise ConfigError(
            f"client: got the name {name!r}, expected another one without a slash: {name}.pem must be no file of the"
            " authority or the gateway"
        )
    return _make_leaf(folder / f"{name}.pem", name, days, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


def check_certificate(path: Path) -> None:
    """Refuse a gateway's certificate that no client would accept, or that has no key.

    Raises:
        FileError: the file has no certificate or no key, the key of another certificate, or is not valid now.
    """
    certificate = _read_certificate(path)
    _check_dates(path, certificate, "beampipe fleet certificate server HOST")
    beside = key_beside(path)
    try:
        key = load_pem_private_key(_read(beside if beside.exists() else path), None)
    except (TypeError, ValueError) as error:
        raise FileError(
            f"{path}: got no private key without a password, expected certificate and key in one file; do: cat"
            f" CERTIFICATE KEY > {path}"
        ) from error
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size < _RSA_BITS:
        raise FileError(f"{path}: got an RSA key of {key.key_size} bits, expected {_RSA_BITS} or more")
    if key.public_key() != certificate.public_key():
        raise FileError(f"{path}: got a private key that is not that of the certificate, expected both of one pair")


def key_beside(path: Path) -> Path:
    """The file beside a certificate in which HAProxy looks for its private key, too."""
    return path.with_name(f"{path.name}.key")


def check_authority(path: Path) -> None:
    """Refuse a file that has not one valid certificate of an authority.

    Raises:
        FileError: there is none, or another one in the file cannot be read.
    """
    certificate = _read_certificate(path)
    _check_dates(path, certificate, "beampipe fleet certificate authority")
    try:
        signs = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:  # as in the first version of certificates
        signs = True
    if not signs:
        name = certificate.subject.rfc4514_string()
        raise FileError(f"{path}: got the certificate of {name}, which signs no others, expected an authority, ca.pem")


def _check_dates(path: Path, certificate: x509.Certificate, command: str) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begin <= datetime.now(UTC) < end:
        raise FileError(
            f"{path}: got a certificate that is valid from {begin:%Y-%m-%d} to {end:%Y-%m-%d}, expected one that is"
            f" valid now; do: {command}"
        )


def certificate_expiry(path: Path) -> datetime:
    """End of the validity of a certificate.

    Raises:
        FileError: the file holds no certificate.
    """
    return _read_certificate(path).not_valid_after_utc


def _make_leaf(path: Path, subject: str, days: int, *extensions: x509.ExtensionType) -> Path:
    """Write a certificate of the authority in the same folder, and its key."""
    check_authority(path.with_name("ca.pem"))
    signer = _read_certificate(path.with_name("ca.pem"))
    authority: Any = load_pem_private_key(_read(path.with_name("ca-key.pem")), None)
    if authority.public_key() != signer.public_key():
        raise FileError(f"{path.with_name('ca-key.pem')}: got a key that is not that of ca.pem beside it")
    origin = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(subject, key, days, (signer.subject, authority), origin, *extensions)
    _write_private(path, certificate + _text_of_key(key))
    return path


def _certificate(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    days: int,
    signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None = None,
    *extensions: x509.ExtensionType,
) -> bytes:
    """A certificate in PEM: one of an authority, which signs itself, if there is no name and key of a signer."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    signs, now = signer is None, datetime.now(UTC)
    issuer, signing_key = signer or (name, key)
    usage = x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(_UNUSED, False),
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=signs, path_length=0 if signs else None), critical=True)
        .add_extension(usage, critical=True)
    )
    for extension in (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), *extensions):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signing_key, SHA256()).public_bytes(Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        if not _HOST.fullmatch(host):
            raise ConfigError(
                f"hosts: got {host!r}, expected a host name or an address, without scheme and port"
            ) from None
        return x509.DNSName(host)


def _text_of_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _read_certificate(path: Path) -> x509.Certificate:
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
