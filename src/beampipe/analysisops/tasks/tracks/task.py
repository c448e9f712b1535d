"""Find the tracks of a small event: pattern recognition with the pipelines of `beampipe.tracking`.

Physics: hits of a tracker with a barrel and end caps in 2 T, by ACTS (Fatras), from single soft proton collisions
that come with the package. Five to eight of them are laid over each other, each turned by a hidden angle about the
beam, and the hits are shuffled, so that no label of the shipped events fits. Lengths are in mm, cm or m: the
outermost hits lie at r of about 1 m, which tells the unit.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from beampipe.analysisops.samples.dataset import Events, Instance, Objects, RandomParameters, Sample

_MIN_PT: Final = 0.7
"""Smallest pt of particles that count [GeV]."""

_FEWEST, _MOST = 5, 8
_SMALLEST: Final = 500
"""Collisions with fewer hits are left out."""


def make(random: RandomParameters) -> Instance:
    """The data of an instance."""
    from beampipe.tracking.data import shipped_events
    from beampipe.tracking.truth import Selection, select_particles

    selection = Selection(min_pt=_MIN_PT, max_abs_eta=3.0, min_layers=7)
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
        public={"min_pt_gev": _MIN_PT, "magnetic_field_t": 2.0},
        analysis={"particles": counted},
        labels=tuple(map(int, label)),
    )
