"""The efficiency of a muon identification, from Z -> mu mu with tags and probes.

Physics: Z bosons by Pythia with a Breit-Wigner line; each muon passes ``isTightID`` with the hidden efficiency,
whatever its pt and direction and whatever the other does. Pairs of fake muons, exponential in mass, pass with 25 %;
those of equal charge have masses around the peak. Events are recorded if at least one muon passes.
"""

from __future__ import annotations

import numpy as np

from beampipe.analysisops.samples.collisions import (
    Z_MASS,
    Detector,
    continuum_pairs,
    pair_events,
    resonance_pairs,
    shoulder_pairs,
)
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample, joined


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    efficiency = random.uniform("efficiency", 0.70, 0.95)
    detector = Detector(muon=random.uniform("muon_resolution", 0.014, 0.022), efficiency=0.97, identified=efficiency)
    number = random.uniform("resonances", 9_000.0, 13_000.0)
    fakes = random.uniform("fakes", 2_000.0, 4_000.0)
    scale = random.uniform("background_scale", 30.0, 60.0)
    generator = random.generator("detector")
    pairs = resonance_pairs(random, "muons", random.count("resonances", number))
    fake_pairs = continuum_pairs(random, "fakes", random.count("fakes", fakes), scale=scale, low=40.0, high=250.0)
    same_sign = shoulder_pairs(random, "same sign", random.count("same sign", fakes / 2), mass=Z_MASS, width=3.0)
    events = joined(
        [
            pair_events(generator, detector, pairs),
            pair_events(generator, detector, fake_pairs, prompt=False),
            pair_events(generator, detector, same_sign, (13, 13), prompt=False),
        ]
    )
    leptons = events.collections["lep"]
    tags = np.bincount(leptons.event[leptons.fields["isTightID"]], minlength=events.number)
    recorded = events.where(events.columns["trigM"] & (tags > 0)).shuffled(random.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"efficiency": efficiency})
