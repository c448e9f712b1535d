"""Scale factors of a quark/gluon tagger by the matrix method, from a central and a forward region."""

from __future__ import annotations

from typing import Any, Final

from beampipe.analysisops.agents.analyses.counts.counting import fact
from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult

__all__ = ["analyse"]

_GLUON: Final = 21
_COLUMNS: Final = ("jet_pt", "jet_eta", "jet_n_trk")


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Solve the shares that pass in both regions for quarks and gluons, and compare with simulation."""
    point, border = fact(opened.public, "working_point_n_trk"), fact(opened.public, "forward_abs_eta_min")
    data = opened.load("data", _COLUMNS)
    simulated = opened.load("calibration_mc", [*_COLUMNS, "jet_label"])
    regions = (f"abs(jet_eta) > {border}", f"abs(jet_eta) <= {border}")
    passes, is_quark = f"jet_n_trk <= {point:g}", f"jet_label != {_GLUON}"
    accepted = [_share(opened, data, passes, region) for region in regions]
    quarks = [_share(opened, simulated, is_quark, region) for region in regions]
    gluons = [_share(opened, simulated, f"jet_label == {_GLUON}", region) for region in regions]
    solved = opened.call(
        "solve_linear_tool",
        matrix=[[quark["efficiency"], gluon["efficiency"]] for quark, gluon in zip(quarks, gluons, strict=True)],
        matrix_errors=[[quark["error"], gluon["error"]] for quark, gluon in zip(quarks, gluons, strict=True)],
        right=[one["efficiency"] for one in accepted],
        right_errors=[one["error"] for one in accepted],
    )
    answers = {}
    for place, (name, flavour) in enumerate({"sf_quark": is_quark, "sf_gluon": f"jet_label == {_GLUON}"}.items()):
        expected = _share(opened, simulated, passes, flavour)
        factor = opened.call(
            "calculate_tool",
            expression="data / simulation",
            values={"data": solved["solution"][place], "simulation": expected["efficiency"]},
            errors={"data": solved["errors"][place], "simulation": expected["error"]},
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


def _share(opened: AnalysisFiles, events: str, passing: str, among: str) -> dict[str, Any]:
    """Share of the jets of some kind that pass, with its error."""
    passed = opened.call("count_tool", events=events, expression=f"({among}) and ({passing})")
    total = opened.call("count_tool", events=events, expression=among)
    return opened.call("efficiency_tool", passed=passed["n"], total=total["n"])
