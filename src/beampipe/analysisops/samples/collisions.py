"""Four-vectors, collisions by Pythia 8, a fast detector, pairs of leptons and of photons, and limits.

Four-vectors are rows (px, py, pz, e) [GeV]. Pythia simulates the hard process with initial-state showers only. Final-
state radiation, multiple parton interactions and hadronisation are switched off: they take most of the time, and the
detector simulation is simple. A quark or gluon therefore represents its jet.

Directions are measured without error, and a measured energy is the true one times measured over true pt. The pt of an
object is the true one times (1 + s g)(1 + s^2 / 4), where g is a Gaussian number and s the relative resolution. A mass
of two such objects, m sqrt(f1 f2), then has the mean m, and no skewness to the order of s^2: a Gaussian fits it.

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

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Lock
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import Events, Objects, RandomParameters, Sample, joined, joined_objects
from beampipe.arrays import Bool, Float64, Int64
from beampipe.simulation.pythia import start_pythia

_LARGEST_ETA = 10.0


def masses(momenta: Float64[ndarray, "n 4"]) -> Float64[ndarray, " n"]:
    """Invariant masses [GeV]; 0 where rounding makes the square negative."""
    squared = momenta[:, 3] ** 2 - np.sum(momenta[:, :3] ** 2, axis=1)
    return np.asarray(np.sqrt(np.maximum(squared, 0)))


def polar(
    momenta: Float64[ndarray, "n 4"],
) -> tuple[Float64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"], Float64[ndarray, " n"]]:
    """pt [GeV], eta (within +-10), phi and e [GeV] of four-vectors."""
    pt = np.hypot(momenta[:, 0], momenta[:, 1])
    eta = np.arcsinh(momenta[:, 2] / np.maximum(pt, 1e-9))
    return pt, np.clip(eta, -_LARGEST_ETA, _LARGEST_ETA), np.arctan2(momenta[:, 1], momenta[:, 0]), momenta[:, 3].copy()


def from_polar(
    pt: Float64[ndarray, " n"], eta: Float64[ndarray, " n"], phi: Float64[ndarray, " n"], e: Float64[ndarray, " n"]
) -> Float64[ndarray, "n 4"]:
    """Four-vectors from pt, eta, phi and e; the inverse of `polar`."""
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), e], axis=1)


def boosted(momenta: Float64[ndarray, "n 4"], frame: Float64[ndarray, "n 4"]) -> Float64[ndarray, "n 4"]:
    """Boost four-vectors from the rest frame of others to the laboratory."""
    mass = masses(frame)
    along = np.sum(momenta[:, :3] * frame[:, :3], axis=1)
    energy = (momenta[:, 3] * frame[:, 3] + along) / mass
    factor = (momenta[:, 3] + energy) / (frame[:, 3] + mass)
    return np.concatenate([momenta[:, :3] + factor[:, None] * frame[:, :3], energy[:, None]], axis=1)


def parents(
    generator: np.random.Generator, mass: Float64[ndarray, " n"], *, pt: Float64[ndarray, " n"]
) -> Float64[ndarray, "n 4"]:
    """Particles of given mass and pt [GeV], with rapidities as in proton collisions and random azimuths."""
    rapidity = np.clip(generator.normal(0, 1.2, len(mass)), -2.8, 2.8)
    phi = generator.uniform(-np.pi, np.pi, len(mass))
    transverse = np.hypot(mass, pt)
    return np.stack(
        [pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(rapidity), transverse * np.cosh(rapidity)], axis=1
    )


def isotropic(generator: np.random.Generator, number: int) -> Float64[ndarray, "n 3"]:
    """Unit vectors in random directions."""
    cosine = generator.uniform(-1, 1, number)
    phi = generator.uniform(-np.pi, np.pi, number)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(phi), sine * np.sin(phi), cosine], axis=1)


def decay(
    parent: Float64[ndarray, "n 4"], direction: Float64[ndarray, "n 3"]
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """The two massless decay products of each parent; the first is emitted along `direction` in the rest frame."""
    half = masses(parent)[:, None] / 2
    first = np.concatenate([half * direction, half], axis=1)
    second = np.concatenate([-half * direction, half], axis=1)
    return boosted(first, parent), boosted(second, parent)


def with_masses(
    first: Float64[ndarray, "n 4"], second: Float64[ndarray, "n 4"], mass: Float64[ndarray, " n"]
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """The same two-body decays at other masses: pt, rapidity and the direction in the rest frame are kept."""
    old = first + second
    transverse = np.hypot(mass, np.hypot(old[:, 0], old[:, 1])) / np.sqrt(old[:, 3] ** 2 - old[:, 2] ** 2)
    new = np.concatenate([old[:, :2], old[:, 2:] * transverse[:, None]], axis=1)
    back = np.concatenate([-old[:, :3], old[:, 3:]], axis=1)
    direction = boosted(first, back)[:, :3]
    return decay(new, direction / np.linalg.norm(direction, axis=1)[:, None])


def breit_wigner(
    generator: np.random.Generator, number: int, *, mass: float, width: float, low: float, high: float
) -> Float64[ndarray, " n"]:
    """Masses from a Breit-Wigner (Cauchy) distribution between two limits [GeV]; all equal `mass` if the width is 0."""
    if width == 0:
        return np.full(number, mass)
    edges = np.arctan((np.array([low, high]) - mass) / (width / 2))
    return mass + width / 2 * np.tan(generator.uniform(edges[0], edges[1], number))


def falling(
    generator: np.random.Generator, number: int, *, scale: float, low: float, high: float
) -> Float64[ndarray, " n"]:
    """Numbers from the exponential distribution exp(-x / scale) between two limits."""
    chance = generator.uniform(0, -np.expm1(-(high - low) / scale), number)
    return low - scale * np.log1p(-chance)


Z_MASS: Final = 91.1876
Z_WIDTH: Final = 2.4952
"""Mass and width of the Z boson [GeV], R. L. Workman et al. (Particle Data Group), PTEP 2022, 083C01."""

HIGGS_MASS: Final = 125.2
"""Mass of the Higgs boson [GeV], S. Navas et al. (Particle Data Group), Phys. Rev. D 110 (2024) 030001."""

_ALWAYS: Final = (
    "Print:quiet = on",
    "Beams:eCM = 13000",
    "PartonLevel:MPI = off",
    "PartonLevel:FSR = off",
    "HadronLevel:all = off",
    "SpaceShower:QEDshowerByQ = off",
    "Random:setSeed = on",
)

_OUTGOING: Final = (23, 24, 33, 43, 44)
"""Pythia's status codes of final quarks and gluons that are not proton remnants."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Final particles, sorted by event.

    Attributes:
        number: number of events.
        event: (n,) int64, row of the event of each.
        pdg: (n,) int64, PDG code of each.
        hard: (n,) bool, whether it originates from the hard process or a decay, not from a shower.
        momenta: (n, 4) px, py, pz, e [GeV].
        cross_section: cross section of the process by Pythia [pb].
    """

    number: int
    event: Int64[ndarray, " n"]
    pdg: Int64[ndarray, " n"]
    hard: Bool[ndarray, " n"]
    momenta: Float64[ndarray, "n 4"]
    cross_section: float

    def where(self, kept: Bool[ndarray, " n"]) -> Particles:
        """Only some of the particles; the number of events is unchanged."""
        return Particles(
            self.number, self.event[kept], self.pdg[kept], self.hard[kept], self.momenta[kept], self.cross_section
        )

    def kinds(self, *pdg: int) -> Particles:
        """Particles and antiparticles of some kinds."""
        return self.where(np.isin(np.abs(self.pdg), pdg))

    def pairs(self) -> tuple[Float64[ndarray, "n_events 4"], Float64[ndarray, "n_events 4"]]:
        """The particle (positive number) and the antiparticle of each event; all events have one of each.

        Two identical particles, such as photons, keep the order of the event.
        """
        order = np.lexsort([-self.pdg, self.event])
        momenta = self.momenta[order].reshape(self.number, 2, 4)
        return momenta[:, 0].copy(), momenta[:, 1].copy()


_ONE_AT_A_TIME: Final = Lock()
"""The first batch of a process imports awkward inside a lock of Pythia; two threads would wait for each other."""


def higgs_mass_settings(mass: float) -> tuple[str, str, str]:
    """Pythia settings for Higgs bosons of a mass [GeV]."""
    return f"25:m0 = {mass:.6f}", f"25:mMin = {mass - 5:.6f}", f"25:mMax = {mass + 5:.6f}"


def collide(settings: Iterable[str], number: int, seed: int) -> Particles:
    """Collide protons at 13 TeV.

    Args:
        settings: Pythia settings that choose the process and the decays.
        number: number of events.
        seed: seed for Pythia, from `RandomParameters.seed`.

    Returns:
        All final leptons, photons and neutrinos, and the quarks and gluons that are not proton remnants.
    """
    with _ONE_AT_A_TIME:
        import awkward as ak

        pythia = start_pythia([*_ALWAYS, f"Random:seed = {seed}", *settings])
        made = pythia.nextBatch(number)
    counts = ak.num(made.prt.id).to_numpy()
    flat = ak.flatten(made.prt)
    pdg = flat.id.to_numpy().astype(np.int64)
    status = flat.status.to_numpy()
    absolute = np.abs(pdg)
    parton = (absolute <= 5) | (absolute == 21)
    kept = (status > 0) & np.where(parton, np.isin(status, _OUTGOING), (absolute >= 11) & (absolute <= 22))
    momenta = np.stack([flat.p[axis].to_numpy()[kept] for axis in ("px", "py", "pz", "e")], axis=1)
    return Particles(
        len(made),
        np.repeat(np.arange(len(made)), counts)[kept],
        pdg[kept],
        status[kept] == 23,
        momenta.astype(np.float64),
        float(pythia.infoPython().sigmaGen()) * 1e9,
    )


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
    random: RandomParameters,
    what: str,
    number: int,
    *,
    mass: float = Z_MASS,
    width: float = Z_WIDTH,
    limits: tuple[float, float] | None = None,
) -> tuple[Float64[ndarray, "n 4"], Float64[ndarray, "n 4"]]:
    """Lepton and antilepton from a Z boson of given mass and width, and with masses within limits [GeV]."""
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
    near = _LIMITS * max(width, 1.0)
    low, high = limits or (max(mass - near, mass / 3), mass + near)
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
    return np.asarray(np.resize(first + second, (number, 4)))


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
