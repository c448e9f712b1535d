"""Pairs of photons: Higgs bosons with Pythia's production over a continuum that falls exponentially.

Pythia gives the pt and the rapidity of the Higgs bosons at the hidden mass. As they have no spin, decays are isotropic,
and each boson decays anew a few times where only the share of selected ones is wanted. The continuum has laws of its
own and is not Pythia's: exponential in mass, with pt in proportion to the mass, so that cuts relative to the mass keep
it exponential and a fit of an exponential is right.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.detector import ISOLATION, Detector, assemble, photons_of
from beampipe.analysisops.samples.draws import Draws
from beampipe.analysisops.samples.events import Events, joined
from beampipe.analysisops.samples.families.dileptons import continuum_pairs
from beampipe.analysisops.samples.generator import collide
from beampipe.analysisops.samples.kinematics import decay, from_polar, isotropic, masses
from beampipe.arrays import Bool, Float64

__all__ = ["PHOTON_CUTS", "continuum", "higgs_bosons", "higgs_events", "photon_events", "selected_pairs"]

PHOTON_CUTS: Final[dict[str, Any]] = {
    "isolation_max": ISOLATION,
    "leading_over_mass": 0.35,
    "subleading_over_mass": 0.25,
    "window": [105.0, 160.0],
    "model": "gauss_plus_exponential",
    "histogram": {"name": "mass", "bins": 55, "low": 105.0, "high": 160.0},
}
"""The cuts, the window [GeV] and the model of the reference analysis: two photons, tight and isolated."""

_LOW, _HIGH = 85.0, 230.0
_COLLISIONS: Final = 1_500
_SLOPES: Final = (28.0, 45.0)


def higgs_bosons(draws: Draws, mass: float, number: int) -> Float64[ndarray, "n 4"]:
    """Four-vectors of Higgs bosons from the fusion of gluons, by Pythia."""
    settings = (
        "HiggsSM:gg2H = on",
        "25:onMode = off",
        "25:onIfMatch = 22 22",
        f"25:m0 = {mass:.6f}",
        f"25:mMin = {mass - 5:.6f}",
        f"25:mMax = {mass + 5:.6f}",
    )
    first, second = collide(settings, min(number, _COLLISIONS), draws.seed("higgs")).kinds(22).pairs()
    bosons: ndarray = np.resize(first + second, (number, 4))
    return bosons


def photon_events(
    generator: np.random.Generator,
    detector: Detector,
    pairs: tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]],
    *,
    prompt: bool = True,
) -> Events:
    """Events with one pair of photons each; `prompt` is False for pairs of jets that look like photons."""
    number = len(pairs[0])
    momenta = np.stack(pairs, axis=1).reshape(-1, 4)
    photons = photons_of(generator, detector, np.repeat(np.arange(number), 2), momenta, prompt=prompt)
    return assemble(generator, detector, number, {"photon": photons})


def higgs_events(draws: Draws, detector: Detector, mass: float, mean: float) -> tuple[Events, float]:
    """Higgs bosons that decay to photons.

    Args:
        draws: random numbers of the instance.
        detector: how well things are seen.
        mass: of the boson [GeV].
        mean: mean number of decays in the data.

    Returns:
        The events of the data, and the mean number of those that the reference analysis selects.
    """
    generator = draws.generator("higgs detector")
    number = draws.count("higgs", mean)
    bosons = higgs_bosons(draws, mass, 20_000 + number)
    events = photon_events(generator, detector, decay(bosons, isotropic(generator, len(bosons))))
    kept, _ = selected_pairs(events)
    return events.first(number), float(mean * np.mean(kept))


def continuum(draws: Draws, detector: Detector, mean: float) -> Events:
    """Pairs of photons and of jets that look like them, with an exponential mass, as the data have them."""
    scale = draws.uniform("background_scale", *_SLOPES)
    generator = draws.generator("continuum detector")
    real = continuum_pairs(draws, "continuum", draws.count("continuum", mean), scale=scale, low=_LOW, high=_HIGH)
    jets = continuum_pairs(draws, "jets", draws.count("jets", 0.3 * mean), scale=0.9 * scale, low=_LOW, high=_HIGH)
    return joined([photon_events(generator, detector, real), photon_events(generator, detector, jets, prompt=False)])


def selected_pairs(events: Events) -> tuple[Bool[ndarray, " n"], Float64[ndarray, " n"]]:
    """Whether each event passes the reference analysis, and the mass of its first two good photons [GeV], or 0."""
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
    kept[rows] = (pt[pairs] > PHOTON_CUTS["leading_over_mass"] * mass[rows]) & (
        pt[pairs + 1] > PHOTON_CUTS["subleading_over_mass"] * mass[rows]
    )
    return kept, mass
