"""One figure for each stage of a chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from beampipe.calibration.report.figures import REPORT_STYLE
from beampipe.chain.fit import JetCounts, Measurement, class_cuts, in_classes
from beampipe.chain.ntuples import AXIS_EDGES, PT_EDGES, EnergyScale, Performance
from beampipe.chain.tables import FAKE, SECONDARY, JetEvents
from beampipe.chain.telemetry import RecordedSpan
from beampipe.figures import PALETTE, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from beampipe.calibration.method.factors import Factors

_QUARK, _GLUON, _INK = PALETTE[0], PALETTE[3], "#1b1f24"

_EVENTS_SHOWN = 12
"""Events of a chunk in the picture of a trace."""


@dataclass(frozen=True)
class TrackRatio:
    """Tracks of some jets against their charged particles.

    Attributes:
        jets: number of jets.
        ratio: tracks over particles.
        ratio_error: its statistical error.
        found: share of the particles with a track.
        mean: mean of the tracks less the particles of a jet.
        spread: standard deviation of this difference.
    """

    jets: int
    ratio: float
    ratio_error: float
    found: float
    mean: float
    spread: float


def per_jet(rows: ndarray, data: JetEvents) -> ndarray:
    """Number of tracks or particles of each jet, from the jets that they belong to."""
    return np.bincount(rows[rows >= 0], minlength=len(data.jets))


def track_ratio(data: JetEvents, chosen: ndarray | slice = slice(None)) -> TrackRatio:
    """Tracks against charged particles of the chosen ones of the jets."""
    owners = data.owners
    rows = (owners.track, owners.particle, owners.particle[data.particles.found])
    tracks, particles, found = (per_jet(each, data)[chosen].astype(float) for each in rows)
    n, apart = particles.sum(), tracks - particles
    ratio = tracks.sum() / n
    error = np.sqrt(np.square(tracks - ratio * particles).sum()) / n
    return TrackRatio(
        len(tracks), *(float(each) for each in (ratio, error, found.sum() / n, apart.mean(), apart.std()))
    )


def plot_spectrum(data: JetEvents) -> Figure:
    """Leading jets of particles against pT: as generated, and with the weights that undo the bias."""
    first = np.append(True, data.jets.event[1:] != data.jets.event[:-1])[: len(data.jets)]
    first &= np.isfinite(data.jets.true_pt)
    pt, weight = data.jets.true_pt[first], data.events.weight[data.jets.event[first]]
    edges = np.linspace(np.floor(pt.min() / 50) * 50, np.ceil(pt.max() / 50) * 50, 21) if len(pt) else [0.0, 1.0]
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(size=(7.2, 5.0))
        panel = panels[0, 0]
        panel.hist(pt, edges, histtype="step", color=_INK, lw=2, label="generated")
        panel.hist(pt, edges, weights=weight, histtype="step", color=_GLUON, lw=2, label="with weights")
        panel.set(xlabel="pT of the leading jet [GeV]", ylabel=f"events / {edges[1] - edges[0]:g} GeV", yscale="log")
        panel.set_title("Leading jets of particles")
        panel.legend()
    return figure


def plot_efficiency(performance: Mapping[str, Performance]) -> Figure:
    """Efficiency of tracks in jets against pT and against the distance to the axis, by sample."""
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(1, 2, size=(11.0, 4.8), sharey=True)
        for number, (name, each) in enumerate(performance.items()):
            for panel, axes, edges in ((panels[0, 0], (1, 2), PT_EDGES), (panels[0, 1], (0, 1), AXIS_EDGES)):
                n, result = each.reconstructable.sum(axis=axes), each.found_reconstructable.sum(axis=axes)
                share, low, high = _shares(result, n)
                x = np.arange(len(edges) - 1) + 0.15 * (number - (len(performance) - 1) / 2)  # side by side
                panel.errorbar(x, share, [share - low, high - share], fmt="o", ms=5, capsize=3, label=name)
        for panel, edges, label in (
            (panels[0, 0], PT_EDGES, "pT [GeV]"),
            (panels[0, 1], AXIS_EDGES, "distance ΔR to the axis of the jet"),
        ):
            text = [f"{low:g}-{high:g}" if np.isfinite(high) else f"> {low:g}" for low, high in pairwise(edges)]
            panel.set_xticks(np.arange(len(text)), text, rotation=30, ha="right")
            panel.minorticks_off()
            panel.set(xlabel=label, xlim=(-0.5, len(text) - 0.5))
        panels[0, 0].set_ylabel("efficiency of tracks in jets")
        panels[0, 0].set_title("Charged particles in jets, hits on 7 layers or more")
        panels[0, 1].set_title("matched by double majority")
        panels[0, 0].legend()
    return figure


def plot_jets(data: JetEvents, scale: EnergyScale) -> Figure:
    """Response before and after the correction, and tracks against charged particles of the same jet."""
    jets, owners = data.jets, data.owners
    corrected = scale.corrected(jets.pt, jets.eta)
    n_tracks, n_particles = per_jet(owners.track, data), per_jet(owners.particle, data)
    known = np.isfinite(jets.true_pt) & (jets.true_pt > 1.5 * jets.pt.min(initial=np.inf))
    edges = np.quantile(jets.true_pt[known], np.linspace(0, 1, 7)) if known.any() else np.linspace(0, 1, 7)
    bins = np.clip(np.searchsorted(edges, jets.true_pt[known], "right") - 1, 0, 5)
    centres = (edges[1:] + edges[:-1]) / 2
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(1, 2, size=(11.0, 4.8))
        left, right = panels[0]
        for values, label, colour in ((jets.pt, "towers", _INK), (corrected, "corrected", _QUARK)):
            mean, error = _means((values / jets.true_pt)[known], bins, 6)
            left.errorbar(centres, mean, error, fmt="o", ms=5, capsize=3, color=colour, label=label)
        left.axhline(1, color="grey", lw=1)
        left.set(xlabel="true pT of the jet [GeV]", ylabel="mean of measured / true pT")
        left.set_title("Response of jets")
        left.legend()
        top = int(max(n_tracks.max(initial=1), n_particles.max(initial=1)))
        *_, image = right.hist2d(n_particles, n_tracks, bins=np.arange(-0.5, min(top, 80) + 1), cmap="Blues", cmin=1)
        figure.colorbar(image, ax=right, label="jets")
        right.plot([0, min(top, 80)], [0, min(top, 80)], color="grey", lw=1)
        limits = (-0.5, min(top, 80) + 0.5)
        right.set(xlabel="charged particles of the jet", ylabel="tracks of the jet", xlim=limits, ylim=limits)
        right.set_title("Tracks and charged particles")
    return figure


def plot_found_jets(data: JetEvents) -> Figure:
    """Spectrum of jets, and the number of their tracks."""
    pt, n_tracks = data.jets.pt, per_jet(data.owners.track, data)
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(1, 2, size=(11.0, 4.8))
        left, right = panels[0]
        left.hist(pt, 20, histtype="step", color=_INK, lw=2)
        left.set(xlabel="pT of the jet [GeV]", ylabel="jets / bin", title="Jets that were found")
        right.hist(n_tracks, np.arange(-0.5, n_tracks.max(initial=1) + 1), histtype="step", color=_INK, lw=2)
        right.set(xlabel="tracks of the jet", ylabel="jets / bin")
    return figure


def plot_ntuple(columns: Mapping[str, ndarray]) -> Figure:
    """Number of tracks, width and C1 of quark and gluon jets.

    Args:
        columns: `jet_n_trk`, `jet_width`, `jet_c1` and `jet_label` of the jets.
    """
    from matplotlib.ticker import MaxNLocator

    label = columns["jet_label"]
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(1, 3, size=(13.0, 4.4))
        for panel, (name, text) in zip(
            panels[0],
            (("jet_n_trk", "number of tracks"), ("jet_width", "width"), ("jet_c1", "C1")),
            strict=True,
        ):
            values = columns[name].astype(float)
            top = np.quantile(values, 0.995) if len(values) else 1.0
            edges = np.linspace(0, top, 31) if name != "jet_n_trk" else np.arange(0, top + 2) - 0.5
            for chosen, colour, flavour in (
                ((label >= 1) & (label <= 5), _QUARK, "quark"),
                (label == 21, _GLUON, "gluon"),
            ):
                panel.hist(values[chosen], edges, density=True, histtype="step", color=colour, lw=2, label=flavour)
            panel.set(xlabel=text, yticks=[], xlim=(edges[0], edges[-1]))
            panel.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
        panels[0, 0].set(ylabel="jets, unit area", title="Jets of simulation by label")
        panels[0, 2].legend()
    return figure


def plot_fit(counts: JetCounts, factors: Factors, measurements: Sequence[Measurement]) -> Figure:
    """Jets in the classes with the fit by shares of simulation; fractions of gluons of all fits, and the true ones."""
    cuts = class_cuts(factors)
    data, squares = in_classes(counts.data, cuts), in_classes(counts.data_squares, cuts)
    shares = in_classes(counts.simulation.swapaxes(0, 1), cuts).swapaxes(0, 1)
    in_bins, whole = (each.sum(axis=-1, keepdims=True) for each in (shares, data))
    shares, whole = shares / np.where(in_bins > 0, in_bins, np.nan), np.where(whole > 0, whole, np.nan)  # empty bins
    n_pt, n_classes = data.shape
    text = list(map(str, factors.bins))
    with drawing({**REPORT_STYLE, "figure.constrained_layout.w_pad": 0.12}):
        figure, panels = new_figure(1, 2, size=(12.0, 5.0), width_ratios=[1.5, 1])
        left, right = panels[0]
        x = np.arange(n_pt * n_classes)
        bottom = np.zeros(len(x))
        by_bin = {round(each.pt_low): each for each in measurements[0].bins}
        for flavour, colour, name in ((0, _QUARK, "quarks"), (1, _GLUON, "gluons")):
            part = np.zeros((n_pt, n_classes))
            for p, low in enumerate(factors.pt_edges[:-1]):
                if (each := by_bin.get(round(low))) is not None:
                    part[p] = shares[p, flavour] * (each.fraction if flavour else 1 - each.fraction)
            left.bar(x, part.ravel(), 0.9, bottom, color=colour, alpha=0.55, label=name)
            bottom += part.ravel()
        error = np.sqrt(squares) / whole
        left.errorbar(x, (data / whole).ravel(), error.ravel(), fmt="o", ms=5, color=_INK, label="pseudo-data")
        ticks = [f"{'few' if k == 0 else 'many' if k == n_classes - 1 else ''}" for k in range(n_classes)] * n_pt
        left.set_xticks(x, ticks)
        left.minorticks_off()
        below = left.get_xaxis_transform()  # coordinates of data along x, of the panel along y
        for p, name in enumerate(text):
            left.text(p * n_classes + (n_classes - 1) / 2, -0.16, name, ha="center", transform=below)
        left.set(
            ylabel="share of the jets of a bin of pT", title="Jets with few to many tracks, and the fit by simulation"
        )
        left.set_ylim(0, 1.35 * float(np.nanmax(data / whole)))
        left.legend(ncols=3, columnspacing=1)
        for number, measurement in enumerate(measurements):
            rows = measurement.bins
            y = [*(f"{one.pt_low:g}-{one.pt_high:g} GeV" for one in rows), "all"]
            at = np.arange(len(y)) + 0.25 * (number - 0.5)
            values = [*(one.fraction for one in rows), measurement.fraction]
            errors = [*(one.error for one in rows), measurement.error]
            colour = PALETTE[2 * number]
            right.errorbar(values, at, xerr=errors, fmt="o", ms=5, capsize=3, color=colour, label=measurement.shares)
            true = [*(one.true for one in rows), measurement.true]
            label = "by label" if number == 0 else None
            right.scatter(true, np.arange(len(y)), marker="x", s=60, color=_INK, zorder=3, label=label)
            right.set_yticks(np.arange(len(y)), y)
        right.minorticks_off()
        right.set(xlabel="fraction of gluons", ylim=(-0.7, len(measurements[0].bins) + 0.7))
        figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=3, columnspacing=1)
    return figure


def plot_trace(spans: Sequence[RecordedSpan]) -> Figure:
    """A run as a waterfall: its chunks and stages, and in the chunk that took longest the stages and the first events.

    Args:
        spans: the spans of one trace.
    """
    below: dict[str, list[RecordedSpan]] = {}
    for each in spans:
        below.setdefault(each.parent, []).append(each)
    (root,) = below[""]
    chunks = [each for each in spans if each.name == "chunk"]
    run = [("chunks" if number == 0 else "", below.get(each.identity, [])) for number, each in enumerate(chunks)]
    rest = [each for each in below.get(root.identity, []) if each.name != "chunks"]
    run += [(name, [each for each in rest if each.name == name]) for name in dict.fromkeys(each.name for each in rest)]
    parts = [("the run", root, run)]
    if chunks:
        longest = max(chunks, key=lambda each: each.end - each.begin)
        stages = below.get(longest.identity, [])
        rows = [(each.name, [each]) for each in stages]
        events = [each for stage in stages for each in below.get(stage.identity, [])][:_EVENTS_SHOWN]
        rows += [(f"event {each.attributes['number']}", [each, *below.get(each.identity, [])]) for each in events]
        parts.append((f"chunk {longest.attributes['number']} of {longest.attributes['sample']}", longest, rows))
    names = dict.fromkeys(each.name for _, _, rows in parts for _, bars in rows for each in bars)
    colour = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}
    with drawing(REPORT_STYLE):
        figure, panels = new_figure(1, len(parts), size=(6.5 * len(parts), 5.6))
        for panel, (title, whole, rows) in zip(panels[0], parts, strict=True):
            for y, (_, bars) in enumerate(rows):
                for each in bars:
                    panel.barh(y, each.end - each.begin, 0.8, each.begin - whole.begin, color=colour[each.name])
            panel.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize="x-small")
            panel.minorticks_off()
            panel.set(xlabel="time [s]", title=title, ylim=(len(rows) - 0.4, -0.6))
        for name in ("generate", "simulate", "towers", "tracks", "jets", "find"):
            if name in colour:
                panels[0, 0].bar(0, 0, color=colour[name], label=name)
        if chunks:
            panels[0, 0].legend(fontsize="x-small")
    return figure


def track_table(performance: Mapping[str, Performance]) -> list[tuple[str, ...]]:
    """For each sample: efficiency of tracks in jets, and shares of fakes and of tracks of other particles."""
    rows: list[tuple[str, ...]] = []
    for name, each in performance.items():
        n, result = int(each.reconstructable.sum()), int(each.found_reconstructable.sum())
        every, found_every = int(each.particles.sum()), int(each.found.sum())
        kinds = each.kinds.sum(axis=(0, 1, 2))
        tracks = max(int(kinds.sum()), 1)
        rows.append(
            (
                name,
                f"{n}",
                f"{result / max(n, 1):.4f}",
                f"{found_every / max(every, 1):.4f}",
                f"{kinds[FAKE] / tracks:.5f}",
                f"{kinds[SECONDARY] / tracks:.4f}",
            )
        )
    return rows


def _shares(found: ndarray, n: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Shares with intervals of 68 % after Wilson."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = found / n
        middle = (share + 0.5 / n) / (1 + 1 / n)
        half = np.sqrt(share * (1 - share) / n + 0.25 / n**2) / (1 + 1 / n)
    return share, np.minimum(middle - half, share), np.maximum(middle + half, share)


def _means(values: ndarray, bins: ndarray, n: int) -> tuple[ndarray, ndarray]:
    """Means and their errors by bin."""
    count = np.bincount(bins, minlength=n)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(bins, values, n) / count
        spread = np.sqrt(np.maximum(np.bincount(bins, values**2, n) / count - mean**2, 0) / count)
    return mean, spread
