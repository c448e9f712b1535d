from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.calibration.config import Rule
from beampipe.calibration.method.uncertainties import combine, shift_vectors
from beampipe.errors import ConfigError

WAYS = ("a_up", "a_down", "b_up", "b_down")
SHIFTS = np.array([[0.3, 0.0, -0.1], [-0.1, 0.2, -0.4], [-0.4, 0.0, 0.2], [0.1, -0.1, 0.3]])


@pytest.mark.parametrize(
    ("rule", "want"),
    [
        ("envelope", [0.4, 0.2, 0.4]),
        ("quadrature", [0.27**0.5, 0.05**0.5, 0.30**0.5]),
        (
            "up_down",
            [0.5, 0.05**0.5, 0.5],
        ),  # ups (0.3, 0.4), (0, 0), (0.1, 0.2); downs (0.1, 0.1), (0.2, 0.1), (0.4, 0.3)
    ],
)
def test_rules_by_hand(rule: Rule, want: list[float]) -> None:
    np.testing.assert_allclose(combine(rule, WAYS, SHIFTS), want, rtol=1e-14)


def test_difference_is_the_size_of_its_one_shift() -> None:
    np.testing.assert_allclose(combine("difference", ["x"], np.array([[0.2, -0.3]])), [0.2, 0.3])


def test_order_of_names_does_not_matter() -> None:
    order = [3, 0, 2, 1]
    names = [WAYS[k] for k in order]
    for rule in ("envelope", "quadrature", "up_down"):
        np.testing.assert_allclose(combine(rule, names, SHIFTS[order]), combine(rule, WAYS, SHIFTS), rtol=1e-14)


@pytest.mark.parametrize(
    ("rule", "names", "message"),
    [
        ("difference", ["x", "y"], "got 2 variations, expected one; take envelope or quadrature"),
        ("up_down", ["a_up", "a_down", "b"], "got a_up, a_down, b, expected as many names ending _up as _down"),
        ("up_down", ["a_up", "b_up", "a_down"], "as many names"),
        ("envelope", [], "got no variation"),
        ("quadrature", [], "got no variation"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(rule: Rule, names: list[str], message: str) -> None:
    shifts = np.zeros((len(names), 3))
    with pytest.raises(ConfigError, match=message):
        combine(rule, names, shifts)
    with pytest.raises(ConfigError, match=message):
        shift_vectors(rule, names, shifts)


def test_what_is_not_known_stays_unknown() -> None:
    shifts = np.array([[0.1, np.nan], [0.2, 0.1]])
    for rule in ("envelope", "quadrature", "up_down"):
        result = combine(rule, ["a_up", "a_down"], shifts)
        assert np.isfinite(result).tolist() == [True, False], rule


shift = st.lists(st.floats(-2, 2).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=5, max_size=5)


@pytest.mark.parametrize("rule", ["envelope", "quadrature", "up_down", "difference"])
@given(data=st.data())
def test_squares_of_the_vectors_add_up_to_the_uncertainty(rule: Rule, data: st.DataObject) -> None:
    pairs = 1 if rule == "difference" else data.draw(st.integers(1, 4))
    names = ["only"] if rule == "difference" else [f"{k}_{way}" for k in range(pairs) for way in ("up", "down")]
    shifts = np.array([data.draw(shift) for _ in names])
    vectors = shift_vectors(rule, names, shifts)
    np.testing.assert_allclose((vectors**2).sum(axis=0), combine(rule, names, shifts) ** 2, rtol=1e-12, atol=1e-15)


def test_vectors_keep_the_sign_between_bins() -> None:
    """What moves one bin up and another down is anticorrelated between them."""
    assert shift_vectors("envelope", ["x", "y"], np.array([[0.1, -0.5], [0.3, 0.2]])).tolist() == [[0.3, -0.5]]
    assert shift_vectors("difference", ["x"], np.array([[0.1, -0.5]])).tolist() == [[0.1, -0.5]]
