"""Pictures of one event: a PNG, an interactive page, and an export for Phoenix."""

from beampipe.tracking.display.html import write_html
from beampipe.tracking.display.momentum import estimate_pt
from beampipe.tracking.display.phoenix import write_phoenix
from beampipe.tracking.display.png import draw_png

__all__ = ["draw_png", "estimate_pt", "write_html", "write_phoenix"]
