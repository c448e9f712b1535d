"""Pictures of one event: a PNG, an interactive page, and an export for Phoenix."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beampipe.lazy import loader

if TYPE_CHECKING:
    from beampipe.tracking.display.html import write_html
    from beampipe.tracking.display.phoenix import write_phoenix
    from beampipe.tracking.display.png import draw_png
    from beampipe.tracking.fitting.circle import estimate_pt

__all__ = ["draw_png", "estimate_pt", "write_html", "write_phoenix"]

__getattr__ = loader(
    __name__,
    {
        "beampipe.tracking.fitting.circle": ("estimate_pt",),
        "html": ("write_html",),
        "phoenix": ("write_phoenix",),
        "png": ("draw_png",),
    },
)
