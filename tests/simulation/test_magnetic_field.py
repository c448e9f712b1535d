"""The field of a solenoid: the law of Biot and Savart, what ACTS interpolates, and how it bends tracks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.simulation.detector import Solenoid, read_layout
from beampipe.simulation.magnetic_field import build_field, solenoid_field
from tests.simulation.layouts import shot

COIL = Solenoid(1200.0, 3000.0)
COMPACT = Path(__file__).parents[2] / "examples/detectors/compact.toml"
R, Z = (values.ravel() for values in np.meshgrid([0.0, 30.0, 400.0, 1000.0, 1100.0], [-2900.0, 0.0, 1500.0, 3300.0]))


def by_biot_and_savart(coil: Solenoid, r: ndarray, z: ndarray) -> tuple[ndarray, ndarray]:
    """The same field as a sum over pieces of loops of wire."""
    angle = (np.arange(600) + 0.5) * 2 * np.pi / 600
    wire = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1) * coil.radius_mm
    along = np.stack([-np.sin(angle), np.cos(angle), 0 * angle], axis=1)
    result = []
    for at in zip([0.0, *r], [0.0, *z], strict=True):
        field = np.zeros(3)
        for loop in (np.arange(800) + 0.5) / 400 - 1:
            way = np.array([at[0], 0.0, at[1] - loop * coil.half_length_mm]) - wire
            field += (np.cross(along, way) / np.linalg.norm(way, axis=1)[:, None] ** 3).sum(axis=0)
        result.append(field)
    fields = np.array(result)
    return fields[1:, 0] / fields[0, 2], fields[1:, 2] / fields[0, 2]


def test_it_is_that_of_loops_of_wire() -> None:
    radial, along = solenoid_field(COIL, R, Z)
    expected_radial, expected_along = by_biot_and_savart(COIL, R, Z)
    np.testing.assert_allclose(radial, expected_radial, atol=2e-3)
    np.testing.assert_allclose(along, expected_along, atol=2e-3)
    np.testing.assert_allclose(radial[R == 0], 0, atol=1e-12)
    # A long coil has a constant field.
    radial, along = solenoid_field(Solenoid(1200.0, 1e6), R, Z)
    np.testing.assert_allclose(radial, 0, atol=1e-5)
    np.testing.assert_allclose(along, 1, atol=1e-5)


@pytest.mark.acts
def test_acts_reads_the_map_over_the_whole_detector() -> None:
    import acts

    layout = replace(read_layout(COMPACT), solenoid=COIL)
    field = build_field(3.8, layout)
    cache = field.makeCache(acts.MagneticFieldContext())
    tesla = acts.UnitConstants.T
    for x, y, z in ((0.0, 0.0, 0.0), (300.0, -400.0, 1500.0), (0.0, 33.0, -2650.0), (-900.0, 600.0, 400.0)):
        got = field.getField(acts.Vector3(x, y, z), cache)
        r = np.hypot(x, y)
        radial, along = solenoid_field(COIL, np.array([r]), np.array([z]))
        expected = 3.8 * np.array([radial[0] * x / max(r, 1e-9), radial[0] * y / max(r, 1e-9), along[0]])
        np.testing.assert_allclose([got[axis] / tesla for axis in range(3)], expected, atol=2e-3)


@pytest.mark.acts
def test_particles_bend_less_where_the_field_is_weaker() -> None:
    layout = read_layout(COMPACT)
    short = replace(layout, solenoid=Solenoid(1400.0, 1500.0))

    def turn(hits_of: object) -> ndarray:
        """Mean change of phi between the first hits and those at the end of the discs, by pT."""
        event = shot(hits_of, 5, 300, (2.0, 2.001), 2.4)  # type: ignore[arg-type]
        assert event.truth is not None
        r, phi, z = event.hits.position.astype(np.float64).T
        particle = event.truth.particle_id
        turns = []
        for number in np.unique(particle[particle > 0]):
            mine = np.flatnonzero(particle == number)
            far = mine[np.argmax(np.abs(z[mine]))]
            near = mine[np.argmin(r[mine])]
            if abs(z[far]) > 2000:
                bend = abs(np.remainder(phi[far] - phi[near] + np.pi, 2 * np.pi) - np.pi)
                turns.append(bend / (r[far] - r[near]))
        assert len(turns) > 20
        return np.array(turns)

    constant, weaker = np.median(turn(layout)), np.median(turn(short))
    assert 0.5 * constant < weaker < 0.9 * constant


def test_a_coil_inside_the_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="solenoid: got radius_mm = 900"):
        replace(read_layout(COMPACT), solenoid=Solenoid(900.0, 3000.0))
    with pytest.raises(ConfigError, match="half_length_mm = 0, expected more than 0"):
        Solenoid(1200.0, 0.0)
