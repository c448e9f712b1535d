"""A broad dimuon resonance of a hidden natural width, and a narrow one to learn the resolution from.

Physics: muon pairs by Pythia (a Z boson moved to 180 to 320 GeV) with a Breit-Wigner line of 6 to 16 GeV; 8 to 14 % of
pairs from other sources with an exponential mass (from 110 GeV below the peak on); two widths below the peak muons in
jets, rarely tight and isolated, and two widths above it muons of which one has a wrong charge. The file in the role
``calibration_mc`` holds a resonance of the same mass without natural width, seen by the same detector: its peak is the
resolution, 1.1 to 1.8 % of the mass. The requested spectrum is from 100 to 400 GeV; line and exponential reach further
on both sides.
"""

from __future__ import annotations

import math
from typing import Final

from beampipe.analysisops.samples.collisions import (
    Detector,
    continuum_pairs,
    pair_events,
    resonance_pairs,
    shoulder_pairs,
)
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample, joined

_CALIBRATION_EVENTS: Final = 9_000

_LOW, _HIGH = 80.0, 700.0
"""Smallest and largest true mass [GeV]: an edge inside the requested spectrum would not be described by any fit."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.uniform("mass", 180.0, 320.0)
    width = random.uniform("width", 6.0, 16.0)
    detector = Detector(muon=random.uniform("muon_resolution", 0.016, 0.026))
    number = random.uniform("resonances", 9_000.0, 13_000.0)
    share = random.uniform("background_share", 0.08, 0.14)
    scale = random.uniform("background_scale", 60.0, 100.0)
    generator = random.generator("detector")
    count = random.count("resonances", number)
    broad = resonance_pairs(random, "broad", count, mass=mass, width=width, limits=(_LOW, _HIGH))
    narrow = resonance_pairs(random, "narrow", _CALIBRATION_EVENTS, mass=mass, width=0.0)
    count = random.count("others", share * number * math.exp((mass - 110 - _LOW) / scale))
    others = continuum_pairs(random, "others", count, scale=scale, low=_LOW, high=_HIGH)
    fakes = shoulder_pairs(random, "fakes", random.count("fakes", 2 * number), mass=mass - 2 * width, width=width)
    wrong = shoulder_pairs(
        random, "wrong charge", random.count("wrong charge", 0.08 * number), mass=mass + 2 * width, width=width
    )
    events = joined(
        [
            pair_events(generator, detector, broad, soft=0.04),
            pair_events(generator, detector, others, soft=0.04),
            pair_events(generator, detector, fakes, prompt=False),
            pair_events(generator, detector, wrong, (13, 13)),
        ]
    )
    recorded = events.where(events.columns["trigM"]).shuffled(random.generator("order"))
    calibration = pair_events(generator, detector, narrow)
    return Instance(
        (
            Sample("data", "data", recorded),
            Sample("narrow", "calibration_mc", calibration, {"natural_width_gev": 0.0}),
        ),
        {"width": width},
    )
