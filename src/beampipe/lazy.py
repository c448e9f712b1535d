"""Faces of packages whose names are loaded when they are asked for, so that importing a package costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from beampipe.errors import missing_extra

__all__ = ["loader"]


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
        try:
            return getattr(import_module(module if module.startswith("beampipe.") else f"{package}.{module}"), name)
        except ModuleNotFoundError as error:
            raise missing_extra(error) or error from error

    return load
