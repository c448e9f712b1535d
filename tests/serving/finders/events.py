"""Events for the tests of finders."""

from __future__ import annotations

from beampipe.events import Hits
from tests.triton.client.servers import event


def hits(n: int = 5, seed: int = 1) -> Hits:
    """Hits with random positions."""
    return Hits(event(n, seed))
