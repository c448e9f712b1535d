"""The servers behind the hosts of URLs: a name may have several addresses, and other ones later."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final

from beampipe.triton.client.connections.balance import Balance
from beampipe.triton.client.connections.remote import RemoteModel
from beampipe.triton.client.endpoint import Endpoint

__all__ = ["Servers", "addresses_of"]

_LOOKED_UP: Final = 30.0
"""After so long [s] names are looked up again."""

_SOON: Final = 2.0
"""After a failure names are looked up again if the last time is so long ago [s]."""


def addresses_of(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """One endpoint for each address that the name of the host has.

    A machine may have an address of IPv4 and one of IPv6, which are no two servers: several count as several only
    within one family. With one of each the endpoint stays as it is, and the transport finds out which one answers.

    Raises:
        OSError: the name cannot be looked up.
    """
    if not endpoint.named:
        return (endpoint,)
    families: dict[int, set[str]] = {}
    for family, _, _, _, address in socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM):
        families.setdefault(family, set()).add(str(address[0]))
    several = next((found for found in families.values() if len(found) > 1), ())
    return tuple(replace(endpoint, address=address) for address in sorted(several)) or (endpoint,)


class Servers:
    """One model on each server that the URLs name.

    Args:
        endpoints: what the URLs say.
        connect: makes the model on one server.
        longest: no request takes longer [s].
        look_up: gives the servers behind an endpoint, None to take each as it is.
        clock: gives the time [s], for tests.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        connect: Callable[[Endpoint], RemoteModel],
        longest: float,
        look_up: Callable[[Endpoint], Sequence[Endpoint]] | None = addresses_of,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._connect, self._longest, self._clock = connect, longest, clock
        self._look_up = look_up if any(endpoint.named for endpoint in endpoints) else None
        self._lock = threading.Lock()
        self._found: dict[Endpoint, Sequence[Endpoint]] = {endpoint: (endpoint,) for endpoint in endpoints}
        self._remotes: dict[Endpoint, RemoteModel] = {}
        self._retired: list[tuple[float, RemoteModel]] = []
        self._looked_up = float("inf")
        self._due = float("inf")
        self._balance: Balance[RemoteModel] = Balance(())
        self.refresh()

    def balance(self) -> Balance[RemoteModel]:
        """Those to ask; if the names were looked up long ago, they are again, beside the requests."""
        if self._clock() >= self._due:
            self._due = float("inf")
            threading.Thread(target=self.refresh, name="beampipe-addresses", daemon=True).start()
        return self._balance

    def failed(self) -> None:
        """Look names up again soon: a server that does not answer may have moved."""
        self._due = min(self._due, self._looked_up + _SOON)

    def refresh(self) -> None:
        """Look the names up: connect to new servers, ask those no more that are gone."""
        found = {endpoint: self._addresses(endpoint, known) for endpoint, known in self._found.items()}
        with self._lock:
            now = self._clock()
            self._found = found
            endpoints = dict.fromkeys(one for several in found.values() for one in several)
            self._retired += [(now, self._remotes.pop(old)) for old in self._remotes.keys() - endpoints.keys()]
            for endpoint in endpoints:
                if endpoint not in self._remotes:
                    self._remotes[endpoint] = self._connect(endpoint)
            self._balance.replace([self._remotes[endpoint] for endpoint in endpoints])
            over = [remote for since, remote in self._retired if now - since > self._longest]
            self._retired = [(since, remote) for since, remote in self._retired if now - since <= self._longest]
            if self._look_up is not None:
                self._looked_up, self._due = now, now + _LOOKED_UP
        for remote in over:
            remote.close()

    def close(self, limit: float) -> None:
        """Free the shared memory and drop the connections; the memory within so long [s] in all."""
        deadline = monotonic() + limit
        with self._lock:
            remotes = [*self._remotes.values(), *(remote for _, remote in self._retired)]
            self._due = float("inf")
        for remote in remotes:
            remote.close(max(0.0, deadline - monotonic()))

    def _addresses(self, endpoint: Endpoint, known: Sequence[Endpoint]) -> Sequence[Endpoint]:
        if self._look_up is None:
            return known
        try:
            return self._look_up(endpoint)
        except OSError:
            return known  # the transport says what is wrong with a name that never was one
