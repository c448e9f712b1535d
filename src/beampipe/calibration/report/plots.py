"""Figures of scale factors and their uncertainties against pT."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import FactorKey, Factors, ScaleFactor
from beampipe.calibration.method.validity import NO_VALID_ERROR, in_words
from beampipe.calibration.report.gather import Results
from beampipe.calibration.report.style import (
    EXPERIMENTAL_COLOUR,
    INK,
    OTHERS,
    PT_LABEL,
    REPORT_STYLE,
    STATISTICAL_COLOUR,
    TOTAL_COLOUR,
    bands_of,
    colours_of,
    experimental_of,
    heading,
    percent,
    source_label,
    tagger_label,
)
from beampipe.figures import drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["HEADLINES", "drawable", "plot_factor", "plot_points", "plot_scale_factor", "plot_uncertainties"]

HEADLINES: Final = (("quark", "efficiency"), ("gluon", "rejection"))
"""Flavour and quantity of the scale factors that are drawn for every tagger and working point."""


def plot_scale_factor(results: Results, key: FactorKey) -> Figure:
    """One scale factor against pT.

    A point stands for the scale factor in a bin, bands for its total uncertainty and for the sources of theory, bars
    for experimental and statistical uncertainties. Bands are not stacked: each reaches as far as its source alone, and
    larger ones lie behind smaller ones. A bin without a valid error is hatched, and holds neither; flags are written
    into their bins.

    Args:
        results: results of the calibration.
        key: which scale factor to draw.
    """
    kind = results.configuration.samples[results.configuration.data].kind
    return plot_factor(results.factors, key, results.true.get(key), kind)


def plot_factor(
    factors: Factors, key: FactorKey, true: Float64[ndarray, " p"] | None = None, kind: str = "data"
) -> Figure:
    """`plot_scale_factor` without the rest of the results.

    Args:
        factors: the scale factors.
        key: which one to draw.
        true: (n_pt,) the scale factor by label; None if there are no labels.
        kind: what the sample in the role of data is.
    """
    one = drawable(factors.by_name[key])
    edges = np.array(factors.pt_edges)
    with _one_panel(6.3) as (figure, axes):
        _show_flags(axes, edges, one)
        bands = bands_of(factors, one)
        colours = colours_of(factors, list(bands))
        handles = [_boxes(axes, edges, one, {"": one.total}, {"": TOTAL_COLOUR}, zorder=1.0)[""]]
        drawn = _boxes(axes, edges, one, bands, colours, zorder=2.0)
        labels = ["total", *(_band_label(name) for name in bands)]
        handles += [drawn[name] for name in bands]
        axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (5, 4)), zorder=3)
        if factors.experimental:
            handles.append(
                _bars(axes, edges, one.nominal, experimental_of(factors, one), EXPERIMENTAL_COLOUR, 6.0, 0.0, 4.0)
            )
            labels.append("experimental")
        if np.isfinite(one.statistical).any():
            handles.append(_bars(axes, edges, one.nominal, one.statistical, STATISTICAL_COLOUR, 1.4, 5.0, 5.0))
            labels.append("statistical")
        handles.append(_points(axes, edges, one.nominal))
        labels.append("scale factor")
        if true is not None:
            style: Any = {"color": "white", "markeredgecolor": "#b3003c", "markersize": 7, "zorder": 7}
            handles += axes.plot(_centres(edges), true, "D", **style)
            labels.append("true, by label")
        _frame(axes, edges, f"{_quantity(key.flavour, key.quantity)} scale factor")
        _room(axes, one, true, n_labels=len(labels))
        which = f"{tagger_label(key.tagger)} tagger, {percent(key.working_point)} working point"
        heading(axes, _title(key.flavour, key.quantity), which, f"{kind} / MC")
        axes.legend(handles, labels, columnspacing=1.4, **_LEGEND)
    return figure


def plot_uncertainties(results: Results, key: FactorKey) -> Figure:
    """Every uncertainty of one scale factor against pT, as steps.

    Args:
        results: results of the calibration.
        key: which scale factor to draw.
    """
    factors, one = results.factors, drawable(results.factors.by_name[key])
    edges = np.array(factors.pt_edges)
    with _one_panel(6.0) as (figure, axes):
        _show_flags(axes, edges, one)
        bands = bands_of(factors, one)
        colours = colours_of(factors, list(bands))
        axes.stairs(one.total, edges, fill=True, color=TOTAL_COLOUR, label="total", zorder=1)
        steps = partial(axes.stairs, edges=edges, baseline=None)
        steps(one.total, color="#9aa1ab", linewidth=1.2, zorder=2)
        if np.isfinite(one.statistical).any():
            dotted: Any = {"linestyle": (0, (1.5, 1.5)), "linewidth": 1.8}
            steps(one.statistical, color=STATISTICAL_COLOUR, **dotted, label="statistical", zorder=3)
        for number, name in enumerate(factors.experimental):
            dashes, text = _DASHES[number % len(_DASHES)], f"{source_label(name)} (exp.)"
            steps(one.sources[name], color=EXPERIMENTAL_COLOUR, linewidth=2.2, linestyle=dashes, label=text, zorder=4)
        for name, values in bands.items():
            steps(values, color=colours[name], linewidth=2.2, label=_band_label(name), zorder=5)
        _frame(axes, edges, "Uncertainty of the scale factor")
        top = float(np.max(one.total[np.isfinite(one.total)], initial=0.0))
        axes.set_ylim(0, (top or 1.0) / _below_legend(len(axes.get_legend_handles_labels()[1])))
        which = (f"{tagger_label(key.tagger)} tagger", f"{percent(key.working_point)} working point")
        heading(axes, _title(key.flavour, key.quantity), *which)
        axes.legend(columnspacing=1.4, **_LEGEND)
    return figure


def plot_points(results: Results, tagger: str, flavour: str, quantity: str) -> Figure:
    """One scale factor at all working points of a tagger, side by side, with total and statistical uncertainties.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        flavour: ``quark`` or ``gluon``.
        quantity: ``efficiency`` or ``rejection``.
    """
    factors = results.factors
    edges = np.array(factors.pt_edges)
    width = np.diff(edges)
    points = factors.working_points
    with _one_panel(6.0) as (figure, axes):
        axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        for number, wp in enumerate(points):
            one = drawable(factors.by_name[FactorKey(tagger, wp, flavour, quantity)])
            where = edges[:-1] + width * (number + 1) / (len(points) + 1)
            half = width / (len(points) + 1) / 2  # of the part of a bin that a working point has for itself
            _hatch(axes, where - half, where + half, one)
            colour = _POINT_COLOURS[number % len(_POINT_COLOURS)]
            axes.errorbar(
                where, one.nominal, np.nan_to_num(one.total), fmt="none", ecolor=colour, elinewidth=5, alpha=0.35
            )
            axes.errorbar(
                where,
                one.nominal,
                np.nan_to_num(one.statistical),
                fmt="osD^v*"[number % 6],
                color=colour,
                markersize=6,
                capsize=3,
                label=percent(wp),
            )
        for edge in edges[1:-1]:
            axes.axvline(edge, color="#c9ced6", linewidth=0.8, ymax=0.72, zorder=0)
        _frame(axes, edges, f"{_quantity(flavour, quantity)} scale factor")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.4 * (high - low))
        heading(axes, _title(flavour, quantity), f"{tagger_label(tagger)} tagger", "thin: statistical, wide: total")
        axes.legend(title="working point", title_fontsize=_LEGEND["fontsize"], **_LEGEND)
    return figure


def drawable(one: ScaleFactor) -> ScaleFactor:
    """A scale factor without its bins that have no valid error: a point there would look like a measurement."""
    nominal, statistical, total = (
        np.where(one.valid, values, np.nan) for values in (one.nominal, one.statistical, one.total)
    )
    sources = {name: np.where(one.valid, values, np.nan) for name, values in one.sources.items()}
    return replace(one, nominal=nominal, statistical=statistical, total=total, sources=sources)


def _hatch(axes: Axes, low: Float64[ndarray, " p"], high: Float64[ndarray, " p"], one: ScaleFactor) -> None:
    """Hatch from low to high where there is no valid error."""
    for p in np.flatnonzero(~one.valid):
        axes.axvspan(low[p], high[p], facecolor="none", edgecolor="#c9ced6", hatch="//", linewidth=0, zorder=0)


def _show_flags(axes: Axes, edges: Float64[ndarray, " e"], one: ScaleFactor) -> None:
    """Hatch bins without a valid error, and write the flags of every bin upwards along its left edge."""
    _hatch(axes, edges[:-1], edges[1:], one)
    for p, flags in enumerate(one.flags):
        lost = [] if one.valid[p] else ["no valid error"]
        text = in_words([*lost, *(flag for flag in flags if flag not in NO_VALID_ERROR)])
        if text:
            style: Any = {"rotation": 90, "fontsize": 8, "va": "bottom", "color": "#b3003c", "zorder": 8}
            style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8}  # lines pass behind
            axes.annotate(
                text, (edges[p], 0), (3, 4), xycoords=("data", "axes fraction"), textcoords="offset points", **style
            )


_DASHES: Final = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))
_POINT_COLOURS: Final = ("#2457a6", "#e4572e", "#3a9d8f", "#8e4585", "#c98f1f", "#6f7a87")
_LEGEND: Final[Mapping[str, Any]] = {
    "loc": "upper right",
    "ncols": 2,
    "fontsize": 12.5,
    "edgecolor": "none",
    "framealpha": 0.85,
}


@contextmanager
def _one_panel(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel, its height in inches, and the style while it is drawn."""
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(size=(8.4, height))
        yield figure, panels[0, 0]


def _centres(edges: Float64[ndarray, " e"]) -> Float64[ndarray, " p"]:
    """The centres of bins."""
    centres: Float64[ndarray, " p"] = (edges[:-1] + edges[1:]) / 2
    return centres


def _boxes(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    one: ScaleFactor,
    bands: dict[str, Any],
    colours: Any,
    *,
    zorder: float,
) -> dict[str, Any]:
    """Draw a box per bin and band around the scale factor, in each bin the larger ones behind, and give one of each."""
    from matplotlib.patches import Patch

    drawn: dict[str, Any] = {}
    ranks = np.argsort(np.argsort([-np.nan_to_num(values) for values in bands.values()], axis=0), axis=0)
    for name, rank in zip(bands, ranks, strict=True):
        half = bands[name]
        for p in np.flatnonzero(np.isfinite(half) & np.isfinite(one.nominal)):
            (box,) = axes.bar(
                edges[p],
                2 * half[p],
                edges[p + 1] - edges[p],
                one.nominal[p] - half[p],
                align="edge",
                facecolor=colours[name],
                edgecolor=INK if name else "#9aa1ab",
                linewidth=0.4 if name else 0.8,
                zorder=zorder + 0.9 * rank[p] / len(bands),
            )
            drawn.setdefault(name, box)
        if name not in drawn:
            drawn[name] = Patch(facecolor=colours[name], edgecolor=INK, linewidth=0.4)
    return drawn


def _bars(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    nominal: Float64[ndarray, " p"],
    error: Float64[ndarray, " p"],
    colour: str,
    width: float,
    cap: float,
    zorder: float,
) -> Any:
    return axes.errorbar(
        _centres(edges),
        nominal,
        np.nan_to_num(error),
        fmt="none",
        ecolor=colour,
        elinewidth=width,
        capsize=cap,
        capthick=width if cap else None,
        zorder=zorder,
    )


def _points(axes: Axes, edges: Float64[ndarray, " e"], nominal: Float64[ndarray, " p"]) -> Any:
    half = np.diff(edges) / 2
    return axes.errorbar(
        _centres(edges), nominal, xerr=half, fmt="o", color=INK, markersize=6, elinewidth=1.6, zorder=6
    )


def _frame(axes: Axes, edges: Float64[ndarray, " e"], label: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(PT_LABEL)
    axes.set_ylabel(label)


def _room(axes: Axes, one: ScaleFactor, true: Float64[ndarray, " p"] | None, n_labels: int) -> None:
    """Make room for the legend above the bands."""
    reach = np.nan_to_num(one.total)
    ends = [one.nominal - reach, one.nominal + reach, np.ones(1), *([] if true is None else [true])]
    every = np.concatenate(ends)
    every = every[np.isfinite(every)]
    low, high = float(every.min()), float(every.max())
    span = max(high - low, 0.1)
    bottom = low - 0.08 * span
    axes.set_ylim(bottom, bottom + (high - bottom) / _below_legend(n_labels))


def _below_legend(n_labels: int) -> float:
    """The share of a panel's height that a legend of two columns leaves free."""
    rows = -(-n_labels // 2)
    return min(0.76, 0.92 - 0.042 * rows)


def _band_label(name: str) -> str:
    return name if name.startswith(OTHERS) else source_label(name)


def _quantity(flavour: str, quantity: str) -> str:
    return f"{flavour.capitalize()} {quantity}"


def _title(flavour: str, quantity: str) -> str:
    return f"{flavour.capitalize()} jets: {quantity}"
