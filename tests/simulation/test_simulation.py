"""Pythia and ACTS end to end on small events."""

from collections.abc import Callable
from itertools import chain as chainer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beampipe.errors import ConfigError, MissingExtraError
from beampipe.events import NOISE, Event
from beampipe.simulation import pythia
from beampipe.simulation.acts_geometry import acts_examples, build_detector
from beampipe.simulation.detector import Detector
from beampipe.simulation.detector import generic_modules as modules
from beampipe.simulation.fatras import EventSimulator, _step
from beampipe.simulation.hadronic import HADRONS, interaction_table
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.pythia import ETA_MAX, PT_MIN, CollisionPool, CollisionSource, collisions
from beampipe.simulation.run import simulate_events
from beampipe.tracking.formats import open_events
from beampipe.tracking.formats.parquet import write_simulated

from .places import assert_on_modules, read_modules

pytestmark = pytest.mark.acts

SMALL = EventGenerator(pileup=2.0, hard="none", pool_size=20)
MUONS = EventGenerator(pileup=0.0, hard="gun", gun=Gun(n_particles=20, pdg=13, pt=(5.0, 50.0), eta_max=2.5))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of pools and tables for all tests."""
    return tmp_path_factory.mktemp("pools")


@pytest.fixture(scope="module")
def small(cache: Path) -> list[tuple[Event, dict[str, int]]]:
    return list(simulate_events(6, SMALL, seed=1, cache=cache))


def arrays(event: Event) -> list[np.ndarray]:
    hits, truth = event.hits, event.truth
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert truth is not None
    particles = truth.particles
    return [
        hits.position,
        hits.geometry_id,
        hits.local,
        truth.particle_id,
        truth.shared_hit,
        truth.shared_particle,
        particles.pdg,
        particles.momentum,
        particles.vertex,
        particles.primary,
    ]


def assert_same(first: Event, second: Event) -> None:
    assert first.event_id == second.event_id
    for a, b in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_table_of_modules_is_that_of_acts() -> None:
    built = build_detector()
    for name, made in read_modules(built.geometry).items():
        np.testing.assert_allclose(made, getattr(built.modules, name), atol=1e-9)


def test_truth_is_consistent(small: list[tuple[Event, dict[str, int]]]) -> None:
    n_secondary = 0
    for event, _ in small:
        hits, truth = event.hits, event.truth
        assert truth is not None
        made = truth.particles
        assert (truth.particle_id != NOISE).all()
        np.testing.assert_array_equal(made.particle_id, np.arange(1, len(made) + 1))
        with_hits = np.union1d(truth.particle_id, truth.shared_particle)
        np.testing.assert_array_equal(with_hits, made.particle_id)
        assert (made.charge != 0).all()
        assert (truth.shared_particle != truth.particle_id[truth.shared_hit]).all()
        assert_on_modules(hits, modules())
        n_secondary += int((~made.primary).sum())
    assert n_secondary > 0


def test_labels_are_those_of_acts(cache: Path) -> None:
    """Every label against ACTS's own map from measurements to particles, where modules have several hits each."""
    dense = EventGenerator(pileup=0.0, hard="gun", gun=Gun(n_particles=3000, pdg=211, pt=(0.5, 10.0)))
    chain = EventSimulator(dense, Detector(), 6, None, None, interaction_table())
    expected: dict[tuple[int, float, float], set[tuple[int, float]]] = {}

    def look(event: int, measurements: Any, of_particle: Any, *containers: Any) -> tuple[()]:
        who = {
            repr(p.particleId): (int(p.pdg), round(p.initialState.absoluteMomentum, 3)) for c in containers for p in c
        }
        assert len(who) == sum(len(c) for c in containers)
        for m in measurements:
            key = (m.geometryId.value, round(m.fullParameters[0], 2), round(m.fullParameters[1], 2))
            expected.setdefault(key, set()).update(who[repr(b)] for b in of_particle.valuesFor(m.index))
        return ()

    ae = acts_examples()
    reads = {
        "measurements": ae.MeasurementContainer,
        "measurement_particles": ae.MeasurementParticlesMap,
        "simulated": ae.SimParticleContainer,
        "simulated_products": ae.SimParticleContainer,
    }
    algorithms = chain._algorithms
    chain._algorithms = lambda *args: chainer(algorithms(*args), [_step("Look", look, reads, {})])  # type: ignore[method-assign]
    event, counts = chain.run(0, 1)[0]
    assert counts["interactions"] > 50
    hits, truth = event.hits, event.truth
    assert truth is not None
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert np.unique(hits.geometry_id, return_counts=True)[1].mean() > 1.5
    made = truth.particles
    momentum = np.linalg.norm(made.momentum.astype(np.float64), axis=1)
    compared = wrong = 0
    for module, (x, y), number in zip(hits.geometry_id, hits.local.tolist(), truth.particle_id - 1, strict=True):
        names = expected.get((int(module), round(x, 2), round(y, 2)))
        if names is not None:  # else a number was rounded the other way
            compared += 1
            wrong += not any(
                pdg == made.pdg[number] and abs(p - momentum[number]) < 2e-3 + 1e-5 * p for pdg, p in names
            )
    assert compared > 0.9 * len(hits)
    assert wrong == 0


def test_seed_and_workers(cache: Path, small: list[tuple[Event, dict[str, int]]]) -> None:
    again = list(simulate_events(6, SMALL, seed=1, cache=cache, workers=2))
    assert [event.event_id for event, _ in again] == [0, 1, 2, 3, 4, 5]
    for (first, counts), (second, more) in zip(small, again, strict=True):
        assert_same(first, second)
        assert counts == more
    # An event does not depend on the ones before it.
    alone, _ = next(simulate_events(1, SMALL, seed=1, first_event=4, cache=cache))
    assert_same(alone, small[4][0])
    other, _ = next(simulate_events(1, SMALL, seed=2, cache=cache))
    assert len(other.hits) != len(small[0][0].hits)


def test_cross_sections(cache: Path) -> None:
    """The inelastic cross section of pi+ with silicon at 2 and 20 GeV: 428 and 339 mb.

    With 4.995e22 nuclei / cm^3 the first is an interaction length of 468 mm; the table of the Particle Data Group has
    465.2 mm for nucleons at high energy.
    """
    table = interaction_table()
    species = np.zeros(2, np.int64)
    assert HADRONS[0] == 211
    np.testing.assert_allclose(table.cross_section(species, np.array([2.0, 20.0])), [428, 339], rtol=0.03)
    assert table.cross_section(species[:1], np.array([0.2]))[0] == 0
    products = table.draw(np.zeros(2000, np.int64), np.tile([3.0, 0.0, 4.0], (2000, 1)), np.random.default_rng(1))
    along = products.momentum @ np.array([0.6, 0.0, 0.8])
    across = np.bincount(products.parent, products.momentum[:, 1]).mean()
    # Most of the momentum goes on in the direction of the hadron; neutral hadrons carry some away.
    assert 0.6 < along.sum() / 2000 / 5 < 1.0
    assert abs(across) < 0.05


def test_collisions_are_generated_when_they_are_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generated: list[tuple[int, int]] = []

    def counted(process: str, n_collisions: int, seed: int) -> CollisionPool:
        generated.append((n_collisions, seed))
        return collisions(process, n_collisions, seed)

    monkeypatch.setattr(pythia, "collisions", counted)
    monkeypatch.setitem(pythia._BLOCK, "quick_soft", 4)
    source = CollisionSource("quick_soft", 10, 1, cache)
    sixth = source[5]
    assert len(source) == 10
    assert [n for n, _ in generated] == [4]
    first, last = source[0], source[9]
    assert [n for n, _ in generated] == [4, 4, 2]
    assert len({seed for _, seed in generated}) == 3
    with pytest.raises(IndexError):
        source[10]
    # Another source reads what was kept; a longer one completes the short block.
    again = CollisionSource("quick_soft", 12, 1, cache)
    for collision, same in ((first, again[0]), (sixth, again[5]), (last, again[9])):
        np.testing.assert_array_equal(collision.momentum, same.momentum)
    assert [n for n, _ in generated] == [4, 4, 2, 4]
    assert len(CollisionSource("quick_soft", 10, 2, cache)[5].pdg) != len(sixth.pdg)


def test_soft_collisions() -> None:
    """They are alike whether Pythia computes the integrals of its start or reads them."""
    n_charged = []
    for process in ("soft", "quick_soft"):
        made = collisions(process, 600, 1)
        pt = np.hypot(made.momentum[:, 0], made.momentum[:, 1])
        assert pt.min() > 0.99 * PT_MIN
        assert (np.abs(np.arcsinh(made.momentum[:, 2] / pt)) < 1.01 * ETA_MAX).all()
        assert not np.isin(np.abs(made.pdg), (12, 14, 16, 310, 3122, 130, 2112, 111)).any()
        assert (made.pdg == 22).any()
        n_charged.append((made.charge != 0).sum() / 600)
    # The spread of the number of particles is about its mean: errors of 4 % each.
    assert n_charged[0] == pytest.approx(n_charged[1], rel=0.2)


def test_file_appears_only_when_complete(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "events.parquet"

    class Stopped(Exception):
        pass

    def stop(done: int) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        write_simulated(path, simulate_events(4, MUONS, seed=1, cache=cache, progress=stop))
    assert not path.exists()
    done: list[int] = []
    counts = write_simulated(path, simulate_events(4, MUONS, seed=1, cache=cache, progress=done.append))
    assert done == [1, 2, 3, 4]
    assert counts["interactions"] == 0
    assert [len(event.hits) > 100 for event in open_events(path)] == [True] * 4


def test_missing_extra(monkeypatch: pytest.MonkeyPatch, hide: Callable[[str], None]) -> None:
    hide("acts")
    with pytest.raises(MissingExtraError, match=r"needs (py)?acts.*pip install 'beampipe\[simulation\]'"):
        next(simulate_events(1, MUONS, seed=1))
    hide("pythia8mc")
    with pytest.raises(MissingExtraError, match=r"beampipe\.simulation\.pythia needs pythia8mc"):
        collisions("soft", 1, 1)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="got hard='higgs', expected 'ttbar', 'jets', 'none' or 'gun'"):
        EventGenerator(hard="higgs")
    with pytest.raises(ConfigError, match="got pdg 22"):
        Gun(pdg=22)
    with pytest.raises(ConfigError, match="workers=0"):
        next(simulate_events(1, MUONS, seed=1, workers=0))
