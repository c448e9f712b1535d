"""Find the tracks of a small event: pattern recognition with the pipelines of `beampipe.tracking`.

Physics: hits of a tracker with a barrel and end caps in 2 T, by ACTS (Fatras), from single soft proton collisions
that come with the package. Five to eight of them are laid over each other, each turned by a hidden angle about the
beam, and the hits are shuffled, so that no label of the shipped events fits. Lengths are in mm, cm or m: the
outermost hits lie at r of about 1 m, which tells the unit.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from beampipe.analysisops.agents.analysis import Analysis, AnalysisResult
from beampipe.analysisops.samples.dataset import Instance, Sample
from beampipe.analysisops.samples.events import Events, Objects
from beampipe.analysisops.samples.random_parameters import RandomParameters

CUTS: Final[dict[str, Any]] = {"pipeline": "module_map", "min_pt": 0.7, "max_abs_eta": 3.0, "min_layers": 7}
"""The pipeline, and which particles count: pt [GeV], |eta|, layers."""

RECALLED: Final = AnalysisResult({"n_tracks": (100.0, 10.0)})
"""A guess of the usual size, as no table has it."""

_FEWEST, _MOST = 5, 8
_SMALLEST: Final = 500
"""Collisions with fewer hits are left out."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    from beampipe.tracking.data import shipped_events
    from beampipe.tracking.truth import Selection, select_particles

    selection = Selection(min_pt=CUTS["min_pt"], max_abs_eta=CUTS["max_abs_eta"], min_layers=CUTS["min_layers"])
    collisions = [event for event in shipped_events(0) if len(event.hits) >= _SMALLEST]
    number = _FEWEST + random.choice("collisions", _MOST - _FEWEST + 1)
    generator = random.generator("overlay")
    positions, labels, counted, first = [], [], [], 1
    for chosen in generator.choice(len(collisions), number, replace=False):
        event = collisions[chosen]
        turned = event.hits.position.astype(np.float64)
        turned[:, 1] = np.mod(turned[:, 1] + generator.uniform(-np.pi, np.pi) + np.pi, 2 * np.pi) - np.pi
        truth = event.truth
        assert truth is not None  # shipped events have it
        assert truth.particles is not None
        particle_id = truth.particles.particle_id
        order = np.argsort(particle_id)
        row = np.minimum(np.searchsorted(particle_id[order], truth.particle_id), len(particle_id) - 1)
        is_known = particle_id[order][row] == truth.particle_id
        labels.append(np.where(is_known, first + order[row], 0))
        counted += (first + np.flatnonzero(select_particles(event, selection))).tolist()
        positions.append(turned)
        first += len(particle_id)
    shuffled = generator.permutation(sum(map(len, positions)))
    position, label = np.concatenate(positions)[shuffled], np.concatenate(labels)[shuffled]
    fields = {name: position[:, axis].copy() for axis, name in enumerate(("r", "phi", "z"))}
    events = Events(1, {}, {"hit": Objects(np.zeros(len(label), dtype=np.int64), fields)})
    return Instance(
        (Sample("data", "data", events),),
        {"n_tracks": float(len(counted))},
        public={"min_pt_gev": CUTS["min_pt"], "magnetic_field_t": 2.0},
        analysis={**CUTS, "particles": counted},
        labels=tuple(map(int, label)),
    )


def analyse(analysis: Analysis) -> AnalysisResult:
    """Bring the hits to mm, find tracks, hand in their labels.

    Artifact ``labels``: per hit of the file, in its order, the number of its track, or -1. Number ``n_tracks``: how
    many particles with pt above the manifest's ``min_pt_gev`` and |eta| < 3 left hits on at least 7 layers; as the
    pipeline finds softer ones too and misses some, its number of tracks is good to about a tenth.
    """
    events = analysis.load("data", ["hit_r", "hit_phi", "hit_z"])
    farthest = analysis.call("derive_tool", events=events, name="farthest", expression="max(hit_r)")
    radius = farthest["columns"]["farthest"]["max"]
    # The outermost hits lie at about 1 m.
    factor = 1000.0 if radius < 10.0 else 10.0 if radius < 200.0 else 1.0
    if factor != 1.0:
        for name in ("hit_r", "hit_z"):
            events = analysis.derive(events, name, f"{name} * {factor:g}")
    tracks = analysis.call(
        "find_tracks_tool", events=events, r="hit_r", phi="hit_phi", z="hit_z", pipeline=CUTS["pipeline"]
    )
    exported = analysis.call("export_tool", handle=tracks["handle"], name="labels")
    error = analysis.call("calculate_tool", expression="0.1 * found", values={"found": tracks["n_tracks"]})
    return AnalysisResult(
        {"n_tracks": (tracks["n_tracks"], error["value"])},
        artifacts={"labels": exported["artifact"]},
        method={
            "selection": f"all hits, lengths times {factor:g} so that they are in mm",
            "model": "learned windows for pairs and triplets of hits, best paths through their graph (module_map)",
            "window": "all layers",
            "uncertainty": "a tenth, since softer particles are found too and some are missed",
        },
    )
