"""The configurations among which a search chooses, given as data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

from beampipe.errors import ConfigError
from beampipe.settings import build, read_toml

__all__ = ["Choices", "Configuration", "Protocol", "choices_here", "read_choices"]

Protocol = Literal["grpc", "http", "shm"]
"""How a client's requests travel; `beampipe.triton.ModelClient` says what each means."""


@dataclass(frozen=True, order=True)
class Configuration:
    """One way to run a model and to ask it.

    Attributes:
        instances: number of instances of the model.
        threads: number of threads of each instance.
        batch: largest number of requests in one call of the model; 0 for one at a time.
        protocol: how the requests travel.
    """

    instances: int
    threads: int
    batch: int
    protocol: Protocol

    def __str__(self) -> str:
        return f"{self.instances} instance(s), {self.threads} thread(s), batch {self.batch}, {self.protocol}"


@dataclass(frozen=True)
class Choices:
    """What each setting may be; the configurations are all combinations.

    Attributes:
        instances: numbers of instances of the model.
        threads: numbers of threads of each instance.
        batch: largest numbers of requests in one call of the model; 0 for one at a time.
        protocol: names of protocols.
    """

    instances: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    batch: tuple[int, ...] = (0,)
    protocol: tuple[Protocol, ...] = ("grpc", "http")

    def __post_init__(self) -> None:
        for name, least in (("instances", 1), ("threads", 1), ("batch", 0)):
            values = getattr(self, name)
            if not values or min(values) < least:
                raise ConfigError(f"{name}: got {list(values)}, expected one or more numbers from {least} on")
        if not self.protocol:
            raise ConfigError("protocol: got none, expected one or more of grpc, http, shm")

    def all(self) -> list[Configuration]:
        """The configurations, each once, in an order that changes the server as seldom as possible."""
        return sorted(
            {Configuration(*values) for values in product(self.instances, self.threads, self.batch, self.protocol)}
        )


def choices_here() -> Choices:
    """Choices for the cores that this process may use: instances and threads by doubling, with and without batches."""
    cores = len(os.sched_getaffinity(0))
    doubling = tuple(2**power for power in range(cores.bit_length()) if 2**power <= cores)
    return Choices(instances=(*doubling, 2 * doubling[-1]), threads=doubling, batch=(0, 8))


def read_choices(path: Path) -> Choices:
    """The choices of a TOML file such as ``instances = [1, 2, 4]``, a key for each attribute of `Choices`.

    Raises:
        FileError: the file cannot be read, or is no TOML.
        ConfigError: a key is unknown, or a value does not fit.
        UnknownNameError: no such protocol.
    """
    return build(Choices, read_toml(path, "choices of `beampipe fleet tune`"), str(path), path.resolve().parent)
