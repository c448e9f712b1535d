"""The efficiency of a muon identification, from Z -> mu mu with tags and probes.

Physics: Z bosons by Pythia with a Breit-Wigner line; each muon passes ``isTightID`` with the hidden efficiency,
whatever its pt and direction and whatever the other does. Pairs of fake muons, exponential in mass, pass with 35 %.
Events are recorded if at least one muon passes.

Best analysis: muons with pt > 20 GeV; exactly two, of opposite charge. Each passing muon is a tag for the other one.
Fit a Voigt line over an exponential to the masses from 71 to 111 GeV, once where both pass (TT) and once where one
passes (TF), the latter with position, width and resolution fixed to those of the former: N_TT and N_TF signal events.
A pair where both pass gives two passing probes: efficiency = 2 N_TT / (2 N_TT + N_TF), with an error of about 0.003
by propagation of both. Histogram ``mass``: 40 bins from 71 to 111 GeV, of all selected events.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.detector import Detector
from beampipe.analysisops.samples.events import joined
from beampipe.analysisops.samples.pairs import continuum_pairs, pair_events, resonance_pairs
from beampipe.analysisops.samples.random_parameters import RandomParameters

__all__ = ["ANALYSIS", "make"]

ANALYSIS: Final[dict[str, Any]] = {
    "lepton_type": 13,
    "pt_min": 20.0,
    "window": [71.0, 111.0],
    "model": "voigt_plus_exponential",
    "histogram": {"name": "mass", "bins": 40, "low": 71.0, "high": 111.0},
}
"""The cut [GeV], the window [GeV] and the model of the reference analysis."""

_MASS, _WIDTH = 91.1876, 2.4952


def make(draws: RandomParameters) -> Instance:
    """The data of an instance."""
    efficiency = draws.uniform("efficiency", 0.70, 0.95)
    detector = Detector(muon=draws.uniform("muon_resolution", 0.014, 0.022), efficiency=0.97, identified=efficiency)
    number = draws.uniform("resonances", 9_000.0, 13_000.0)
    fakes = draws.uniform("fakes", 2_000.0, 4_000.0)
    scale = draws.uniform("background_scale", 30.0, 60.0)
    generator = draws.generator("detector")
    pairs = resonance_pairs(draws, "muons", draws.count("resonances", number), mass=_MASS, width=_WIDTH)
    fake_pairs = continuum_pairs(draws, "fakes", draws.count("fakes", fakes), scale=scale, low=40.0, high=250.0)
    same_sign = continuum_pairs(
        draws, "same sign", draws.count("same sign", fakes / 2), scale=scale, low=40.0, high=250.0
    )
    events = joined(
        [
            pair_events(generator, detector, pairs),
            pair_events(generator, detector, fake_pairs, prompt=False),
            pair_events(generator, detector, same_sign, (13, 13), prompt=False),
        ]
    )
    leptons = events.collections["lep"]
    tags = np.bincount(leptons.event[leptons.fields["isTightID"]], minlength=events.number)
    recorded = events.where(events.columns["trigM"] & (tags > 0)).shuffled(draws.generator("order"))
    return Instance((Sample("data", "data", recorded),), {"efficiency": efficiency}, analysis=ANALYSIS)
