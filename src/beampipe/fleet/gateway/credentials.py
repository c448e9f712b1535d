"""Credential files of a gateway: certificates, tokens and keys, of which it serves copies in the run folder.

A copy is the last good content of its file: a file that is broken, missing or expired changes nothing, also when
HAProxy or the fleet starts again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from beampipe.errors import BeampipeError, FileError, ServiceError
from beampipe.files import replacing
from beampipe.fleet.certificates import certificate_expiry, check_authority, check_certificate, key_beside
from beampipe.fleet.gateway.access_log import escaped_label
from beampipe.fleet.gateway.haproxy import Gateway
from beampipe.fleet.security import read_jwks, read_tokens
from beampipe.fleet.specification import Fleet, GatewaySettings
from beampipe.triton.server.haproxy import RuntimeApi

_AGAIN: Final = 5.0
"""Time [s] after which a file is checked again, though it has not changed: certificates end, and a disk may be full."""


@dataclass(frozen=True)
class Credential:
    """A credential file of a specification, and its copy.

    Attributes:
        source: the file.
        copy: the copy, which has the private key of a certificate, too.
        check: raises `FileError` if a file cannot be used.
        fetched: whether the fleet itself makes the file, of keys that have an address.
        renew: replaces the content of the copy in a running HAProxy; None if that takes a reload.
    """

    source: Path
    copy: Path
    check: Callable[[Path], object]
    fetched: bool = False
    renew: Callable[[RuntimeApi, Path], None] | None = None

    def content(self) -> bytes:
        """Content of the file for the copy.

        Raises:
            FileError: it cannot be read.
        """
        key = key_beside(self.source)
        try:
            joined = self.check is check_certificate and key.exists()
            return self.source.read_bytes() + (b"\n" + key.read_bytes() if joined else b"")
        except OSError as error:
            raise FileError(f"{self.source}: got {error.strerror}, expected a file that can be read") from error

    def take(self, content: bytes, accept: Callable[[Path], object] = lambda part: None) -> bool:
        """Make a content the copy, if it is good; whether the copy had another one.

        Args:
            content: content of the file.
            accept: raises an error if the gateway cannot use a file.

        Raises:
            FileError: it is not good.
        """
        if self.copy.exists() and self.copy.read_bytes() == content:
            self._check(self.copy)
            return False
        with replacing(self.copy) as part:
            part.touch(mode=0o600)
            part.write_bytes(content)
            self._check(part)
            accept(part)
        return True

    def _check(self, path: Path) -> None:
        try:
            self.check(path)
        except FileError as error:
            raise FileError(str(error).replace(str(path), str(self.source))) from error


def credentials_of(gateway: GatewaySettings, folder: Path) -> dict[str, Credential]:
    """The credential files that a specification names, by their kind.

    Args:
        gateway: the gateway's part of the specification.
        folder: run folder of the fleet.
    """
    found: dict[str, Credential] = {}

    def add(kind: str, source: Path, check: Callable[[Path], object], **others: Any) -> None:
        digest = hashlib.sha256(bytes(source.absolute())).hexdigest()[:16]
        found[kind] = Credential(source, folder / "credentials" / f"{kind}-{digest}", check, **others)

    if gateway.tokens is not None:
        add("tokens", gateway.tokens, read_tokens, renew=_renew_tokens)
    if gateway.jwt is not None:
        add("jwks", gateway.jwt.file(folder), read_jwks, fetched=gateway.jwt.keys is None)
    if gateway.tls is not None:
        add("certificate", gateway.tls.certificate, check_certificate, renew=_renew_certificate)
        if gateway.tls.client_ca is not None:
            add("client-ca", gateway.tls.client_ca, check_authority)
    return found


class Credentials:
    """The credential files of a specification while its fleet runs; they are copied at once.

    Args:
        fleet: the specification.
        folder: run folder of the fleet.

    Attributes:
        served: the specification with the copies in place of the files.

    Raises:
        FileError: a file cannot be used, and there is no earlier copy of it.
    """

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._files = credentials_of(fleet.gateway, folder)
        self._folder = folder / "credentials"
        self._refused: dict[str, str] = {}
        self._seen: dict[str, bytes] = {}
        self._again = 0.0
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for kind, credential in self._files.items():
            try:
                credential.take(credential.content())
            except FileError as error:
                if not credential.copy.exists():
                    raise
                self._refused[kind] = str(error)
        self.served = _with_files(fleet, {kind: credential.copy for kind, credential in self._files.items()})

    def remove_others(self) -> None:
        """Remove copies of earlier specifications, once the gateway has the present one."""
        for copy in set(self._folder.iterdir()) - {credential.copy for credential in self._files.values()}:
            copy.unlink(missing_ok=True)

    def update(self, gateway: Gateway) -> Iterator[str]:
        """Have a gateway that runs serve the files that have changed; no connection is lost.

        Args:
            gateway: the gateway.

        Yields:
            The text of an incident: that a file was read, or why not.
        """
        now = time.monotonic()
        if again := now >= self._again:
            self._again = now + _AGAIN
        for kind, credential in self._files.items():
            try:
                content = credential.content()
                if content == self._seen.get(kind) and not again:
                    continue
                self._seen[kind] = content

                def accept(part: Path, kind: str = kind) -> None:
                    gateway.check(replace(gateway.plan, fleet=_with_files(gateway.plan.fleet, {kind: part})))

                changed = credential.take(content, accept)
            except (BeampipeError, OSError) as error:
                text = str(error)
                if self._refused.get(kind) != text:
                    self._refused[kind] = text
                    yield f"gateway: {text}; it goes on with what it had"
                continue
            self._refused.pop(kind, None)
            if changed:
                try:
                    if credential.renew is not None:
                        credential.renew(gateway.api, credential.copy)
                    else:
                        gateway.renew()
                except ServiceError:  # a worker that starts now reads the copy anyway
                    gateway.renew()
                yield f"gateway: has read {credential.source} again"

    def rows(self) -> list[dict[str, Any]]:
        """Each file as data: path, why it is not the one that is served, and end of its certificate [s since 1970]."""
        return [
            {
                "file": str(credential.source),
                "refused": self._refused.get(kind),
                "end": certificate_expiry(credential.copy).timestamp()
                if kind in ("certificate", "client-ca")
                else None,
            }
            for kind, credential in self._files.items()
        ]

    def metrics(self) -> Iterator[str]:
        """Lines in Prometheus's text format."""
        rows = [(row, escaped_label(row["file"])) for row in self.rows()]
        yield "# HELP beampipe_fleet_credential_refused Whether a credential file is not the one that is served."
        yield "# TYPE beampipe_fleet_credential_refused gauge"
        for row, file in rows:
            yield f'beampipe_fleet_credential_refused{{file="{file}"}} {int(row["refused"] is not None)}'
        yield "# HELP beampipe_fleet_certificate_end_seconds When a certificate that is served ends [s since 1970]."
        yield "# TYPE beampipe_fleet_certificate_end_seconds gauge"
        for row, file in rows:
            if row["end"] is not None:
                yield f'beampipe_fleet_certificate_end_seconds{{file="{file}"}} {row["end"]:.0f}'


def _with_files(fleet: Fleet, files: Mapping[str, Path]) -> Fleet:
    """A specification with other credential files, by their kind."""
    tokens, jwt, tls = fleet.gateway.tokens, fleet.gateway.jwt, fleet.gateway.tls
    if tls is not None:
        ca = files.get("client-ca", tls.client_ca)
        tls = replace(tls, certificate=files.get("certificate", tls.certificate), client_ca=ca)
    if jwt is not None and "jwks" in files:
        jwt = replace(jwt, keys=files["jwks"], url=None)
    return replace(fleet, gateway=replace(fleet.gateway, tokens=files.get("tokens", tokens), jwt=jwt, tls=tls))


def _renew_tokens(api: RuntimeApi, path: Path) -> None:
    """Replace the whole map in one transaction."""
    output = api.ask(f"prepare map {path}")
    version = output.rpartition(":")[2].strip()
    if not version.isdigit():
        raise ServiceError(f"{path}: got {output!r} from HAProxy, expected a new version of the map")
    for digest, name in read_tokens(path).items():
        api.ask(f"add map @{version} {path} {digest} {name}")
    if output := api.ask(f"commit map @{version} {path}"):
        raise ServiceError(f"{path}: got {output!r} from HAProxy, expected no answer")


def _renew_certificate(api: RuntimeApi, path: Path) -> None:
    text = "\n".join(line for line in path.read_text(encoding="ascii").splitlines() if line.strip())
    api.ask(f"set ssl cert {path} <<\n{text}\n")
    if "Success" not in (output := api.ask(f"commit ssl cert {path}")):
        api.ask(f"abort ssl cert {path}")
        raise ServiceError(f"{path}: got {output!r} from HAProxy, expected a certificate that it takes")
