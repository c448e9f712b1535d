"""Public names of a package that are imported when they are first used.

Importing a package then costs almost nothing, and a data type can have methods that are implemented in a higher layer,
such as a plot, without an import cycle.

Why not scientific-python's `lazy_loader`: it would be a new dependency of the core package for these few lines.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pkgutil import resolve_name
from typing import Any


def loader(package: str, names: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and the ``__dir__`` of a package whose public names are defined in its modules.

    >>> __getattr__, __dir__ = loader(__name__, {"events": ["Hits", "Tracks"]})

    Args:
        package: full name of the package, its ``__name__``.
        names: names that the package offers, by the module that defines them. The module is named relative to the
            package, or in full (``beampipe...``) if it lies elsewhere.

    Returns:
        ``__getattr__``, which imports the module of a name, and ``__dir__``, which lists the public names, for Tab
        completion.
    """
    modules = {name: module for module, defined in names.items() for name in defined}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = modules[name]
        return getattr(import_module(module if module.startswith("beampipe.") else f"{package}.{module}"), name)

    def list_names() -> list[str]:
        space = vars(sys.modules[package])
        special = (name for name in space if name.startswith("__"))
        return sorted({*special, *space.get("__all__", ()), *modules})

    return load, list_names


def import_name(name: str) -> Any:
    """Import a name from a module of a higher layer, for a method that delegates to it, such as `Event.plot`.

    Args:
        name: full name of the module, a colon, and the name in it.

    Raises:
        MissingExtraError: the module needs a package that is not installed.
    """
    return resolve_name(name)
