"""Sphinx configuration."""

import re
from typing import Any

from sphinx.application import Sphinx

from beampipe import __version__

project = "beampipe"
author = "the beampipe authors"
copyright = f"2026, {author}"
release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

# A page must need nothing from outside when it is viewed.
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_prev_next": False, "navigation_with_keys": False}
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and units are in the docstrings; jaxtyping's names would hide them
autodoc_mock_imports = ["acts", "pythia8mc", "torch"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
default_role = "code"


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


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", absolute_values)
    app.connect("autodoc-process-signature", defaults)
