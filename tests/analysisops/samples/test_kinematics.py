"""Decays and laws of masses against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.samples import collisions
from beampipe.analysisops.samples.collisions import Detector, jets_of

positive = st.floats(0.5, 500.0)


@given(mass=positive, pt=positive, seed=st.integers(0, 2**32 - 1))
def test_products_of_a_decay_sum_to_the_parent_and_are_massless(mass: float, pt: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parent = collisions.parents(generator, np.full(5, mass), pt=np.full(5, pt))
    first, second = collisions.decay(parent, collisions.isotropic(generator, 5))
    np.testing.assert_allclose(first + second, parent, rtol=1e-6, atol=1e-6)
    scale = parent[:, 3]
    np.testing.assert_array_less(collisions.masses(first), 1e-3 * scale)
    np.testing.assert_array_less(collisions.masses(second), 1e-3 * scale)


@given(mass=st.floats(20.0, 300.0), seed=st.integers(0, 2**32 - 1))
def test_another_mass_leaves_pt_and_rapidity(mass: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    parent = collisions.parents(generator, np.full(5, 91.0), pt=generator.exponential(30, 5))
    pair = collisions.decay(parent, collisions.isotropic(generator, 5))
    first, second = collisions.with_masses(*pair, np.full(5, mass))
    new = first + second
    np.testing.assert_allclose(collisions.masses(new), mass, rtol=1e-6)
    np.testing.assert_allclose(new[:, :2], parent[:, :2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        np.arctanh(new[:, 2] / new[:, 3]), np.arctanh(parent[:, 2] / parent[:, 3]), rtol=1e-6, atol=1e-6
    )


@given(mass=positive, width=st.floats(0.1, 10.0), seed=st.integers(0, 2**32 - 1))
def test_masses_stay_within_their_limits(mass: float, width: float, seed: int) -> None:
    generator = np.random.default_rng(seed)
    low, high = mass - 7 * width, mass + 3 * width
    line = collisions.breit_wigner(generator, 50, mass=mass, width=width, low=low, high=high)
    assert (line >= low - 1e-6).all()
    assert (line <= high + 1e-6).all()
    law = collisions.falling(generator, 50, scale=width, low=low, high=high)
    assert ((law >= low) & (law <= high + 1e-6)).all()


def test_a_breit_wigner_line_has_half_of_its_events_within_half_a_width() -> None:
    generator = np.random.default_rng(1)
    line = collisions.breit_wigner(generator, 100_000, mass=91.0, width=2.5, low=-1e6, high=1e6)
    assert np.mean(np.abs(line - 91.0) < 1.25) == pytest.approx(0.5, abs=0.008)


def test_a_smeared_mass_keeps_its_mean_and_is_not_skewed() -> None:
    generator = np.random.default_rng(3)
    number = 200_000
    parent = np.tile([[0.0, 0.0, 0.0, 200.0]], (number, 1))
    first, second = collisions.decay(parent, np.tile([[1.0, 0.0, 0.0]], (number, 1)))
    event = np.repeat(np.arange(number), 2)
    pair = np.stack([first, second], 1).reshape(-1, 4)
    jets = jets_of(generator, Detector(jet=0.12), event, np.full(2 * number, 5), pair)
    assert len(jets) == 2 * number
    momenta = collisions.from_polar(*(jets.fields[name] for name in ("pt", "eta", "phi", "e")))
    mass = collisions.masses(momenta[::2] + momenta[1::2])
    assert mass.mean() == pytest.approx(200.0, abs=0.2)
    assert mass.std() == pytest.approx(200 * 0.12 / np.sqrt(2), rel=0.02)
    assert abs(np.mean(((mass - mass.mean()) / mass.std()) ** 3)) < 0.06
