"""Which of Triton's interfaces ask for the secret."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from beampipe.errors import UnknownNameError
from beampipe.triton.door.door import HEADER, KEY

__all__ = ["CATEGORIES", "MANAGEMENT", "check_open", "restrictions"]

MANAGEMENT: Final = ("model-repository", "shared-memory", "logging", "trace")
"""Categories that change a server. The first holds ``RepositoryIndex`` too, which some clients ask for at their start:
Triton cannot restrict loading alone, the shield can."""

CATEGORIES: Final = ("health", "metadata", "inference", "model-config", "statistics", *MANAGEMENT)
"""All categories that Triton knows."""


def check_open(categories: Collection[str]) -> None:
    """Raise unless these can be left open.

    Raises:
        UnknownNameError: one of them is not among those that are closed.
    """
    for name in categories:
        if name not in MANAGEMENT:
            raise UnknownNameError("interface to leave open", name, MANAGEMENT)


def restrictions(secret: str, opened: Collection[str], *, shielded_http: bool, shielded_grpc: bool) -> list[str]:
    """The arguments with which Triton asks for the secret.

    Args:
        secret: what has to be sent.
        opened: categories of `MANAGEMENT` that are left open to everybody.
        shielded_http: whether a shield stands before HTTP. Then nothing at all is open behind it.
        shielded_grpc: the same for gRPC.
    """
    arguments = []
    for flag, key, shielded in (
        ("http-restricted-api", HEADER, shielded_http),
        ("grpc-restricted-protocol", KEY, shielded_grpc),
    ):
        closed = CATEGORIES if shielded else [name for name in MANAGEMENT if name not in opened]
        if closed:
            arguments.append(f"--{flag}={','.join(closed)}:{key}={secret}")
    return arguments
