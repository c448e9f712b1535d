"""The ingredients of composed tasks, and the draw of a composition by seed.

To add an ingredient, add it to `BACKGROUNDS`, `QUESTIONS` or `FAULTS`, with its words in ``texts.yaml``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import RandomParameters
from beampipe.arrays import Float64

Shape = Callable[[ndarray], ndarray]
"""Density of a background over the window, which u maps to -1 to 1; it need not be normalised."""


@dataclass(frozen=True)
class Background:
    """A shape of background.

    Attributes:
        density: as a function of u, from -1 at the lower end of the window to 1 at the upper one.
        control: whether events of a control region show the shape, as no smooth function describes it.
        freedom: powers of u in the exponent by which an analysis must leave the shape free.
    """

    density: Shape
    control: bool = False
    freedom: int = 2


BACKGROUNDS: Final[Mapping[str, Background]] = {
    "exponential": Background(lambda u: np.exp(-0.9 * u)),
    "power": Background(lambda u: (u + 3.0) ** -2.5),
    "straight": Background(lambda u: 1.0 - 0.55 * u),
    "hump": Background(lambda u: np.exp(-1.1 * u) / (1.0 + np.exp(-(u + 0.45) / 0.2)), control=True, freedom=4),
}
"""Shapes of backgrounds."""


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        unit: unit of the answer.
        faults: names of the faults that may spoil these data.
        block: what is wrong in a bad luminosity block: ``"energies"``, ``"losses"`` or ``"identification"``.
        largest: largest relative uncertainty with which the question can still be said to be answered.
        counts: whether the answer is a cross section, which needs luminosity, simulation and efficiencies.
    """

    unit: str
    faults: tuple[str, ...]
    block: str
    largest: float
    counts: bool = False


QUESTIONS: Final[Mapping[str, Question]] = {
    "mass": Question("GeV", ("scale", "block", "duplicates", "dead_region"), "energies", 0.005),
    "width": Question("GeV", ("scale", "block", "duplicates", "dead_region"), "energies", 0.2),
    "cross_section": Question("fb", ("trigger", "block", "duplicates", "dead_region"), "losses", 0.12, counts=True),
    "efficiency": Question("", ("block", "duplicates", "dead_region"), "identification", 0.05),
    "limit": Question("fb", ("trigger", "block", "duplicates", "dead_region"), "losses", np.inf, counts=True),
}
"""Questions, by name."""

FAULTS: Final = ("scale", "block", "duplicates", "dead_region")
"""Faults whose presence is asked for; that a trigger must be corrected for is stated."""

OBJECTS: Final = {"muons": "lep", "electrons": "lep", "photons": "photon"}
"""What the resonance decays to -> prefix of its columns."""


@dataclass(frozen=True)
class Composition:
    """A composed task before its data are made.

    Attributes:
        question: name of the question.
        objects: what the resonance decays to.
        background: name of the shape of the background.
        faults: faults of these data, and ``"trigger"``.
        mass: of the resonance [GeV].
        width: natural width of the resonance [GeV].
        window: range of masses of the data [GeV].
        resolution: standard deviation of a measured mass relative to the mass.
        signal: expected number of signal events, before trigger and faults.
        ratio: expected number of background events in the window, relative to `signal`, or to 4000 for a limit.
        efficiency: of the identification.
        scale: measured over true energy.
        line: mass of the narrow line that calibrates [GeV].
        luminosity: of each block [1/fb].
        bad_block: block of the fault.
        strength: of the fault in the block: relative change of energies, or share of events lost.
        copies: share of the events that are in the data twice.
        region: lowest and highest eta and phi of the dead region.
        turn_on: pt of half the plateau of the trigger, width of its turn-on [GeV], and the plateau.
    """

    question: str
    objects: str
    background: str
    faults: tuple[str, ...]
    mass: float
    width: float
    window: tuple[float, float]
    resolution: float
    signal: float
    ratio: float
    efficiency: float
    scale: float
    line: float
    luminosity: tuple[float, ...]
    bad_block: int
    strength: float
    copies: float
    region: tuple[float, float, float, float]
    turn_on: tuple[float, float, float]

    @property
    def asks(self) -> Question:
        """The question."""
        return QUESTIONS[self.question]

    @property
    def good_luminosity(self) -> float:
        """Luminosity of the good blocks [1/fb]."""
        bad = self.luminosity[self.bad_block] if "block" in self.faults else 0.0
        return sum(self.luminosity) - bad

    @property
    def background_events(self) -> float:
        """Expected number of background events in the window."""
        return self.ratio * (4000.0 if self.question == "limit" else self.signal)

    def background_density(self, mass: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Density of the background at masses, not normalised."""
        return np.asarray(BACKGROUNDS[self.background].density(self.position(mass)))

    def position(self, mass: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Masses mapped to -1 to 1 over the window."""
        low, high = self.window
        return (2 * mass - low - high) / (high - low)

    def fires(self, pt: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Efficiency of the trigger for a largest pt [GeV]."""
        half, width, plateau = self.turn_on
        return plateau / (1.0 + np.exp(-(pt - half) / width))


def draw(random: RandomParameters, attempt: int = 0) -> Composition:
    """Draw a composition.

    Args:
        random: of the instance; ranges of ``question``, ``objects``, ``background`` and of each fault restrict it.
        attempt: number of the attempt, as a draw may be refused; what is listed above is the same in each.
    """
    question = list(QUESTIONS)[random.choice("question", len(QUESTIONS))]
    objects = list(OBJECTS)[random.choice("objects", len(OBJECTS))]
    background = list(BACKGROUNDS)[random.choice("background", len(BACKGROUNDS))]
    present = {name: bool(random.choice(name, 2)) for name in (*FAULTS, "trigger")}
    faults = tuple(name for name in QUESTIONS[question].faults if present[name])
    generator = random.generator(f"composition {attempt}")

    def between(low: float, high: float) -> float:
        return float(generator.uniform(low, high))

    def either_sign(low: float, high: float) -> float:
        return between(low, high) * float(generator.choice([-1.0, 1.0]))

    mass = between(85.0, 125.0)
    shares = generator.dirichlet(np.full(int(generator.integers(8, 17)), 20.0))
    luminosity = tuple(float(f"{value:.4g}") for value in between(5.0, 60.0) * shares)
    eta, phi = between(-1.5, 0.6), between(-3.0, 1.9)
    losing = QUESTIONS[question].block != "energies"
    return Composition(
        question,
        objects,
        background,
        faults,
        mass=mass,
        width=mass * between(0.02, 0.04) if question == "width" else 0.0,
        window=(round(mass * between(0.62, 0.72), 0), round(mass * between(1.32, 1.5), 0)),
        resolution=between(0.008, 0.016),
        signal=between(0.0, 400.0) if question == "limit" else between(2500.0, 6000.0),
        ratio=(between(0.3, 0.7), between(2.0, 4.0))[random.choice("background_size", 2)],
        efficiency=between(0.6, 0.9),
        scale=1.0 + either_sign(0.004, 0.012) if "scale" in faults else 1.0,
        line=round(mass * (1 + either_sign(0.15, 0.25)), 2),
        luminosity=luminosity,
        bad_block=int(generator.integers(len(luminosity))),
        strength=between(0.45, 0.75) if losing else either_sign(0.025, 0.05),
        copies=between(0.05, 0.2),
        region=(eta, eta + between(0.5, 0.9), phi, phi + between(0.7, 1.2)),
        turn_on=(mass * between(0.38, 0.46), mass * between(0.02, 0.05), between(0.85, 0.97)),
    )
