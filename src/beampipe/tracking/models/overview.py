"""Tracker models in words and rows: what each pipeline is for, what was measured of it, and what it cannot do."""

from __future__ import annotations

from typing import Any, Final

from beampipe.tracking.models.model import TrackerModel
from beampipe.tracking.models.performance import Performance
from beampipe.tracking.pipelines.specs import PIPELINES

__all__ = ["HEADINGS", "floors_of", "model_facts", "model_overview", "rows_of"]

HEADINGS: Final = ("pipeline", "efficiency", "displaced", "dense", "fakes", "hits on tracks", "ms", "cannot")
"""What the columns of `rows_of` are."""

_UNKNOWN: Final = "-"


def rows_of(model: TrackerModel) -> list[tuple[str, ...]]:
    """One row for each pipeline that the model can run, in the order of `HEADINGS`; - for what was not measured."""
    rows = []
    for name in model.pipelines:
        *cells, cannot = _cells(model.performance.get(name))
        rows.append((name, *cells, "; ".join((cannot, *_refused(name)))))
    return rows


def floors_of(model: TrackerModel) -> str:
    """The lowest pT that each of the weights was learned from, in words."""
    return ", ".join(f"{stem} {weights.pt_floor:g} GeV" for stem, weights in model.weights.items())


def model_overview(model: TrackerModel) -> list[str]:
    """Lines that say what a model is for, and what each of its pipelines is, does, and does not."""
    lines = [f"{model.name}: {model.for_what}", f"  folder: {model.path}", f"  learned down to pT: {floors_of(model)}"]
    for name in model.pipelines:
        lines.append(f"  {name}: {PIPELINES[name].for_what}")
        lines += [f"    cannot take {what}" for what in _refused(name)]
        one = model.performance.get(name)
        if one is None:
            lines.append("    not measured")
            continue
        told = dict(zip(HEADINGS[1:], _cells(one), strict=True))
        cannot = told.pop("cannot")
        lines.append("    " + ", ".join(f"{what} {value}" for what, value in told.items() if value != _UNKNOWN))
        lines.append(f"    finds less than 90 % of: {cannot}")
    measured = {(one.sample, one.counted): None for one in model.performance.values()}
    for sample, counted in measured:
        lines += [f"  measured on {sample}", *([f"  counted: {counted}"] if counted else [])]
    return lines


def model_facts(model: TrackerModel) -> dict[str, Any]:
    """What `model_overview` says, for a script: numbers by their names, shares in [0, 1], times in ms, pT in GeV."""
    return {
        "name": model.name,
        "for": model.for_what,
        "folder": model.path,
        "pt_floors": {stem: weights.pt_floor for stem, weights in model.weights.items()},
        "pipelines": {name: _facts_of(name, model.performance.get(name)) for name in model.pipelines},
    }


def _facts_of(name: str, one: Performance | None) -> dict[str, Any]:
    """One pipeline; `performance` is None where it was not measured."""
    limit = PIPELINES[name].limit
    return {
        "for": PIPELINES[name].for_what,
        "most_hits": None if limit is None else limit.hits,
        "performance": one,
        "weaknesses": None if one is None else list(one.weaknesses()),
    }


def _refused(name: str) -> list[str]:
    """What the pipeline of that name refuses, and what does it instead."""
    limit = PIPELINES[name].limit
    return [] if limit is None else [f"events of more than {limit.hits:,} hits (use {limit.instead})"]


def _cells(one: Performance | None) -> tuple[str, ...]:
    if one is None:
        return (_UNKNOWN,) * (len(HEADINGS) - 1)
    shares = (one.efficiency, one.displaced, one.dense, one.fakes)
    told = (_UNKNOWN if share is None else f"{100 * share:.2f} %" for share in shares)
    return (
        *told,
        f"{100 * one.hits_on_tracks:.0f} %",
        f"{one.milliseconds:.1f}",
        "; ".join(one.weaknesses()) or "nothing seen",
    )
