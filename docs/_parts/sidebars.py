"""No empty sidebars: what a page has nothing to show in is not there."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def only_with_content(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """The left one belongs to pages of a section with several pages, the right one to pages with sections."""
    section = page
    while (parents := [name for name, inside in app.env.toctree_includes.items() if section in inside]) and (
        parents[0] != app.config.root_doc
    ):
        section = parents[0]
    if page == app.config.root_doc or section not in app.env.toctree_includes:
        context["sidebars"] = []


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("html-page-context", only_with_content, priority=400)  # before the theme looks
    return {"parallel_read_safe": True}
