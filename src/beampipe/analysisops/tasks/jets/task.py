"""Scale factors of a quark/gluon tagger from two regions of jets: the matrix method of `beampipe.calibration`.

Physics: a parametric toy, one jet per row. The number of tracks follows a negative binomial law whose mean grows with
pt and is larger for gluons; forward jets are more often quarks. The simulated file, in the role ``calibration_mc``,
has the flavour of each jet as ``jet_label`` (1 to 5 for quarks, 21 for gluons); in the data that column is 0. The
data have the same shares of quarks, but hidden factors on the mean number of tracks of quarks and of gluons. A jet
counts as a quark jet if its n_trk is at most ``working_point_n_trk`` of the manifest; forward means |jet_eta| >
``forward_abs_eta_min``.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.samples.dataset import Events, Instance, RandomParameters, Sample
from beampipe.arrays import Bool, Float64

_BORDER: Final = 1.0
"""Pseudorapidity where the regions meet."""

_GLUON: Final = 21
"""Label of gluons; other labels are quarks."""

_JETS: Final = 250_000
_CLUMPS: Final = 12.0
"""The law's second parameter: the variance is mean + mean^2 / this."""

_QUARKS: Final = (0.45, 0.85)
"""Chance of a quark in the central and in the forward region."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    means = {"quark": random.uniform("quark_mean", 13.0, 15.5), "gluon": random.uniform("gluon_mean", 20.0, 23.0)}
    factors = {
        "quark": random.away("quark_tracks", 1.0, 0.08, 0.15),
        "gluon": random.away("gluon_tracks", 1.0, 0.08, 0.15),
    }
    working_point = 14 + random.choice("working_point", 4)
    generator = random.generator("jets")
    data, _, _ = _jets(generator, {name: means[name] * factors[name] for name in means}, labels=False)
    simulated, pt, quark = _jets(generator, means, labels=True)
    truth = {}
    for name, flavour in (("quark", quark), ("gluon", ~quark)):
        changed = _accepted(working_point, means[name] * factors[name], pt[flavour])
        truth[f"sf_{name}"] = changed / _accepted(working_point, means[name], pt[flavour])
    return Instance(
        (Sample("data", "data", data), Sample("simulation", "calibration_mc", simulated)),
        truth,
        public={
            "working_point_n_trk": working_point,
            "forward_abs_eta_min": _BORDER,
            "abs_eta_max": 2.1,
        },
    )


def _growth(pt: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
    """The mean number of tracks at some pt [GeV], relative to that at 500 GeV."""
    relative: ndarray = 1 + 0.12 * np.log(pt / 500)
    return relative


def _jets(
    generator: np.random.Generator, means: dict[str, float], *, labels: bool
) -> tuple[Events, Float64[ndarray, " n"], Bool[ndarray, " n"]]:
    """Jets, with their pt [GeV] and whether they are quarks."""
    pt = 500 + generator.exponential(120, _JETS)
    eta = generator.uniform(-2.1, 2.1, _JETS)
    forward = np.abs(eta) > _BORDER
    quark = generator.uniform(size=_JETS) < np.where(forward, _QUARKS[1], _QUARKS[0])
    mean = np.where(quark, means["quark"], means["gluon"]) * _growth(pt)
    tracks = generator.poisson(mean * generator.gamma(_CLUMPS, 1 / _CLUMPS, _JETS))
    flavour = np.where(quark, generator.integers(1, 6, _JETS), _GLUON)
    columns = {
        "jet_pt": pt,
        "jet_eta": eta,
        "jet_n_trk": tracks.astype(np.int32),
        "jet_label": (flavour if labels else np.zeros(_JETS)).astype(np.int32),
    }
    return Events(_JETS, columns), pt, quark


def _accepted(working_point: int, mean: float, pt: Float64[ndarray, " n"]) -> float:
    """The share of jets of some mean number of tracks at 500 GeV that are accepted, from the law itself."""
    from scipy.stats import nbinom

    means = mean * _growth(pt)
    return float(np.mean(nbinom.cdf(working_point, _CLUMPS, _CLUMPS / (_CLUMPS + means))))
