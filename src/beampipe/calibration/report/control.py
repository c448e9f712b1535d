"""Control figures of the report: data beside simulation by flavour, re-weighting factors, and how taggers separate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.config import REGIONS
from beampipe.calibration.method.reweight import reweighting_factors
from beampipe.calibration.method.templates import Templates
from beampipe.calibration.report.figures import ACROSS, PT_LABEL, REPORT_STYLE, bin_panels, heading, tagger_label
from beampipe.calibration.results import Results
from beampipe.figures import INK, PALETTE, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLAVOUR_COLOURS: Final = {"light": PALETTE[4], "charm": PALETTE[2], "bottom": PALETTE[5], "gluon": PALETTE[1]}
"""Colour of the jets of each flavour in stacks."""

_LINE: Final = "#9aa1ab"


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


def stack_of(results: Results, tagger: str, region: int, pt_bin: int | None) -> Stack:
    """Jets of a region in the bins of a tagger, or in those of pT.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        region: number of the region.
        pt_bin: number of the bin of pT whose jets are counted in the bins of the tagger; None for the bins of pT.
    """
    simulation, data = (results.samples[name].templates for name in _names(results))

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


def _names(results: Results) -> tuple[str, str]:
    """Names of the nominal sample and of data."""
    return results.configuration.nominal, results.configuration.data


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
        figure, panels = new_figure(2, 2, size=(11.0, 6.4), sharex=True, height_ratios=[2.6, 1])
        for region, name in enumerate(REGIONS):
            upper, lower = panels[0, region], panels[1, region]
            stack = stack_of(results, tagger, region, None)
            _draw_stack(upper, lower, edges, stack)
            upper.set_yscale("log")
            largest = max(float(stack.data.max(initial=0.0)), float(stack.simulation.max(initial=0.0)), 1.0)
            upper.set_ylim(0.3, 300 * largest)
            lower.set_xlim(edges[0], edges[-1])
            lower.set_xlabel(PT_LABEL)
            heading(upper, f"{name.capitalize()} jets{results.factors.bins[0].eta}", f"data / MC = {_ratio(stack):.2f}")
            upper.legend(loc="upper right", ncols=2, fontsize=11, frameon=False)
        panels[0, 0].set_ylabel("Jets per bin")
        panels[1, 0].set_ylabel("data / MC")
    return figure


def _ratio(stack: Stack) -> float:
    """Jets in data / in simulation."""
    simulation = float(stack.simulation.sum())
    return float(stack.data.sum()) / simulation if simulation > 0 else float("nan")


def plot_stacks(results: Results, tagger: str, region: int) -> Figure:
    """A tagger in each bin of pT: data, and simulation by flavour, scaled to the luminosity; and their ratio.

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
        region: number of the region.
    """
    x = _edges_of(results, tagger)
    stacks = [stack_of(results, tagger, region, p) for p in range(len(results.factors.bins))]
    title = f"{REGIONS[region].capitalize()} jets, {tagger_label(tagger)}: data and simulation"
    with bin_panels(results, title, tagger_label(tagger), lower="data / MC") as panels:
        used = _used(np.array([stack.data + stack.simulation for stack in stacks]), x)
        for stack, (upper, lower) in zip(stacks, panels, strict=True):
            assert lower is not None
            _draw_stack(upper, lower, x, stack)
            upper.set_xlim(*used)
            upper.set_ylim(0, 1.35 * max(float(stack.data.max(initial=0.0)), float(stack.simulation.max(initial=1e-9))))
    return panels.figure


def plot_reweighting(results: Results, tagger: str) -> Figure:
    """The factors of central jets in each bin of pT, by quarks (nominal) and by gluons (a systematic).

    Args:
        results: results of the calibration.
        tagger: name of the tagger.
    """
    x, nominal = _edges_of(results, tagger), results.samples[results.configuration.nominal].templates
    jets = nominal.flavours(tagger)[0]
    used = _used(jets.min(axis=1).sum(axis=1), x)  # of the region with fewer jets
    with bin_panels(results, f"Re-weighting of central jets, {tagger_label(tagger)}", tagger_label(tagger)) as panels:
        for p, (upper, _) in enumerate(panels):
            upper.axhline(1, color=_LINE, linewidth=0.9)
            for name, colour, style in (("quark", PALETTE[0], "-"), ("gluon", PALETTE[1], (0, (4, 1.5)))):
                factors = reweighting_factors(jets[p], name)  # type: ignore[arg-type]
                enough = jets[p][:, 0 if name == "quark" else 1].min(axis=0) > 0
                shown = np.where(enough, factors, np.nan)
                label = f"r by {name}s"
                upper.stairs(shown, x, baseline=None, color=colour, linestyle=style, linewidth=1.6, label=label)
            upper.set_xlim(*used)
            upper.set_ylim(0, 3)
    return panels.figure


def plot_separation(results: Results) -> Figure:
    """Rejection of gluons against efficiency of quarks by label, for every tagger in each bin of pT; dots: the cuts."""
    nominal = results.samples[results.configuration.nominal].templates
    with bin_panels(results, "Separation in simulation, by label", "quark efficiency") as panels:
        for number, tagger in enumerate(results.factors.taggers):
            jets = nominal.flavours(tagger)[0].sum(axis=1)
            colour, label = PALETTE[number % len(PALETTE)], tagger_label(tagger)
            for p, (upper, _) in enumerate(panels):
                passed = np.concatenate([np.zeros((2, 1)), np.cumsum(jets[p], axis=-1)], axis=-1)
                with np.errstate(divide="ignore", invalid="ignore"):
                    quark, gluon = passed / passed[:, -1:]
                upper.plot(quark, 1 - gluon, color=colour, linewidth=1.8, label=label)
                cuts = results.efficiencies[tagger].cuts[p]
                at = [np.interp(cuts, np.arange(len(values)), values) for values in (quark, 1 - gluon)]
                upper.plot(*at, "o", color=colour, markersize=4)
        for p, (upper, _) in enumerate(panels):
            upper.plot([0, 1], [1, 0], color=_LINE, linewidth=0.9)
            if p % ACROSS == 0:
                upper.set_ylabel("gluon rejection", fontsize=12)
            upper.set_xlim(0, 1)
            upper.set_ylim(0, 1.05)
    return panels.figure


def _edges_of(results: Results, tagger: str) -> Float64[ndarray, " e"]:
    """Edges of the bins of a tagger."""
    settings = next(each for each in results.configuration.taggers if each.name == tagger)
    return np.linspace(settings.low, settings.high, settings.bins + 1)


def _used(jets: Float64[ndarray, "p x"], x: Float64[ndarray, " e"]) -> tuple[float, float]:
    """The range of a tagger that holds all but few of the jets in every bin of pT."""
    with np.errstate(divide="ignore", invalid="ignore"):
        filled = np.flatnonzero((np.nan_to_num(jets / jets.sum(axis=-1, keepdims=True)) > 5e-4).any(axis=0))
    return (float(x[filled[0]]), float(x[filled[-1] + 1])) if len(filled) else (float(x[0]), float(x[-1]))


def _draw_stack(upper: Axes, lower: Axes, edges: Float64[ndarray, " e"], stack: Stack) -> None:
    """Draw simulation as a stack with its error, data as points, and their ratio below."""
    base = np.zeros(len(edges) - 1)
    for name, values in stack.flavours.items():
        style: Any = {"facecolor": FLAVOUR_COLOURS.get(name, _LINE), "linewidth": 0}
        upper.stairs(base + values, edges, baseline=base, fill=True, label=name, **style)
        base = base + values
    error, centres = stack.simulation_error, (edges[:-1] + edges[1:]) / 2
    upper.stairs(base + error, edges, baseline=base - error, fill=True, color=INK[0], alpha=0.25, linewidth=0)
    points: Any = {"fmt": "o", "color": INK[0], "markersize": 3.2, "elinewidth": 1.1}
    shown = stack.data > 0
    upper.errorbar(centres[shown], stack.data[shown], stack.data_error[shown], label="data", **points)
    enough = base > 0.02 * base.max(initial=0.0) if base.any() else np.zeros(len(base), bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, of_data, of_simulation = (
            np.where(enough, part / base, np.nan) for part in (stack.data, stack.data_error, error)
        )
    lower.axhline(1, color=_LINE, linewidth=0.9)
    band = np.nan_to_num(of_simulation)
    lower.stairs(1 + band, edges, baseline=1 - band, fill=True, color=INK[0], alpha=0.25, linewidth=0)
    lower.errorbar(centres, ratio, of_data, **points)
    finite = ratio[np.isfinite(ratio)]
    reach = max(0.5, 1.15 * float(np.max(np.abs(finite - 1), initial=0.0)))
    lower.set_ylim(1 - min(reach, 1.0), 1 + min(reach, 2.0))
