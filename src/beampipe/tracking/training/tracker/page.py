"""The validation report of a tracker model: validation.json with all numbers, and one HTML page with pictures."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.figures import drawing
from beampipe.files import write_whole
from beampipe.tracking.evaluation.plots import plot_efficiency, plot_stages
from beampipe.tracking.evaluation.results import evaluation_body
from beampipe.tracking.models import TrackerModel
from beampipe.tracking.models.overview import HEADINGS, floors_of, rows_of
from beampipe.tracking.training.tracker.sample import SPLIT
from beampipe.tracking.training.tracker.validation import Validation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE", "REPORT", "write_report"]

REPORT: Final = "validation.json"
"""Name of the file with everything that was measured."""

PAGE: Final = "validation.html"
"""Name of the page that shows it."""

_STYLE: Final = (
    "body{font-family:sans-serif;max-width:70em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
    "td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ccc}td:first-child,th:first-child"
    "{text-align:left}img{max-width:100%}"
)


def write_report(model: TrackerModel, validation: Validation, folder: Path) -> None:
    """Write `REPORT` and `PAGE`.

    Args:
        model: the model, with its performance.
        validation: what was measured.
        folder: folder of both files.
    """
    body = {"headline": evaluation_body(validation.headline), "soft": evaluation_body(validation.soft)}
    text = json.dumps({**body, "hits_on_tracks": dict(validation.hits_on_tracks)}, indent=1, allow_nan=False) + "\n"
    write_whole(folder / REPORT, lambda part: part.write_text(text, encoding="utf-8"))
    page = "\n".join(_page(model, validation))
    write_whole(folder / PAGE, lambda part: part.write_text(page, encoding="utf-8"))


def _page(model: TrackerModel, validation: Validation) -> Iterator[str]:
    title = html.escape(f"Tracker model {model.name}")
    yield f"<!DOCTYPE html><html lang=en><meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    yield f"<h1>{title}</h1><p>{html.escape(model.for_what)}</p>"
    spot, layout = model.layout.beam_spot, model.layout
    facts = {
        "layers": str(len(layout.layers)),
        "field": f"{layout.field:g} T",
        "layers that particles cross": str(model.crossing),
        "beam line": f"x = {spot.x:g} mm, y = {spot.y:g} mm at z = 0, slopes {spot.dxdz:g}, {spot.dydz:g}",
        "lowest pT": floors_of(model),
        "events": f"{model.origin.events} learned from, {model.origin.validation_events} kept apart; {SPLIT}",
        "command": model.origin.command,
    }
    yield _table(("", ""), list(facts.items()))
    yield f"<h2>What it can and cannot do</h2><p>{html.escape(validation.headline.definition)}</p>"
    yield f"<p>{html.escape(validation.headline.sample)}</p>"
    yield _table(HEADINGS, rows_of(model))
    variables = [curve.variable for curve in validation.headline.finders[0].curves if curve.variable != "pt"]
    yield "<h2>Efficiency by pT</h2>" + _picture(validation, ["pt"], soft=True)
    for variable in variables:
        yield f"<h2>Efficiency by {html.escape(variable.replace('_', ' '))}</h2>" + _picture(validation, [variable])
    with drawing():
        yield "<h2>Time</h2>" + _image(plot_stages(validation.headline))
    layers = [
        (layer.name, *(f"{edge:.1f}" for edge in (layer.r_min, layer.r_max, layer.z_min, layer.z_max)))
        for layer in layout.layers
    ]
    yield "<h2>Layers [mm]</h2>" + _table(("layer", "r from", "to", "z from", "to"), layers) + "</html>"


def _picture(validation: Validation, variables: list[str], *, soft: bool = False) -> str:
    with drawing():
        return _image(plot_efficiency(validation.soft if soft else validation.headline, variables))


def _image(figure: Figure) -> str:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'


def _table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(text)}</th>" for text in headings)
    body = ["<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in rows]
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"
