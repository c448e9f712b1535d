"""Pairs of leptons and of photons: resonances, continua, the selection of the reference analyses, and limits.

Pythia gives the pt, the rapidity and the decay angles of a lepton resonance. Its mass is drawn from a Breit-Wigner
distribution and inserted into the decay, with pt, rapidity and angles in the rest frame unchanged: parton densities and
photon interference would distort Pythia's own line shape by more than the statistical precision, so that a fit of the
stated shape would be biased.

For photons, Pythia gives the pt and the rapidity of the Higgs bosons at the hidden mass. As they have no spin, decays
are isotropic; to determine the selection efficiency, each boson decays several times. The continuum is not by Pythia:
it is exponential in mass, with pt proportional to the mass, so that it stays exponential after cuts relative to the
mass, and an exponential is the correct fit model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector, assemble, leptons_of, photons_of
from beampipe.analysisops.samples.events import Events, Objects, joined, joined_objects
from beampipe.analysisops.samples.kinematics import (
    Z_MASS,
    Z_WIDTH,
    breit_wigner,
    collide,
    decay,
    falling,
    from_polar,
    higgs_mass_settings,
    isotropic,
    masses,
    parents,
    with_masses,
)
from beampipe.analysisops.samples.random_parameters import RandomParameters
from beampipe.arrays import Bool, Float64, Int64

_NODES, _STEPS = 61, 60


def counting_limit(observed: int, background: float, background_error: float, *, level: float = 0.95) -> float:
    """Upper limit on the number of signal events by CLs, for the truth of an instance; the agents' tools have their own
    code.

    CLs(s) = P(n <= observed | s + b) / P(n <= observed | b), with b averaged over a Gaussian truncated at 0.
    A. L. Read, Presentation of search results: the CLs technique, J. Phys. G 28 (2002) 2693.

    Args:
        observed: number of events.
        background: mean number of events without signal.
        background_error: uncertainty of that mean.
        level: confidence level.
    """
    from scipy.special import gammaincc

    pulls = np.linspace(-5, 5, _NODES)
    means = background + background_error * pulls
    weights = np.where(means >= 0, np.exp(-(pulls**2) / 2), 0.0)
    means = np.maximum(means, 1e-9)

    def chance(signal: float) -> float:
        return float(np.average(gammaincc(observed + 1, means + signal), weights=weights))

    low, high = 0.0, 10 + 10 * np.sqrt(observed + background) + 10 * background_error + observed
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if chance(middle) > (1 - level) * chance(0.0):
            low = middle
        else:
            high = middle
    return low


def weighted_sample(
    random: RandomParameters,
    name: str,
    role: str,
    events: Events,
    cross_section: float,
    *,
    spread: float,
    negative: float,
    recorded: Callable[[Events], Events] = lambda events: events,
) -> Sample:
    """A file of simulated events, with the facts that scale it to data.

    Args:
        random: random numbers of the instance.
        name: name of the file.
        role: its role.
        events: the generated events. Their weights have a hidden size.
        cross_section: its stated cross section [pb].
        spread: relative spread of the weights.
        negative: share of negative weights.
        recorded: selects the events in the file.
    """
    generator = random.generator(f"{name} weights")
    size = generator.uniform(0.5, 20.0) * generator.uniform(1 - spread, 1 + spread, events.number)
    weights = np.where(generator.uniform(size=events.number) < negative, -size, size)
    facts = {"cross_section_pb": cross_section, "sum_of_weights": float(np.sum(weights))}
    return Sample(name, role, recorded(events.with_columns({"mcWeight": weights})), facts)


def with_missing_momentum(generator: np.random.Generator, events: Events, *, scale: float, low: float) -> Events:
    """Events with an exponential missing momentum [GeV] in a random direction."""
    met = falling(generator, events.number, scale=scale, low=low, high=900.0)
    return events.with_columns({"met": met, "met_phi": generator.uniform(-np.pi, np.pi, events.number)})


def good_leptons(events: Events, pt_min: float) -> Objects:
    """Tight, isolated leptons above a pt [GeV]."""
    leptons = events.collections["lep"]
    fields = leptons.fields
    return leptons.where(
        fields["isTightID"] & (fields["ptcone20"] < ISOLATION * fields["pt"]) & (fields["pt"] > pt_min)
    )


def lepton_mass(leptons: Objects, number: int) -> tuple[Bool[ndarray, " number"], Float64[ndarray, " number"]]:
    """Whether each event has exactly two leptons, of opposite charge and the same kind, and their mass [GeV], or 0."""
    rows = np.flatnonzero(leptons.counts(number) == 2)
    first = np.searchsorted(leptons.event, rows)
    charge, kind = leptons.fields["charge"], leptons.fields["type"]
    fits = (charge[first] != charge[first + 1]) & (kind[first] == kind[first + 1])
    rows, first = rows[fits], first[fits]
    momenta = from_polar(*(leptons.fields[name] for name in ("pt", "eta", "phi", "e")))
    two, mass = np.zeros(number, dtype=bool), np.zeros(number)
    two[rows] = True
    mass[rows] = masses(momenta[first] + momenta[first + 1])
    return two, mass


_LIMITS = 12.0
"""Range of the drawn masses around the resonance, in units of its width."""


def resonance_pairs(
    random: RandomParameters, what: str, number: int, *, mass: float = Z_MASS, width: float = Z_WIDTH
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Lepton and antilepton from a Z boson of given mass and width [GeV]."""
    near = max(20.0, 3 * width)
    settings = (
        "WeakSingleBoson:ffbar2gmZ = on",
        "WeakZ0:gmZmode = 2",
        "23:onMode = off",
        "23:onIfAny = 13",
        f"23:m0 = {mass:.6f}",
        f"23:mMin = {mass - near:.6f}",
        f"23:mMax = {mass + near:.6f}",
        f"PhaseSpace:mHatMin = {mass - near:.6f}",
        f"PhaseSpace:mHatMax = {mass + near:.6f}",
    )
    first, second = collide(settings, number, random.seed(f"{what} collisions")).kinds(13).pairs()
    low, high = max(mass - _LIMITS * max(width, 1.0), mass / 3), mass + _LIMITS * max(width, 1.0)
    line = breit_wigner(random.generator(f"{what} line"), len(first), mass=mass, width=width, low=low, high=high)
    return with_masses(first, second, line)


def continuum_pairs(
    random: RandomParameters, what: str, number: int, *, scale: float, low: float, high: float
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Pairs with an exponentially falling mass [GeV], generated without Pythia."""
    generator = random.generator(what)
    return _pairs_of(generator, falling(generator, number, scale=scale, low=low, high=high))


def shoulder_pairs(
    random: RandomParameters, what: str, number: int, *, mass: float, width: float
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Pairs with a Gaussian mass [GeV] beside a peak: an analysis that does not reject them measures something else."""
    generator = random.generator(what)
    return _pairs_of(generator, np.maximum(generator.normal(mass, width, number), 1.0))


def _pairs_of(
    generator: np.random.Generator, mass: Float64[ndarray, " n"]
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    pt = mass * generator.exponential(0.25, len(mass))
    return decay(parents(generator, mass, pt=pt), isotropic(generator, len(mass)))


def pair_events(
    generator: np.random.Generator,
    detector: Detector,
    pairs: tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]],
    pdg: tuple[int, int] = (13, -13),
    *,
    prompt: bool = True,
    soft: float = 0.0,
) -> Events:
    """Events with one pair of leptons each.

    Args:
        generator: of random numbers.
        detector: how well things are seen.
        pairs: four-vectors of the two leptons.
        pdg: PDG codes of both leptons.
        prompt: False for leptons in jets.
        soft: fraction of events with an additional soft lepton from a jet.
    """
    number = len(pairs[0])
    event = np.repeat(np.arange(number), 2)
    momenta = np.stack(pairs, axis=1).reshape(-1, 4)
    leptons = leptons_of(generator, detector, event, np.tile(np.array(pdg), number), momenta, prompt=prompt)
    extra: Int64[ndarray, " n"] = np.flatnonzero(generator.uniform(size=number) < soft)
    if len(extra):
        pt = 5 + generator.exponential(6, len(extra))
        more = parents(generator, np.full(len(extra), 1e-3), pt=pt)
        kinds = generator.choice([11, -11, 13, -13], len(extra))
        leptons = joined_objects([leptons, leptons_of(generator, detector, extra, kinds, more, prompt=False)]).by_pt()
    return assemble(generator, detector, number, {"lep": leptons})


PHOTON_WINDOW: Final = (105.0, 160.0)
"""Window of the reference analyses of photon pairs [GeV]."""

_LOW, _HIGH = 85.0, 230.0
_COLLISIONS: Final = 1_500
_SLOPES: Final = (28.0, 45.0)


def higgs_bosons(random: RandomParameters, mass: float, number: int) -> Float64[ndarray, "n 4"]:
    """Four-vectors of Higgs bosons from gluon fusion, by Pythia."""
    settings = (
        "HiggsSM:gg2H = on",
        "25:onMode = off",
        "25:onIfMatch = 22 22",
        *higgs_mass_settings(mass),
    )
    first, second = collide(settings, min(number, _COLLISIONS), random.seed("higgs")).kinds(22).pairs()
    bosons: ndarray = np.resize(first + second, (number, 4))
    return bosons


def photon_events(
    generator: np.random.Generator,
    detector: Detector,
    pairs: tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]],
    *,
    prompt: bool = True,
) -> Events:
    """Events with one pair of photons each; `prompt` is False for pairs of jets misidentified as photons."""
    number = len(pairs[0])
    momenta = np.stack(pairs, axis=1).reshape(-1, 4)
    photons = photons_of(generator, detector, np.repeat(np.arange(number), 2), momenta, prompt=prompt)
    return assemble(generator, detector, number, {"photon": photons})


def higgs_events(random: RandomParameters, detector: Detector, mass: float, mean: float) -> tuple[Events, float]:
    """Higgs bosons that decay to photons.

    Args:
        random: random numbers of the instance.
        detector: how well things are seen.
        mass: mass of the boson [GeV].
        mean: mean number of decays in the data.

    Returns:
        The events of the data, and the expected number that the reference analysis selects.
    """
    generator = random.generator("higgs detector")
    number = random.count("higgs", mean)
    bosons = higgs_bosons(random, mass, 20_000 + number)
    events = photon_events(generator, detector, decay(bosons, isotropic(generator, len(bosons))))
    kept, _ = selected_pairs(events)
    return events.first(number), float(mean * np.mean(kept))


def continuum(random: RandomParameters, detector: Detector, mean: float, shoulder: float) -> Events:
    """Pairs of photons with an exponential mass, and of jets misidentified as photons around a mass [GeV]."""
    scale = random.uniform("background_scale", *_SLOPES)
    generator = random.generator("continuum detector")
    real = continuum_pairs(random, "continuum", random.count("continuum", mean), scale=scale, low=_LOW, high=_HIGH)
    jets = shoulder_pairs(random, "jets", random.count("jets", 0.5 * mean), mass=shoulder, width=3.0)
    return joined([photon_events(generator, detector, real), photon_events(generator, detector, jets, prompt=False)])


def selected_pairs(events: Events) -> tuple[Bool[ndarray, " n"], Float64[ndarray, " n"]]:
    """Whether each event passes the reference analysis, and the mass of its two leading photons [GeV], or 0."""
    photons = events.collections["photon"]
    fields = photons.fields
    good = photons.where(fields["isTightID"] & (fields["ptcone20"] < ISOLATION * fields["pt"]))
    first = np.searchsorted(good.event, np.arange(events.number))
    rows = np.flatnonzero(good.counts(events.number) >= 2)
    momenta = from_polar(*(good.fields[name] for name in ("pt", "eta", "phi", "e")))
    pairs = first[rows]
    mass = np.zeros(events.number)
    mass[rows] = masses(momenta[pairs] + momenta[pairs + 1])
    kept = np.zeros(events.number, dtype=bool)
    pt = good.fields["pt"]
    kept[rows] = (pt[pairs] > 0.35 * mass[rows]) & (pt[pairs + 1] > 0.25 * mass[rows])
    return kept, mass
