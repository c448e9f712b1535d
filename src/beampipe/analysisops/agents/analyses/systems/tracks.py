"""The tracks of a small event, by a pipeline for pattern recognition."""

from __future__ import annotations

from typing import Final

from beampipe.analysisops.agents.analysis import AnalysisFiles, AnalysisResult

__all__ = ["analyse"]

_METRES, _CENTIMETRES = 10.0, 200.0
"""The outermost hits lie at about 1 m: below these numbers they are in m, and in cm."""

_SHARE: Final = 0.1
"""The pipeline finds softer particles too, and misses some: its number of tracks is good to so much."""


def analyse(opened: AnalysisFiles) -> AnalysisResult:
    """Bring the hits to mm, find tracks, hand in their labels."""
    events = opened.load("data", ["hit_r", "hit_phi", "hit_z"])
    farthest = opened.call("derive_tool", events=events, name="farthest", expression="max(hit_r)")
    radius = farthest["columns"]["farthest"]["max"]
    factor = 1000.0 if radius < _METRES else 10.0 if radius < _CENTIMETRES else 1.0
    if factor != 1.0:
        for name in ("hit_r", "hit_z"):
            events = opened.derive(events, name, f"{name} * {factor:g}")
    found = opened.call("find_tracks_tool", events=events, r="hit_r", phi="hit_phi", z="hit_z", pipeline="module_map")
    exported = opened.call("export_tool", handle=found["handle"], name="labels")
    error = opened.call("calculate_tool", expression=f"{_SHARE:g} * found", values={"found": float(found["n_tracks"])})
    return AnalysisResult(
        {"n_tracks": (float(found["n_tracks"]), error["value"])},
        artifacts={"labels": exported["artifact"]},
        method={
            "selection": f"all hits, lengths times {factor:g} so that they are in mm",
            "model": "learned windows for pairs and triplets of hits, best paths through their graph (module_map)",
            "window": "all layers",
            "uncertainty": "a tenth, since softer particles are found too and some are missed",
        },
    )
