"""What a user's function is made of: its module, all modules of users that it imports, and versions of packages."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Final, NamedTuple

from beampipe.workflow import Looks, code_digest, digest_of, installed_version
from beampipe.workflow.code import imported_modules

__all__ = ["OwnCode", "own_code"]

_OURS: Final = "beampipe"

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
"""Names of the folders that packages are installed in."""

_BY_NAME: Final = frozenset({"import_module", "__import__"})
"""Functions that import the module whose name they get."""


class OwnCode(NamedTuple):
    """What a function is made of.

    Attributes:
        digest: digest of all of it; empty for nothing.
        modules: names of the modules whose files are in it, and that are imported again when it changes.
    """

    digest: str
    modules: frozenset[str]


def own_code(module: str) -> OwnCode:
    """The code of a module and of all that it imports, directly or not; nothing is imported to tell it.

    Of modules that are no part of an installed package, and of the package of `module` wherever it is, the bytes of
    their files count, compiled ones too; of other packages the version; of this package the code that is imported. An
    import counts wherever in a file it stands, one by a name that is made at run time does not. The standard library
    does not count.

    Args:
        module: name of the module, e.g. ``"my_analysis.jets"``.
    """
    found: dict[str, str] = {}
    modules: set[str] = set()
    seen: set[str] = set()
    to_read = [module]
    while to_read:
        name = to_read.pop()
        top = name.partition(".")[0]
        if name in seen or top in sys.stdlib_module_names:
            continue
        seen.add(name)
        if top == _OURS:
            found |= _ours(name)
            continue
        if top != module.partition(".")[0] and (said := _version(top)):
            found[top] = said
            continue
        spec = _spec(name)
        if spec is None:
            found |= {} if "." in name else {name: "none"}  # something in a module; or a package that is not there
            continue
        modules.add(name)
        to_read += name.rpartition(".")[:1] if "." in name else ()  # a package runs before what is in it
        if spec.origin is not None and spec.has_location:
            path = Path(spec.origin)
            package = name if spec.submodule_search_locations is not None else name.rpartition(".")[0]
            found[name], imported = _read(path, package, Looks.of(path))
            to_read += imported
    return OwnCode(digest_of(found), frozenset(modules))


def _ours(name: str) -> dict[str, str]:
    """A module of this package and the digest of its code; nothing if that is no module."""
    spec = _spec(name)
    return {} if spec is None else {name: code_digest(name)}


def _version(top: str) -> str:
    """Name and version of the installed package that a module belongs to; empty if it belongs to none."""
    spec = _spec(top)
    if spec is None:
        return ""
    places = [*([spec.origin] if spec.origin else []), *(spec.submodule_search_locations or ())]
    if not any(_INSTALLED.intersection(Path(place).parts) for place in places):
        return ""
    return ", ".join(f"{name} {installed_version(name)}" for name in sorted(set(_distributions().get(top, ()))))


@cache
def _distributions() -> dict[str, list[str]]:
    """Module -> installed packages that have it."""
    from importlib.metadata import packages_distributions

    return dict(packages_distributions())


def _spec(name: str) -> ModuleSpec | None:
    """Where a module is, None if it is nowhere; no package is imported for it."""
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # the module of a program, which has none
        return None
    at = top
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        at = f"{at}.{part}"
        spec = PathFinder.find_spec(at, list(spec.submodule_search_locations))
    return spec


@lru_cache(maxsize=4096)
def _read(path: Path, package: str, looks: Looks) -> tuple[str, tuple[str, ...]]:
    """Digest of a file, and names of what it imports; a file that looks otherwise is read anew."""
    content = path.read_bytes()
    imported: list[str] = []
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(content, filename=str(path))):
            imported += _imported(node, package)
    return hashlib.sha256(content).hexdigest(), tuple(dict.fromkeys(imported))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    """Names of the modules that a piece of code may import."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        for meant in imported_modules(node, package):
            yield from meant
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if function in _BY_NAME and isinstance(node.args[0].value, str) and node.args[0].value[:1] != ".":
            yield node.args[0].value
