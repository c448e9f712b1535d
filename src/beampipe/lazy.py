"""Public names of a package that are imported when they are first used.

Importing a package then costs almost nothing, and a data type can have methods that are implemented in a higher layer,
such as a plot, without an import cycle.

Why not scientific-python's `lazy_loader`: it would be a new dependency of the core package for these few lines.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any


def loader(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, the ``__dir__`` and the ``__all__`` of a package whose public names are defined in modules.

    They are the names that the package imports for type checkers, which need them ``as`` themselves to see that the
    package offers them::

        if TYPE_CHECKING:
            from beampipe.events import Hits as Hits
            from beampipe.events import Tracks as Tracks

        __getattr__, __dir__, __all__ = loader(__name__)

    Args:
        package: full name of the package, its ``__name__``.

    Returns:
        ``__getattr__``, which imports the module of a name; ``__dir__``, which lists the public names, for Tab
        completion; and these names.
    """
    tree = ast.parse(Path(str(sys.modules[package].__file__)).read_bytes())
    blocks = [node.body for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for block in blocks for node in block if isinstance(node, ast.ImportFrom)]
    modules = {alias.name: node.module for node in imports for alias in node.names if alias.asname == alias.name}

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(str(modules[name])), name)

    def list_names() -> list[str]:
        special = (name for name in vars(sys.modules[package]) if name.startswith("__"))
        return sorted({*special, *modules})

    return load, list_names, sorted(modules)


def import_name(name: str) -> Any:
    """Import a name from a module of a higher layer, for a method that delegates to it, such as `Event.plot`.

    Args:
        name: full name of the module, a colon, and the name in it.

    Raises:
        MissingExtraError: the module needs a package that is not installed.
    """
    return resolve_name(name)
