"""Figures of how well the method does: shapes of jets against their labels, fractions of quarks against pT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.method.factors import FLAVOUR_NAMES
from beampipe.calibration.report.gather import Results
from beampipe.calibration.report.style import INK, PT_LABEL, REPORT_STYLE, heading, tagger_label
from beampipe.figures import drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_closure", "plot_fractions"]

_TRUTH, _EXTRACTED, _DATA = "#b9c4d4", "#2457a6", INK
_FORWARD, _CENTRAL = "#e4572e", "#2457a6"
_LINE: Final = "#9aa1ab"
"""Colour of the lines at 0 and 1."""

_ACROSS: Final = 3
"""Most bins of pT that stand side by side."""

_ENOUGH: Final = 0.1
"""Share of the peak of the shape by label above which a ratio to it is drawn."""


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Shapes of one flavour in a bin of pT: shares of jets in the bins of the tagger.

    Attributes:
        x: (n + 1,) edges of the bins of the tagger.
        data: (n,) shape extracted from data.
        simulation: (n,) shape extracted from simulation.
        label: (n,) shape in simulation by label.
    """

    x: Float64[ndarray, " e"]
    data: Float64[ndarray, " x"]
    simulation: Float64[ndarray, " x"]
    label: Float64[ndarray, " x"]

    @property
    def centre(self) -> Float64[ndarray, " x"]:
        """Centres of the bins of the tagger."""
        centre: Float64[ndarray, " x"] = (self.x[:-1] + self.x[1:]) / 2
        return centre

    @property
    def peak(self) -> float:
        """Largest share by label."""
        return float(np.max(np.nan_to_num(self.label), initial=0.0))


def plot_closure(results: Results, tagger: str, flavour: str) -> Figure:
    """Shapes of one flavour in each bin of pT: by label, extracted from simulation, extracted from data.

    The lower panels show the extracted shapes divided by the shape by label. Where that is below a tenth of its peak a
    ratio says little, and none is drawn.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        flavour: ``quark`` or ``gluon``.
    """
    settings = next(one for one in results.configuration.taggers if one.name == tagger)
    x = np.linspace(settings.low, settings.high, settings.bins + 1)
    data, simulation, label = results.efficiencies[tagger].shapes[:, :, FLAVOUR_NAMES.index(flavour)]
    edges = results.factors.pt_edges
    n_pt = len(edges) - 1
    columns = min(_ACROSS, n_pt)
    rows = -(-n_pt // columns)
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(
            2 * rows, columns, size=(4.3 * columns, 4.3 * rows), sharex=True, height_ratios=[3, 1.25] * rows
        )
        low, high = _range(x, np.nan_to_num(label))
        for p in range(rows * columns):
            upper, lower = panels[2 * (p // columns), p % columns], panels[2 * (p // columns) + 1, p % columns]
            if p >= n_pt:
                upper.set_visible(False)
                lower.set_visible(False)
                continue
            shapes = _Shapes(x, data[p], simulation[p], label[p])
            _draw_shapes(upper, shapes)
            _draw_ratios(lower, shapes)
            upper.set_title(f"{edges[p]:g} to {edges[p + 1]:g} GeV", fontsize=12, loc="left")
            upper.set_xlim(low, high)
            if p % columns == 0:
                upper.set_ylabel("Jets per bin [%]", fontsize=12)
                lower.set_ylabel("/ label", fontsize=12)
            else:
                lower.tick_params(labelleft=False)
            if p + columns >= n_pt:
                lower.set_xlabel(tagger_label(tagger), fontsize=13)
                lower.tick_params(labelbottom=True)
            for axes in (upper, lower):
                axes.tick_params(labelsize=11)
                axes.minorticks_off()
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=3, fontsize=12, frameon=False)
        figure.suptitle(
            f"{flavour.capitalize()} jets, {tagger_label(tagger)}", x=0.01, ha="left", fontsize=14, fontweight="bold"
        )
    return figure


def plot_fractions(results: Results, tagger: str) -> Figure:
    """Fractions of quarks in both regions of re-weighted simulation, and their difference.

    Extraction divides by the difference: the smaller it is, the larger the errors.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
    """
    from matplotlib.ticker import MaxNLocator

    edges = np.array(results.factors.pt_edges)
    forward, central = results.factors.fractions[tagger].T
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(2, 1, size=(8.4, 6.4), sharex=True, height_ratios=[2.2, 1])
        upper, lower = panels[:, 0]
        for values, name, colour, style in (
            (forward, "forward jets", _FORWARD, "-"),
            (central, "central jets", _CENTRAL, (0, (6, 2))),
        ):
            upper.stairs(values, edges, baseline=None, color=colour, linewidth=2.4, linestyle=style, label=name)
        upper.set_ylabel("Fraction of quarks")
        upper.set_ylim(0, 1)
        upper.legend(loc="lower right", fontsize=12, frameon=False)
        heading(upper, "Quarks in simulation", f"re-weighted for {tagger_label(tagger)}")
        difference = forward - central
        lower.stairs(difference, edges, baseline=None, color=INK, linewidth=2.4)
        lower.axhline(0, color=_LINE, linewidth=0.9)
        known = difference[np.isfinite(difference)]
        lower.set_ylim(1.3 * float(np.min(known, initial=0.0)), 1.4 * float(np.max(known, initial=0.01)))
        lower.yaxis.set_major_locator(MaxNLocator(4))
        lower.set_ylabel("Difference D")
        lower.set_xlabel(PT_LABEL)
        lower.set_xlim(edges[0], edges[-1])
    return figure


def _draw_shapes(axes: Axes, shapes: _Shapes) -> None:
    """Draw the three shapes; the panel is high enough for the peak by label, and not for what errors make of it."""
    data, label = shapes.data, shapes.label
    axes.stairs(100 * label, shapes.x, fill=True, color=_TRUTH, label="simulation, by label")
    extracted = 100 * shapes.simulation
    axes.stairs(extracted, shapes.x, baseline=None, color=_EXTRACTED, linewidth=1.6, label="simulation, extracted")
    known = np.isfinite(data) & (np.nan_to_num(np.abs(data)) + np.nan_to_num(label) > 0)
    axes.plot(shapes.centre[known], 100 * data[known], "o", color=_DATA, markersize=2.8, label="data, extracted")
    axes.axhline(0, color=_LINE, linewidth=0.7, zorder=0)
    low, high = axes.get_ylim()
    peak = 100 * shapes.peak
    if peak > 0:
        axes.set_ylim(max(low, -0.4 * peak), 1.1 * min(high, 2 * peak))


def _draw_ratios(axes: Axes, shapes: _Shapes) -> None:
    """Draw the extracted shapes over the shape by label, where that is large enough."""
    enough = np.nan_to_num(shapes.label) > _ENOUGH * shapes.peak
    with np.errstate(divide="ignore", invalid="ignore"):
        of_simulation, of_data = (
            np.where(enough, shape / shapes.label, np.nan) for shape in (shapes.simulation, shapes.data)
        )
    axes.axhline(1, color=_LINE, linewidth=0.9, zorder=0)
    axes.hlines(of_simulation, shapes.x[:-1], shapes.x[1:], color=_EXTRACTED, linewidth=1.8)
    axes.plot(shapes.centre, of_data, "o", color=_DATA, markersize=2.8)
    axes.set_ylim(0.4, 1.6)


def _range(x: Float64[ndarray, " e"], label: Float64[ndarray, "p x"]) -> tuple[float, float]:
    """The range of the tagger that has jets in some bin of pT."""
    filled = np.flatnonzero((label > 2e-4).any(axis=0))
    if not len(filled):
        return float(x[0]), float(x[-1])
    return float(x[filled[0]]), float(x[filled[-1] + 1])
