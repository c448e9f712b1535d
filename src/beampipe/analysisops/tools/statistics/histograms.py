"""The tool that fills histograms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.bench import Bench, column_of, flat_column
from beampipe.analysisops.tools.contents import Events, Histogram, Jagged, frozen
from beampipe.analysisops.tools.refusal import ToolRefusedError

__all__ = ["MOST_BINS", "fill", "histogram_tool", "values_of"]

MOST_BINS: Final = 400
"""So many bins may a histogram have that an agent is shown."""


def histogram_tool(
    bench: Bench, events: str, column: str, bins: int, low: float, high: float, weight: str | None = None
) -> Mapping[str, Any]:
    """Fill a histogram with equal bins from a column of events or objects, and give a handle.

    Args:
        events: handle of events.
        column: what to fill.
        bins: number of bins, at most 400.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        weight: column of weights of the events; left out: each entry counts 1.
    """
    if not 1 <= bins <= MOST_BINS or not low < high:
        raise ToolRefusedError(f"bins: got {bins} from {low:g} to {high:g}, expected 1 to {MOST_BINS} and low < high")
    given = bench.events(events)
    values, weights = values_of(given, column, weight)
    filled = fill(values, weights, np.linspace(low, high, bins + 1), column)
    return {"handle": bench.keep(filled), **filled.to_json()}


def values_of(events: Events, column: str, weight: str | None) -> tuple[ndarray, ndarray]:
    """Finite values of a column with their weights; objects have the weight of their event."""
    chosen = column_of(events, column)
    weights = np.ones(events.n) if weight is None else np.asarray(flat_column(events, weight), float)
    if isinstance(chosen, Jagged):
        values, weights = np.asarray(chosen.values, float), weights[chosen.parents]
    else:
        values = np.asarray(chosen, float)
    good = np.isfinite(values) & np.isfinite(weights)
    return values[good], weights[good]


def fill(values: ndarray, weights: ndarray, edges: ndarray, column: str) -> Histogram:
    """A histogram of values; the last bin holds its upper edge."""
    inside = (values >= edges[0]) & (values <= edges[-1])
    contents = np.histogram(values, edges, weights=weights)[0]
    squares = np.histogram(values, edges, weights=np.square(weights))[0]
    return Histogram(
        frozen(np.asarray(edges, float)),
        frozen(np.asarray(contents, float)),
        frozen(np.asarray(squares, float)),
        float(weights[values < edges[0]].sum()),
        float(weights[values > edges[-1]].sum()),
        int(inside.sum()),
        column,
    )
