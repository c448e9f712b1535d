"""``llms.txt``, a list of all pages for language models. `make docs` writes their text to ``llms-full.txt``.

Format: https://llmstxt.org
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

FULL: Final = "The text of all pages is in [one file](llms-full.txt)."


def in_order(env: BuildEnvironment, page: str) -> Iterator[str]:
    """A page and those below it, in the order of the tables of contents."""
    yield page
    for below in env.toctree_includes.get(page, []):
        yield from in_order(env, below)


def summary(tree: nodes.document) -> str:
    """The names that a page describes, or its first sentence, or nothing."""
    names = [signature["fullname"] for signature in tree.findall(addnodes.desc_signature) if not signature.get("class")]
    section = next(tree.findall(nodes.section))
    first = next((child for child in section if isinstance(child, nodes.paragraph)), None)
    sentence = " ".join(first.astext().split()).partition(". ")[0].rstrip(".:") if first else ""
    return ", ".join(f"`{name}`" for name in names) or sentence


def page_list(env: BuildEnvironment, root: str) -> str:
    """The text of ``llms.txt``: a section for each page of the top bar with pages below it, the others first."""
    top = env.toctree_includes[root]
    alone = [page for page in top if page not in env.toctree_includes]
    sections = [("General", alone)]
    sections += [(env.titles[page].astext(), list(in_order(env, page))) for page in top if page not in alone]
    lines = [f"# {env.titles[root].astext()}", "", f"> {summary(env.get_doctree(root))}.", "", FULL]
    for title, pages in sections:
        lines += ["", f"## {title}", ""]
        for page in pages:
            link, text = f"[{env.titles[page].astext()}]({page}.html)", summary(env.get_doctree(page))
            lines.append(f"- {link}: {text}" if text else f"- {link}")
    return "\n".join([*lines, ""])


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the list when the pages are finished."""
    if error is None and app.builder.format == "html":
        text = page_list(app.env, app.config.root_doc)
        (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
