"""Charge shared among channels, and clusters shared among particles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError
from beampipe.events import Event
from beampipe.simulation.clusters import Clusters, clustered
from beampipe.simulation.detector import Barrel, Detector, DetectorLayout, Modules, detector_modules, read_layout
from beampipe.simulation.primaries import EventGenerator, Gun
from beampipe.simulation.run import simulate_events

PLAIN = DetectorLayout("plain", 2.0, (Barrel("only", (50.0,), (20.0, 40.0), (0.1, 0.2), 0.01, 100.0),))
ODD = Path("odd")


def modules(sensor_mm: float = 0.3, *, digital: bool = False) -> Modules:
    """Modules of 200 x 200 channels of 0.1 x 0.2 mm; channel k along axis 0 begins at 0.1 k - 10 mm."""
    barrel = replace(PLAIN.barrel[0], sensor_mm=sensor_mm, digital=digital)
    return detector_modules(replace(PLAIN, barrel=(barrel,)))


def made(
    table: Modules,
    crossing: list[tuple[float, float]],
    direction: list[tuple[float, ...]],
    row: list[int] | None = None,
) -> Clusters:
    on = np.zeros(len(crossing), np.int64) if row is None else np.array(row)
    return clustered(on, np.array(crossing), np.array(direction, np.float64), table, np.random.default_rng(3))


def test_a_straight_particle_fires_one_channel() -> None:
    clusters = made(modules(), [(0.03, 0.05), (-9.98, 19.99)], [(0, 0, 1), (0, 0, -1)])
    np.testing.assert_allclose(clusters.local, [(0.05, 0.1), (-9.95, 19.9)], atol=1e-9)
    np.testing.assert_allclose(clusters.variance, np.square([(0.085, 0.17)] * 2) / 12)
    np.testing.assert_allclose(clusters.charge, 1)
    assert clusters.fragments == 0


def test_an_inclined_particle_shares_its_charge() -> None:
    # Over a width of 0.3 mm from 0.02 to 0.32 mm: 0.08, 0.1, 0.1 and 0.02 of it, on 0.05, 0.15, 0.25 and 0.35 mm.
    clusters = made(modules(), [(0.17, 0.1)], [(1, 0, 1)])
    centroid = (0.08 * 0.05 + 0.1 * 0.15 + 0.1 * 0.25 + 0.02 * 0.35) / 0.3
    assert abs(clusters.local[0, 0] - centroid) < 0.02  # the noise is a seventh of the charge of a channel
    np.testing.assert_allclose(clusters.local[0, 1], 0.1, atol=1e-9)
    assert clusters.charge[0] == pytest.approx(np.sqrt(2), rel=0.1)
    assert clusters.variance[0, 0] == pytest.approx((0.5 * 0.1) ** 2 / 12)
    # Digital channels count alike; the last one is below or above the threshold.
    (x, _), *_ = made(modules(digital=True), [(0.17, 0.1)], [(1, 0, 1)]).local
    assert min(abs(x - 0.15), abs(x - 0.2)) < 1e-9


def test_particles_in_touching_channels_share_a_cluster() -> None:
    table = modules()
    crossing = [(0.05, 0.1), (0.15, 0.3), (0.35, 0.1), (0.05, 0.1)]
    clusters = made(table, crossing, [(0, 0, 1)] * 4, [0, 0, 0, 1])
    # The first two touch at a corner, the third is two channels away, the fourth on another module.
    np.testing.assert_array_equal(clusters.local[0], clusters.local[1])
    np.testing.assert_allclose(clusters.local[0], (0.1, 0.2), atol=0.03)
    np.testing.assert_allclose(clusters.local[2:], [(0.35, 0.1), (0.05, 0.1)], atol=1e-9)
    assert clusters.variance[0, 0] > 0


def test_no_hits_make_no_clusters() -> None:
    clusters = clustered(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros((0, 3)), modules(), np.random.default_rng(1))
    assert clusters.local.shape == (0, 2)
    assert clusters.fragments == 0


def test_a_grazing_particle_stays_on_its_module() -> None:
    clusters = made(modules(), [(9.9, 19.8), (0.0, 0.0)], [(1, 1, 1e-6), (1, 0, 0)])
    assert np.isfinite(clusters.local).all()
    assert (np.abs(clusters.local) <= (10, 20)).all()


@pytest.fixture(scope="module")
def jets() -> tuple[Event, dict[str, int]]:
    """Many particles side by side, as in the core of a jet."""
    layout = read_layout(ODD)
    gun = EventGenerator(0.0, "gun", Gun(n_particles=1000, pt=(5.0, 50.0), eta_min=0.6, eta_max=0.65)).at(layout.vertex)
    detector = replace(Detector.of(layout), hadronic=False, clusters=True)
    return next(simulate_events(1, gun, detector, seed=2))


@pytest.mark.acts
def test_errors_are_those_of_the_clusters(jets: tuple[Event, dict[str, int]]) -> None:
    event, counts = jets
    table = detector_modules(read_layout(ODD))
    hits, truth = event.hits, event.truth
    assert truth is not None
    assert hits.geometry_id is not None
    assert hits.local is not None
    assert hits.variance is not None
    assert counts["merged"] > 0
    row = table.rows(hits.geometry_id)
    pixels = np.flatnonzero((table.pitch[row] == 0.05).all(axis=1))
    pitch_error = 0.05 / np.sqrt(12)
    error = np.sqrt(hits.variance[pixels]) / pitch_error
    assert set(np.round(np.unique(error), 2)) == {0.5, 0.55, 0.85}
    # Most are of several channels along the beam, whose direction is at 60 degrees to the sensors.
    assert (error[:, 1] < 0.6).mean() > 0.8


@pytest.mark.acts
def test_a_merged_cluster_has_all_its_particles(jets: tuple[Event, dict[str, int]]) -> None:
    event, _ = jets
    truth = event.truth
    assert truth is not None
    table = detector_modules(read_layout(ODD))
    assert event.hits.geometry_id is not None
    shared = np.unique(truth.shared_hit)
    pixels = shared[(table.pitch[table.rows(event.hits.geometry_id[shared])] == 0.05).all(axis=1)]
    assert len(pixels) > 0
    assert (truth.particle_id[pixels] > 0).all()
    for hit, other in zip(truth.shared_hit, truth.shared_particle, strict=True):
        assert other > 0
        assert other != truth.particle_id[hit]


def test_sensors_without_a_thickness_are_refused() -> None:
    for layout in (PLAIN, None):
        with pytest.raises(ConfigError, match="unknown thickness, expected sensor_mm in each"):
            next(simulate_events(1, detector=Detector(layout=layout, clusters=True), seed=1))
    with pytest.raises(ConfigError, match="sensor_mm = -1"):
        replace(PLAIN.barrel[0], sensor_mm=-1.0)
