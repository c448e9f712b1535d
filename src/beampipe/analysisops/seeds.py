"""Seeds of instances: public ones to develop with, or secret ones to evaluate with.

A development seed is a public number. An evaluation seed is made from a secret file by HMAC-SHA256, so that the
instance cannot be generated in advance without the file, and the seeds of one task reveal nothing about another's.
Records hold its index and a fingerprint of the secret, never its value.

The prompt of level 1 contains the analysis, so each level has instances of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from beampipe.analysisops.contract import Level
from beampipe.errors import ConfigError, FileError

Kind = Literal["development", "evaluation"]

_SHORTEST: Final = 32
"""Minimum length of a secret [bytes]; a shorter one could be guessed from its fingerprint or from the data."""

_MOST_INDICES: Final = 10**6
"""Maximum index of an instance; development seeds of level 2 follow after those of level 3, then those of level 1."""

_BITS: Final = 63
"""Length of an evaluation seed [bits]: too long to try all values, and short enough for a signed integer."""


@dataclass(frozen=True)
class Seed:
    """The seed of one instance of a task.

    Attributes:
        kind: ``"development"`` or ``"evaluation"``.
        index: the number of the instance, from 1 on.
        secret: fingerprint of the secret that it was derived from; empty for development.
        value: number that the data are generated with. It is neither printed nor written.
    """

    kind: Kind
    index: int
    secret: str = ""
    value: int = field(default=0, repr=False, compare=False)

    @property
    def label(self) -> str:
        """The seed in words, e.g. ``"dev-3"`` or ``"eval-3"``; other levels have other instances of this name."""
        return f"{'dev' if self.kind == 'development' else 'eval'}-{self.index}"

    def rounded(self, score: float) -> float:
        """A score as logs show it: that of a secret instance to two decimals, to tell little of the answer."""
        return round(score, 2 if self.secret else 6)


@dataclass(frozen=True)
class Seeds:
    """The instances of each task in a run.

    Attributes:
        indices: numbers of the instances, unique, each from 1 to a million.
        secret: file of the secret, at least 32 bytes; None for development seeds.

    Raises:
        ConfigError: there are no indices, or one is out of range or occurs twice.
    """

    indices: tuple[int, ...]
    secret: Path | None = None

    def __post_init__(self) -> None:
        unique = set(self.indices)
        if not unique or not 1 <= min(unique) <= max(unique) <= _MOST_INDICES or len(unique) < len(self.indices):
            raise ConfigError(
                f"seeds: got {list(self.indices)}, expected numbers from 1 to {_MOST_INDICES}, none of them twice"
            )

    @classmethod
    def first(cls, count: int, secret: Path | None = None) -> Seeds:
        """The first `count` instances."""
        return cls(tuple(range(1, count + 1)), secret)

    def of(self, task_id: str, level: Level) -> tuple[Seed, ...]:
        """The seeds of a task at a level.

        Raises:
            FileError: the secret cannot be read, or is too short.
        """
        if self.secret is None:
            before = (3 - level) * _MOST_INDICES
            return tuple(Seed("development", index, "", before + index) for index in self.indices)
        key = _read(self.secret)
        mark = _digest(key, "fingerprint").hex()[:16]
        values = (int.from_bytes(_digest(key, f"seed\n{task_id}\n{level}\n{index}")[:8]) for index in self.indices)
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
        ) from error
    if len(key) < _SHORTEST:
        raise FileError(
            f"{path}: got a secret of {len(key)} bytes, expected at least {_SHORTEST}; make one:"
            f" head -c 32 /dev/urandom | base64 > {path}",
            path=path,
        )
    return key
