"""Workers elsewhere that compute with the same code and packages as the process that gives them work, or not at all."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import beampipe
from beampipe.errors import MismatchError

__all__ = ["Environment", "call_alike", "installed", "installed_version", "known_here"]

Environment = Callable[[], Mapping[str, str]]
"""What says which code and packages a process computes with: name -> version or digest. It belongs to a module."""


def installed() -> dict[str, str]:
    """The versions of Python, of numpy and of this package, and a digest of its code, which a version may not tell."""
    code = sha256()
    for folder in map(Path, beampipe.__path__):
        for path in sorted(folder.rglob("*.py")):
            if path.name == "_version.py":  # the version, which is named apart, and the day of the build
                continue
            code.update(f"{path.relative_to(folder)}\n".encode() + sha256(path.read_bytes()).digest())
    return {
        "python": ".".join(map(str, sys.version_info[:2])),
        "beampipe": installed_version("beampipe"),
        "code of beampipe": code.hexdigest()[:12],
        "numpy": installed_version("numpy"),
    }


def installed_version(package: str) -> str:
    """Version of an installed package; ``none`` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


@cache
def known_here(environment: Environment) -> Mapping[str, str]:
    """What this process computes with, as it was when first asked for: what is loaded does not change either."""
    return environment()


def call_alike(environment: Environment, expected: Mapping[str, str], load: Callable[[bytes], Any], work: bytes) -> Any:
    """In a worker: call a function, if this process computes with what is expected.

    Args:
        environment: says what it computes with.
        expected: what it said in the process that gives the work.
        load: unpacks the work.
        work: function and arguments, packed: those of another version could not be unpacked to say so.

    Raises:
        MismatchError: this process computes with something else.
    """
    here = known_here(environment)
    other = [name for name in dict.fromkeys([*expected, *here]) if expected.get(name) != here.get(name)]
    if other:
        got, wanted = (", ".join(f"{name} {each.get(name, 'none')}" for name in other) for each in (here, expected))
        raise MismatchError(
            f"worker on {platform.node()}, {sys.executable}: got {got}, expected {wanted} as in the process that"
            " started the run; install the same there, or start the workers with this process's Python"
        )
    function, arguments = load(work)
    return function(*arguments)
