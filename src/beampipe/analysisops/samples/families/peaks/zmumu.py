"""Z -> mu mu at a hidden mass, 1 to 5 GeV away from that of the Z boson.

Physics: Z bosons by Pythia with a Breit-Wigner line of 2.4952 GeV; 3 to 10 % of prompt pairs from other sources with
an exponential mass, by a law of their own; electron pairs of the same boson; pairs of fake muons of any charge; soft
third leptons. A muon has a relative resolution of 1.2 to 2.5 %, so the peak is smeared by 0.8 to 1.6 GeV.

Best analysis: keep tight, isolated (ptcone20 < 0.1 pt) muons with pt > 15 GeV; exactly two of them with opposite
charge; fit a Voigt line over an exponential in 70 to 115 GeV, or 20 GeV to either side of the highest bin. Mass: the
position of the line, to about 0.03 GeV. Histogram ``mass``: 55 bins from 60 to 115 GeV after these cuts.
"""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import ISOLATION, Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.pairs import continuum_pairs, pair_events, resonance_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["ANALYSIS", "make"]

KNOWN_MASS: Final = 91.1876
WIDTH: Final = 2.4952
"""Mass and width of the Z boson [GeV], R. L. Workman et al. (Particle Data Group), PTEP 2022, 083C01."""

ANALYSIS: Final[dict[str, Any]] = {
    "lepton_type": 13,
    "pt_min": 15.0,
    "isolation_max": ISOLATION,
    "half_window": 20.0,
    "model": "voigt_plus_exponential",
    "histogram": {"name": "mass", "bins": 55, "low": 60.0, "high": 115.0},
}
"""The cuts [GeV], the window to either side of the highest bin [GeV] and the model of the reference analysis."""


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    mass = draws.away("mass", KNOWN_MASS, 1.0, 5.0)
    detector = Detector(
        muon=draws.uniform("muon_resolution", 0.012, 0.025), electron=draws.uniform("electron_resolution", 0.015, 0.03)
    )
    number = draws.uniform("resonances", 9_000.0, 14_000.0)
    share = draws.uniform("background_share", 0.03, 0.10)
    scale = draws.uniform("background_scale", 25.0, 45.0)
    generator = draws.generator("detector")
    muons = resonance_pairs(draws, "muons", draws.count("resonances", number), mass=mass, width=WIDTH)
    electrons = resonance_pairs(draws, "electrons", draws.count("electrons", 0.1 * number), mass=mass, width=WIDTH)
    prompt = continuum_pairs(draws, "prompt", draws.count("prompt", share * number), scale=scale, low=40.0, high=250.0)
    fakes = [
        continuum_pairs(draws, f"fakes {sign}", draws.count("fakes", 0.04 * number), scale=25.0, low=20.0, high=200.0)
        for sign in range(2)
    ]
    events = joined(
        [
            pair_events(generator, detector, muons, soft=0.06),
            pair_events(generator, detector, electrons, (11, -11), soft=0.06),
            pair_events(generator, detector, prompt, soft=0.1),
            pair_events(generator, detector, fakes[0], (13, -13), prompt=False),
            pair_events(generator, detector, fakes[1], (13, 13), prompt=False),
        ]
    )
    recorded = events.where(events.columns["trigM"] | events.columns["trigE"]).shuffled(draws.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"mass": mass}, analysis=ANALYSIS)
