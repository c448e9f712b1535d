"""Scale factors and their uncertainties against pT. Each function returns a figure of its own; no display is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from beampipe.calibration.method.factors import ScaleFactor
from beampipe.calibration.report.gather import Key, Results
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

__all__ = ["HEADLINES", "plot_points", "plot_scale_factor", "plot_uncertainties"]

HEADLINES: Final = (("quark", "efficiency"), ("gluon", "rejection"))
"""What is drawn for every tagger and working point."""


def plot_scale_factor(results: Results, key: Key) -> Figure:
    """One scale factor: point and bin, bands of theory and in total, bars of the detector and of statistics.

    Bands are not stacked: each reaches as far as its source alone, larger ones behind smaller ones.
    """
    factors, one = results.factors, results.factors.by_name[key]
    edges = np.array(factors.pt_edges)
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(size=(8.4, 6.3))
        axes = panels[0, 0]
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
        if key in results.true:
            centre = (edges[:-1] + edges[1:]) / 2
            handles += axes.plot(
                centre, results.true[key], "D", color="white", markeredgecolor="#b3003c", markersize=7, zorder=7
            )
            labels.append("true, by label")
        _frame(axes, edges, f"{_quantity(*key[2:])} scale factor")
        _room(axes, one, results.true.get(key), n_labels=len(labels))
        data = "pseudo-data" if _is_pseudo(results) else "data"
        heading(
            axes, _title(*key[2:]), f"{tagger_label(key[0])} tagger, {percent(key[1])} working point", f"{data} / MC"
        )
        axes.legend(handles, labels, loc="upper right", ncols=2, fontsize=12.5, frameon=False, columnspacing=1.4)
    return figure


def plot_uncertainties(results: Results, key: Key) -> Figure:
    """Every uncertainty of one scale factor against pT, as steps."""
    factors, one = results.factors, results.factors.by_name[key]
    edges = np.array(factors.pt_edges)
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(size=(8.4, 6.0))
        axes = panels[0, 0]
        bands = bands_of(factors, one)
        colours = colours_of(factors, list(bands))
        axes.stairs(one.total, edges, fill=True, color=TOTAL_COLOUR, label="total", zorder=1)
        axes.stairs(one.total, edges, baseline=None, color="#9aa1ab", linewidth=1.2, zorder=2)
        if np.isfinite(one.statistical).any():
            axes.stairs(
                one.statistical,
                edges,
                baseline=None,
                color=STATISTICAL_COLOUR,
                linewidth=1.8,
                linestyle=(0, (1.5, 1.5)),
                label="statistical",
                zorder=3,
            )
        for number, name in enumerate(factors.experimental):
            axes.stairs(
                one.sources[name],
                edges,
                baseline=None,
                color=EXPERIMENTAL_COLOUR,
                linewidth=2.2,
                linestyle=_DASHES[number % len(_DASHES)],
                label=f"{source_label(name)} (exp.)",
                zorder=4,
            )
        for name, values in bands.items():
            axes.stairs(
                values,
                edges,
                baseline=None,
                color=colours[name],
                linewidth=2.2,
                label=_band_label(name),
                zorder=5,
            )
        _frame(axes, edges, "Uncertainty of the scale factor")
        top = float(np.max(one.total[np.isfinite(one.total)], initial=0.0))
        rows = -(-len(axes.get_legend_handles_labels()[1]) // 2)
        axes.set_ylim(0, (top or 1.0) / min(0.76, 0.92 - 0.042 * rows))
        heading(axes, _title(*key[2:]), f"{tagger_label(key[0])} tagger", f"{percent(key[1])} working point")
        axes.legend(loc="upper right", ncols=2, fontsize=12.5, frameon=False, columnspacing=1.4)
    return figure


def plot_points(results: Results, tagger: str, flavour: str, quantity: str) -> Figure:
    """All working points of a tagger side by side, with their total and statistical uncertainties."""
    factors = results.factors
    edges = np.array(factors.pt_edges)
    width = np.diff(edges)
    points = factors.working_points
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(size=(8.4, 6.0))
        axes = panels[0, 0]
        axes.axhline(1, color=INK, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        for number, wp in enumerate(points):
            one = factors.by_name[Key(tagger, wp, flavour, quantity)]
            where = edges[:-1] + width * (number + 1) / (len(points) + 1)
            colour = _POINT_COLOURS[number % len(_POINT_COLOURS)]
            axes.errorbar(
                where, one.nominal, _unless_nan(one.total), fmt="none", ecolor=colour, elinewidth=5, alpha=0.35
            )
            axes.errorbar(
                where,
                one.nominal,
                _unless_nan(one.statistical),
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
        heading(
            axes,
            _title(flavour, quantity),
            f"{tagger_label(tagger)} tagger",
            "thin: statistical, wide: total",
        )
        axes.legend(
            loc="upper right", title="working point", ncols=2, fontsize=12.5, title_fontsize=12.5, frameon=False
        )
    return figure


_DASHES: Final = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))
_POINT_COLOURS: Final = ("#2457a6", "#e4572e", "#3a9d8f", "#8e4585", "#c98f1f", "#6f7a87")


def _boxes(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    one: ScaleFactor,
    bands: dict[str, Any],
    colours: Any,
    *,
    zorder: float,
) -> dict[str, Any]:
    """A box per bin and band around the scale factor; in each bin larger ones lie behind."""
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
            drawn[name] = _swatch(colours[name])
    return drawn


def _swatch(colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, edgecolor=INK, linewidth=0.4)


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
    centre = (edges[:-1] + edges[1:]) / 2
    return axes.errorbar(
        centre,
        nominal,
        _unless_nan(error),
        fmt="none",
        ecolor=colour,
        elinewidth=width,
        capsize=cap,
        capthick=width if cap else None,
        zorder=zorder,
    )


def _points(axes: Axes, edges: Float64[ndarray, " e"], nominal: Float64[ndarray, " p"]) -> Any:
    centre, half = (edges[:-1] + edges[1:]) / 2, np.diff(edges) / 2
    return axes.errorbar(centre, nominal, xerr=half, fmt="o", color=INK, markersize=6, elinewidth=1.6, zorder=6)


def _frame(axes: Axes, edges: Float64[ndarray, " e"], label: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(PT_LABEL)
    axes.set_ylabel(label)


def _room(axes: Axes, one: ScaleFactor, true: Float64[ndarray, " p"] | None, n_labels: int) -> None:
    """Room for the legend above the bands."""
    reach = np.nan_to_num(one.total)
    ends = [one.nominal - reach, one.nominal + reach, np.ones(1), *([] if true is None else [true])]
    every = np.concatenate(ends)
    every = every[np.isfinite(every)]
    low, high = float(every.min()), float(every.max())
    span = max(high - low, 0.1)
    rows = -(-n_labels // 2)
    bottom = low - 0.08 * span
    used = min(0.76, 0.92 - 0.042 * rows)
    axes.set_ylim(bottom, bottom + (high - bottom) / used)


def _band_label(name: str) -> str:
    return name if name.startswith(OTHERS) else source_label(name)


def _quantity(flavour: str, quantity: str) -> str:
    return f"{flavour.capitalize()} {quantity}"


def _title(flavour: str, quantity: str) -> str:
    return f"{flavour.capitalize()} jets: {quantity}"


def _is_pseudo(results: Results) -> bool:
    configuration = results.configuration
    return configuration.samples[configuration.data].kind == "pseudo-data"


def _unless_nan(error: Float64[ndarray, " p"]) -> Float64[ndarray, " p"]:
    """An error that is unknown is drawn as none."""
    known: Float64[ndarray, " p"] = np.nan_to_num(error)
    return known
