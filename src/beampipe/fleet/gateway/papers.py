"""Certificates and tokens that change while the gateway runs: it takes the new ones without losing a connection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from beampipe.errors import BeampipeError, ServiceError
from beampipe.fleet.gateway.process import Gateway
from beampipe.fleet.security.tokens import read_tokens

__all__ = ["Papers"]

_Version = tuple[int, int, int]
_COMMITTED: Final = "Success"


class Papers:
    """Looks whether the files have changed, and has the gateway read them.

    A file that is broken changes nothing: the gateway goes on with what it has, and the keeper says why.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._seen = {path: _version(path) for path in self._files()}

    def look(self) -> Iterator[str]:
        """Have the gateway read what has changed since the last look.

        Yields:
            What was read, or what is wrong with it, in words.
        """
        for path in self._files():
            version = _version(path)
            if version is None or version == self._seen.get(path):
                continue
            first, self._seen[path] = path not in self._seen, version
            if first:  # of another specification, which the gateway has just read
                continue
            try:
                self._renew(path)
            except (BeampipeError, OSError, ValueError) as error:
                yield f"gateway: {error}; it goes on with what it had"
            else:
                yield f"gateway: has read {path} again"

    def _files(self) -> Iterator[Path]:
        settings = self._gateway.plan.fleet.gateway
        if settings.tokens is not None:
            yield settings.tokens
        if settings.tls is not None:
            yield settings.tls.certificate
            if settings.tls.client_ca is not None:
                yield settings.tls.client_ca

    def _renew(self, path: Path) -> None:
        settings = self._gateway.plan.fleet.gateway
        if path == settings.tokens:
            self._renew_tokens(path)
        elif settings.tls is not None and path == settings.tls.certificate:
            self._renew_certificate(path)
        else:
            self._gateway.reload(self._gateway.plan)

    def _renew_tokens(self, path: Path) -> None:
        """Put a new version of the whole map in the place of the old one."""
        tokens = read_tokens(path)
        ask = self._gateway.socket.ask
        said = ask(f"prepare map {path}")
        version = said.rpartition(":")[2].strip()
        if not version.isdigit():
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected a new version of the map")
        for digest, name in tokens.items():
            ask(f"add map @{version} {path} {digest} {name}")
        if said := ask(f"commit map @{version} {path}"):
            raise ServiceError(f"{path}: got {said!r} from HAProxy, expected no answer")

    def _renew_certificate(self, path: Path) -> None:
        ask = self._gateway.socket.ask
        text = "\n".join(line for line in path.read_text(encoding="ascii").splitlines() if line.strip())
        set_said = ask(f"set ssl cert {path} <<\n{text}\n")
        said = ask(f"commit ssl cert {path}")
        if _COMMITTED not in said:
            ask(f"abort ssl cert {path}")
            raise ServiceError(
                f"{path}: got {' '.join((set_said or said).split())!r}, expected a certificate and its key"
            )


def _version(path: Path) -> _Version | None:
    """What differs after a file was written again; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
