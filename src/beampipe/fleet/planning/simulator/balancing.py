"""How the gateway chooses a server, and what it knows of each: its outstanding requests, and their sizes.

All policies choose among the servers that have a free place, as HAProxy's do with `maxconn`. What they choose by:

====================  ==============================================================================================
``round_robin``       the next in turn
``least_connections`` fewest outstanding requests; of equals, as in HAProxy's tree, the one that changed longest ago
``least_hits``        smallest sum of the sizes of the outstanding requests
``power_of_two``      of two servers taken at random, the one with fewer outstanding requests
====================  ==============================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, Final, Literal, get_args, no_type_check

import numpy as np
from numpy import ndarray

__all__ = ["POLICIES", "Balancer", "Policy"]

Policy = Literal["round_robin", "least_connections", "least_hits", "power_of_two"]
"""Name of a way to choose a server."""
POLICIES: Final[tuple[Policy, ...]] = get_args(Policy)


@no_type_check  # by beartype, at each of a million events of a test; mypy checks it all the same
class Balancer:
    """What a gateway knows of its servers, and whom it chooses.

    Args:
        policy: how it chooses.
        servers: number of servers.
        in_flight: largest number of requests that one server has at once; None for any.
        random: for choices at random.

    Attributes:
        requests: (servers,) number of outstanding requests.
        hits: (servers,) sum of their sizes.
        changed: (servers,) when, by count of changes, the number of requests changed last.
        last: server that was chosen last.
        random: for choices at random.
    """

    def __init__(self, policy: Policy, servers: int, in_flight: int | None, random: np.random.Generator) -> None:
        self.requests = np.zeros(servers, np.int64)
        self.hits = np.zeros(servers)
        self.changed = np.arange(servers)
        self.last = servers - 1
        self.random = random
        self._choose = self._CHOICES[policy]
        self._in_flight = np.iinfo(np.int64).max if in_flight is None else in_flight
        self._changes = servers

    def take(self, size: float) -> int | None:
        """The server for a request, whose place is taken; None if none is free."""
        free = np.flatnonzero(self.requests < self._in_flight)
        if not len(free):
            return None
        server = self.last = self._choose(self, free)
        self._note(server, 1, size)
        return server

    def give_back(self, server: int, size: float) -> None:
        """A request has left its server."""
        self._note(server, -1, -size)

    def _note(self, server: int, requests: int, size: float) -> None:
        self.requests[server] += requests
        # Sums of differences drift; an idle server has nothing.
        self.hits[server] = self.hits[server] + size if self.requests[server] else 0.0
        self.changed[server] = self._changes = self._changes + 1

    def _round_robin(self, free: ndarray) -> int:
        after = np.searchsorted(free, self.last, side="right")
        return int(free[after % len(free)])

    def _least_connections(self, free: ndarray) -> int:
        return self._least(free, self.requests[free])

    def _least_hits(self, free: ndarray) -> int:
        return self._least(free, self.hits[free])

    def _power_of_two(self, free: ndarray) -> int:
        if len(free) == 1:
            return int(free[0])
        first = int(self.random.integers(len(free)))
        second = int(self.random.integers(len(free) - 1))
        one, other = int(free[first]), int(free[second + (second >= first)])
        return one if self.requests[one] <= self.requests[other] else other

    def _least(self, free: ndarray, loads: ndarray) -> int:
        equals = free[loads == loads.min()]
        return int(equals[self.changed[equals].argmin()])

    _CHOICES: ClassVar[Mapping[Policy, Callable[[Balancer, ndarray], int]]] = MappingProxyType(
        {
            "round_robin": _round_robin,
            "least_connections": _least_connections,
            "least_hits": _least_hits,
            "power_of_two": _power_of_two,
        }
    )
