"""Scale factors of a quark/gluon tagger from two regions of jets: the matrix method of `beampipe.calibration`.

Physics: a parametric toy, one jet per row. The number of tracks follows a negative binomial law whose mean grows with
pt and is larger for gluons; forward jets are more often quarks. The simulated file, in the role ``calibration_mc``,
has the flavour of each jet as ``jet_label`` (1 to 5 for quarks, 21 for gluons); in the data that column is 0. The
data have the same shares of quarks, but hidden factors on the mean number of tracks of quarks and of gluons. A jet
counts as a quark jet if its n_trk is at most ``working_point_n_trk`` of the manifest; forward means |jet_eta| >
``forward_abs_eta_min``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult, stated
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.events import Events
from beampipe.analysisops.samples.random_parameters import RandomParameters
from beampipe.arrays import Bool, Float64

CUTS: Final[dict[str, Any]] = {"forward_abs_eta_min": 1.0, "gluon_label": 21}
"""Where the regions meet, and the label of gluons; other labels are quarks."""

RECALLED: Final = AnalysisResult({"sf_quark": (1.0, 0.05), "sf_gluon": (1.0, 0.05)})
"""Guesses of the usual size, as no table has these."""

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
            "forward_abs_eta_min": CUTS["forward_abs_eta_min"],
            "abs_eta_max": 2.1,
        },
        analysis={**CUTS, "working_point_n_trk": working_point},
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
    forward = np.abs(eta) > CUTS["forward_abs_eta_min"]
    quark = generator.uniform(size=_JETS) < np.where(forward, _QUARKS[1], _QUARKS[0])
    mean = np.where(quark, means["quark"], means["gluon"]) * _growth(pt)
    tracks = generator.poisson(mean * generator.gamma(_CLUMPS, 1 / _CLUMPS, _JETS))
    flavour = np.where(quark, generator.integers(1, 6, _JETS), CUTS["gluon_label"])
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


def analyse(analysis: Analysis) -> AnalysisResult:
    """Solve the shares that pass in both regions for quarks and gluons, and compare with simulation.

    In either region, the accepted share p of the data's jets, and from simulation the share f of quarks. Solve f_F e_q
    + (1 - f_F) e_g = p_F and f_C e_q + (1 - f_C) e_g = p_C for the efficiencies e of the data, with the errors of p and
    f. Divide by the efficiencies of simulated quarks and gluons of both regions together: sf_quark, to about 1 %, and
    sf_gluon, to about 2.5 %. Both shares of simulated quarks and the efficiencies come from counting labels.
    """
    point, border = stated(analysis.public, "working_point_n_trk"), stated(analysis.public, "forward_abs_eta_min")
    columns = ("jet_pt", "jet_eta", "jet_n_trk")
    data = analysis.load("data", columns)
    simulated = analysis.load("calibration_mc", [*columns, "jet_label"])
    regions = (f"abs(jet_eta) > {border}", f"abs(jet_eta) <= {border}")
    passes = f"jet_n_trk <= {point:g}"
    is_quark, is_gluon = f"jet_label != {CUTS['gluon_label']}", f"jet_label == {CUTS['gluon_label']}"
    accepted = [_share(analysis, data, passes, region) for region in regions]
    quarks = [_share(analysis, simulated, is_quark, region) for region in regions]
    gluons = [_share(analysis, simulated, is_gluon, region) for region in regions]
    solved = analysis.call(
        "solve_linear_tool",
        matrix=[[quark["efficiency"], gluon["efficiency"]] for quark, gluon in zip(quarks, gluons, strict=True)],
        matrix_errors=[[quark["error"], gluon["error"]] for quark, gluon in zip(quarks, gluons, strict=True)],
        right=[share["efficiency"] for share in accepted],
        right_errors=[share["error"] for share in accepted],
    )
    answers = {}
    for number, (name, flavour) in enumerate({"sf_quark": is_quark, "sf_gluon": is_gluon}.items()):
        expected = _share(analysis, simulated, passes, flavour)
        factor = analysis.call(
            "calculate_tool",
            expression="data / simulation",
            values={"data": solved["solution"][number], "simulation": expected["efficiency"]},
            errors={"data": solved["errors"][number], "simulation": expected["error"]},
        )
        answers[name] = (factor["value"], factor["uncertainty"])
    return AnalysisResult(
        answers,
        method={
            "selection": f"jets in two regions, beyond and within |eta| = {border:g}, which differ in their share of"
            f" quarks; a jet passes with at most {point:g} tracks",
            "model": "in either region the share that passes is that of quarks and of gluons, weighted by their shares"
            " in simulation; the two equations are solved for the efficiencies in data",
            "window": "all jets of both regions",
            "uncertainty": "binomial errors of all shares, propagated through the solution to first order",
        },
    )


def _share(analysis: Analysis, events: str, passing: str, among: str) -> dict[str, Any]:
    """Share of the jets of some kind that pass, with its error."""
    passed = analysis.call("count_tool", events=events, expression=f"({among}) and ({passing})")
    total = analysis.call("count_tool", events=events, expression=among)
    return analysis.call("efficiency_tool", passed=passed["n"], total=total["n"])
