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
from beampipe.simulation.detector import Detector, volume_of
from beampipe.simulation.detector import generic_modules as modules
from beampipe.simulation.fatras import EventSimulator, _step
from beampipe.simulation.hadronic import HADRONS, interaction_table
from beampipe.simulation.primaries import EventGenerator, Gun, primaries
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
def muons(cache: Path) -> list[Event]:
    return [event for event, _ in simulate_events(4, MUONS, seed=1, cache=cache)]


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


def test_muons_cross_the_layers(muons: list[Event]) -> None:
    for event in muons:
        truth = event.truth
        assert truth is not None
        made = truth.particles
        muon = np.isin(made.pdg, (13, -13)) & made.primary
        assert muon.sum() == 20
        np.testing.assert_array_equal(made.charge[muon], -np.sign(made.pdg[muon]))
        assert (made.pt[muon] > 4.99).all()
        assert (made.pt[muon] < 50.01).all()
        hits = np.bincount(truth.particle_id, minlength=len(made) + 1)[1:]
        # Four pixel layers and six strip layers, less what the barrel-endcap gaps and edges lose.
        assert (hits[muon] >= 7).mean() > 0.95
        assert 9 < hits[muon].mean() < 16


def test_muons_lie_on_circles(muons: list[Event]) -> None:
    """Hits of a stiff particle near the beam line turn by dr / (2 R), R = pT / (0.3 q B)."""
    checked = 0
    for event in muons:
        truth = event.truth
        assert truth is not None
        for row in np.flatnonzero(truth.particles.pt > 10):
            number = truth.particles.particle_id[row]
            mine = event.hits.position[truth.particle_id == number].astype(np.float64)
            inner, outer = mine[mine[:, 0].argmin()], mine[mine[:, 0].argmax()]
            if not truth.particles.primary[row] or outer[0] - inner[0] < 500:
                continue
            turn = (outer[1] - inner[1] + np.pi) % (2 * np.pi) - np.pi
            radius = float(truth.particles.pt[row]) / 0.299792458e-3 / 2.0
            expected = -truth.particles.charge[row] * (
                np.arcsin(outer[0] / 2 / radius) - np.arcsin(inner[0] / 2 / radius)
            )
            assert turn == pytest.approx(expected, abs=2e-3)
            checked += 1
    assert checked > 20


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


def test_resolution_is_the_pitch(cache: Path) -> None:
    """Residuals against the same event without smearing are not at hand: compare barrel hits with their circle."""
    stiff = EventGenerator(pileup=0.0, hard="gun", gun=Gun(n_particles=200, pt=(90.0, 100.0), eta_max=0.3))
    event, _ = next(simulate_events(1, stiff, Detector(field=2.0, hadronic=False), seed=3, cache=cache))
    assert event.hits.geometry_id is not None
    assert event.truth is not None
    pixel = volume_of(event.hits.geometry_id) == 8
    residuals = []
    for number in event.truth.particles.particle_id:
        mine = event.hits.position[pixel & (event.truth.particle_id == number)].astype(np.float64)
        if len(mine) == 4 and np.ptp(mine[:, 0]) > 120:
            # z is straight in r for 100 GeV; four points and two parameters leave two degrees of freedom.
            fit = np.polyval(np.polyfit(mine[:, 0], mine[:, 2], 1), mine[:, 0])
            residuals.append(((mine[:, 2] - fit) ** 2).sum() / 2)
    assert len(residuals) > 50
    # 50 um / sqrt(12) = 14.4 um, and about as much multiple scattering is excluded by the momentum.
    assert np.sqrt(np.mean(residuals)) == pytest.approx(0.0144, rel=0.15)


def test_seed_and_workers(cache: Path, small: list[tuple[Event, dict[str, int]]], muons: list[Event]) -> None:
    again = list(simulate_events(6, SMALL, seed=1, cache=cache, workers=2))
    assert [event.event_id for event, _ in again] == [0, 1, 2, 3, 4, 5]
    for (first, counts), (second, more) in zip(small, again, strict=True):
        assert_same(first, second)
        assert counts == more
    # An event does not depend on the ones before it.
    alone, _ = next(simulate_events(1, SMALL, seed=1, first_event=4, cache=cache))
    assert_same(alone, small[4][0])
    other, _ = next(simulate_events(1, MUONS, seed=2, cache=cache))
    assert len(other.hits) != len(muons[0].hits)


def test_one_soft_collision_without_pileup(cache: Path) -> None:
    single = EventGenerator(pileup=0.0, hard="none")
    events = [event for event, _ in simulate_events(3, single, seed=1, cache=cache)]
    for event in events:
        assert event.truth is not None
        made = event.truth.particles
        vertices = np.unique(np.round(made.vertex[made.origin_radius < 0.1], 3), axis=0)
        # Weak decays close to the beam aside, one vertex.
        assert len(vertices) <= 1 + 0.2 * len(made)
    assert len({len(event.hits) for event in events}) == 3


def test_field_scale_bends_less(cache: Path) -> None:
    gun = EventGenerator(pileup=0.0, hard="gun", gun=Gun(n_particles=50, pt=(1.0, 1.0), eta_max=1.0))

    def turn(detector: Detector) -> float:
        event, _ = next(simulate_events(1, gun, detector, seed=8, cache=cache))
        assert event.truth is not None
        turns = []
        for number in event.truth.particles.particle_id[event.truth.particles.primary]:
            mine = event.hits.position[event.truth.particle_id == number].astype(np.float64)
            mine = mine[(mine[:, 0] < 700)]
            inner, outer = mine[mine[:, 0].argmin()], mine[mine[:, 0].argmax()]
            if outer[0] - inner[0] > 500:
                turns.append(abs((outer[1] - inner[1] + np.pi) % (2 * np.pi) - np.pi) / (outer[0] - inner[0]))
        assert len(turns) > 20
        return float(np.median(turns))

    assert turn(Detector(field_scale=0.8)) / turn(Detector()) == pytest.approx(0.79, abs=0.04)


def test_hadronic_interactions(cache: Path) -> None:
    pions = EventGenerator(pileup=0.0, hard="gun", gun=Gun(n_particles=400, pdg=211, pt=(2.0, 10.0), eta_max=2.0))
    with_them, counts = next(simulate_events(1, pions, seed=4, cache=cache))
    without, none = next(simulate_events(1, pions, Detector(hadronic=False), seed=4, cache=cache))
    assert none["interactions"] == 0
    assert counts["hadrons"] == 400
    # Up to ten layers of 1.65 to 3.85 mm in 465 mm: between 3 and 12 % by path and momentum.
    assert 0.03 < counts["interactions"] / counts["hadrons"] < 0.12
    assert with_them.truth is not None
    assert without.truth is not None
    made = with_them.truth.particles
    new = ~made.primary & np.isin(made.pdg, HADRONS)
    assert new.sum() > 10
    assert not (~without.truth.particles.primary & np.isin(without.truth.particles.pdg, HADRONS)).any()
    assert made.origin_radius[new].min() > 25

    def primary_hits(event: Event) -> int:
        assert event.truth is not None
        return int(event.truth.particles.primary[event.truth.particle_id - 1].sum())

    assert primary_hits(with_them) < primary_hits(without)


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
        made = collisions(process, 300, 1)
        pt = np.hypot(made.momentum[:, 0], made.momentum[:, 1])
        assert pt.min() > 0.99 * PT_MIN
        assert (np.abs(np.arcsinh(made.momentum[:, 2] / pt)) < 1.01 * ETA_MAX).all()
        assert not np.isin(np.abs(made.pdg), (12, 14, 16, 310, 3122, 130, 2112, 111)).any()
        assert (made.pdg == 22).any()
        n_charged.append((made.charge != 0).sum() / 300)
    # The spread of the number of particles is about its mean: errors of 6 % each.
    assert n_charged[0] == pytest.approx(n_charged[1], rel=0.2)


def test_early_events_share_no_collision(cache: Path) -> None:
    """The events of a sample take one collision after the other, whatever event comes first."""
    used: list[int] = []
    pdg, real = np.array([211], np.int32), np.ones(1, np.float32)
    one_pion = CollisionPool(
        np.array([0, 1]), pdg, real, real, np.ones((1, 3), np.float32), np.zeros((1, 4), np.float32)
    )

    class Numbers(CollisionSource):
        def __getitem__(self, index: int) -> CollisionPool:
            used.append(index)
            return one_pion

    generator = EventGenerator(pileup=3.0, hard="none")
    by_event = []
    for event in range(6):
        primaries(generator, Numbers("quick_soft", 15, 1, cache), None, event, np.random.default_rng([8, event]))
        by_event.append(used[:])
        used.clear()
    assert by_event[1] == list(range(3, 3 + len(by_event[1])))
    assert all(len(set(numbers)) == len(numbers) for numbers in by_event[:3])
    assert all(0 <= number < 15 for numbers in by_event for number in numbers)
    assert by_event[5] != list(range(15, 15 + len(by_event[5])))  # beyond the last: drawn from all


def test_errors_of_pythia_stay_what_they_are(tmp_path: Path, hide: Callable[[str], None]) -> None:
    hide("pythia8mc")
    with pytest.raises(MissingExtraError, match=r"beampipe\.simulation\.pythia needs pythia8mc"):
        next(simulate_events(1, EventGenerator(pileup=2.0, hard="none"), seed=1, cache=tmp_path))


def test_jets_are_above_a_tev_and_dense() -> None:
    made = collisions("jets", 3, seed=5)
    for number in range(3):
        momentum = made[number].momentum
        pt = np.hypot(*momentum[:, :2].T)
        assert pt.sum() > 1000  # photons and charged particles of two jets or more
        hard = np.flatnonzero((pt > 1) & (made[number].charge != 0))
        phi, eta = np.arctan2(*momentum[hard, 1::-1].T), np.arcsinh(momentum[hard, 2] / pt[hard])
        turn = np.abs((phi[:, np.newaxis] - phi + np.pi) % (2 * np.pi) - np.pi)
        apart = np.hypot(eta[:, np.newaxis] - eta, turn) + 9 * np.eye(len(hard))
        assert np.quantile(apart.min(axis=1), 0.1) < 0.02


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
