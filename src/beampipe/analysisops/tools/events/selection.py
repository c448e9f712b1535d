"""Tools that make columns, and select and count events and objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from beampipe.analysisops.tools.bench import Bench, flat_column, jagged_column
from beampipe.analysisops.tools.contents import Column, Jagged
from beampipe.analysisops.tools.events.loading import WEIGHT, describe
from beampipe.analysisops.tools.expressions.evaluation import condition, evaluate, object_condition
from beampipe.analysisops.tools.expressions.parser import check_name
from beampipe.analysisops.tools.refusal import ToolRefusedError

__all__ = ["count_tool", "derive_tool", "select_objects_tool", "select_tool"]


def derive_tool(bench: Bench, events: str, name: str, expression: str) -> Mapping[str, Any]:
    """Give events one more column, computed from those they have.

    Args:
        events: handle of events.
        name: of the new column.
        expression: such as "sqrt(px**2 + py**2)" or "count(pt > 20)".
    """
    check_name(name)
    given = bench.events(events)
    made = given.with_columns({name: evaluate(given, expression)})
    return {"handle": bench.keep(made), **describe(made, [name])}


def select_tool(bench: Bench, events: str, expression: str) -> Mapping[str, Any]:
    """Keep the events that fulfil a condition. Weights are those of column `weight`, or 1 if there is none.

    Args:
        events: handle of events.
        expression: a condition on each event, such as "met > 30 and count(pt > 20) >= 2".
    """
    given = bench.events(events)
    kept = given.rows(condition(given, expression))
    weight = flat_column(kept, WEIGHT) if WEIGHT in kept.columns else np.ones(kept.n)
    return {
        "handle": bench.keep(kept),
        "n_events": kept.n,
        "n_before": given.n,
        "sum_weights": float(weight.sum()),
        "sum_weights_error": float(np.sqrt(np.square(weight).sum())),
    }


def select_objects_tool(bench: Bench, events: str, columns: list[str], expression: str) -> Mapping[str, Any]:
    """Keep the objects that fulfil a condition, in columns of one collection; no event is lost.

    Args:
        events: handle of events.
        columns: all columns of the collection that you go on using, such as ["pt", "eta", "phi", "e"].
        expression: a condition on each object, such as "pt > 20 and abs(eta) < 2.5".
    """
    given = bench.events(events)
    good = object_condition(given, expression)
    thinned: dict[str, Column] = {}
    first: Jagged | None = None
    for name in columns:
        column = jagged_column(given, name)
        if not column.same_collection(good):
            raise ToolRefusedError(
                f"column {name}: got other objects than those of {expression[:60]!r}, expected the same"
            )
        kept = column.thinned(good.values)
        first = first or kept
        thinned[name] = Jagged(first.offsets, kept.values)
    if first is None:
        raise ToolRefusedError("columns: got none, expected the columns of the collection")
    made = given.with_columns(thinned)
    return {
        "handle": bench.keep(made),
        **describe(made, columns),
        "n_objects": len(first.values),
        "n_objects_before": len(good.values),
    }


def count_tool(bench: Bench, events: str, expression: str = "", weight: str | None = None) -> Mapping[str, Any]:
    """Count events that fulfil a condition, and sum up their weights.

    Args:
        events: handle of events.
        expression: a condition on each event; empty: all of them.
        weight: column of weights; left out: each event counts 1.
    """
    given = bench.events(events)
    good = condition(given, expression) if expression else np.ones(given.n, bool)
    weights = np.ones(given.n) if weight is None else flat_column(given, weight)
    kept = np.asarray(weights[good], float)
    return {"n": int(good.sum()), "sum_weights": float(kept.sum()), "error": float(np.sqrt(np.square(kept).sum()))}
