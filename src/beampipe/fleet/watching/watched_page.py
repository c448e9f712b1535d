"""The page of `beampipe fleet watch`: one HTML text that asks nobody but the server that hands it out."""

from __future__ import annotations

import html
import json
from base64 import b64encode
from dataclasses import asdict
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from beampipe.fleet.watching.queries import ALERTS, PANELS, TILES

__all__ = ["Page", "watch_page"]

_STYLES: Final = ("uPlot.min.css", "page.css")
_SCRIPTS: Final = ("uPlot.iife.min.js", "charts.js", "page.js")
"""Parts of the page's style and script, in the order in which they are joined."""


class Page(NamedTuple):
    """A page, and what the browser may do with it.

    Attributes:
        text: the HTML.
        policy: its Content-Security-Policy: its own script, and requests to where it comes from.
    """

    text: str
    policy: str


def watch_page(name: str, interval: float) -> Page:
    """The page of a fleet.

    Args:
        name: name of the fleet.
        interval: time between two looks at each server [s].
    """
    folder = files("beampipe.fleet.watching") / "page"
    told = {
        "interval": interval,
        "panels": [asdict(panel) for panel in PANELS],
        "tiles": [asdict(tile) for tile in TILES],
        "alerts": ALERTS,
    }
    script = "\n".join((folder / part).read_text(encoding="utf-8") for part in _SCRIPTS)
    parts = {
        "title": html.escape(name),
        "css": "\n".join((folder / part).read_text(encoding="utf-8") for part in _STYLES),
        # "<" could end the script element early.
        "told": json.dumps(told, separators=(",", ":")).replace("<", "\\u003c"),
        "js": script,
    }
    text = (folder / "page.html").read_text(encoding="utf-8")
    for key, part in parts.items():
        text = text.replace("{{" + key + "}}", part)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:;"
        " connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
    return Page(text, policy)
