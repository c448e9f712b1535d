"""The data of a composed task, and what a grade needs: truth, achievable uncertainty, and the shift of each fault.

The likelihood of the generator has the shapes from which the events were drawn, with a background that is as free as an
analysis must leave it. Its answer to the events that a sound analysis keeps is what submissions are compared with. The
shift of a fault is the change of the answer when the same events are analysed as if the fault were not there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy import ndarray
from scipy.special import ndtr, ndtri, voigt_profile

from beampipe.analysisops.contract import HistogramReference, Quantity, Reference
from beampipe.analysisops.samples.composed.grammar import BACKGROUNDS, FAULTS, OBJECTS, Composition, draw
from beampipe.analysisops.samples.composed.likelihood import IllPosedError, Model, Values
from beampipe.analysisops.samples.composed.pairs import Pairs, decays, joined_pairs
from beampipe.analysisops.samples.composed.texts import texts_of
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample
from beampipe.arrays import Float64
from beampipe.errors import ConfigError

SPECTRUM: Final = (75, 50.0, 200.0)
"""Number of bins, lowest and highest mass [GeV] of the spectrum that submissions name."""

LEAST_SHIFT: Final = 0.25
"""Shift, in units of the achievable uncertainty, from which on a fault must be recognised."""

_ATTEMPTS: Final = 50
_BIN: Final = 0.35
"""Width of the bins of the likelihood, in units of the resolution."""

_CALIBRATION, _SIMULATED, _MONITORED, _FOLDED = 4000, 12000, 8000, 40000
"""Numbers of events: of the narrow line, of simulated decays, seen by another trigger, and to fold a turn-on with."""

_BACKGROUND_PASSES: Final = 0.3
"""Share of background that passes the identification."""

_VISIBLE: Final = 6.0
"""Smallest significance of a fault in the data, in standard deviations."""


@dataclass(frozen=True, eq=False)
class Made:
    """The events of a composition.

    Attributes:
        data: events as they are in the files, copies included.
        good: (n,) whether a sound analysis keeps each.
        copy: (n,) whether the same event stands in the data before.
        calibration: the narrow line; None if it is not needed.
        simulation: simulated decays that are reconstructed; None if they are not needed.
        monitor: events of another trigger; None if there is no trigger to correct for.
        control: events without signal; None if there are none.
    """

    data: Pairs
    good: ndarray
    copy: ndarray
    calibration: Pairs | None = None
    simulation: Pairs | None = None
    monitor: Pairs | None = None
    control: Pairs | None = None


def make(random: RandomParameters) -> Instance:
    """The data of an instance; draws that are ill posed are refused, and another is made.

    Raises:
        ConfigError: no draw is well posed.
    """
    refused = ""
    for attempt in range(_ATTEMPTS):
        composition = draw(random, attempt)
        try:
            return compose(composition, random.generator(f"events {attempt}"))
        except IllPosedError as error:
            refused = str(error)
    raise ConfigError(f"composed: {_ATTEMPTS} draws were refused, the last since: {refused}; allow other ingredients")


def compose(composition: Composition, generator: np.random.Generator) -> Instance:
    """The data of a composition.

    Raises:
        IllPosedError: the data cannot answer the question, or do not show a fault.
    """
    made = events_of(composition, generator)
    kept = fraction_kept(composition, generator)
    model = model_of(composition, made, kept)
    name = parameter_of(composition)
    counts = counts_of(composition, made, made.data.where(made.good))
    check(composition, model, len(made.data), kept)
    fitted = model.fitted(counts)
    uncertainty = model.uncertainties()[name]
    answer = _answer(composition, fitted[name], uncertainty)
    shifts = {
        fault: (missed - answer) / uncertainty
        for fault, missed in _missed(composition, made, model, kept, fitted, uncertainty).items()
    }
    bins, low, high = SPECTRUM
    contents, edges = np.histogram(made.data.mass[made.good], bins, (low, high))
    truth = _answer(composition, model.truth[name], uncertainty)
    reference = Reference(
        {"result": Quantity(answer, uncertainty, composition.asks.unit)},
        {"result": truth},
        {"spectrum": HistogramReference(tuple(map(float, edges)), tuple(map(float, contents)))},
        {fault: "yes" if fault in composition.faults else "no" for fault in FAULTS},
        shifts,
    )
    return Instance(
        _samples(composition, made, generator),
        reference.truth,
        reference.words,
        public={"block_luminosity_fb": list(composition.luminosity)},
        analysis={
            "reference": reference.to_json(),
            "texts": texts_of(composition, len(made.simulation or ()), _SIMULATED),
        },
        hidden={f"shift_{fault}": shift for fault, shift in shifts.items()},
    )


def parameter_of(composition: Composition) -> str:
    """Name of the parameter of the likelihood that the question is about."""
    return "cross_section" if composition.asks.counts else composition.question


def cross_section(composition: Composition) -> float:
    """The true cross section [fb]."""
    return composition.signal / (sum(composition.luminosity) * composition.efficiency)


def _answer(composition: Composition, value: float, uncertainty: float) -> float:
    """The answer for a measured value: the value, or the limit that follows.

    The limit is that of CLs at 95 % for a Gaussian estimator: G. Cowan et al., Eur. Phys. J. C 71 (2011) 1554.
    """
    if composition.question != "limit":
        return value
    return float(value + uncertainty * ndtri(1 - 0.05 * ndtr(value / uncertainty)))


def events_of(composition: Composition, generator: np.random.Generator) -> Made:
    """Draw all events."""
    c = composition
    low, high = c.window
    relative = generator.standard_normal(generator.poisson(c.signal)) * c.resolution
    line = c.width / 2 * np.tan(generator.uniform(-np.pi / 2, np.pi / 2, len(relative)))
    measured = (c.mass * (1 + relative) + line) * c.scale
    signal = decays(generator, measured[(measured > low) & (measured < high)])
    signal = replace(signal, passed=generator.uniform(size=len(signal)) < c.efficiency)
    if "trigger" in c.faults:
        signal = signal.where(generator.uniform(size=len(signal)) < c.fires(signal.pt.max(axis=1)))
    background = _background(c, generator, generator.poisson(c.background_events))
    data = joined_pairs([signal, background])
    data = data.where(generator.permutation(len(data)))
    shares = np.array(c.luminosity) / sum(c.luminosity)
    data = replace(data, block=generator.choice(len(shares), len(data), p=shares))
    if "dead_region" in c.faults:
        data = data.where(~data.inside(c.region))
    if "block" in c.faults:
        data = _spoilt(c, generator, data)
    data = replace(data, number=np.arange(len(data)) + 1_000_000)
    first = len(data) // 2
    copies = round(c.copies * len(data)) if "duplicates" in c.faults else 0
    rows = np.r_[0:first, first - copies : len(data)]
    data = data.where(rows)
    copy = np.r_[np.zeros(first, bool), np.ones(copies, bool), np.zeros(len(data) - first - copies, bool)]
    good = ~copy if "block" not in c.faults else ~copy & (data.block != c.bad_block)
    made = Made(data, good, copy)
    if c.asks.counts:
        number = generator.binomial(_SIMULATED, c.efficiency)
        simulated = c.mass * (1 + generator.standard_normal(number) * c.resolution)
        made = replace(made, simulation=decays(generator, simulated))
    elif c.question != "efficiency":
        number = generator.poisson(_CALIBRATION)
        calibration = c.line * (1 + generator.standard_normal(number) * c.resolution) * c.scale
        made = replace(made, calibration=decays(generator, calibration))
    if "trigger" in c.faults:
        monitor = decays(generator, _background_masses(c, generator, _MONITORED))
        fired = generator.uniform(size=len(monitor)) < c.fires(monitor.pt.max(axis=1))
        made = replace(made, monitor=replace(monitor, passed=fired))
    if BACKGROUNDS[c.background].control:
        masses = _background_masses(c, generator, generator.poisson(_control_events(c)))
        made = replace(made, control=decays(generator, masses))
    return made


def _control_events(composition: Composition) -> float:
    return max(4.0 * composition.background_events, 8000.0)


def _background_masses(composition: Composition, generator: np.random.Generator, number: int) -> ndarray:
    grid = np.linspace(*composition.window, 4001)
    density = composition.background_density(grid)
    cumulative = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return np.asarray(np.interp(generator.uniform(size=number), cumulative / cumulative[-1], grid))


def _background(composition: Composition, generator: np.random.Generator, number: int) -> Pairs:
    fires = composition.fires if "trigger" in composition.faults else None
    pairs = decays(generator, _background_masses(composition, generator, number), fires)
    return replace(pairs, passed=generator.uniform(size=number) < _BACKGROUND_PASSES)


def _spoilt(composition: Composition, generator: np.random.Generator, data: Pairs) -> Pairs:
    """The data with the fault of a luminosity block."""
    bad = data.block == composition.bad_block
    hit = bad & (generator.uniform(size=len(data)) < composition.strength)
    if composition.asks.block == "energies":
        return data.with_energies(np.where(bad, 1 + composition.strength, 1.0))
    if composition.asks.block == "losses":
        return data.where(~hit)
    return replace(data, passed=data.passed & ~hit)


@dataclass(frozen=True, eq=False)
class Folded:
    """What a detector keeps of the signal, from many decays.

    Attributes:
        outside: share of the events without an object in the dead region.
        pt: centres of bins in the largest pt of these [GeV].
        share: share of these in each bin.
    """

    outside: float
    pt: Float64[ndarray, " bins"]
    share: Float64[ndarray, " bins"]


def fraction_kept(composition: Composition, generator: np.random.Generator) -> Folded:
    """Fold dead region and trigger with the decays of the signal."""
    folded = decays(generator, np.full(_FOLDED, composition.mass))
    outside = np.ones(len(folded), bool)
    if "dead_region" in composition.faults:
        outside = ~folded.inside(composition.region)
    largest = folded.pt[outside].max(axis=1)
    number, edges = np.histogram(largest, 300)
    return Folded(float(outside.mean()), (edges[1:] + edges[:-1]) / 2, number / number.sum())


def _edges(composition: Composition) -> ndarray:
    low, high = composition.window
    return np.linspace(low, high, int(np.ceil((high - low) / (_BIN * composition.resolution * composition.mass))) + 1)


def _line_edges(composition: Composition) -> ndarray:
    return composition.line * np.linspace(0.88, 1.12, 121)


class _Spectrum:
    """Peak and background in the bins of the mass."""

    def __init__(self, composition: Composition) -> None:
        edges = _edges(composition)
        self._width = edges[1] - edges[0]
        self._mass = edges[:-1] + self._width / 2
        self._position = composition.position(self._mass)
        shape = composition.background_density(self._mass)
        self._shape = shape / shape.sum()
        self.slopes = [f"slope_{power}" for power in range(1, BACKGROUNDS[composition.background].freedom + 1)]

    def peak(self, values: Values, scale: float = 1.0) -> ndarray:
        """Share of the signal in each bin."""
        centre, sigma = values["mass"] * scale, abs(values["resolution"] * values["mass"] * scale)
        half_width = abs(values.get("width", 0.0)) * scale / 2
        return np.asarray(voigt_profile(self._mass - centre, sigma, half_width) * self._width)

    def below(self, values: Values) -> ndarray:
        """Share of the background in each bin; its shape has as much freedom as an analysis must leave it."""
        exponent = sum(values[name] * self._position**power for power, name in enumerate(self.slopes, 1))
        return np.asarray(self._shape * np.exp(exponent))


_Channels = dict[str, Callable[[Values], ndarray]]
_Parameters = dict[str, tuple[float, float]]
"""Truth and scale of parameters, by name."""


def model_of(composition: Composition, made: Made, kept: Folded) -> Model:
    """The likelihood of all counts of a composition."""
    c, spectrum = composition, _Spectrum(composition)
    share = c.good_luminosity / sum(c.luminosity) * kept.outside
    signal, background = c.signal * share, c.background_events * share
    parameters: _Parameters = {
        "mass": (c.mass, c.resolution * c.mass),
        "resolution": (c.resolution, c.resolution),
        "background": (background, background),
        **dict.fromkeys(spectrum.slopes, (0.0, 1.0)),
    }
    if c.question == "efficiency":
        channels, more = _probes(c, spectrum, signal)
    elif c.asks.counts:
        channels, more = _counted(c, spectrum, made, kept)
    else:
        channels, more = _calibrated(c, spectrum, signal)
    parameters |= more
    if made.control is not None:
        parameters["control"] = (_control_events(c), _control_events(c))
        channels["control"] = lambda v: v["control"] * spectrum.below(v)
    truth, scales = ({name: pair[part] for name, pair in parameters.items()} for part in (0, 1))
    return Model(channels, truth, scales)


def _probes(composition: Composition, spectrum: _Spectrum, signal: float) -> tuple[_Channels, _Parameters]:
    """Spectra of passing and failing probes."""

    def channel(values: Values, passed: bool) -> ndarray:
        share, other = values["efficiency"], values["background_passed"]
        if not passed:
            share, other = 1 - share, 1 - other
        background = values["background"] * other * spectrum.below(values)
        return np.asarray(values["signal"] * share * spectrum.peak(values) + background)

    return {"data": lambda v: channel(v, True), "failed": lambda v: channel(v, False)}, {
        "signal": (signal, signal),
        "background_passed": (_BACKGROUND_PASSES, 0.3),
        "efficiency": (composition.efficiency, 0.3),
    }


def _counted(composition: Composition, spectrum: _Spectrum, made: Made, kept: Folded) -> tuple[_Channels, _Parameters]:
    """Spectra of data and simulation, and events of another trigger."""
    c = composition
    channels: _Channels = {}
    parameters = {
        "cross_section": (cross_section(c), 1000.0 / c.good_luminosity),
        "efficiency": (c.efficiency * kept.outside, 0.3),
    }
    if made.monitor is not None:
        parameters |= {name: (value, 0.1 * value) for name, value in zip(_TURN_ON, c.turn_on, strict=True)}
        pt, row = _monitored(made.monitor)
        total = np.bincount(row, minlength=_PT_BINS)
        channels["fired"] = lambda v: np.bincount(row, fires(c, v, pt), minlength=_PT_BINS)
        channels["silent"] = lambda v: total - np.bincount(row, fires(c, v, pt), minlength=_PT_BINS)

    def data(values: Values) -> ndarray:
        number = values["cross_section"] * c.good_luminosity * values["efficiency"]
        if made.monitor is not None:
            number *= float(kept.share @ fires(c, values, kept.pt))
        return np.asarray(number * spectrum.peak(values) + values["background"] * spectrum.below(values))

    channels["data"] = data
    channels["simulation"] = lambda v: _SIMULATED * v["efficiency"] * spectrum.peak(v)
    channels["lost"] = lambda v: np.array([_SIMULATED * (1 - v["efficiency"])])
    return channels, parameters


_TURN_ON: Final = ("half", "turn", "plateau")
"""Parameters of the turn-on of a trigger, as in `Composition.turn_on`."""


def fires(composition: Composition, values: Values, pt: ndarray) -> ndarray:
    """Efficiency of the trigger for fitted parameters and a largest pt [GeV]."""
    half, turn, plateau = (values[name] for name in _TURN_ON)
    return replace(composition, turn_on=(half, turn, plateau)).fires(pt)


def _calibrated(composition: Composition, spectrum: _Spectrum, signal: float) -> tuple[_Channels, _Parameters]:
    """Spectra of data and of the known line."""
    c, edges = composition, _line_edges(composition)
    mass, width = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]

    def line(values: Values) -> ndarray:
        centre = c.line * values["scale"]
        density = np.asarray(voigt_profile(mass - centre, abs(values["resolution"]) * centre, 0.0))
        return np.asarray(density * values["calibration"] * width)

    def data(values: Values) -> ndarray:
        peak = spectrum.peak(values, values["scale"])
        return np.asarray(values["signal"] * peak + values["background"] * spectrum.below(values))

    return {"data": data, "calibration": line}, {
        "signal": (signal, signal),
        "scale": (c.scale, c.resolution),
        "calibration": (float(_CALIBRATION), float(_CALIBRATION)),
        **({"width": (c.width, c.width)} if c.question == "width" else {}),
    }


_PT_BINS: Final = 24
"""Number of bins in pt of events of the other trigger, of equal numbers of events."""


def _monitored(monitor: Pairs) -> tuple[ndarray, ndarray]:
    """Largest pt of each event of another trigger, and its bin."""
    pt = monitor.pt.max(axis=1)
    return pt, np.searchsorted(np.quantile(pt, np.linspace(0, 1, _PT_BINS + 1)[1:-1]), pt)


def counts_of(composition: Composition, made: Made, data: Pairs) -> dict[str, ndarray]:
    """Contents of the bins of all channels.

    Args:
        composition: the composition.
        made: its events.
        data: those of the data that are analysed.
    """
    c, edges = composition, _edges(composition)

    def filled(pairs: Pairs, bins: ndarray = edges) -> ndarray:
        return np.asarray(np.histogram(pairs.mass, bins)[0], float)

    counts = {"data": filled(data)}
    if c.question == "efficiency":
        counts |= {"data": filled(data.where(data.passed)), "failed": filled(data.where(~data.passed))}
    if made.simulation is not None:
        seen = made.simulation
        if "dead_region" in c.faults:
            seen = seen.where(~seen.inside(c.region))
        counts |= {"simulation": filled(seen), "lost": np.array([float(_SIMULATED - len(seen))])}
    if made.calibration is not None:
        counts["calibration"] = filled(made.calibration, _line_edges(c))
    if made.monitor is not None:
        _, row = _monitored(made.monitor)
        fired = np.bincount(row, made.monitor.passed, minlength=_PT_BINS)
        counts |= {"fired": fired, "silent": np.bincount(row, minlength=_PT_BINS) - fired}
    if made.control is not None:
        counts["control"] = filled(made.control)
    return counts


def check(composition: Composition, model: Model, number: int, kept: Folded) -> None:
    """Refuse a composition whose data cannot answer its question, or do not show its faults.

    Args:
        composition: the composition.
        model: its likelihood.
        number: number of events of the data.
        kept: what the detector keeps of the signal.

    Raises:
        IllPosedError: it is ill posed; the message says why.
    """
    c = composition
    uncertainties = model.uncertainties()
    name = parameter_of(c)
    relative = uncertainties[name] / abs(model.truth[name]) if c.question != "limit" else 0.0
    if relative > c.asks.largest:
        raise IllPosedError(f"composition: {c.question} with an uncertainty of {relative:.2g} of it")
    if c.question == "limit":
        low, high = c.window
        below = model.truth["background"] * 4 * c.resolution * c.mass / (high - low)
        if below < 50:
            raise IllPosedError(f"composition: {below:.3g} events of background below a peak, too few for a limit")
    seen = dict.fromkeys(c.faults, np.inf)
    in_block = number * c.luminosity[c.bad_block] / sum(c.luminosity)
    if "scale" in c.faults:
        seen["scale"] = abs(c.scale - 1) / uncertainties["scale"]
    if "block" in c.faults:
        signal = in_block * c.signal / (c.signal + c.background_events)
        seen["block"] = {
            "energies": abs(c.strength) / (c.resolution + c.width / c.mass) * np.sqrt(signal),
            "losses": c.strength * np.sqrt(in_block),
            "identification": c.strength * c.efficiency * signal / np.sqrt(in_block),
        }[c.asks.block]
    if "dead_region" in c.faults:
        seen["dead_region"] = np.sqrt(number * (1 - kept.outside) / kept.outside)
    for fault, significance in seen.items():
        if significance < _VISIBLE:
            raise IllPosedError(f"composition: {fault} is seen with {significance:.2g} standard deviations only")


def _missed(
    composition: Composition, made: Made, model: Model, kept: Folded, fitted: Values, uncertainty: float
) -> dict[str, float]:
    """The answer of an analysis that misses a fault, by fault."""
    c, name = composition, parameter_of(composition)
    answer = _answer(c, fitted[name], uncertainty)
    missed: dict[str, float] = {}
    for fault in c.faults:
        analysed, as_if = model, made.data.where(made.good)
        if fault == "scale":
            missed[fault] = answer * fitted["scale"]
            continue
        if fault == "dead_region":
            missed[fault] = answer * (kept.outside if c.asks.counts else 1.0)
            continue
        if fault == "trigger":
            missed[fault] = answer * float(kept.share @ fires(c, fitted, kept.pt))
            continue
        if fault == "block":
            without = replace(c, faults=tuple(other for other in c.faults if other != "block"))
            analysed, as_if = model_of(without, made, kept), made.data.where(~made.copy)
        elif fault == "duplicates":
            bad = made.data.block == c.bad_block if "block" in c.faults else np.zeros(len(made.data), bool)
            as_if = made.data.where(~bad)
        wrong = analysed.fitted(counts_of(c, made, as_if))
        missed[fault] = _answer(c, wrong[name], analysed.uncertainties(wrong)[name])
    return missed


def _samples(composition: Composition, made: Made, generator: np.random.Generator) -> tuple[Sample, ...]:
    """The files."""
    c, prefix = composition, OBJECTS[composition.objects]

    def with_blocks(pairs: Pairs) -> dict[str, ndarray]:
        columns = {"block": pairs.block}
        return columns if c.question != "efficiency" else {**columns, "probe_passed": pairs.passed.astype(np.int32)}

    first = np.flatnonzero(made.copy)[0] if made.copy.any() else len(made.data) // 2
    if made.copy.any() or generator.uniform() < 0.5:
        parts = [
            made.data.where(np.arange(len(made.data)) < first),
            made.data.where(np.arange(len(made.data)) >= first),
        ]
    else:
        parts = [made.data]
    samples = [
        Sample(f"data_{number}", "data", part.events(prefix, with_blocks(part))) for number, part in enumerate(parts, 1)
    ]
    if made.calibration is not None:
        calibration = made.calibration.events(prefix, {})
        samples.append(Sample("calibration", "calibration", calibration, {"line_gev": c.line}))
    if made.simulation is not None:
        simulation = made.simulation.events(prefix, {})
        samples.append(Sample("simulation", "signal_mc", simulation, {"generated": _SIMULATED}))
    if made.monitor is not None:
        fired = {"fired": made.monitor.passed.astype(np.int32)}
        samples.append(Sample("monitor", "monitor", made.monitor.events(prefix, fired)))
    if made.control is not None:
        samples.append(Sample("control", "control", made.control.events(prefix, {})))
    return tuple(samples)
