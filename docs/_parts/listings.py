"""Code of which each line is a block of its own: what does not fit goes on below, further in, with options whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pygments.formatters import HtmlFormatter
from sphinx.application import Sphinx
from sphinx.highlighting import PygmentsBridge

OPTION = re.compile(r"(?<![\w&;-])--[a-z][\w-]*")


class Lines(HtmlFormatter[str]):
    """Pygments' HTML with a mark around each line."""

    def wrap(self, source: Any) -> Iterator[tuple[int, str]]:
        """The lines between the tags that Pygments puts around all of them."""
        return super().wrap((is_line, marked(text) if is_line else text) for is_line, text in source)


def marked(line: str) -> str:
    """One line of HTML, marked."""
    return f'<span class="line">{OPTION.sub(_whole, line)}</span>'


def _whole(option: re.Match[str]) -> str:
    return f'<span class="whole">{option.group()}</span>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    PygmentsBridge.html_formatter = Lines
    return {"parallel_read_safe": True}
