"""How our docstrings and signatures are shown."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx


def absolute_values(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """In our docstrings ``|eta|`` is an absolute value; reStructuredText would take it for a substitution."""
    lines[:] = [re.sub(r"\|(\w+)\|", r"\|\1\|", line) for line in lines]


def defaults(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Shows ``...`` for a default that is a function, made by one, or a place on the machine that makes the pages."""
    if signature is not None:
        signature = signature.replace("PosixPath(", "Path(")
        signature = re.sub(r"<function [\w.]*(<lambda>)?>|<factory>|Path\('/[^']*'\)|'/[^']*'", "...", signature)
    return signature, returns


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", absolute_values)
    app.connect("autodoc-process-signature", defaults)
    return {"parallel_read_safe": True}
