"""The Open Data Detector: its sensors against public numbers, and the space points of its double-sided strips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beampipe.errors import ConfigError, InputError
from beampipe.events import NOISE, Event, Hits, Particles, Truth, cylindrical
from beampipe.simulation.degradation import Degradation, degrade
from beampipe.simulation.detector import Modules, detector_modules, read_layout, volume_of
from beampipe.simulation.stereo import measured_on, noise_hits, on_modules, pair_strips

from .layouts import shot
from .test_layouts import written

ODD = Path("odd")

PUBLIC_HITS = np.array(
    [
        # pixels, short strips, long strips (both sensors of a module), of the public events of ColliderML
        (21.376684188842773, 23.844932556152344, 246.84646606445312),
        (-4.574204444885254, -42.281829833984375, 1315.5999755859375),
        (237.1177215576172, 101.64148712158203, 617.75),
        (243.8428192138672, 101.06209564208984, 628.25),
        (814.1930541992188, -77.62710571289062, 108.79991912841797),
        (825.3662109375, -60.94829177856445, 108.5),
        (124.55986785888672, 1015.069580078125, 652.4276123046875),
        (124.67191314697266, 1021.9684448242188, 651.0),
        (-511.3389892578125, -640.8308715820312, 1274.5),
        (-511.46624755859375, -641.5099487304688, 1279.5),
        (-874.5303955078125, -466.59637451171875, 1925.5),
        (-871.6012573242188, -469.1623840332031, 1920.5),
    ]
)
"""x, y, z [mm]."""


@pytest.fixture(scope="module")
def modules() -> Modules:
    return detector_modules(read_layout(ODD))


def test_it_has_the_sensors_of_the_public_description(modules: Modules) -> None:
    assert len(modules) == 18_824
    volume, count = np.unique(volume_of(modules.geometry_id), return_counts=True)
    assert dict(zip(volume.tolist(), count.tolist(), strict=True)) == {
        2: 420, 3: 2492, 4: 420, 5: 756, 6: 5796, 7: 756, 8: 1152, 9: 5880, 10: 1152
    }  # fmt: skip


def test_public_hits_lie_on_its_sensors(modules: Modules) -> None:
    """Of all 3786 hits of the five events, 3785 do; a long strip gives the middle of the strip."""
    for xyz in PUBLIC_HITS:
        near = np.flatnonzero(np.linalg.norm(modules.centre - xyz, axis=1) < 130)
        local = modules.to_local(near, np.tile(xyz, (len(near), 1)))
        on_it = modules.inside(near, local[:, :2], 0.01) & (np.abs(local[:, 2]) < 0.001)
        assert on_it.sum() == 1
        if volume_of(modules.geometry_id[near[on_it]])[0] >= 8:
            assert abs(local[on_it, 1][0]) < 1e-3


def test_hits_of_known_position_are_put_on_their_sensors(modules: Modules) -> None:
    xyz = np.concatenate([PUBLIC_HITS, PUBLIC_HITS[:1] + 5.0])
    none = np.empty(0, np.int64)
    particle = np.repeat(np.arange(1, 8), [1, 1, 2, 2, 2, 4, 1])
    n = len(np.unique(particle))
    zero = np.zeros((n, 3), np.float32)
    particles = Particles(
        np.arange(1, n + 1), np.full(n, 13, np.int32), np.ones(n, np.float32), zero, zero, np.ones(n, np.bool_)
    )
    event = Event(3, Hits(cylindrical(*xyz.T)), Truth(particle, particles, none, none))
    placed, rows = on_modules(event.hits, modules)
    np.testing.assert_array_equal(rows, np.arange(len(PUBLIC_HITS)))
    assert placed.geometry_id is not None
    assert volume_of(placed.geometry_id).tolist() == [3, 4, 6, 6, 9, 9, 9, 9, 10, 10, 10, 10]
    points = measured_on(event, modules, 3.0)
    # Strips of one particle on both sensors make a point; the fourth particle has 0.5 GeV, too little in the barrel.
    assert points.truth is not None
    assert points.truth.particle_id.tolist() == [1, 2, 3, 3, 5, 6, 6]
    assert measured_on(points, modules, 3.0) is points
    with pytest.raises(InputError, match="got 0 of 13 hits on modules of the detector 'odd', expected 90% or more"):
        measured_on(replace(event, hits=Hits(event.hits.position + np.float32(1))), modules, 3.0)
    with pytest.raises(InputError, match="event 3: got no truth"):
        measured_on(replace(event, truth=None), modules, 3.0)


def strips(modules: Modules, xyz: np.ndarray, first: np.ndarray, particle: np.ndarray, aside: float = 0.0) -> Event:
    """Both measurements of particles that come straight from the origin through `xyz`, near the first sensor.

    Args:
        modules: modules of the detector.
        xyz: a point of each line [mm].
        first: row of the first sensor that each crosses.
        particle: number of each particle.
        aside: shift across the strips of the second measurement [mm].
    """
    local, row = [], []
    for sensor in (0, 1):
        normal, centre = modules.axes[first + sensor][:, :, 2], modules.centre[first + sensor]
        scale = (centre * normal).sum(axis=1) / (xyz * normal).sum(axis=1)
        local.append(modules.to_local(first + sensor, xyz * scale[:, None])[:, 0] + sensor * aside)
        row.append(first + sensor)
    rows = np.concatenate(row)
    measured = np.column_stack([np.concatenate(local), np.zeros(len(rows))])
    n = int(particle.max())
    particles = Particles(
        np.arange(1, n + 1),
        np.full(n, 13, np.int32),
        np.full(n, -1, np.float32),
        np.ones((n, 3), np.float32),
        np.zeros((n, 3), np.float32),
        np.ones(n, np.bool_),
    )
    hits = Hits(
        cylindrical(*modules.to_global(rows, measured).T),
        modules.geometry_id[rows],
        measured.astype(np.float32),
        modules.variance[rows].astype(np.float32),
    )
    return Event(0, hits, Truth(np.tile(particle, 2), particles, np.empty(0, np.int64), np.empty(0, np.int64)))


def some_points(modules: Modules, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of first sensors of long strips, all different, and points on them [mm]."""
    rng = np.random.default_rng(1)
    assert modules.stereo is not None
    first = rng.permutation(np.flatnonzero(np.isfinite(modules.stereo))[::2])[:n]
    return first, modules.to_global(first, 0.8 * modules.uniform(first, rng).astype(np.float64))


def test_strips_of_a_straight_line_cross_where_it_does(modules: Modules) -> None:
    first, xyz = some_points(modules, 200)
    event = pair_strips(strips(modules, xyz, first, np.arange(1, 201)), modules, 3.0)
    assert event.truth is not None
    assert len(event.hits) == 200
    row = event.truth.particle_id - 1
    # Points lie on the second sensor of barrels and between both sensors of discs: some millimetres from the first.
    along = event.hits.xyz.astype(np.float64) - xyz[row]
    direction = xyz[row] / np.linalg.norm(xyz[row], axis=1, keepdims=True)
    across = along - (along * direction).sum(axis=1, keepdims=True) * direction
    assert np.linalg.norm(across, axis=1).max() < 0.02
    assert event.hits.local is not None
    np.testing.assert_array_equal(event.hits.geometry_id, modules.geometry_id[first][row])


def test_two_particles_in_a_module_give_four_points(modules: Modules) -> None:
    first, xyz = some_points(modules, 1)
    axis = modules.axes[first[0]]
    two = np.concatenate([xyz - 20 * axis[:, 1] * np.sign((xyz - modules.centre[first]) @ axis[:, 1]), xyz])
    two[0] += 0.5 * axis[:, 0]
    event = pair_strips(strips(modules, two, np.repeat(first, 2), np.array([1, 2])), modules, 3.0)
    assert event.truth is not None
    assert sorted(event.truth.particle_id.tolist()) == [NOISE, NOISE, 1, 2]
    # Measurements of two particles in one strip belong to both: then no point is a ghost.
    merged = strips(modules, xyz, first, np.array([1]))
    assert merged.truth is not None
    both = replace(merged.truth, shared_hit=np.array([0, 1]), shared_particle=np.array([2, 2]))
    joined = pair_strips(Event(0, merged.hits, both), modules, 3.0)
    assert joined.truth is not None
    assert joined.truth.particle_id.tolist() == [1]
    assert joined.truth.shared_particle.tolist() == [2]
    assert joined.truth.shared_hit.tolist() == [0]


def test_strips_of_soft_particles_are_paired_and_others_not(modules: Modules) -> None:
    """At 1 GeV a barrel module is crossed at 0.38 rad: 2.6 mm between the sensors."""
    first, xyz = some_points(modules, 2000)
    in_barrel = volume_of(modules.geometry_id[first]) == 9
    inner = np.hypot(xyz[:, 0], xyz[:, 1]) < 900
    first, xyz = first[in_barrel & inner][:100], xyz[in_barrel & inner][:100]
    number = np.arange(1, len(first) + 1)
    assert len(pair_strips(strips(modules, xyz, first, number, 2.5), modules, 3.0).hits) == len(first)
    assert len(pair_strips(strips(modules, xyz, first, number, 7.5), modules, 3.0).hits) == 0
    far = pair_strips(strips(modules, xyz, first, number, 2.5), modules, 3.0).hits
    assert far.geometry_id is not None
    centre = modules.centre[modules.rows(far.geometry_id)]
    assert np.abs(far.z - centre[:, 2]).max() <= 54.1


@pytest.mark.acts
def test_muons_cross_it() -> None:
    layout = read_layout(ODD)
    event = shot(layout, 1, 200, (5.0, 20.0), 0.8)
    modules = detector_modules(layout)
    hits, truth = event.hits, event.truth
    assert truth is not None
    assert hits.geometry_id is not None
    layer = hits.geometry_id >> np.uint64(36)
    # Four pixel, four short-strip layers and two of long strips: at most 2 % are missed, in the gaps along z.
    per_particle = [len(np.unique(layer[truth.particle_id == number])) for number in truth.particles.particle_id]
    assert 9.7 < np.mean(per_particle) <= 10
    short = np.flatnonzero(volume_of(hits.geometry_id) == 6)
    assert hits.local is not None
    channel = (hits.local[short] + [24, 54]) / [0.08, 0.5]
    np.testing.assert_allclose(channel % 1, 0.5, atol=2e-3)
    noisy = degrade(event, Degradation(0.0, 0.1, 0.5), 1, modules=modules)
    assert noisy.hits.geometry_id is not None
    row = modules.rows(noisy.hits.geometry_id)
    assert modules.stereo is not None
    assert (~np.isfinite(modules.stereo[row]) | (modules.geometry_id[row] >> np.uint64(8)) % np.uint64(2) == 1).all()


def test_noise_on_either_sensor_is_a_space_point(modules: Modules) -> None:
    first, xyz = some_points(modules, 50)
    local = modules.to_local(first + 1, xyz)[:, :2].astype(np.float32)
    points = noise_hits(modules, first + 1, local)
    np.testing.assert_array_equal(points.geometry_id, modules.geometry_id[first])
    assert points.local is not None
    np.testing.assert_allclose(points.local[:, 1], local[:, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pitch_mm = [0.1, 0.1]", "pitch_mm = [0.1]"), "one number for two sensors of different stereo_mrad"),
        (("half_length_mm = 200", "n_z = 8\nn_phi = [20]"), "3 rows or more for each of the 2 radii"),
        (
            ("inner_radius_mm = 45", "inner_radius_mm = 45\nrings = [{ radius_mm = 80, n_phi = 10,"
             " half_width_mm = [10, 20], half_length_mm = 30 }]"),
            "expected the sizes in the rings only",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_layout(written(tmp_path, change))
