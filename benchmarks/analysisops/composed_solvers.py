"""Sound analyses of composed tasks, and mistakes: written from prompts of level 3 alone, without beampipe.

A solver gets the prompt and the folder of the data, as a program of an agent does, and returns the answer. Three
methods differ in fit, background and folding of the trigger. A mistake changes one step of an analysis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import uproot
from iminuit import Minuit
from scipy.special import ndtr, ndtri, voigt_profile

METHODS: Final = ("binned", "least_squares", "unbinned")

_LINES, _COUNTS = ("mass", "width"), ("cross_section", "limit")
_ALL: Final = (*_LINES, *_COUNTS, "efficiency")

MISTAKES: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "counts copies": ("duplicates", _ALL),
    "uses the bad block": ("block", _ALL),
    "keeps its luminosity": ("block", _COUNTS),
    "overlooks the dead region": ("dead_region", _COUNTS),
    "no trigger": ("trigger", _COUNTS),
    "trigger by one number": ("trigger", _COUNTS),
    "no scale": ("scale", _LINES),
    "straight background": ("", _ALL),
    "no background": ("", (*_COUNTS, "efficiency")),
    "resolution in GeV": ("", ("width",)),
    "uncertainty of the fit alone": ("", (*_LINES, *_COUNTS)),
    "uncertainty too small": ("", _ALL),
}
"""Kind of mistake -> the fault without which it changes nothing, empty if there is none; and its questions."""

_OVERLOOKED: Final = ("counts copies", "uses the bad block", "overlooks the dead region", "no scale")
"""Mistakes of who does not see the fault, and says so."""


@dataclass(frozen=True)
class Table:
    """Columns of a file: masses [GeV], pt [GeV], eta, phi of both objects, and other columns."""

    mass: np.ndarray
    pt: np.ndarray
    eta: np.ndarray
    phi: np.ndarray
    others: dict[str, np.ndarray]

    def where(self, kept: np.ndarray) -> Table:
        """Only some events."""
        others = {name: values[kept] for name, values in self.others.items()}
        return Table(self.mass[kept], self.pt[kept], self.eta[kept], self.phi[kept], others)

    def __len__(self) -> int:
        return len(self.mass)


def read(path: Path) -> Table:
    """Read a file of any naming and unit."""
    with uproot.open(path) as file:
        (name,) = file.keys(filter_classname="TTree", cycle=False)
        arrays = file[name].arrays()
    fields, objects, others = {}, {}, {}
    for field in arrays.fields:
        if arrays[field].ndim == 1:
            others[field] = arrays[field].to_numpy()
        else:
            objects[field.rpartition("_")[2].lower()] = arrays[field].to_numpy().astype(float)
    for wanted in ("pt", "eta", "phi"):
        fields[wanted] = objects[wanted]
    pt = fields["pt"] / (1000.0 if np.median(fields["pt"]) > 1000.0 else 1.0)
    eta, phi = fields["eta"], fields["phi"]
    squared = 2 * pt[:, 0] * pt[:, 1] * (np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1]))
    number = next(values for key, values in others.items() if key.lower().startswith("event"))
    return Table(np.sqrt(squared), pt, eta, phi, {**others, "number": number})


def joined(tables: list[Table]) -> Table:
    """Concatenate tables."""
    others = {name: np.concatenate([table.others[name] for table in tables]) for name in tables[0].others}
    mass, pt, eta, phi = (
        np.concatenate([getattr(table, name) for table in tables]) for name in ("mass", "pt", "eta", "phi")
    )
    return Table(mass, pt, eta, phi, others)


@dataclass(frozen=True)
class Problem:
    """What the prompt says."""

    question: str
    window: tuple[float, float]
    luminosities: np.ndarray
    generated: int
    line: float

    @classmethod
    def from_prompt(cls, prompt: str) -> Problem:
        """Read a prompt of level 3."""
        text = " ".join(prompt.split())
        titles = {"mass of the resonance?": "mass", "How broad": "width", "How often is": "cross_section",
                  "at most?": "limit", "How efficient": "efficiency"}  # fmt: skip
        question = next(name for title, name in titles.items() if title in prompt.splitlines()[0])
        listed = re.search(r"luminosities are ([\d., e+-]+) /fb", text)
        window = re.search(r"are between (\d+) and (\d+) GeV", text)
        generated = re.search(r"of (\d+) generated", text)
        line = re.search(r"known line at ([\d.]+) GeV", text)
        assert listed
        assert window
        luminosities = np.array([float(value) for value in listed[1].split(", ")])
        return cls(
            question,
            (float(window[1]), float(window[2])),
            luminosities,
            int(generated[1]) if generated else 0,
            float(line[1]) if line else 0.0,
        )


def solve(prompt: str, data: Path, method: str, mistake: str = "") -> dict[str, Any]:
    """The answer to a composed task.

    Args:
        prompt: of level 3.
        data: folder with the files.
        method: one of `METHODS`.
        mistake: one of `MISTAKES`; empty for a sound analysis.
    """
    problem = Problem.from_prompt(prompt)
    files = {path.stem: read(path) for path in sorted(data.glob("*.root"))}
    events = joined([table for name, table in files.items() if name.startswith("data")])
    found = dict.fromkeys(("scale", "block", "duplicates", "dead_region"), "no")
    _, first = np.unique(events.others["number"], return_index=True)
    unique = events.where(np.sort(first))
    if len(unique) < len(events):
        found["duplicates"] = "yes"
    if mistake != "counts copies":
        events = unique
    luminosity = float(problem.luminosities.sum())
    bad = bad_block(unique, problem)
    if bad is not None:
        found["block"] = "yes"
        if mistake != "uses the bad block":
            events = events.where(events.others["block"] != bad)
            luminosity -= 0.0 if mistake == "keeps its luminosity" else float(problem.luminosities[bad])
    region = dead_region(unique)
    if region is not None:
        found["dead_region"] = "yes"
    analysis = Analysis(problem, files, events, method, mistake)
    if problem.question in ("mass", "width"):
        value, uncertainty, scaled = analysis.line_answer()
        found["scale"] = "yes" if scaled else "no"
    elif problem.question == "efficiency":
        value, uncertainty = analysis.efficiency()
    else:
        value, uncertainty = analysis.cross_section(luminosity, region)
    if problem.question == "limit":
        value = float(value + uncertainty * ndtri(1 - 0.05 * ndtr(value / uncertainty)))
    if mistake in _OVERLOOKED:
        found[MISTAKES[mistake][0]] = "no"
    if mistake == "uncertainty too small":
        uncertainty /= 2.0
    contents, edges = np.histogram(events.mass, 75, (50.0, 200.0))
    return {
        "status": "ok",
        "answers": {"result": {"value": float(value), "uncertainty": float(uncertainty)}},
        "words": found,
        "histograms": {"spectrum": {"edges": edges.tolist(), "values": contents.tolist()}},
    }


def bad_block(events: Table, problem: Problem) -> int | None:
    """The luminosity block that differs most from the others, if it does so by more than 4.5 standard deviations.

    Compared are numbers of events per luminosity, shares of passing probes, and spectra.
    """
    block, n = events.others["block"], len(problem.luminosities)
    number = np.bincount(block, minlength=n).astype(float)
    rest, luminosity = number.sum() - number, problem.luminosities
    expected = luminosity * rest / (luminosity.sum() - luminosity)
    significance = np.abs(number - expected) / np.sqrt(expected * (1 + expected / rest))
    if "probe_passed" in events.others:
        passed = np.bincount(block, events.others["probe_passed"], minlength=n)
        share = passed.sum() / number.sum()
        difference = passed / number - (passed.sum() - passed) / rest
        spread = np.sqrt(share * (1 - share) * (1 / number + 1 / rest))
        significance = np.maximum(significance, np.abs(difference) / spread)
    low, high = problem.window
    edges = np.linspace(low, high, 46)
    for one in range(n):
        own, others = (np.histogram(events.mass[mask], edges)[0] for mask in (block == one, block != one))
        filled = own + others > 10
        factor = np.sqrt(others.sum() / own.sum())
        chi2 = np.sum((own[filled] * factor - others[filled] / factor) ** 2 / (own + others)[filled])
        free = filled.sum() - 1
        significance[one] = max(significance[one], (chi2 - free) / np.sqrt(2 * free))
    worst = int(np.argmax(significance))
    return worst if significance[worst] > 4.5 else None


def dead_region(events: Table) -> tuple[float, float, float, float] | None:
    """Lowest and highest eta and phi of a rectangle without objects where there should be many."""
    eta, phi = events.eta.ravel(), events.phi.ravel()
    counts, eta_edges, phi_edges = np.histogram2d(eta, phi, (50, 63), ((-2.5, 2.5), (-np.pi, np.pi)))
    expected = np.repeat(counts.mean(axis=1)[:, None], 63, axis=1)

    def boxes(cells: np.ndarray) -> np.ndarray:
        sums = np.pad(cells.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
        return np.asarray(sums[4:, 5:] - sums[:-4, 5:] - sums[4:, :-5] + sums[:-4, :-5])

    empty = np.where(boxes(counts) == 0, boxes(expected), 0.0)
    row, column = np.unravel_index(np.argmax(empty), empty.shape)
    if empty[row, column] < 14.0:
        return None
    low, high, start, end = eta_edges[row], eta_edges[row + 4], phi_edges[column], phi_edges[column + 5]
    for _ in range(2):  # objects just outside of an edge that is found must not stop the other two
        inset = 0.05 * (end - start)
        beside = (phi > start + inset) & (phi < end - inset)
        low, high = eta[beside & (eta <= low)].max(), eta[beside & (eta >= high)].min()
        inset = 0.05 * (high - low)
        between = (eta > low + inset) & (eta < high - inset)
        start = phi[between & (phi <= start)].max(initial=-np.pi)
        end = phi[between & (phi >= end)].min(initial=np.pi)
    return float(low), float(high), float(start), float(end)


class Analysis:
    """The fits of a method."""

    def __init__(self, problem: Problem, files: dict[str, Table], events: Table, method: str, mistake: str) -> None:
        self.problem, self.files, self.events, self.method, self.mistake = problem, files, events, method, mistake
        low, high = problem.window
        self.kept = events.where((events.mass > low) & (events.mass < high))
        self.control = files["control"].mass if "control" in files else None
        degree = 2 if self.control is None else 7
        if method == "least_squares":
            degree += 1 if self.control is None else 0
        self.degree = 1 if mistake == "straight background" else degree
        if mistake == "straight background":
            self.control = None

    def position(self, mass: np.ndarray) -> np.ndarray:
        """Masses mapped to -1 to 1."""
        low, high = self.problem.window
        return (2 * mass - low - high) / (high - low)

    def below(self, mass: np.ndarray, slopes: list[float]) -> np.ndarray:
        """Density of the background, normalised to the window."""
        grid = np.linspace(-1, 1, 400)
        powers = range(1, len(slopes) + 1)

        def density(u: np.ndarray) -> np.ndarray:
            if (self.method == "least_squares" and self.control is None) or self.mistake == "straight background":
                terms = sum(slope * u**power for power, slope in zip(powers, slopes, strict=True))
                return np.maximum(1 + terms, 1e-6)
            return np.exp(sum(slope * u**power for power, slope in zip(powers, slopes, strict=True)))

        low, high = self.problem.window
        return np.asarray(density(self.position(mass)) / (np.trapezoid(density(grid), grid) / 2 * (high - low)))

    def start_of_peak(self, mass: np.ndarray) -> float:
        """Where the spectrum rises most above what is on both sides."""
        counts, edges = np.histogram(mass, 120, self.problem.window)
        variance, difference = counts.astype(float), counts.astype(float)
        if self.control is not None:
            difference = difference - np.histogram(self.control, edges)[0] * (0.7 * len(mass) / len(self.control))
        kernel = np.repeat([-0.5, 1.0, -0.5], 9)
        rise = np.convolve(difference, kernel, "valid") / np.sqrt(np.convolve(variance, kernel**2, "valid") + 9)
        middle = (edges[1:] + edges[:-1])[13:-13] / 2
        return float(middle[np.argmax(rise)])

    def fit(
        self,
        spectra: list[np.ndarray],
        centre: float,
        resolution: float,
        *,
        fixed: bool = False,
        width: bool = False,
        constraint: tuple[float, float] | None = None,
    ) -> dict[str, tuple[float, float]]:
        """Fit peaks of one position in spectra; values and uncertainties by name.

        Args:
            spectra: masses of each spectrum.
            centre: start of the position [GeV].
            resolution: relative resolution.
            fixed: whether position and resolution are fixed.
            width: whether there is a natural width.
            constraint: relative resolution and its uncertainty.
        """
        fit = PeakFit(self, spectra, centre, resolution, constraint)
        fits = [fit.run(fixed, share) for share in ((0.02, 0.05) if width else (0.0,))]
        return min(fits, key=lambda one: one["cost"][0])

    def line_answer(self) -> tuple[float, float, bool]:
        """Mass or width, its uncertainty, and whether energies were off."""
        line = self.problem.line
        measured = self.files["calibration"].mass
        for _ in range(8):
            near = np.abs(measured / np.median(measured) - 1) < 0.08
            measured = measured[near]
        mean, spread = float(np.mean(measured)), float(np.std(measured, ddof=1))
        scale, scale_error = mean / line, spread / mean / np.sqrt(len(measured))
        resolution, resolution_error = spread / mean, spread / mean / np.sqrt(2 * len(measured))
        scaled = abs(scale - 1) > 4 * scale_error
        if self.mistake == "no scale":
            scale = 1.0
        if self.mistake == "uncertainty of the fit alone":
            scale_error = 0.0
        centre = self.start_of_peak(self.kept.mass)
        if self.problem.question == "mass":
            fit = self.fit([self.kept.mass], centre, resolution, constraint=(resolution, resolution_error))
            value, error = fit["centre"]
            return value / scale, float(np.hypot(error / scale, value / scale * scale_error)), scaled
        if self.mistake == "resolution in GeV":
            resolution *= mean / centre
        if self.mistake == "uncertainty of the fit alone":
            resolution_error /= 100.0
        fit = self.fit([self.kept.mass], centre, resolution, width=True, constraint=(resolution, resolution_error))
        return fit["width"][0] / scale, fit["width"][1] / scale, scaled

    def efficiency(self) -> tuple[float, float]:
        """Efficiency of the identification."""
        passed = self.kept.others["probe_passed"] > 0
        spectra = [self.kept.mass[passed], self.kept.mass[~passed]]
        if self.mistake == "no background":
            share = len(spectra[0]) / len(self.kept)
            return share, float(np.sqrt(share * (1 - share) / len(self.kept)))
        centre = self.start_of_peak(self.kept.mass)
        fit = self.fit(spectra, centre, 0.012)
        (s0, e0), (s1, e1), covariance = fit["s0"], fit["s1"], fit["covariance"][0]
        total = s0 + s1
        variance = (s1 * e0) ** 2 + (s0 * e1) ** 2 - 2 * s0 * s1 * covariance
        return s0 / total, float(np.sqrt(variance)) / total**2

    def cross_section(self, luminosity: float, region: tuple[float, float, float, float] | None) -> tuple[float, float]:
        """Cross section and its uncertainty [fb]."""
        simulation = self.files["simulation"]
        centre, resolution = float(np.mean(simulation.mass)), float(np.std(simulation.mass) / np.mean(simulation.mass))
        if region is not None and self.mistake != "overlooks the dead region":
            low, high, start, end = region
            lost = (simulation.eta > low) & (simulation.eta < high) & (simulation.phi > start) & (simulation.phi < end)
            simulation = simulation.where(np.asarray(~lost.any(axis=1)))
        share = len(simulation) / self.problem.generated
        relative = np.sqrt((1 - share) / len(simulation))
        if "monitor" in self.files and self.mistake != "no trigger":
            trigger, error = self.trigger(simulation)
            share, relative = share * trigger, np.hypot(relative, error / trigger)
        fit = self.fit([self.kept.mass], centre, resolution, fixed=True)
        number, spread = fit["s0"]
        if self.mistake == "no background":
            near = np.abs(self.kept.mass / centre - 1) < 3 * resolution
            number, spread = float(near.sum()), float(np.sqrt(near.sum()))
        if self.mistake == "uncertainty of the fit alone":
            relative = 0.0
        value = number / luminosity / share
        return value, float(np.hypot(spread / luminosity / share, value * relative))

    def trigger(self, simulation: Table) -> tuple[float, float]:
        """Efficiency of the trigger for simulated events, and its uncertainty."""
        monitor = self.files["monitor"]
        pt, fired = monitor.pt.max(axis=1), monitor.others["fired"].astype(float)
        simulated = simulation.pt.max(axis=1)
        if self.mistake == "trigger by one number":
            return float(fired.mean()), float(np.sqrt(fired.mean() * (1 - fired.mean()) / len(fired)))
        if self.method == "least_squares":
            edges = np.quantile(pt, np.linspace(0, 1, 41))
            row = np.clip(np.searchsorted(edges, pt) - 1, 0, 39)
            size = np.bincount(row, minlength=40)
            share = np.bincount(row, fired, minlength=40) / size
            used = np.bincount(np.clip(np.searchsorted(edges, simulated) - 1, 0, 39), minlength=40) / len(simulated)
            variance = used**2 * np.maximum(share * (1 - share), 0.01) / size
            return float(used @ share), float(np.sqrt(variance.sum()))

        def curve(at: np.ndarray, half: float, width: float, plateau: float) -> np.ndarray:
            return plateau / (1 + np.exp(-(at - half) / width))

        def residual(v: np.ndarray) -> float:
            chance = np.clip(curve(pt, *v), 1e-6, 1 - 1e-6)
            return float(-2 * np.sum(fired * np.log(chance) + (1 - fired) * np.log(1 - chance)))

        minuit = Minuit(residual, np.array([np.median(pt), 3.0, 0.9]))
        minuit.errordef = 1.0
        minuit.limits = [(0, 200), (0.1, 30), (0.2, 1)]
        minuit.migrad()
        minuit.hesse()
        best, covariance = np.array(minuit.values), np.array(minuit.covariance)
        steps = np.sqrt(np.diag(covariance)) * 0.1
        slopes = np.array(
            [
                (curve(simulated, *(best + step)).mean() - curve(simulated, *(best - step)).mean()) / (2 * step.sum())
                for step in np.diag(steps)
            ]
        )
        return float(curve(simulated, *best).mean()), float(np.sqrt(slopes @ covariance @ slopes))


class PeakFit:
    """Peaks of one position in some spectra, over backgrounds of one shape, and the spectrum of a control region."""

    def __init__(
        self,
        analysis: Analysis,
        spectra: list[np.ndarray],
        centre: float,
        resolution: float,
        constraint: tuple[float, float] | None,
    ) -> None:
        self.analysis, self.spectra, self.constraint = analysis, spectra, constraint
        self.method, self.centre, self.resolution = analysis.method, centre, resolution
        low, high = self.window = analysis.problem.window
        self.bins = int((high - low) / (0.5 * resolution * centre))
        edges = np.linspace(low, high, self.bins + 1)
        self.middle, self.step = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
        self.counts = [np.histogram(mass, edges)[0] for mass in spectra]
        self.control = None if analysis.control is None else np.histogram(analysis.control, edges)[0]
        grid = np.linspace(low, high, 3 * self.bins + 1)
        self.fine, self.fine_step = (grid[1:] + grid[:-1]) / 2, grid[1] - grid[0]
        self.slopes = [f"a{power}" for power in range(analysis.degree)]
        self.weights: list[np.ndarray] = []

    def start(self, width: float) -> dict[str, float]:
        """Values to start from, with a natural width relative to the position."""
        v = {"centre": self.centre, "resolution": self.resolution, "width": width * self.centre}
        half = (2.5 * self.resolution + width) * self.centre
        for i, mass in enumerate(self.spectra):
            v[f"s{i}"] = 0.6 * float((np.abs(mass - self.centre) < half).sum())
            v[f"b{i}"] = max(len(mass) - v[f"s{i}"], 10.0)
        v |= dict.fromkeys(self.slopes, 0.0)
        if self.analysis.control is not None:
            shape = control_shape(self.analysis.position(self.analysis.control), len(self.slopes))
            v |= {**dict(zip(self.slopes, shape, strict=True)), "c": float(len(self.analysis.control))}
        return v

    def density(self, mass: np.ndarray, v: dict[str, float], i: int) -> np.ndarray:
        """Events of a spectrum per GeV."""
        sigma = abs(v["resolution"]) * v["centre"]
        if v["width"]:
            peak = voigt_profile(mass - v["centre"], sigma, abs(v["width"]) / 2)
        else:  # many times faster
            peak = np.exp(-0.5 * ((mass - v["centre"]) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        below = self.analysis.below(mass, [v[name] for name in self.slopes])
        return np.asarray(v[f"s{i}"] * peak + v[f"b{i}"] * below)

    def expected(self, v: dict[str, float], i: int) -> np.ndarray:
        """Contents of the bins of a spectrum."""
        contents = self.density(self.fine, v, i).reshape(self.bins, 3).sum(axis=1) * self.fine_step
        return np.asarray(np.maximum(contents, 1e-9))

    def expected_control(self, v: dict[str, float]) -> np.ndarray:
        """Contents of the bins of the control region."""
        density = self.analysis.below(self.middle, [v[name] for name in self.slopes])
        return np.asarray(np.maximum(v["c"] * density * self.step, 1e-9))

    def cost(self, v: dict[str, float]) -> float:
        """What is minimised."""
        total = 0.0
        if self.constraint is not None:
            total += ((v["resolution"] - self.constraint[0]) / self.constraint[1]) ** 2
        for i, mass in enumerate(self.spectra):
            if self.method == "unbinned":
                number = v[f"b{i}"] + v[f"s{i}"] * inside(v, *self.window)
                total += 2 * (number - np.sum(np.log(np.maximum(self.density(mass, v, i), 1e-12))))
            else:
                total += self.distance(self.counts[i], self.expected(v, i), i)
        if self.control is not None:
            total += self.distance(self.control, self.expected_control(v), -1)
        return float(total)

    def distance(self, counts: np.ndarray, expected: np.ndarray, i: int) -> float:
        """Of contents and their expectation: a sum of squares, or minus twice the logarithm of a likelihood."""
        if self.method == "least_squares":
            return float(np.sum((counts - expected) ** 2 / self.weights[i]))
        return float(2 * np.sum(expected - counts * np.log(expected)))

    def run(self, fixed: bool, width: float) -> dict[str, tuple[float, float]]:
        """Fit; least squares with the variances of the fit before, which removes the bias of observed ones."""
        v = self.start(width)
        every = [*self.counts, *([] if self.control is None else [self.control])]
        self.weights = [np.maximum(counts, 5.0) for counts in every]
        for _ in range(3 if self.method == "least_squares" else 1):
            minuit = self.minimised(v, fixed, width > 0)
            v = dict(zip(v, minuit.values, strict=True))
            fitted = [self.expected(v, i) for i in range(len(self.spectra))]
            fitted += [] if self.control is None else [self.expected_control(v)]
            self.weights = [np.maximum(expected, 1.0) for expected in fitted]
        result = {name: (minuit.values[name], minuit.errors[name]) for name in v}
        result["cost"] = (minuit.fval, 0.0)
        if len(self.spectra) == 2:
            result["covariance"] = (minuit.covariance["s0", "s1"], 0.0)
        return result

    def minimised(self, v: dict[str, float], fixed: bool, width: bool) -> Minuit:
        """One minimisation."""
        minuit = Minuit(lambda *values: self.cost(dict(zip(v, values, strict=True))), *v.values(), name=list(v))
        minuit.errordef = 1.0
        for name, value in v.items():
            minuit.errors[name] = 0.05 * abs(value) + 0.01
        minuit.errors["centre"] = 0.1 * self.resolution * self.centre
        minuit.errors["resolution"] = 0.05 * self.resolution
        minuit.limits["resolution"] = (0.2 * self.resolution, 5 * self.resolution)
        minuit.fixed["width"] = not width
        if width:
            minuit.limits["width"] = (1e-3, 0.2 * self.centre)
        for name in self.slopes:
            minuit.limits[name] = (-15, 15)
        minuit.fixed["centre"] = fixed
        minuit.fixed["resolution"] = fixed
        if self.analysis.mistake == "no background":
            for i in range(len(self.spectra)):
                minuit.values[f"b{i}"] = 1e-3
                minuit.fixed[f"b{i}"] = True
        minuit.migrad(ncall=6000)
        minuit.hesse()
        return minuit


def inside(v: dict[str, float], low: float, high: float) -> float:
    """Share of a peak in the window."""
    if v["width"] == 0:
        return 1.0
    grid = np.linspace(low, high, 2001)
    sigma = abs(v["resolution"]) * v["centre"]
    return float(np.trapezoid(voigt_profile(grid - v["centre"], sigma, abs(v["width"]) / 2), grid))


def control_shape(position: np.ndarray, degree: int) -> list[float]:
    """Start of the coefficients of the logarithm of the background's density."""
    counts, edges = np.histogram(position, 60, (-1, 1))
    middle = (edges[1:] + edges[:-1]) / 2
    good = counts > 5
    powers = np.stack([middle[good] ** power for power in range(degree + 1)], axis=1)
    weight = np.sqrt(counts[good])
    coefficients, *_ = np.linalg.lstsq(powers * weight[:, None], np.log(counts[good]) * weight, rcond=None)
    return [float(value) for value in coefficients[1:]]
