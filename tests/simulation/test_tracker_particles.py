"""Generated collisions with the particles that go through a tracker."""

from __future__ import annotations

import numpy as np

from beampipe.simulation.primaries import EventGenerator, primaries
from beampipe.simulation.pythia import ETA_MAX, PT_MIN, PythiaRun, for_tracker
from beampipe.simulation.samples import Slice, sample_spec


def test_particles_of_the_tracker_are_those_of_the_collisions() -> None:
    spec = for_tracker(sample_spec("nominal"))
    collisions, pool = PythiaRun(spec, Slice(100.0, 300.0, 5.0, 1.0), 3).with_tracker_particles(4)
    assert len(collisions) == len(pool) == 4
    assert collisions.weights.shape == (4, 1)
    visible = np.abs(pool.pdg) != 13  # muons leave hits, but no energy in the calorimeter
    pt = np.hypot(collisions.momentum[:, 0], collisions.momentum[:, 1])
    inside = (pt >= PT_MIN) & (np.abs(collisions.momentum[:, 2]) <= np.sinh(ETA_MAX) * pt)
    kept = inside & (collisions.charged | (collisions.pdg == 22))
    momenta = {tuple(row) for row in collisions.momentum[kept, :3].astype(np.float32).tolist()}
    assert {tuple(row) for row in pool.momentum[visible].tolist()} <= momenta
    assert len(pool.pdg[visible]) > 0.9 * kept.sum()
    # Pythia decays strange hadrons inside of the tracker.
    assert not np.isin(np.abs(collisions.pdg), (310, 3122)).sum() > 0.5 * np.isin(np.abs(collisions.pdg), 321).sum()
    assert np.hypot(pool.vertex[:, 0], pool.vertex[:, 1]).max() > 2
    assert set(np.unique(pool.charge[pool.pdg != 22]).tolist()) <= {-1.0, 1.0}


def test_hard_collision_stays_as_it_was_generated_if_wanted() -> None:
    spec = for_tracker(sample_spec("nominal"))
    _, pool = PythiaRun(spec, Slice(100.0, 300.0, 5.0, 1.0), 3).with_tracker_particles(1)
    fixed, turned = (
        primaries(EventGenerator(0.0, "jets", turn_hard=turn), None, pool[0], 0, np.random.default_rng(1))
        for turn in (False, True)
    )
    assert fixed.momentum.astype(np.float32).tolist() == pool.momentum.tolist()
    assert np.abs(turned.momentum - fixed.momentum).max() > 0.1
