"""Figures of the report: style, scale factors, uncertainties and closure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import Style
from beampipe.calibration.method.factors import FLAVOUR_NAMES, NO_VALID_ERROR, FactorKey, Factors, ScaleFactor, in_words
from beampipe.calibration.method.reweight import apply_factors, reweighting_factors
from beampipe.calibration.results import Results, percent
from beampipe.figures import INK, PALETTE, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


PT_LABEL: Final = r"Jet $p_{\mathrm{T}}$ [GeV]"
"""Label of the horizontal axis."""

TOTAL_COLOUR: Final = "#d9dce1"
"""Colour of total uncertainties."""

EXPERIMENTAL_COLOUR: Final = PALETTE[0]
"""Colour of experimental uncertainties."""

STATISTICAL_COLOUR: Final = INK[0]
"""Colour of statistical uncertainties."""

OTHERS: Final = "others"
"""Prefix of the name of the band that merges many small sources."""

REPORT_STYLE: Final = {"axes.formatter.use_mathtext": False}
"""Settings of matplotlib on top of the ATLAS style. Axis numbers as formulas would take half of the drawing time."""

_MOST_BANDS: Final = 7
"""Largest number of distinguishable bands; the smallest sources beyond it are merged."""

BAND_COLOURS: Final = (*PALETTE[1:], "#7a0019")
"""Colours of bands; blue is that of experimental uncertainties."""

_SHORT: Final = {
    word: word.upper() for word in ("pdf", "jes", "jer", "me", "mc", "fsr", "isr", "ps", "mpi", "cr", "lo", "nlo")
} | {"nonclosure": "non-closure", "reweight": "re-weighting"}


def source_label(name: str) -> str:
    """Name of a source of uncertainty as a label: ``me_proxy`` becomes ``ME proxy``."""
    words = name.replace("_", " ").split()
    return " ".join(_SHORT.get(word, word) for word in words)


def tagger_label(name: str) -> str:
    """Name of a tagger as a label, a formula if it has one."""
    return r"$n_{\mathrm{trk}}$" if name == "n_trk" else name.replace("_", " ")


def experimental_of(factors: Factors, factor: ScaleFactor) -> Float64[ndarray, " p"]:
    """Uncertainty of all experimental sources in quadrature; nan where one of them is unknown."""
    square = np.zeros_like(factor.nominal)
    for name in factors.experimental:
        square = square + factor.sources[name] ** 2
    root: Float64[ndarray, " p"] = np.sqrt(square)
    return root


def bands_of(factors: Factors, factor: ScaleFactor) -> dict[str, Float64[ndarray, " p"]]:
    """Uncertainties of the other sources, the largest first. If there are many, the smallest are merged: `OTHERS`."""
    sources = {name: values for name, values in factor.sources.items() if name not in factors.experimental}
    order = sorted(sources, key=lambda name: -float(np.nansum(np.abs(sources[name]))))
    if len(order) <= _MOST_BANDS:
        return {name: sources[name] for name in order}
    rest = order[_MOST_BANDS - 1 :]
    bands = {name: sources[name] for name in order[: _MOST_BANDS - 1]}
    square = np.zeros_like(factor.nominal)
    for name in rest:
        square = square + sources[name] ** 2
    return {**bands, f"{OTHERS} ({len(rest)})": np.sqrt(square)}


def colours_of(factors: Factors, names: Sequence[str]) -> Mapping[str, str]:
    """Colours of bands. A source has the same one in every figure, as long as there are as many colours as sources."""
    theory = [
        name for factor in factors.by_name.values() for name in factor.sources if name not in factors.experimental
    ]
    fixed = dict(zip(dict.fromkeys(theory), BAND_COLOURS[:-1], strict=False))
    free = iter([colour for colour in BAND_COLOURS if colour not in {fixed.get(name) for name in names}])
    return {name: fixed[name] if name in fixed else next(free) for name in names}


def heading(axes: Axes, title: str, *lines: str) -> None:
    """Write a title and the lines that belong to it inside a panel, in its upper left corner."""
    for number, text in enumerate((title, *lines)):
        axes.annotate(
            text,
            (0, 1),
            (12, -12 - 21 * number),
            xycoords="axes fraction",
            textcoords="offset points",
            va="top",
            fontsize=13 if number else 16,
            fontweight="normal" if number else "bold",
        )


def add_labels(figure: Figure, style: Style) -> None:
    """Write experiment, energy and luminosity above a figure; the figure must be made and saved inside `drawing`."""
    import mplhep

    numbers = [f"√$s$ = {style.energy:g} TeV"] if style.energy else []
    numbers += [rf"{style.luminosity:g} fb$^{{-1}}$"] if style.luminosity else []
    names = [each for each in (style.experiment, style.label) if each]
    if not names and not numbers:
        return
    title = figure.get_suptitle()
    if title:
        figure.suptitle("   ".join([" ".join(names), ", ".join(numbers), title]), x=0.01, ha="left", fontsize=14)
    else:
        mplhep.label.exp_label(
            exp=style.experiment, text=style.label, rlabel=", ".join(numbers), data=True, loc=0, ax=figure.axes[0]
        )


def figure_paths(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a figure: a PNG and a PDF."""
    return folder / f"{name}.png", folder / f"{name}.pdf"


HEADLINES: Final = (("quark", "efficiency"), ("gluon", "rejection"))
"""Flavour and quantity of the scale factors that are drawn for every tagger and working point."""


def plot_scale_factor(results: Results, key: FactorKey) -> Figure:
    """One scale factor against pT.

    Points show the scale factor in each bin, bands its total uncertainty and the theory uncertainties, bars the
    experimental and statistical uncertainties. Bands are not stacked: each shows its source alone, with larger ones
    behind smaller ones. Bins without a valid error are hatched and empty; flags are written into their bins.

    Args:
        results: results of the calibration.
        key: which scale factor to draw.
    """
    kind = results.configuration.samples[results.configuration.data].kind
    return plot_factor(results.factors, key, results.true.get(key), kind)


def plot_factor(
    factors: Factors, key: FactorKey, true: Float64[ndarray, " p"] | None = None, kind: str = "data"
) -> Figure:
    """`plot_scale_factor` from the scale factors alone.

    Args:
        factors: the scale factors.
        key: which one to draw.
        true: (n_pt,) the scale factor by label; None if there are no labels.
        kind: kind of the sample that is used as data.
    """
    factor = drawable(factors.by_name[key])
    edges = np.array(factors.pt_edges)
    with _one_panel(6.3) as (figure, axes):
        _show_flags(axes, edges, factor)
        bands = bands_of(factors, factor)
        colours = colours_of(factors, list(bands))
        handles = [_boxes(axes, edges, factor, {"": factor.total}, {"": TOTAL_COLOUR}, zorder=1.0)[""]]
        drawn = _boxes(axes, edges, factor, bands, colours, zorder=2.0)
        labels = ["total", *(_band_label(name) for name in bands)]
        handles += [drawn[name] for name in bands]
        axes.axhline(1, color=INK[0], linewidth=0.9, linestyle=(0, (5, 4)), zorder=3)
        if factors.experimental:
            handles.append(
                _bars(axes, edges, factor.nominal, experimental_of(factors, factor), EXPERIMENTAL_COLOUR, 6.0, 0.0, 4.0)
            )
            labels.append("experimental")
        if np.isfinite(factor.statistical).any():
            handles.append(_bars(axes, edges, factor.nominal, factor.statistical, STATISTICAL_COLOUR, 1.4, 5.0, 5.0))
            labels.append("statistical")
        half = np.diff(edges) / 2
        handles.append(
            axes.errorbar(
                _centres(edges),
                factor.nominal,
                xerr=half,
                fmt="o",
                color=INK[0],
                markersize=6,
                elinewidth=1.6,
                zorder=6,
            )
        )
        labels.append("scale factor")
        if true is not None:
            style: Any = {"color": "white", "markeredgecolor": "#b3003c", "markersize": 7, "zorder": 7}
            handles += axes.plot(_centres(edges), true, "D", **style)
            labels.append("true, by label")
        _frame(axes, edges, f"{_quantity(key.flavour, key.quantity)} scale factor")
        _room(axes, factor, true, n_labels=len(labels))
        which = f"{tagger_label(key.tagger)} tagger, {percent(key.working_point)} working point{factors.bins[0].eta}"
        heading(axes, _title(key.flavour, key.quantity), which, f"{kind} / MC")
        axes.legend(handles, labels, columnspacing=1.4, **_LEGEND)
    return figure


def plot_uncertainties(results: Results, key: FactorKey) -> Figure:
    """Every uncertainty of one scale factor against pT, as steps.

    Args:
        results: results of the calibration.
        key: which scale factor to draw.
    """
    factors, factor = results.factors, drawable(results.factors.by_name[key])
    edges = np.array(factors.pt_edges)
    with _one_panel(6.0) as (figure, axes):
        _show_flags(axes, edges, factor)
        bands = bands_of(factors, factor)
        colours = colours_of(factors, list(bands))
        axes.stairs(factor.total, edges, fill=True, color=TOTAL_COLOUR, label="total", zorder=1)
        steps = partial(axes.stairs, edges=edges, baseline=None)
        steps(factor.total, color="#9aa1ab", linewidth=1.2, zorder=2)
        if np.isfinite(factor.statistical).any():
            dotted: Any = {"linestyle": (0, (1.5, 1.5)), "linewidth": 1.8}
            steps(factor.statistical, color=STATISTICAL_COLOUR, **dotted, label="statistical", zorder=3)
        for number, name in enumerate(factors.experimental):
            dashes, text = _DASHES[number % len(_DASHES)], f"{source_label(name)} (exp.)"
            steps(
                factor.sources[name], color=EXPERIMENTAL_COLOUR, linewidth=2.2, linestyle=dashes, label=text, zorder=4
            )
        for name, values in bands.items():
            steps(values, color=colours[name], linewidth=2.2, label=_band_label(name), zorder=5)
        _frame(axes, edges, "Uncertainty of the scale factor")
        top = float(np.max(factor.total[np.isfinite(factor.total)], initial=0.0))
        axes.set_ylim(0, (top or 1.0) / _below_legend(len(axes.get_legend_handles_labels()[1])))
        which = (
            f"{tagger_label(key.tagger)} tagger",
            f"{percent(key.working_point)} working point{factors.bins[0].eta}",
        )
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
        axes.axhline(1, color=INK[0], linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        for number, wp in enumerate(points):
            factor = drawable(factors.by_name[FactorKey(tagger, wp, flavour, quantity)])
            where = edges[:-1] + width * (number + 1) / (len(points) + 1)
            half = width / (len(points) + 1) / 2  # half width of a working point
            _hatch(axes, where - half, where + half, factor)
            colour = _POINT_COLOURS[number % len(_POINT_COLOURS)]
            axes.errorbar(
                where, factor.nominal, np.nan_to_num(factor.total), fmt="none", ecolor=colour, elinewidth=5, alpha=0.35
            )
            axes.errorbar(
                where,
                factor.nominal,
                np.nan_to_num(factor.statistical),
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
        which = f"{tagger_label(tagger)} tagger{factors.bins[0].eta}"
        heading(axes, _title(flavour, quantity), which, "thin: statistical, wide: total")
        axes.legend(title="working point", title_fontsize=_LEGEND["fontsize"], **_LEGEND)
    return figure


def drawable(factor: ScaleFactor) -> ScaleFactor:
    """A scale factor with nan in bins without a valid error, where a point would look like a measurement."""
    nominal, statistical, total = (
        np.where(factor.valid, values, np.nan) for values in (factor.nominal, factor.statistical, factor.total)
    )
    sources = {name: np.where(factor.valid, values, np.nan) for name, values in factor.sources.items()}
    return replace(factor, nominal=nominal, statistical=statistical, total=total, sources=sources)


def _hatch(axes: Axes, low: Float64[ndarray, " p"], high: Float64[ndarray, " p"], factor: ScaleFactor) -> None:
    """Hatch from low to high where there is no valid error."""
    for p in np.flatnonzero(~factor.valid):
        axes.axvspan(low[p], high[p], facecolor="none", edgecolor="#c9ced6", hatch="//", linewidth=0, zorder=0)


def _show_flags(axes: Axes, edges: Float64[ndarray, " e"], factor: ScaleFactor) -> None:
    """Hatch bins without a valid error, and write the flags of every bin upwards along its left edge."""
    _hatch(axes, edges[:-1], edges[1:], factor)
    for p, flags in enumerate(factor.flags):
        lost = [] if factor.valid[p] else ["no valid error"]
        text = in_words([*lost, *(flag for flag in flags if flag not in NO_VALID_ERROR)])
        if text:
            style: Any = {"rotation": 90, "fontsize": 8, "va": "bottom", "color": "#b3003c", "zorder": 8}
            style["bbox"] = {
                "facecolor": "white",
                "edgecolor": "none",
                "pad": 1,
                "alpha": 0.8,
            }  # hide lines behind the text
            axes.annotate(
                text, (edges[p], 0), (3, 4), xycoords=("data", "axes fraction"), textcoords="offset points", **style
            )


_DASHES: Final = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))

_POINT_COLOURS: Final = PALETTE[:-1]

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
    factor: ScaleFactor,
    bands: dict[str, Any],
    colours: Any,
    *,
    zorder: float,
) -> dict[str, Any]:
    """Draw a box per bin and band around the scale factor, larger ones behind; returns one of each for the legend."""
    from matplotlib.patches import Patch

    drawn: dict[str, Any] = {}
    ranks = np.argsort(np.argsort([-np.nan_to_num(values) for values in bands.values()], axis=0), axis=0)
    for name, rank in zip(bands, ranks, strict=True):
        half = bands[name]
        for p in np.flatnonzero(np.isfinite(half) & np.isfinite(factor.nominal)):
            (box,) = axes.bar(
                edges[p],
                2 * half[p],
                edges[p + 1] - edges[p],
                factor.nominal[p] - half[p],
                align="edge",
                facecolor=colours[name],
                edgecolor=INK[0] if name else "#9aa1ab",
                linewidth=0.4 if name else 0.8,
                zorder=zorder + 0.9 * rank[p] / len(bands),
            )
            drawn.setdefault(name, box)
        if name not in drawn:
            drawn[name] = Patch(facecolor=colours[name], edgecolor=INK[0], linewidth=0.4)
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


def _frame(axes: Axes, edges: Float64[ndarray, " e"], label: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(PT_LABEL)
    axes.set_ylabel(label)


def _room(axes: Axes, factor: ScaleFactor, true: Float64[ndarray, " p"] | None, n_labels: int) -> None:
    """Make room for the legend above the bands."""
    reach = np.nan_to_num(factor.total)
    ends = [factor.nominal - reach, factor.nominal + reach, np.ones(1), *([] if true is None else [true])]
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


_TRUTH, _EXTRACTED, _DATA = "#b9c4d4", PALETTE[0], INK[0]

_FORWARD, _CENTRAL = PALETTE[3], PALETTE[0]

_LINE: Final = "#9aa1ab"
"""Colour of the lines at 0 and 1."""

ACROSS: Final = 3
"""Largest number of bins of jets side by side."""

_ENOUGH: Final = 0.1
"""Fraction of the peak of the shape by label above which a ratio to it is drawn."""


@dataclass(frozen=True, eq=False)
class _Shapes:
    """Shapes of one flavour in a bin of pT: shares of jets in the bins of the tagger.

    Attributes:
        x: (n + 1,) edges of the bins of the tagger.
        data: (n,) shape extracted from data.
        simulation: (n,) shape extracted from simulation.
        label: (n,) shape in simulation by label.
        data_error: (n,) statistical error of `data`.
        simulation_error: (n,) statistical error of `simulation`.
    """

    x: Float64[ndarray, " e"]
    data: Float64[ndarray, " x"]
    simulation: Float64[ndarray, " x"]
    label: Float64[ndarray, " x"]
    data_error: Float64[ndarray, " x"]
    simulation_error: Float64[ndarray, " x"]

    @property
    def centre(self) -> Float64[ndarray, " x"]:
        """Centres of the bins of the tagger."""
        centre: Float64[ndarray, " x"] = (self.x[:-1] + self.x[1:]) / 2
        return centre

    @property
    def peak(self) -> float:
        """Largest share by label."""
        return float(np.max(np.nan_to_num(self.label), initial=0.0))


def shape_errors(results: Results, sample: str, tagger: str, flavour: str) -> Float64[ndarray, "p x"]:
    """Statistical errors of extracted shapes, from the jets of a sample; re-weighting and fractions are fixed.

    With errors s of the shapes of both regions that of quarks is sqrt((f_g^C s_F)^2 + (f_g^F s_C)^2) / \\|D\\|.

    Args:
        results: results of the calibration.
        sample: name of the sample whose shapes are extracted.
        tagger: name of the tagger.
        flavour: ``quark`` or ``gluon``.
    """
    nominal, templates = (results.samples[name].templates for name in (results.configuration.nominal, sample))
    factors = np.nan_to_num(reweighting_factors(nominal.flavours(tagger)[0]), nan=1.0)
    jets = apply_factors(templates.total(tagger)[0], factors)
    squares = apply_factors(replace(templates, values=templates.squares).total(tagger)[0], factors**2)
    quarks = results.factors.fractions[tagger]
    forward, central = ((1 - quarks) if flavour == "quark" else quarks).T
    with np.errstate(divide="ignore", invalid="ignore"):
        total = jets.sum(axis=-1, keepdims=True)
        shares = jets / total
        relative = (squares * (1 - 2 * shares) + shares**2 * squares.sum(axis=-1, keepdims=True)) / total**2
        square = (central[:, None] ** 2) * relative[:, 0] + (forward[:, None] ** 2) * relative[:, 1]
        errors: Float64[ndarray, "p x"] = np.sqrt(square) / np.abs(quarks[:, 0] - quarks[:, 1])[:, None]
    return errors


def plot_closure(results: Results, tagger: str, flavour: str) -> Figure:
    """Shapes of one flavour in each bin of pT: by label, extracted from simulation, extracted from data.

    The lower panels show the extracted shapes divided by the shape by label, where the latter is at least a tenth of
    its peak.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        flavour: ``quark`` or ``gluon``.
    """
    settings = next(each for each in results.configuration.taggers if each.name == tagger)
    x = np.linspace(settings.low, settings.high, settings.bins + 1)
    data, simulation, label = results.efficiencies[tagger].shapes[:, :, FLAVOUR_NAMES.index(flavour)]
    data_errors, simulation_errors = (
        shape_errors(results, name, tagger, flavour)
        for name in (results.configuration.data, results.configuration.nominal)
    )
    title = f"{flavour.capitalize()} jets, {tagger_label(tagger)}"
    filled = np.flatnonzero((np.nan_to_num(label) > 2e-4).any(axis=0))
    low, high = (x[filled[0]], x[filled[-1] + 1]) if len(filled) else (x[0], x[-1])
    with bin_panels(results, title, tagger_label(tagger), lower="/ label") as panels:
        for p, (upper, lower) in enumerate(panels):
            assert lower is not None
            shapes = _Shapes(x, data[p], simulation[p], label[p], data_errors[p], simulation_errors[p])
            _draw_shapes(upper, shapes)
            _draw_ratios(lower, shapes)
            upper.set_xlim(low, high)
            if p % ACROSS == 0:
                upper.set_ylabel("Jets per bin [%]", fontsize=12)
            else:
                lower.tick_params(labelleft=False)
    return panels.figure


class Panels(list["tuple[Axes, Axes | None]"]):
    """The panels of the bins of jets, an upper and perhaps a lower one for each, and their figure."""

    figure: Figure


@contextmanager
def bin_panels(results: Results, title: str, x_label: str, *, lower: str = "") -> Iterator[Panels]:
    """A panel for each bin of jets, with a title and one legend; and below each a ratio, if it has a label."""
    bins = results.factors.bins
    n_pt = len(bins)
    columns = min(ACROSS, n_pt)
    rows, each = -(-n_pt // columns), 2 if lower else 1
    heights = [3, 1.25] * rows if lower else [1] * rows
    with drawing(REPORT_STYLE):
        size = (4.3 * columns, 4.3 * rows if lower else 3.2 * rows + 1.0)
        figure, grid = new_figure(each * rows, columns, size=size, sharex=True, height_ratios=heights)
        panels = Panels()
        panels.figure = figure
        for p in range(rows * columns):
            column = [grid[each * (p // columns) + k, p % columns] for k in range(each)]
            if p >= n_pt:
                for axes in column:
                    axes.set_visible(False)
                continue
            column[0].set_title(f"{bins[p].pt} GeV{bins[p].eta}", fontsize=12, loc="left")
            if p + columns >= n_pt:
                column[-1].set_xlabel(x_label, fontsize=13)
                column[-1].tick_params(labelbottom=True)
            if lower and p % columns == 0:
                column[1].set_ylabel(lower, fontsize=12)
            for axes in column:
                axes.tick_params(labelsize=11)
                axes.minorticks_off()
            panels.append((column[0], column[1] if lower else None))
        yield panels
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=12, frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=14, fontweight="bold")


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
        which = f"re-weighted for {tagger_label(tagger)}{results.factors.bins[0].eta}"
        heading(upper, "Quarks in simulation", which)
        difference = forward - central
        lower.stairs(difference, edges, baseline=None, color=INK[0], linewidth=2.4)
        lower.axhline(0, color=_LINE, linewidth=0.9)
        finite = difference[np.isfinite(difference)]
        lower.set_ylim(1.3 * float(np.min(finite, initial=0.0)), 1.4 * float(np.max(finite, initial=0.01)))
        lower.yaxis.set_major_locator(MaxNLocator(4))
        lower.set_ylabel("Difference D")
        lower.set_xlabel(PT_LABEL)
        lower.set_xlim(edges[0], edges[-1])
    return figure


def _draw_shapes(axes: Axes, shapes: _Shapes) -> None:
    """Draw the three shapes; the axis range follows the peak by label, not statistical fluctuations."""
    data, label = shapes.data, shapes.label
    axes.stairs(100 * label, shapes.x, fill=True, color=_TRUTH, label="simulation, by label")
    extracted = 100 * shapes.simulation
    axes.stairs(extracted, shapes.x, baseline=None, color=_EXTRACTED, linewidth=1.6, label="simulation, extracted")
    drawn = np.isfinite(data) & (np.nan_to_num(np.abs(data)) + np.nan_to_num(label) > 0)
    error = 100 * shapes.simulation_error
    band: Any = {"fill": True, "color": _EXTRACTED, "alpha": 0.2, "linewidth": 0}
    axes.stairs(np.nan_to_num(extracted + error), shapes.x, baseline=np.nan_to_num(extracted - error), **band)
    points: Any = {"fmt": "o", "color": _DATA, "markersize": 2.8, "elinewidth": 0.8, "label": "data, extracted"}
    axes.errorbar(shapes.centre[drawn], 100 * data[drawn], np.nan_to_num(100 * shapes.data_error[drawn]), **points)
    axes.axhline(0, color=_LINE, linewidth=0.7, zorder=0)
    low, high = axes.get_ylim()
    peak = 100 * shapes.peak
    if peak > 0:
        axes.set_ylim(max(low, -0.4 * peak), 1.1 * min(high, 2 * peak))


def _draw_ratios(axes: Axes, shapes: _Shapes) -> None:
    """Draw the extracted shapes over the shape by label, where that is large enough."""
    enough = np.nan_to_num(shapes.label) > _ENOUGH * shapes.peak
    with np.errstate(divide="ignore", invalid="ignore"):
        of_simulation, of_data, data_error, simulation_error = (
            np.where(enough, values / shapes.label, np.nan)
            for values in (shapes.simulation, shapes.data, shapes.data_error, shapes.simulation_error)
        )
    axes.axhline(1, color=_LINE, linewidth=0.9, zorder=0)
    axes.hlines(of_simulation, shapes.x[:-1], shapes.x[1:], color=_EXTRACTED, linewidth=1.8)
    low, high = of_simulation - simulation_error, of_simulation + simulation_error
    axes.stairs(high, shapes.x, baseline=low, fill=True, color=_EXTRACTED, alpha=0.2, linewidth=0)
    axes.errorbar(shapes.centre, of_data, data_error, fmt="o", color=_DATA, markersize=2.8, elinewidth=0.8)
    axes.set_ylim(0.4, 1.6)
