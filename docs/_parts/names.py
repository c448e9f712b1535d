"""Public names in the reference: those of a public module, from its ``__all__`` and the docstrings in the source."""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

__all__ = ["described", "public", "table"]


def public(face: str) -> list[str]:
    """The public names of a module, in alphabetical order."""
    return sorted(import_module(face).__all__, key=str.lower)


@cache
def home(face: str, name: str) -> str:
    """The module that defines a name, found by following imports."""
    path = import_module(face).__file__
    assert path is not None
    for node in ast.walk(ast.parse(Path(path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and name in [one.asname or one.name for one in node.names]:
            return home(node.module, name)
    return face


def is_data(thing: Any) -> bool:
    """Whether it is documented below its assignment: a constant or a type, not a class or a function."""
    return not (inspect.isclass(thing) or inspect.isroutine(thing))


def text_of(face: str, name: str) -> list[str]:
    """The docstring of a name, in lines."""
    thing = getattr(import_module(face), name)
    if is_data(thing):
        result = ModuleAnalyzer.for_module(home(face, name)).find_attr_docs().get(("", name))
        if not result:
            raise LookupError(f"{face}.{name} has no docstring; write one below its assignment in {home(face, name)}")
        return result
    text = inspect.getdoc(thing)
    if not text:
        raise LookupError(f"{face}.{name} has no docstring")
    return text.splitlines()


def summary(face: str, name: str) -> str:
    """The first sentence of a docstring, in Markdown."""
    first = " ".join(line.strip() for line in "\n".join(text_of(face, name)).partition("\n\n")[0].splitlines())
    sentence = re.split(r"(?<=[.:])\s+(?=[A-Z])", first)[0]
    return re.sub("::$", ".", sentence).replace("``", "`").replace("|", r"\|")


def described(face: str, name: str, also: str = "") -> str:
    """The directive for a name with its docstring, its methods if it is a class, and the members in `also`."""
    thing = getattr(import_module(face), name)
    if inspect.isclass(thing):
        kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
        bare = "()" if inspect.isabstract(thing) or getattr(thing, "_is_protocol", False) else ""
        members = ", ".join([*filter(None, [also]), *methods(thing)])
        return f".. {kind}:: {face}.{name}{bare}\n" + (
            f"   :members: {members}\n   :undoc-members:\n" if members else ""
        )
    if inspect.isroutine(thing):
        return f".. autofunction:: {face}.{name}\n"
    lines = "".join(f"   {line}".rstrip() + "\n" for line in text_of(face, name))
    return f".. py:data:: {name}\n   :module: {face}\n\n{lines}"


def methods(thing: type) -> list[str]:
    """Public methods and properties that a class defines, in the order of the source."""
    kinds = (FunctionType, classmethod, staticmethod, property, cached_property)
    return [name for name, one in vars(thing).items() if isinstance(one, kinds) and not name.startswith("_")]


def table(face: str) -> str:
    """All names of a public module with their first sentences, in Markdown."""
    rows = [f"| {{py:obj}}`~{face}.{name}` | {summary(face, name)} |" for name in public(face)]
    return "\n".join(["| name | what it is |", "| --- | --- |", *rows, ""])
