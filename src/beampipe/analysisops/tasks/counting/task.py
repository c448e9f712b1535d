"""A search by counting: a limit on the strength of a signal, from data and two simulated samples.

Physics: Z -> l l with missing momentum. Lepton pairs are Pythia's; the missing momentum has laws of its own,
exponential with a scale of 45 GeV for the background and 100 GeV for the signal, both from 60 GeV on. The data hold
the background times a hidden factor, within the uncertainty of 8 to 20 % that the manifest states as
``background_uncertainty`` (relative), and the signal times a hidden strength from 0 to 0.8. Simulated events carry
weights, some negative.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.collisions import (
    Detector,
    counting_limit,
    good_leptons,
    lepton_mass,
    pair_events,
    resonance_pairs,
    weighted_sample,
    with_missing_momentum,
)
from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample, joined

_PT_MIN, _MET_MIN = 20.0, 150.0
_MASS_WINDOW: Final = (76.0, 106.0)
"""Cuts of the reference analysis [GeV]."""

_SCALES: Final = {"background": 45.0, "signal": 100.0}
_GENERATED: Final = {"background": 15_000, "signal": 6_000}
_COLLISIONS: Final = 3_000


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    strength = random.uniform("signal_strength", 0.0, 0.8)
    pull = float(np.clip(random.generator("pull").normal(), -2, 2))
    uncertainty = round(random.uniform("background_uncertainty", 0.08, 0.20), 3)
    luminosity = round(random.uniform("luminosity", 10.0, 140.0), 2)
    means = {
        "background": random.uniform("background", 500.0, 900.0),
        "signal": random.uniform("signal", 50.0, 90.0),
    }
    factors = {"background": 1 + uncertainty * pull, "signal": strength}
    made = {name: _sample(random, name) for name in means}
    chosen, samples, selected = [], [], {}
    for name, mean in means.items():
        events = made[name]
        # The first events are the data's, the others are simulation.
        number = random.count(f"{name} events", mean * factors[name])
        chosen.append(events.first(number))
        rest = events.rows(np.arange(number, events.number))
        stated = float(f"{mean / (1000 * luminosity):.6g}")
        selected[name] = mean * float(np.mean(_passes(events)))
        samples.append(weighted_sample(random, name, f"{name}_mc", rest, stated, spread=0.2, negative=0.04))
    data = joined(chosen).shuffled(random.generator("order"))
    observed = int(np.sum(_passes(data)))
    error = uncertainty * selected["background"]
    limit = counting_limit(observed, selected["background"], error) / selected["signal"]
    return Instance(
        (Sample("data", "data", data), *samples),
        {"limit": limit},
        public={"luminosity_fb": luminosity, "background_uncertainty": uncertainty},
        hidden={"background_factor": factors["background"]},
    )


def _sample(random: RandomParameters, name: str) -> Events:
    """Events of one process; pairs of muons and of electrons, and missing momentum by its law."""
    number = _GENERATED[name]
    first, second = resonance_pairs(random, name, _COLLISIONS)
    generator = random.generator(f"{name} detector")
    shape = (number, 4)
    pairs = np.resize(first, shape), np.resize(second, shape)
    half = number // 2
    detector = Detector()
    events = joined(
        [
            pair_events(generator, detector, (pairs[0][:half], pairs[1][:half]), (13, -13), soft=0.05),
            pair_events(generator, detector, (pairs[0][half:], pairs[1][half:]), (11, -11), soft=0.05),
        ]
    ).shuffled(generator)
    return with_missing_momentum(generator, events, scale=_SCALES[name], low=60.0)


def _passes(events: Events) -> ndarray:
    """Whether each event passes the reference analysis."""
    leptons = good_leptons(events, _PT_MIN)
    two, mass = lepton_mass(leptons, events.number)
    low, high = _MASS_WINDOW
    passes: ndarray = two & (mass > low) & (mass < high) & (events.columns["met"] > _MET_MIN)
    return passes
