"""Z -> mu mu at a hidden mass, 1 to 5 GeV away from that of the Z boson.

Physics: Z bosons by Pythia with a Breit-Wigner line of 2.4952 GeV; 3 to 10 % of prompt pairs from other sources with
an exponential mass, by a law of their own; soft third leptons. Three kinds of pairs have masses beside the peak, so
that the cuts against them decide on the result: muons in jets 5 GeV below it, rarely tight and isolated; muons of which
one has a wrong charge, and so a wrong momentum, 5 GeV above it; electrons, whose energies are not calibrated, 3 GeV
below it. A muon has a relative resolution of 1.2 to 2.5 %, so the peak is smeared by 0.8 to 1.6 GeV.
"""

from __future__ import annotations

from beampipe.analysisops.samples.collisions import (
    Z_MASS,
    Detector,
    continuum_pairs,
    pair_events,
    resonance_pairs,
    shoulder_pairs,
    triggered,
)
from beampipe.analysisops.samples.dataset import Instance, RandomParameters, Sample, joined


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = random.away("mass", Z_MASS, 1.0, 5.0)
    detector = Detector(
        muon=random.uniform("muon_resolution", 0.012, 0.025),
        electron=random.uniform("electron_resolution", 0.015, 0.03),
    )
    number = random.uniform("resonances", 9_000.0, 14_000.0)
    share = random.uniform("background_share", 0.03, 0.10)
    scale = random.uniform("background_scale", 25.0, 45.0)
    generator = random.generator("detector")
    muons = resonance_pairs(random, "muons", random.count("resonances", number), mass=mass)
    electrons = resonance_pairs(random, "electrons", random.count("electrons", 0.13 * number), mass=mass - 3)
    prompt = continuum_pairs(
        random, "prompt", random.count("prompt", share * number), scale=scale, low=40.0, high=250.0
    )
    fakes = shoulder_pairs(random, "fakes", random.count("fakes", 2 * number), mass=mass - 5, width=3.0)
    wrong = shoulder_pairs(
        random, "wrong charge", random.count("wrong charge", 0.08 * number), mass=mass + 5, width=3.0
    )
    events = joined(
        [
            pair_events(generator, detector, muons, soft=0.06),
            pair_events(generator, detector, electrons, (11, -11), soft=0.06),
            pair_events(generator, detector, prompt, soft=0.1),
            pair_events(generator, detector, fakes, prompt=False),
            pair_events(generator, detector, wrong, (13, 13)),
        ]
    )
    recorded = triggered(events).shuffled(random.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"mass": mass})
