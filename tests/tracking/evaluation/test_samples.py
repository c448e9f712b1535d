"""Events of another size for the benchmarks: merged and thinned events keep their truth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from beampipe.errors import InputError
from beampipe.tracking.truth import HEADLINE, contributions, select_particles, true_edges

from .toy import toy_event


@pytest.fixture(scope="module")
def samples() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "samples.py"
    spec = importlib.util.spec_from_file_location("benchmark_samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_merged_events_have_the_edges_of_both(samples: ModuleType) -> None:
    one, two = toy_event(30, seed=1), toy_event(40, seed=2)
    both = samples.merge([one, two])
    assert len(both.hits) == len(one.hits) + len(two.hits)
    assert len(np.unique(both.truth.particles.particle_id)) == 70
    first, second = true_edges(one, HEADLINE), true_edges(two, HEADLINE) + len(one.hits)
    assert np.array_equal(true_edges(both, HEADLINE), np.concatenate([first, second], axis=1))
    assert len(contributions(both.truth).extra_hit) > 5


def test_small_events_have_whole_particles(samples: ModuleType) -> None:
    event = toy_event(200, seed=3, merged=0)
    small = samples.resize([event], 600, seed=1)
    assert 400 < len(small.hits) < 800
    kept, full = contributions(small.truth), contributions(samples.merge([event]).truth)
    assert np.array_equal(full.n_hits[full.row(kept.particle_id)], kept.n_hits)
    assert select_particles(small, HEADLINE).sum() > 20
    large = samples.resize([event, toy_event(200, seed=4)], 3500, seed=1)
    assert 3000 < len(large.hits) < 4000
    with pytest.raises(InputError, match="or more"):
        samples.resize([event], 10_000, seed=1)
