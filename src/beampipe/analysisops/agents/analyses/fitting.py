"""Where a peak is, before it is fitted."""

from __future__ import annotations

from typing import Any

from beampipe.analysisops.agents.analyses.opened import Binning, Opened

__all__ = ["around", "fit", "highest"]


def highest(opened: Opened, events: str, column: str, binning: Binning) -> float:
    """The middle of the fullest bin."""
    filled = opened.fill(events, column, binning)
    values, edges = filled["values"], filled["edges"]
    place = max(range(len(values)), key=values.__getitem__)
    return float(edges[place] + edges[place + 1]) / 2


def around(centre: float, half: float) -> tuple[float, float]:
    """A window to either side of a value."""
    return round(centre - half, 3), round(centre + half, 3)


def fit(
    opened: Opened, events: str, column: str, window: tuple[float, float], model: str, **more: Any
) -> dict[str, Any]:
    """A fit of a peak; what is in `more` goes to the tool."""
    return opened.call("fit_peak_tool", events=events, column=column, window=list(window), model=model, **more)
