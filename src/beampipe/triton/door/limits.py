"""What a request may be like, to be let through to a server."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from beampipe.errors import ConfigError

__all__ = ["STACK", "Limits"]

STACK: Final = 256 << 20
"""Addresses [bytes] for the stack of each thread of a server. Its parser of JSON takes up to 170 bytes per bracket:
200,000 brackets overflow the usual 8 MiB, and four times `Limits.json` fits into this."""


@dataclass(frozen=True)
class Limits:
    """What the shield lets through.

    Attributes:
        body: largest body of a request [bytes]; over gRPC, its largest message.
        json: largest body that is all JSON [bytes], because Triton parses it by recursion.
        header: largest JSON in front of raw tensors [bytes].
        connections: largest number of connections of each protocol; more wait until one is closed.
        in_flight: largest number of requests that the server has at once; more wait in the shield.
        large: largest number of requests that the server has at once of those whose body is larger than `json`.
        queue: largest number of requests that wait in the shield; more are refused.
        arrival: time [s] that a request may take to arrive, and a larger body between two of its parts.
        waiting: time [s] that a request may wait for its turn.
        answer: time [s] that the server may take to answer.
    """

    body: int = 64 << 20
    json: int = 256 << 10
    header: int = 64 << 10
    connections: int = 1000
    in_flight: int = 128
    large: int = 16
    queue: int = 1000
    arrival: float = 5.0
    waiting: float = 30.0
    answer: float = 600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ConfigError(f"limits.{field.name}: got {getattr(self, field.name)}, expected more than 0")
        if not self.header <= self.json <= self.body:
            raise ConfigError(
                f"limits: got header {self.header}, json {self.json}, body {self.body}, expected header <= json <= body"
            )
