"""A fast detector: acceptance, efficiency, resolution of pt, isolation, identification, missing momentum.

Directions are measured without error, and a measured energy is the true one times measured over true pt. The pt of an
object is the true one times (1 + s g)(1 + s^2 / 4), where g is a Gaussian number and s the relative resolution. A mass
of two such objects, m sqrt(f1 f2), then has the mean m, and no skewness to the order of s^2: a Gaussian fits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.events import Events, Objects
from beampipe.analysisops.samples.kinematics import Particles, polar
from beampipe.arrays import Float64, Int64

ISOLATION: Final = 0.1
"""Maximum pt sum of tracks around an isolated lepton or photon, relative to its pt."""

TIGHT_TAG: Final = 4
"""Smallest `btag_quantile` of a jet that counts as a b jet: 77 % of b jets, 15 % of c jets, 1 % of the others."""

_TAGS: Final = {5: (0.10, 0.05, 0.08, 0.17, 0.60), 4: (0.55, 0.18, 0.12, 0.10, 0.05)}
_TAGS_LIGHT: Final = (0.93, 0.04, 0.02, 0.007, 0.003)
"""Share of jets in the b-tag quantiles 1 to 5: of b, c and other quarks and gluons."""

_LEPTON_PT: Final = 5.0
_PHOTON_PT: Final = 15.0
_JET_PT: Final = 20.0
_LEPTON_ETA: Final = 2.5
_PHOTON_ETA: Final = 2.37
_JET_ETA: Final = 2.5
_TRIGGER_PT: Final = 20.0


@dataclass(frozen=True)
class Detector:
    """Resolutions and efficiencies of the detector.

    Attributes:
        electron: relative resolution of the pt of electrons.
        muon: relative resolution of the pt of muons.
        photon: relative resolution of the pt of photons.
        jet: relative resolution of the pt of jets at 100 GeV; it falls with the root of pt, to a floor of half of this.
        jet_scale: measured over true energy of jets.
        met: resolution of each component of the missing transverse momentum [GeV].
        efficiency: probability that a lepton or photon is reconstructed.
        identified: probability that a reconstructed one is identified as tight.
    """

    electron: float = 0.018
    muon: float = 0.02
    photon: float = 0.014
    jet: float = 0.12
    jet_scale: float = 1.0
    met: float = 12.0
    efficiency: float = 0.95
    identified: float = 0.92


def leptons_of(
    generator: np.random.Generator,
    detector: Detector,
    event: Int64[ndarray, " n"],
    pdg: Int64[ndarray, " n"],
    momenta: Float64[ndarray, "n 4"],
    *,
    prompt: bool = True,
) -> Objects:
    """Reconstructed electrons and muons.

    Args:
        generator: of random numbers.
        detector: how well things are seen.
        event: (n,) row of the event of each.
        pdg: (n,) 11 or 13, negative for antiparticles.
        momenta: (n, 4) true px, py, pz, e [GeV].
        prompt: False for leptons in jets, which are rarely tight and rarely isolated.
    """
    kind = np.abs(pdg)
    relative = np.where(kind == 13, detector.muon, detector.electron)
    measured, seen = _measure(generator, momenta, relative, detector.efficiency, _LEPTON_PT, _LEPTON_ETA)
    kinds = {"charge": -np.sign(pdg).astype(np.int32), "type": kind.astype(np.int32)}
    fields = {**measured, **kinds, **_isolation(generator, detector, measured["pt"], prompt)}
    return Objects(event, fields).where(seen).by_pt()


def photons_of(
    generator: np.random.Generator,
    detector: Detector,
    event: Int64[ndarray, " n"],
    momenta: Float64[ndarray, "n 4"],
    *,
    prompt: bool = True,
) -> Objects:
    """Reconstructed photons, none at |eta| 1.37 to 1.52; `prompt` is False for jets misidentified as photons."""
    relative = np.full(len(event), detector.photon)
    measured, seen = _measure(generator, momenta, relative, detector.efficiency, _PHOTON_PT, _PHOTON_ETA)
    eta = np.abs(measured["eta"])
    fields = {**measured, **_isolation(generator, detector, measured["pt"], prompt)}
    return Objects(event, fields).where(seen & ((eta < 1.37) | (eta > 1.52))).by_pt()


def jets_of(
    generator: np.random.Generator,
    detector: Detector,
    event: Int64[ndarray, " n"],
    flavour: Int64[ndarray, " n"],
    momenta: Float64[ndarray, "n 4"],
) -> Objects:
    """Reconstructed jets with a true pt above 20 GeV; the b-tag quantile is 5 for the most b-like."""
    true_pt = np.hypot(momenta[:, 0], momenta[:, 1])
    relative = np.clip(detector.jet * np.sqrt(100 / np.maximum(true_pt, 1.0)), detector.jet / 2, 0.3)
    measured, seen = _measure(generator, momenta, relative, 1.0, 0.0, _JET_ETA)
    chance = generator.uniform(size=len(true_pt))
    quantile = np.searchsorted(np.cumsum(_TAGS_LIGHT)[:-1], chance)
    for kind, shares in _TAGS.items():
        quantile = np.where(np.abs(flavour) == kind, np.searchsorted(np.cumsum(shares)[:-1], chance), quantile)
    scaled = {name: detector.jet_scale * measured[name] for name in ("pt", "e")}
    fields = {**measured, **scaled, "btag_quantile": (quantile + 1).astype(np.int32)}
    # A threshold on the measured pt would favour jets that are measured too high, and shift masses by a GeV.
    return Objects(event, fields).where(seen & (true_pt > _JET_PT)).by_pt()


def assemble(
    generator: np.random.Generator,
    detector: Detector,
    number: int,
    collections: dict[str, Objects],
    invisible: Float64[ndarray, "number 2"] | None = None,
) -> Events:
    """Assemble events of reconstructed objects, with missing momentum, trigger flags and weights of 1.

    Args:
        generator: of random numbers.
        detector: how well things are seen.
        number: number of events.
        collections: ``"lep"``, ``"photon"`` and ``"jet"``, if the family has them.
        invisible: (number, 2) px, py of the sum of invisible particles [GeV]; None for zero.
    """
    missing = generator.normal(0, detector.met, (number, 2))
    if invisible is not None:
        missing += invisible
    columns: dict[str, ndarray] = {
        "met": np.hypot(missing[:, 0], missing[:, 1]),
        "met_phi": np.arctan2(missing[:, 1], missing[:, 0]),
        "mcWeight": np.ones(number),
    }
    if "lep" in collections:
        leptons = collections["lep"]
        for name, kind in (("trigE", 11), ("trigM", 13)):
            fired = (leptons.fields["type"] == kind) & (leptons.fields["pt"] > _TRIGGER_PT)
            columns[name] = np.bincount(leptons.event[fired], minlength=number) > 0
    if "photon" in collections:
        photons = collections["photon"]
        columns["trigP"] = np.bincount(photons.event[photons.fields["pt"] > _TRIGGER_PT], minlength=number) > 0
    return Events(number, columns, collections)


def triggered(events: Events) -> Events:
    """The events with a lepton that fires a trigger."""
    return events.where(events.columns["trigE"] | events.columns["trigM"])


def observe(
    generator: np.random.Generator, detector: Detector, particles: Particles, kinds: tuple[str, ...] = ("lep",)
) -> Events:
    """Simulate the detector for Pythia's particles; neutrinos contribute to the missing momentum.

    Args:
        generator: of random numbers.
        detector: how well things are seen.
        particles: final particles.
        kinds: collections of the events: any of ``"lep"``, ``"photon"`` and ``"jet"``.
    """
    collections = {}
    if "lep" in kinds:
        leptons = particles.kinds(11, 13)
        collections["lep"] = leptons_of(generator, detector, leptons.event, leptons.pdg, leptons.momenta)
    if "photon" in kinds:
        photons = particles.kinds(22)
        collections["photon"] = photons_of(generator, detector, photons.event, photons.momenta)
    if "jet" in kinds:
        partons = particles.kinds(1, 2, 3, 4, 5, 21)
        collections["jet"] = jets_of(generator, detector, partons.event, partons.pdg, partons.momenta)
    lost = particles.kinds(12, 14, 16)
    invisible = np.stack(
        [np.bincount(lost.event, lost.momenta[:, axis], minlength=particles.number) for axis in (0, 1)], axis=1
    )
    # Without neutrinos, bincount returns integers.
    return assemble(generator, detector, particles.number, collections, invisible.astype(np.float64))


def _measure(
    generator: np.random.Generator,
    momenta: Float64[ndarray, "n 4"],
    relative: Float64[ndarray, " n"],
    efficiency: float,
    least_pt: float,
    most_eta: float,
) -> tuple[dict[str, ndarray], ndarray]:
    """Measured pt, eta, phi and e by name, and whether each object is reconstructed."""
    pt, eta, phi, e = polar(momenta)
    factor = np.maximum((1 + relative * generator.normal(size=len(pt))) * (1 + relative**2 / 4), 0.1)
    detected = generator.uniform(size=len(pt)) < efficiency
    measured = {"pt": pt * factor, "eta": eta, "phi": phi, "e": e * factor}
    return measured, detected & (measured["pt"] > least_pt) & (np.abs(eta) < most_eta)


def _isolation(
    generator: np.random.Generator, detector: Detector, pt: Float64[ndarray, " n"], prompt: bool
) -> dict[str, ndarray]:
    """Sum of the pt of tracks around each lepton or photon [GeV], and whether it is identified as tight."""
    quiet = generator.uniform(size=len(pt)) < (0.7 if prompt else 0.05)
    sums = generator.exponential(0.6, len(pt)) if prompt else pt * generator.exponential(0.6, len(pt))
    tight = generator.uniform(size=len(pt)) < (detector.identified if prompt else 0.25)
    return {"ptcone20": np.where(quiet, 0.0, sums), "isTightID": tight}
