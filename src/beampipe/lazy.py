"""Names that are loaded when they are asked for.

The face of a package gives names of its modules away as its own, and importing it costs nothing. A type of data offers
what is made of it in a room above, such as a picture, and nobody imports in circles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pkgutil import resolve_name
from typing import Any

__all__ = ["above", "loader"]


def loader(package: str, names: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that gives names of its modules away as its own.

    Args:
        package: full name of the package, its ``__name__``.
        names: module, by its name below the package, or by its full name if it is elsewhere in ``beampipe``, ->
            names that are defined there.
    """
    homes = {name: module for module, defined in names.items() for name in defined}

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = homes[name]
        return getattr(import_module(module if module.startswith("beampipe.") else f"{package}.{module}"), name)

    return load


def above(name: str) -> Any:
    """What a room above the caller defines, for a method that only hands its object on, such as `Event.plot`.

    Args:
        name: full name of the module, a colon, and the name in it.

    Raises:
        MissingExtraError: the room needs a package that is not installed.
    """
    return resolve_name(name)
