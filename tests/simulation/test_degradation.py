"""Losses and noise on events made of uniform hits: no simulation is needed."""

import numpy as np
import pytest

from beampipe.errors import ConfigError, InputError, UnknownNameError
from beampipe.events import NOISE, Event, Hits, Particles, Truth
from beampipe.simulation.degradation import DEFAULT, NONE, STRESS, Degradation, dead_modules, degrade, run_degraded
from beampipe.simulation.detector import generic_modules as modules
from beampipe.simulation.detector import volume_of


def made_event(n: int = 20_000, event_id: int = 3) -> Event:
    """Hits uniform over the modules, ten per particle, some shared with the next particle."""
    rng = np.random.default_rng(event_id)
    table = modules()
    row = rng.integers(len(table), size=n)
    local = table.uniform(row, rng)
    xyz = table.to_global(row, local.astype(np.float64))
    position = np.column_stack([np.hypot(xyz[:, 0], xyz[:, 1]), np.arctan2(xyz[:, 1], xyz[:, 0]), xyz[:, 2]])
    hits = Hits(position.astype(np.float32), table.geometry_id[row], local, table.variance[row].astype(np.float32))
    m = n // 10
    number = np.arange(1, m + 1)
    ones, vector = np.ones(m, np.float32), np.ones((m, 3), np.float32)
    particles = Particles(number, np.full(m, 13, np.int32), ones, vector, 0 * vector, np.ones(m, np.bool_))
    shared = np.arange(0, n, 100)
    particle_id = np.repeat(number, 10)
    return Event(event_id, hits, Truth(particle_id, particles, shared, particle_id[shared] % m + 1))


def same(a: Event, b: Event) -> bool:
    return np.array_equal(a.hits.position, b.hits.position)


def test_none_changes_nothing() -> None:
    event = made_event()
    out = degrade(event, NONE, seed=1)
    assert same(out, event)
    assert out.truth is not None
    assert event.truth is not None
    np.testing.assert_array_equal(out.truth.shared_hit, event.truth.shared_hit)


@pytest.mark.parametrize("level", [DEFAULT, STRESS])
def test_fractions(level: Degradation) -> None:
    event = made_event(100_000)
    out = degrade(event, level, seed=5, run_seed=7)
    assert out.truth is not None
    real = int((out.truth.particle_id != NOISE).sum())
    lost = 1 - real / len(event.hits)
    assert lost == pytest.approx(1 - (1 - level.hit_loss) * (1 - level.dead_modules), abs=0.004)
    assert (len(out.hits) - real) / real == pytest.approx(level.noise, rel=0.05)


def test_hits_that_are_left_keep_order_and_truth() -> None:
    event = made_event()
    out = degrade(event, DEFAULT, seed=2)
    assert out.truth is not None
    assert event.truth is not None
    before = {tuple(p): i for i, p in enumerate(event.hits.position.tolist())}
    real = np.flatnonzero(out.truth.particle_id != NOISE)
    rows = np.array([before[tuple(p)] for p in out.hits.position[real].tolist()])
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(out.truth.particle_id[real], event.truth.particle_id[rows])
    # A shared hit is still the same hit, with the same further particle.
    further = dict(zip(event.truth.shared_hit.tolist(), event.truth.shared_particle.tolist(), strict=True))
    left = [further[row] for row in rows.tolist() if row in further]
    assert len(out.truth.shared_hit) > 100
    np.testing.assert_array_equal(out.truth.shared_particle, left)
    np.testing.assert_array_equal(np.isin(rows[out.truth.shared_hit], event.truth.shared_hit), True)


def test_seed_decides() -> None:
    event = made_event()
    once = degrade(event, DEFAULT, seed=1)
    assert same(once, degrade(event, DEFAULT, seed=1))
    assert not same(once, degrade(event, DEFAULT, seed=2))
    other = Event(event.event_id + 1, event.hits, event.truth)
    assert not same(once, degrade(other, DEFAULT, seed=1))


def test_dead_modules_are_those_of_the_run() -> None:
    only_dead = Degradation(hit_loss=0.0, dead_modules=0.02, noise=0.5)
    dead = dead_modules(0.02, run_seed=4)
    assert dead.sum() == round(0.02 * len(modules()))
    for event_id in (0, 1):
        out = degrade(made_event(event_id=event_id), only_dead, seed=9, run_seed=4)
        assert out.hits.geometry_id is not None
        # Noise respects dead modules too.
        assert not dead[modules().rows(out.hits.geometry_id)].any()
    assert (dead & dead_modules(0.02, run_seed=5)).sum() < 0.2 * dead.sum()


def test_noise_is_uniform_and_on_its_module() -> None:
    out = degrade(made_event(100_000), Degradation(hit_loss=0.0, dead_modules=0.0, noise=2.0), seed=1)
    assert out.truth is not None
    noise = out.hits.take(out.truth.particle_id == NOISE)
    assert noise.geometry_id is not None
    assert noise.local is not None
    assert noise.variance is not None
    table = modules()
    row = table.rows(noise.geometry_id)
    local = noise.local.astype(np.float64)
    assert table.inside(row, local, 1e-4).all()
    np.testing.assert_allclose(noise.variance, table.variance[row], rtol=1e-6)
    xyz = table.to_global(row, local)
    np.testing.assert_allclose(noise.position[:, 0], np.hypot(xyz[:, 0], xyz[:, 1]), rtol=1e-6)
    # By volume, in proportion to the area: within five standard deviations.
    volume = volume_of(table.geometry_id)
    for number in np.unique(volume):
        mean = len(noise) * table.area[volume == number].sum() / table.area.sum()
        assert abs((volume[row] == number).sum() - mean) < 5 * np.sqrt(mean)
    # Along a trapezoid the density per length follows the width: its mean is known in closed form.
    low, high, half = table.half_x_low[row], table.half_x_high[row], table.half_y[row]
    assert (low != high).any()
    expected = (half * (high - low) / (high + low) / 3).mean()
    assert local[:, 1].mean() == pytest.approx(expected, abs=5 * local[:, 1].std() / np.sqrt(len(noise)))


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"got hit_loss=1.0, expected 0 <= hit_loss < 1"):
        Degradation(hit_loss=1.0)
    with pytest.raises(ConfigError, match=r"noise=-1\.0"):
        Degradation(noise=-1.0)
    bare = Event(0, Hits(np.ones((3, 3), np.float32)))
    with pytest.raises(InputError, match="without geometry_id"):
        degrade(bare, DEFAULT)
    foreign = Event(0, Hits(np.ones((3, 3), np.float32), np.full(3, 5, np.uint64)))
    with pytest.raises(InputError, match="got 5, expected one of the 18728 modules"):
        degrade(foreign, DEFAULT)


def test_without_geometry_only_noise_columns_that_fit() -> None:
    bare = Event(0, Hits(np.ones((1000, 3), np.float32)))
    out = degrade(bare, Degradation(hit_loss=0.1, dead_modules=0.0, noise=0.1))
    assert out.hits.geometry_id is None
    assert out.truth is None
    assert 850 < len(out.hits) < 1100


def test_a_run_shares_its_dead_modules() -> None:
    events = [made_event(event_id=1), made_event(event_id=2)]
    result = list(run_degraded(events, "stress", seed=4))
    assert all(same(got, degrade(event, STRESS, 4, run_seed=4)) for got, event in zip(result, events, strict=True))
    assert not same(result[0], events[0])
    assert list(run_degraded(events, "none", seed=4)) == events
    with pytest.raises(UnknownNameError, match="did you mean 'stress'"):
        run_degraded(events, "stres", seed=4)
