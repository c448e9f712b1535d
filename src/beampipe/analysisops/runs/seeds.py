"""Seeds of instances: public ones to develop with, and secret ones to evaluate with.

A development seed is the number that everybody sees. An evaluation seed is made of a secret file by HMAC-SHA256, so
nobody without the file can make the instance beforehand, and the seeds of one task tell nothing about another's. What
is written down of it is its place and a fingerprint of the secret, never its value.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from beampipe.errors import ConfigError, FileError

__all__ = ["Seed", "Seeds"]

Kind = Literal["development", "evaluation"]

_SHORTEST: Final = 32
"""A secret of fewer bytes could be guessed from its fingerprint, or from data that were made with it."""

_BITS: Final = 63
"""Length of an evaluation seed: too many values to make the data of each, and fits a signed integer."""


@dataclass(frozen=True)
class Seed:
    """The seed of one instance of a task.

    Attributes:
        kind: ``"development"`` or ``"evaluation"``.
        index: the number of the instance, from 1 on.
        secret: fingerprint of the secret that it was made of; empty for development.
        value: what the data are made with. It is neither printed nor written.
    """

    kind: Kind
    index: int
    secret: str = ""
    value: int = field(default=0, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The seed to a reader, e.g. ``"dev-3"`` or ``"eval-3"``."""
        return f"{'dev' if self.kind == 'development' else 'eval'}-{self.index}"


@dataclass(frozen=True)
class Seeds:
    """Which instances of each task a run takes.

    Attributes:
        indices: numbers of the instances, each 1 or more, none twice.
        secret: file of the secret, at least 32 bytes; None for development seeds.

    Raises:
        ConfigError: there are no indices, or one that is less than 1 or there twice.
    """

    indices: tuple[int, ...]
    secret: Path | None = None

    def __post_init__(self) -> None:
        if not self.indices or min(self.indices) < 1 or len(set(self.indices)) < len(self.indices):
            raise ConfigError(f"seeds: got {list(self.indices)}, expected numbers of 1 or more, none of them twice")

    @classmethod
    def first(cls, count: int, secret: Path | None = None) -> Seeds:
        """The first so many."""
        return cls(tuple(range(1, count + 1)), secret)

    def of(self, task_id: str) -> tuple[Seed, ...]:
        """The seeds of a task.

        Raises:
            FileError: the secret cannot be read, or is too short.
        """
        if self.secret is None:
            return tuple(Seed("development", index, "", index) for index in self.indices)
        key = _read(self.secret)
        mark = _digest(key, "fingerprint").hex()[:16]
        values = (int.from_bytes(_digest(key, f"seed\n{task_id}\n{index}")[:8]) for index in self.indices)
        return tuple(
            Seed("evaluation", index, mark, value >> 64 - _BITS)
            for index, value in zip(self.indices, values, strict=True)
        )


def _digest(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _read(path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise FileError(
            f"{path}: cannot be read ({error.strerror}), expected the secret of evaluation", path=path
        ) from (error)
    if len(key) < _SHORTEST:
        raise FileError(
            f"{path}: got a secret of {len(key)} bytes, expected at least {_SHORTEST}; make one:"
            f" head -c 32 /dev/urandom | base64 > {path}",
            path=path,
        )
    return key
