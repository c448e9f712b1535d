"""Random numbers that belong to things."""

from __future__ import annotations

import numpy as np
import pytest

from beampipe.random_numbers import keys, normal, poisson, uniform


def test_numbers_do_not_depend_on_company() -> None:
    whole = uniform(keys(7, np.arange(100)), 2)
    np.testing.assert_array_equal(whole[40:60], uniform(keys(7, np.arange(40, 60)), 2))
    assert not np.any(whole == uniform(keys(8, np.arange(100)), 2))
    assert not np.any(whole == uniform(keys(7, np.arange(100)), 3))


def test_order_of_the_parts_of_a_key_matters() -> None:
    assert keys(1, 2) != keys(2, 1)


def test_uniform_and_normal() -> None:
    n = 200_000
    key = keys(np.arange(n))
    first, second = uniform(key, 0), uniform(key, 1)
    assert first.mean() == pytest.approx(0.5, abs=4 / np.sqrt(12 * n))
    assert first.std() == pytest.approx(1 / np.sqrt(12), rel=0.005)
    for other in (second, np.roll(first, 1)):
        assert abs(np.corrcoef(first, other)[0, 1]) < 4 / np.sqrt(n)
    assert normal(key, 0).mean() == pytest.approx(0, abs=4 / np.sqrt(n))
    assert normal(key, 0).std() == pytest.approx(1, abs=4 / np.sqrt(2 * n))


def test_poisson_follows_its_law_and_grows_with_the_mean() -> None:
    n = 200_000
    chance = uniform(keys(np.arange(n)), 0)
    small, large = poisson(chance, np.full(n, 0.7)), poisson(chance, np.full(n, 0.9))
    assert (large >= small).all()
    assert (small == 0).mean() == pytest.approx(np.exp(-0.7), abs=0.005)
    for sample, mean in ((small, 0.7), (large, 0.9)):
        assert sample.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / n))
        assert sample.var() == pytest.approx(mean, rel=0.02)
    assert poisson(chance[:3], np.zeros(3)).tolist() == [0, 0, 0]
