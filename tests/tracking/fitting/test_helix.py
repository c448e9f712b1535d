"""Helices: signs and units against textbook forms, derivatives against differences."""

from __future__ import annotations

import numpy as np
import pytest
from numpy import ndarray

from beampipe.errors import ConfigError
from beampipe.tracking.fitting.helix import cross, from_acts, perigee_of, through, to_acts
from beampipe.tracking.fitting.tables import kicks, measurements

N = 300
STEPS = np.array([1e-3, 1e-6, 1e-9, 1e-3, 1e-6])
"""Small changes of d0, phi, omega, z0 and cot."""
SCALES = np.array([1.0, 1e3, 1e6, 1.0, 1e3])
"""Sizes of derivatives by them."""


def helices(seed: int = 1) -> ndarray:
    random = np.random.default_rng(seed)
    omega = random.choice([-1, 1], N) * 10 ** random.uniform(-8, -2.9, N)
    columns = (random.normal(0, 3, N), random.uniform(-3, 3, N), omega, random.normal(0, 50, N))
    return np.stack([*columns, random.choice([-1, 1], N) * random.uniform(0.6, 3, N)], axis=1)


def place(helix: ndarray, s: ndarray) -> tuple[ndarray, ndarray]:
    """Place and azimuth after the arc s, by the centre of the circle."""
    d0, phi, omega, z0, cot = helix.T
    x, y = -(d0 + 1 / omega) * np.sin(phi), (d0 + 1 / omega) * np.cos(phi)
    turned = phi + omega * s
    return np.stack([x + np.sin(turned) / omega, y - np.cos(turned) / omega, z0 + s * cot], axis=1), turned


def test_signs_are_those_of_acts() -> None:
    # A particle along x that passes the beam line at y = +1 mm: d0 = +1, as line x direction points to +y.
    vertex, along_x = np.array([[-20.0, 1.0, 5.0]]), np.array([[1.0, 0.0, 2.0]])
    straight = perigee_of(vertex, along_x, np.array([1e-9]), 2.0)[0]
    np.testing.assert_allclose(straight[:4], [1.0, 45.0, 0.0, np.arctan2(1, 2)], atol=1e-6)
    # In a field along +z a positive charge turns clockwise: y falls.
    here, bent = place(from_acts(perigee_of(vertex, along_x, np.array([1.0]), 2.0), 2.0), np.array([500.0]))
    assert here[0, 1] < 0 > bent[0]


def test_the_radius_is_that_of_the_textbook() -> None:
    # pT [GeV] = 0.3 B [T] R [m]
    helix = from_acts(perigee_of(np.zeros((1, 3)), np.array([[0.0, 3.0, 1.0]]), np.array([-1.0]), 3.8), 3.8)
    assert 1 / helix[0, 2] == pytest.approx(1000 * 3.0 / (0.299792458 * 3.8))


def test_through_a_point_of_a_helix_goes_that_helix() -> None:
    given = helices()[np.abs(helices()[:, 2]) > 1e-5]
    at, turned = place(given, np.full(len(given), 400.0))
    back = through(at, turned, given[:, 2], given[:, 4])
    back[:, 1] += 2 * np.pi * np.round((given[:, 1] - back[:, 1]) / (2 * np.pi))
    np.testing.assert_allclose(back / SCALES[[0, 3, 0, 0, 0]], given / SCALES[[0, 3, 0, 0, 0]], atol=1e-6)


def test_parameters_there_and_back() -> None:
    given = helices()
    np.testing.assert_allclose(from_acts(to_acts(given, -3.0), -3.0), given, rtol=1e-9)
    assert (np.abs(to_acts(given + 10 * np.eye(5)[1], 2.0)[:, 2]) <= np.pi).all()


def test_without_a_field_there_is_no_momentum() -> None:
    with pytest.raises(ConfigError, match="got 0 T"):
        to_acts(helices(), 0.0)


@pytest.mark.parametrize("barrel", [True, False])
def test_derivatives_of_measurements(barrel: bool) -> None:
    given = helices()
    given = given[np.abs(given[:, 2]) > 1e-6]
    hit = place(given, np.random.default_rng(2).uniform(30, 900, len(given)))[0]
    kind, azimuth = np.full(len(given), barrel), np.arctan2(hit[:, 1], hit[:, 0]) + 0.2

    def residuals(helix: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        return measurements(helix, cross(helix, hit[:, 0], hit[:, 1]), hit, kind, azimuth)

    at, by_helix, radial = residuals(given)
    met = np.abs(radial) > 0.3  # a barrel is not grazed
    assert met.sum() > 150
    np.testing.assert_allclose(at[met], 0, atol=1e-6)
    for j, step in enumerate(STEPS):
        change = step * np.eye(5)[j]
        steep = (residuals(given + change)[0] - residuals(given - change)[0]) / (2 * step)
        np.testing.assert_allclose(by_helix[met, :, j] / SCALES[j], -steep[met] / SCALES[j], atol=1e-4)


def test_kicks_move_the_helix_and_not_the_place() -> None:
    given = helices()
    given = given[np.abs(given[:, 2]) > 1e-6]
    at, turned = place(given, np.random.default_rng(3).uniform(30, 900, len(given)))
    crossing = cross(given, at[:, 0], at[:, 1])
    omega, cot = given[:, 2], given[:, 4]

    def moved(k: int, size: float) -> ndarray:
        """The helix whose phi, cot (at constant momentum) or omega is changed at the crossing."""
        bend = omega * np.sqrt((1 + (cot + size) ** 2) / (1 + cot**2)) if k == 1 else omega + (k == 2) * size
        return through(at, turned + (k == 0) * size, bend, cot + (k == 1) * size)

    by_helix = measurements(given, crossing, at, np.zeros(len(given), np.bool_), turned)[1]
    for k, (kick, size) in enumerate(zip(kicks(given, crossing), (1e-6, 1e-6, 1e-9), strict=True)):
        steep = (moved(k, size) - moved(k, -size)) / (2 * size)
        scale = np.array([1e3, 1, 1, 1e3, 1]) * (1e3 if k == 2 else 1)
        np.testing.assert_allclose(kick / scale, steep / scale, atol=1e-4)
        np.testing.assert_allclose(np.einsum("nmj,nj->nm", by_helix, kick) / scale[0], 0, atol=1e-9)
