"""Blocks of a page that are written from the code when it is built.

```{public-table} beampipe.tracking
```                                    all names of a module, each with its first sentence
```{public} beampipe.tracking
load_pipeline
TrackFitter: __call__
```                                    these names with their docstrings; of a class its methods, and those named
```{commands} tracking
```                                    all commands of a group, each with its arguments and options
```{commands-table}
```                                    all commands, each with its first sentence
```{modules} beampipe.tracking
```                                    the modules of an area, each with the first line of its docstring
```{alerts}
```                                    the alerts of a fleet, each with its meaning and what to do
```{registry} variations
```                                    the entries of a registry, a key of `registries.TABLES`
```{licences}
```                                    the packages that the extras install, with their licences
```{notebook-links}
first_event
```                                    links that open these notebooks in a browser, once the repository has an address
"""

from __future__ import annotations

import re
import runpy
from collections.abc import Sequence
from pathlib import Path

import alerts
import commands
import licences
import modules
import names
import registries
from sphinx.application import Sphinx

KINDS = "public|public-table|commands|commands-table|modules|alerts|registry|licences|notebook-links"
BLOCK = re.compile(rf"^```\{{({KINDS})\}} ?(\S*)\n(.*?)^```$", re.M | re.S)
FORGE = runpy.run_path(str(Path(__file__).parents[2] / "release" / "forge.py"))


def notebook_links(names: Sequence[str], repository: str) -> str:
    """A list of notebooks with the addresses at which they can be run in a browser."""
    if not repository:
        return "Links that open them in a browser, in Binder or Colab, come with the first release."
    lines = []
    for name in names:
        links = [f"[{service}]({url})" for service, url in FORGE["notebook_links"](repository, name).items()]
        lines.append(f"- [](./{name}.md): {', '.join(links)}")
    return "\n".join(["To run them in a browser, without an installation:", "", *lines])


def written(page: str) -> str:
    """The text of a page with its blocks written out."""

    def replaced(found: re.Match[str]) -> str:
        kind, argument, content = found.groups()
        if kind == "public":
            lines = [line.partition(":") for line in content.splitlines()]
            parts = [names.described(argument, name, also.strip()) for name, _, also in lines]
            return "\n".join(["```{eval-rst}", *parts, "```"])
        if kind == "public-table":
            return names.table(argument)
        if kind == "notebook-links":
            return notebook_links(content.split(), FORGE["address"]())
        if kind == "modules":
            return modules.table(argument)
        if kind == "alerts":
            return alerts.table()
        if kind == "registry":
            return registries.table(argument)
        if kind == "licences":
            return licences.table()
        if kind == "commands":
            return commands.section(argument)
        return commands.table()

    return BLOCK.sub(replaced, page)


def write(app: Sphinx, page: str, source: list[str]) -> None:
    """Write out the blocks of a page that Sphinx has just read."""
    source[0] = written(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", write)
    return {"parallel_read_safe": True}
