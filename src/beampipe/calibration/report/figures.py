"""Figures of the report: scale factors, uncertainties and closure; data beside simulation by flavour, re-weighting
factors, and how taggers separate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.calibration.config import REGIONS, Style
from beampipe.calibration.method.cases import Templates
from beampipe.calibration.method.factors import FLAGS, FLAVOUR_NAMES, FactorKey, Factors, ScaleFactor
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

REPORT_STYLE: Final = {"axes.formatter.use_mathtext": False, "axes.titlelocation": "left", "axes.titlesize": 15}
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
    return _quadrature(factor, factors.experimental)


def bands_of(factors: Factors, factor: ScaleFactor) -> dict[str, Float64[ndarray, " p"]]:
    """Uncertainties of the other sources, the largest first. If there are many, the smallest are merged: `OTHERS`."""
    sources = {name: values for name, values in factor.sources.items() if name not in factors.experimental}
    order = sorted(sources, key=lambda name: -float(np.nansum(np.abs(sources[name]))))
    if len(order) <= _MOST_BANDS:
        return {name: sources[name] for name in order}
    rest = order[_MOST_BANDS - 1 :]
    bands = {name: sources[name] for name in order[: _MOST_BANDS - 1]}
    return {**bands, f"{OTHERS} ({len(rest)})": _quadrature(factor, rest)}


def _quadrature(factor: ScaleFactor, names: Iterable[str]) -> Float64[ndarray, " p"]:
    """The uncertainties of some sources in quadrature."""
    root: ndarray = np.sqrt(sum((factor.sources[name] ** 2 for name in names), np.zeros_like(factor.nominal)))
    return root


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
        figure.suptitle("   ".join([" ".join(names), ", ".join(numbers), title]), x=0.01, ha="left", fontsize=15)
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
    behind smaller ones. Bins without a valid error are hatched and empty, those with a flag have an open marker, and a
    footnote says why.

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
        _hatch(axes, edges[:-1], edges[1:], factor)
        bands = bands_of(factors, factor)
        legend = _boxes(axes, edges, factor, {"total": factor.total}, {"total": TOTAL_COLOUR}, zorder=1.0)
        boxes = _boxes(axes, edges, factor, bands, colours_of(factors, list(bands)), zorder=2.0)
        legend |= {_band_label(name): box for name, box in boxes.items()}
        axes.axhline(1, **_UNITY, zorder=3)
        bars = partial(axes.errorbar, _centres(edges), factor.nominal)
        if factors.experimental:
            error, colour = np.nan_to_num(experimental_of(factors, factor)), EXPERIMENTAL_COLOUR
            legend["experimental"] = bars(error, fmt="none", ecolor=colour, elinewidth=6.0, capsize=0.0, zorder=4.0)
        if np.isfinite(factor.statistical).any():
            thin: Any = {"ecolor": STATISTICAL_COLOUR, "elinewidth": 1.4, "capsize": 5.0, "capthick": 1.4}
            legend["statistical"] = bars(np.nan_to_num(factor.statistical), fmt="none", **thin, zorder=5.0)
        point: Any = {"fmt": "o", "color": INK[0], "markersize": 6, "elinewidth": 1.6}
        legend["scale factor"] = bars(xerr=np.diff(edges) / 2, **point, zorder=6)
        _open_markers(axes, _centres(edges), factor.nominal, factor, marker="o", color=INK[0], zorder=6.5)
        if true is not None:
            style: Any = {"color": "#b3003c", "markersize": 6, "zorder": 7}
            legend["true, by label"] = axes.plot(_centres(edges), true, "D", **style)[0]
        _frame(axes, edges, f"{key.flavour.capitalize()} {key.quantity} scale factor")
        reach = np.nan_to_num(factor.total)
        ends = [factor.nominal - reach, factor.nominal + reach, np.ones(1), *([] if true is None else [true])]
        low, high = float(np.nanmin(np.concatenate(ends))), float(np.nanmax(np.concatenate(ends)))
        bottom = low - 0.08 * max(high - low, 0.1)
        axes.set_ylim(bottom, bottom + (high - bottom) / _below_legend(len(legend)))
        point = f"{percent(key.working_point)} working point{factors.bins[0].eta}"
        which = f"{tagger_label(key.tagger)} tagger, {kind} / MC"
        heading(axes, _title(key.flavour, key.quantity), which, point)
        axes.legend(legend.values(), legend.keys(), columnspacing=1.4, **_LEGEND)
        _add_footnote(figure, factor)
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
        _hatch(axes, edges[:-1], edges[1:], factor)
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
        _open_markers(axes, _centres(edges), factor.total, factor, marker="o", color=INK[0], zorder=6)
        _frame(axes, edges, "Uncertainty of the scale factor")
        top = float(np.max(factor.total[np.isfinite(factor.total)], initial=0.0))
        axes.set_ylim(0, (top or 1.0) / _below_legend(len(axes.get_legend_handles_labels()[1])))
        point = f"{percent(key.working_point)} working point{factors.bins[0].eta}"
        heading(axes, _title(key.flavour, key.quantity), f"{tagger_label(key.tagger)} tagger", point)
        axes.legend(columnspacing=1.4, **_LEGEND)
        _add_footnote(figure, factor)
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
    drawn = [drawable(factors.by_name[FactorKey(tagger, wp, flavour, quantity)]) for wp in points]
    with _one_panel(6.0) as (figure, axes):
        axes.axhline(1, **_UNITY, zorder=1)
        for number, (wp, factor) in enumerate(zip(points, drawn, strict=True)):
            where = edges[:-1] + width * (number + 1) / (len(points) + 1)
            half = width / (len(points) + 1) / 2  # half width of a working point
            _hatch(axes, where - half, where + half, factor)
            colour = _POINT_COLOURS[number % len(_POINT_COLOURS)]
            total, statistical = np.nan_to_num(factor.total), np.nan_to_num(factor.statistical)
            axes.errorbar(where, factor.nominal, total, fmt="none", ecolor=colour, elinewidth=5, alpha=0.35)
            point: Any = {"marker": "osD^v*"[number % 6], "color": colour}
            axes.errorbar(
                where, factor.nominal, statistical, **point, linestyle="", markersize=6, capsize=3, label=percent(wp)
            )
            _open_markers(axes, where, factor.nominal, factor, **point, zorder=3)
        for edge in edges[1:-1]:
            axes.axvline(edge, color="#c9ced6", linewidth=0.8, ymax=0.72, zorder=0)
        _frame(axes, edges, f"{flavour.capitalize()} {quantity} scale factor")
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.4 * (high - low))
        which = f"{tagger_label(tagger)} tagger{factors.bins[0].eta}"
        heading(axes, _title(flavour, quantity), which, "thin: statistical, wide: total")
        axes.legend(title="working point", title_fontsize=_LEGEND["fontsize"], **_LEGEND)
        _add_footnote(figure, *drawn)
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


def _open_markers(
    axes: Axes, x: Float64[ndarray, " p"], y: Float64[ndarray, " p"], factor: ScaleFactor, **style: Any
) -> None:
    """Draw open markers at the bins with a valid error and a flag; `_add_footnote` says what they mean."""
    flagged = factor.valid & np.array([bool(flags) for flags in factor.flags])
    axes.plot(x[flagged], y[flagged], linestyle="", markersize=7, markerfacecolor="white", **style)


def _add_footnote(figure: Figure, *factors: ScaleFactor) -> None:
    """Say below a figure what open markers and hatched bins mean, if it has any."""
    valid = [(valid, flags) for factor in factors for valid, flags in zip(factor.valid, factor.flags, strict=True)]
    flags = {flag for is_valid, names in valid if is_valid for flag in names}
    lines = [f"Open markers: {'; or '.join(FLAGS[flag] for flag in FLAGS if flag in flags)}"] if flags else []
    lines += [] if all(is_valid for is_valid, _ in valid) else ["Hatched: no valid error"]
    if lines:
        text = "\n".join(fill(line, 92) for line in lines)
        figure.supxlabel(text, x=0.01, ha="left", fontsize=_LEGEND["fontsize"])


_DASHES: Final = ("-", (0, (6, 2)), (0, (3, 1.5)), (0, (6, 2, 1, 2)), (0, (1, 1)))

_POINT_COLOURS: Final = PALETTE[:-1]

_UNITY: Final[Mapping[str, Any]] = {"color": INK[0], "linewidth": 0.9, "linestyle": (0, (5, 4))}
"""Style of the line at a scale factor of 1."""

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
        figure, panels = new_figure(size=(7.8, height))
        yield figure, panels[0, 0]


def _centres(edges: Float64[ndarray, " e"]) -> Float64[ndarray, " p"]:
    """The centres of bins."""
    centres: Float64[ndarray, " p"] = (edges[:-1] + edges[1:]) / 2
    return centres


def _boxes(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    factor: ScaleFactor,
    bands: Mapping[str, Float64[ndarray, " p"]],
    colours: Mapping[str, str],
    *,
    zorder: float,
) -> dict[str, Any]:
    """Draw a box per bin and band around the scale factor, larger ones behind; returns a patch of each for a legend."""
    from matplotlib.patches import Patch

    patches: dict[str, Any] = {}
    ranks = np.argsort(np.argsort([-np.nan_to_num(values) for values in bands.values()], axis=0), axis=0)
    for (name, half), rank in zip(bands.items(), ranks, strict=True):
        style: Any = {"facecolor": colours[name], "edgecolor": INK[0], "linewidth": 0.4}
        patches[name] = Patch(**style)
        for p in np.flatnonzero(np.isfinite(half) & np.isfinite(factor.nominal)):
            low, width = factor.nominal[p] - half[p], edges[p + 1] - edges[p]
            place = zorder + 0.9 * rank[p] / len(bands)
            axes.bar(edges[p], 2 * half[p], width, low, align="edge", zorder=place, **style)
    return patches


def _frame(axes: Axes, edges: Float64[ndarray, " e"], label: str) -> None:
    axes.set_xlim(edges[0], edges[-1])
    axes.set_xlabel(PT_LABEL)
    axes.set_ylabel(label)


def _below_legend(n_labels: int) -> float:
    """The share of a panel's height that a legend of two columns leaves free."""
    rows = -(-n_labels // 2)
    return min(0.76, 0.92 - 0.042 * rows)


def _band_label(name: str) -> str:
    return name if name.startswith(OTHERS) else source_label(name)


def _title(flavour: str, quantity: str) -> str:
    return f"{flavour.capitalize()} jets: {quantity}"


_TRUTH, _EXTRACTED = "#b9c4d4", PALETTE[0]

_FORWARD, _CENTRAL = PALETTE[3], PALETTE[0]

_LINE: Final[Mapping[str, Any]] = {"color": "#9aa1ab", "linewidth": 0.9}
"""Style of other lines at 0 and 1."""

ACROSS: Final = 3
"""Largest number of bins of jets side by side."""

_ENOUGH: Final = 0.1
"""Fraction of the peak of the shape by label above which a ratio to it is drawn."""


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
    x = tagger_edges(results, tagger)
    data, simulation, label = results.efficiencies[tagger].shapes[:, :, FLAVOUR_NAMES.index(flavour)]
    names = (results.configuration.data, results.configuration.nominal)
    data_errors, simulation_errors = (shape_errors(results, name, tagger, flavour) for name in names)
    used = _used(label, x, 2e-4)
    name = tagger_label(tagger)
    title = f"{flavour.capitalize()} jets, {name}: extracted and by label"
    with bin_panels(results, title, name, "Jets per bin [%]", lower="ratio to label") as (figure, panels):
        for p, (upper, lower) in enumerate(panels):
            of_simulation, of_data = (simulation[p], simulation_errors[p]), (data[p], data_errors[p])
            _draw_shapes(upper, lower, x, label[p], of_simulation, of_data)
            upper.set_xlim(*used)
            if p % ACROSS:
                lower.tick_params(labelleft=False)
    return figure


@contextmanager
def bin_panels(
    results: Results, title: str, x_label: str, y_label: str, *, lower: str = ""
) -> Iterator[tuple[Figure, list[list[Axes]]]]:
    """A panel for each bin of jets, with a title and one legend; and below each a ratio, if it has a label."""
    bins, n_pt, panels = results.factors.bins, len(results.factors.bins), []
    columns = min(ACROSS, n_pt)
    rows, each = -(-n_pt // columns), 2 if lower else 1
    heights = [3, 1.25] * rows if lower else [1] * rows
    with drawing(REPORT_STYLE):
        size = (3.8 * columns, 4.0 * rows if lower else 2.9 * rows + 1.0)
        figure, grid = new_figure(each * rows, columns, size=size, sharex=True, height_ratios=heights)
        for p in range(rows * columns):
            column = [grid[each * (p // columns) + k, p % columns] for k in range(each)]
            if p >= n_pt:
                for axes in column:
                    axes.set_visible(False)
                continue
            column[0].set_title(f"{bins[p].pt} GeV{bins[p].eta}", fontsize=13, loc="left")
            if p + columns >= n_pt:
                column[-1].set_xlabel(x_label, fontsize=14)
                column[-1].tick_params(labelbottom=True)
            for axes, label in zip(column, (y_label, lower), strict=False):
                if p % columns == 0:
                    axes.set_ylabel(label, fontsize=13)
                axes.tick_params(labelsize=12)
                axes.minorticks_off()
            panels.append(column)
        yield figure, panels
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=13, frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=15, fontweight="bold")


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
        upper.set_ylim(0, 1.3)
        upper.legend(loc="upper right", fontsize=12, frameon=False)
        which = f"re-weighted for {tagger_label(tagger)}{results.factors.bins[0].eta}"
        heading(upper, "Quarks in simulation", which)
        difference = forward - central
        lower.stairs(difference, edges, baseline=None, color=INK[0], linewidth=2.4)
        lower.axhline(0, **_LINE)
        finite = difference[np.isfinite(difference)]
        lower.set_ylim(1.3 * float(np.min(finite, initial=0.0)), 1.4 * float(np.max(finite, initial=0.01)))
        lower.yaxis.set_major_locator(MaxNLocator(4))
        lower.set_ylabel("Difference D")
        lower.set_xlabel(PT_LABEL)
        lower.set_xlim(edges[0], edges[-1])
    return figure


def _draw_shapes(
    upper: Axes,
    lower: Axes,
    x: Float64[ndarray, " e"],
    label: Float64[ndarray, " x"],
    simulation: tuple[Float64[ndarray, " x"], Float64[ndarray, " x"]],
    data: tuple[Float64[ndarray, " x"], Float64[ndarray, " x"]],
) -> None:
    """Draw a shape by label and the extracted ones, given with their errors, and below the ratios of the latter to it.

    The range of shapes follows the peak by label, not statistical fluctuations.
    """
    peak = float(np.max(np.nan_to_num(label), initial=0.0))
    upper.stairs(100 * label, x, fill=True, color=_TRUTH, label="simulation, by label")
    extracted = 100 * simulation[0]
    upper.stairs(extracted, x, baseline=None, color=_EXTRACTED, linewidth=1.6, label="simulation, extracted")
    _band(upper, x, extracted, 100 * simulation[1], _EXTRACTED)
    drawn = np.nan_to_num(np.abs(data[0])) + np.nan_to_num(label) > 0
    _points(upper, x, np.where(drawn, 100 * data[0], np.nan), 100 * data[1], label="data, extracted")
    upper.axhline(0, **_LINE, zorder=0)
    low, high = upper.get_ylim()
    if peak > 0:
        upper.set_ylim(max(low, -40 * peak), 1.1 * min(high, 200 * peak))
    of_simulation, simulation_error, of_data, data_error = _ratios(
        label, np.nan_to_num(label) > _ENOUGH * peak, *simulation, *data
    )
    lower.axhline(1, **_LINE, zorder=0)
    lower.hlines(of_simulation, x[:-1], x[1:], color=_EXTRACTED, linewidth=1.8)
    _band(lower, x, of_simulation, simulation_error, _EXTRACTED)
    _points(lower, x, of_data, data_error)
    lower.set_ylim(0.4, 1.6)


def _band(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    values: Float64[ndarray, " n"],
    errors: Float64[ndarray, " n"],
    colour: str,
) -> None:
    """Draw the errors of the values of bins."""
    low, high = np.nan_to_num(values - errors), np.nan_to_num(values + errors)
    axes.stairs(high, edges, baseline=low, fill=True, color=colour, alpha=0.2, linewidth=0)


def _points(
    axes: Axes,
    edges: Float64[ndarray, " e"],
    values: Float64[ndarray, " n"],
    errors: Float64[ndarray, " n"],
    label: str = "",
) -> None:
    """Draw the values of bins as points with errors; those that are nan are left out."""
    style: Any = {"fmt": "o", "color": INK[0], "markersize": 3, "elinewidth": 0.9, "label": label or None}
    axes.errorbar(_centres(edges), values, np.nan_to_num(errors), **style)


def _ratios(
    divisor: Float64[ndarray, " n"], enough: Bool[ndarray, " n"], *parts: Float64[ndarray, " n"]
) -> list[Float64[ndarray, " n"]]:
    """The parts over a divisor; nan where that is not enough."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return [np.where(enough, part / divisor, np.nan) for part in parts]


def tagger_edges(results: Results, tagger: str) -> Float64[ndarray, " e"]:
    """Edges of the bins of a tagger."""
    settings = next(each for each in results.configuration.taggers if each.name == tagger)
    return np.linspace(settings.low, settings.high, settings.bins + 1)


def _used(jets: Float64[ndarray, "p x"], x: Float64[ndarray, " e"], least: float = 5e-4) -> tuple[float, float]:
    """The range of a tagger outside of which each bin has less than a share `least` of the jets in every bin of pT."""
    with np.errstate(divide="ignore", invalid="ignore"):
        filled = np.flatnonzero((np.nan_to_num(jets / jets.sum(axis=-1, keepdims=True)) > least).any(axis=0))
    return (float(x[filled[0]]), float(x[filled[-1] + 1])) if len(filled) else (float(x[0]), float(x[-1]))


FLAVOUR_COLOURS: Final = {"light": PALETTE[4], "charm": PALETTE[2], "bottom": PALETTE[5], "gluon": PALETTE[1]}
"""Colour of the jets of each flavour in stacks."""


class Stack(NamedTuple):
    """Numbers of jets in bins, in data and in simulation.

    Attributes:
        flavours: (n_bins,) jets of simulation by flavour.
        simulation_error: (n_bins,) statistical error of their sum.
        data: (n_bins,) jets of data.
        data_error: (n_bins,) its statistical error.
    """

    flavours: dict[str, Float64[ndarray, " n"]]
    simulation_error: Float64[ndarray, " n"]
    data: Float64[ndarray, " n"]
    data_error: Float64[ndarray, " n"]

    @property
    def simulation(self) -> Float64[ndarray, " n"]:
        """(n_bins,) jets of simulation."""
        total: Float64[ndarray, " n"] = np.sum(list(self.flavours.values()), axis=0)
        return total

    @property
    def ratio(self) -> float:
        """Jets of data / of simulation; nan without the latter."""
        simulation = float(self.simulation.sum())
        return float(self.data.sum()) / simulation if simulation > 0 else float("nan")


def stack_of(results: Results, tagger: str, region: int, pt_bin: int | None) -> Stack:
    """Jets of a region in the bins of a tagger, or in those of pT.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        region: number of the region.
        pt_bin: number of the bin of pT whose jets are counted in the bins of the tagger; None for the bins of pT.
    """
    simulation, data = (
        results.samples[name].templates for name in (results.configuration.nominal, results.configuration.data)
    )

    def of(templates: Templates, values: ndarray) -> Float64[ndarray, "f n"]:
        """By flavour and bin."""
        chosen = values[0][..., templates.axes.columns(tagger)][:, region]
        by_flavour: ndarray = chosen.sum(axis=-1).T if pt_bin is None else chosen[pt_bin]
        return by_flavour

    return Stack(
        dict(zip(simulation.axes.flavours, of(simulation, simulation.values), strict=True)),
        np.sqrt(of(simulation, simulation.squares).sum(axis=0)),
        of(data, data.values).sum(axis=0),
        np.sqrt(of(data, data.squares).sum(axis=0)),
    )


def normalisation(results: Results) -> float:
    """Number of jets in data / in simulation, scaled to the luminosity; nan without jets."""
    tagger = results.configuration.tagger_names[0]
    stacks = [stack_of(results, tagger, region, None) for region in range(len(REGIONS))]
    simulation = sum(float(stack.simulation.sum()) for stack in stacks)
    return sum(float(stack.data.sum()) for stack in stacks) / simulation if simulation > 0 else float("nan")


def plot_spectra(results: Results) -> Figure:
    """Jets against pT in both regions: data, and simulation by flavour, scaled to the luminosity; and their ratio."""
    tagger, edges = results.configuration.tagger_names[0], np.array(results.factors.pt_edges)
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(2, 2, size=(10.0, 6.2), sharex=True, height_ratios=[2.6, 1])
        for region, name in enumerate(REGIONS):
            upper, lower = panels[0, region], panels[1, region]
            stack = stack_of(results, tagger, region, None)
            _draw_stack(upper, lower, edges, stack)
            upper.set_yscale("log")
            largest = max(float(stack.data.max(initial=0.0)), float(stack.simulation.max(initial=0.0)), 1.0)
            upper.set_ylim(0.3, 300 * largest)
            lower.set_xlim(edges[0], edges[-1])
            lower.set_xlabel(PT_LABEL)
            heading(upper, f"{name.capitalize()} jets{results.factors.bins[0].eta}", f"data / MC = {stack.ratio:.2f}")
            upper.legend(loc="upper right", ncols=2, fontsize=12, columnspacing=1, frameon=False)
        panels[0, 0].set_ylabel("Jets per bin")
        panels[1, 0].set_ylabel("data / MC")
    return figure


def plot_stacks(results: Results, tagger: str, region: int) -> Figure:
    """A tagger in each bin of pT: data, and simulation by flavour, scaled to the luminosity; and their ratio.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        region: number of the region.
    """
    x = tagger_edges(results, tagger)
    stacks = [stack_of(results, tagger, region, p) for p in range(len(results.factors.bins))]
    title = f"{REGIONS[region].capitalize()} jets, {tagger_label(tagger)}: data and simulation"
    with bin_panels(results, title, tagger_label(tagger), "Jets per bin", lower="data / MC") as (figure, panels):
        used = _used(np.array([stack.data + stack.simulation for stack in stacks]), x)
        for stack, (upper, lower) in zip(stacks, panels, strict=True):
            _draw_stack(upper, lower, x, stack)
            upper.set_xlim(*used)
            upper.set_ylim(0, 1.35 * max(float(stack.data.max(initial=0.0)), float(stack.simulation.max(initial=1e-9))))
    return figure


def plot_reweighting(results: Results, tagger: str) -> Figure:
    """The factors of central jets in each bin of pT, by quarks (nominal) and by gluons (a systematic).

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
    """
    x, nominal = tagger_edges(results, tagger), results.samples[results.configuration.nominal].templates
    jets = nominal.flavours(tagger)[0]
    used = _used(jets.min(axis=1).sum(axis=1), x)  # of the region with fewer jets
    title = f"Re-weighting of central jets, {tagger_label(tagger)}"
    with bin_panels(results, title, tagger_label(tagger), "Factor r") as (figure, panels):
        for p, (upper,) in enumerate(panels):
            upper.axhline(1, **_LINE)
            for name, colour, style in (("quark", PALETTE[0], "-"), ("gluon", PALETTE[1], (0, (4, 1.5)))):
                factors = reweighting_factors(jets[p], name)  # type: ignore[arg-type]
                enough = jets[p][:, 0 if name == "quark" else 1].min(axis=0) > 0
                shown = np.where(enough, factors, np.nan)
                label = f"r by {name}s"
                upper.stairs(shown, x, baseline=None, color=colour, linestyle=style, linewidth=1.6, label=label)
            upper.set_xlim(*used)
            upper.set_ylim(0, 3)
    return figure


def plot_separation(results: Results) -> Figure:
    """Rejection of gluons against efficiency of quarks by label, for every tagger in each bin of pT; dots: the cuts."""
    nominal = results.samples[results.configuration.nominal].templates
    title = "Separation in simulation, by label; dots: cuts of the working points"
    with bin_panels(results, title, "Quark efficiency", "Gluon rejection") as (figure, panels):
        for number, tagger in enumerate(results.factors.taggers):
            jets = nominal.flavours(tagger)[0].sum(axis=1)
            colour, label = PALETTE[number % len(PALETTE)], tagger_label(tagger)
            for p, (upper,) in enumerate(panels):
                passed = np.concatenate([np.zeros((2, 1)), np.cumsum(jets[p], axis=-1)], axis=-1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    quark, gluon = passed / passed[:, -1:]
                upper.plot(quark, 1 - gluon, color=colour, linewidth=1.8, label=label)
                cuts = results.efficiencies[tagger].cuts[p]
                at = [np.interp(cuts, np.arange(len(values)), values) for values in (quark, 1 - gluon)]
                upper.plot(*at, "o", color=colour, markersize=4)
        for (upper,) in panels:
            upper.plot([0, 1], [1, 0], **_LINE)
            upper.set(xlim=(0, 1), ylim=(0, 1.05), xticks=(0.2, 0.4, 0.6, 0.8), yticks=(0.2, 0.4, 0.6, 0.8, 1.0))
    return figure


def _draw_stack(upper: Axes, lower: Axes, edges: Float64[ndarray, " e"], stack: Stack) -> None:
    """Draw simulation as a stack with its error, data as points, and their ratio below."""
    from matplotlib.ticker import MaxNLocator

    base = np.zeros(len(edges) - 1)
    for name, values in stack.flavours.items():
        style: Any = {"facecolor": FLAVOUR_COLOURS.get(name, _LINE["color"]), "linewidth": 0}
        upper.stairs(base + values, edges, baseline=base, fill=True, label=name, **style)
        base = base + values
    _band(upper, edges, base, stack.simulation_error, INK[0])
    _points(upper, edges, np.where(stack.data > 0, stack.data, np.nan), stack.data_error, label="data")
    enough = base > 0.02 * base.max(initial=0.0)
    ratio, of_data, of_simulation = _ratios(base, enough, stack.data, stack.data_error, stack.simulation_error)
    lower.axhline(1, **_LINE)
    _band(lower, edges, np.ones(len(base)), of_simulation, INK[0])
    _points(lower, edges, ratio, of_data)
    lower.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2.5, 5, 10], prune="both"))
    reach = max(0.5, 1.15 * float(np.max(np.abs(ratio[np.isfinite(ratio)] - 1), initial=0.0)))
    lower.set_ylim(1 - min(reach, 1.0), 1 + min(reach, 2.0))
