"""Tools for counts: arithmetic with errors, efficiencies, and upper limits.

Errors, to first order for uncorrelated inputs x_i: error^2 = sum over i of (df/dx_i * error_i)^2.

Efficiencies of counts have Clopper and Pearson's interval (Biometrika 26 (1934) 404), whose ends are quantiles of beta
distributions. For fitted yields with errors, with independent passed p and failed f = t - p:

    error^2 = ((1 - eff)^2 error_p^2 + eff^2 error_f^2) / t^2

The limit on a signal strength m is where

    CLs(m) = P(n <= observed | m * signal + background) / P(n <= observed | background) = 1 - level

with P the Poisson probability, averaged over a Gaussian for the background and one for the signal, both truncated at 0
(Read, J. Phys. G 28 (2002) 2693; Cousins and Highland, NIM A 320 (1992) 331). Without uncertainties and without
observed events it is -log(1 - level) / signal, independent of the background: 2.996 for one expected event.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError, require_name
from beampipe.analysisops.tools.expressions import number, parse
from beampipe.analysisops.tools.handles import ToolContext

_MATTERS: Final = 1e-3
"""A result depends on a value if it changes by more than this fraction when the value doubles, to first order."""

_LARGEST: Final = 20
"""Maximum number of unknowns of a system."""


def calculate_tool(
    context: ToolContext,
    expression: str,
    values: dict[str, float | str],
    errors: dict[str, float | str] = {},  # noqa: B006 - only read; it is the default in the schema
) -> Mapping[str, Any]:
    """Compute an expression of results, and its uncertainty; to first order, with uncorrelated errors.

    Args:
        expression: such as "(n - b) / (lumi * eff)"; its numbers are those of the prompt or of the task's constants.
        values: name -> reference to a number of an earlier result, such as "call_7.signal_yield".
        errors: name -> reference to the standard uncertainty of that number; left out: exact.
    """
    parsed = parse(expression)
    for literal in parsed.literals:
        context.literal(literal, f"expression {expression[:80]!r}")
    for name in errors:
        require_name("errors", name, values)
    numbers = {name: context.number(value, f"values: {name[:40]}", use=False) for name, value in values.items()}
    spreads = {name: context.number(error, f"errors: {name[:40]}") for name, error in errors.items()}
    if min(spreads.values(), default=0.0) < 0:
        raise ToolRefusedError("errors: got a negative one, expected 0 or more")
    value = number(parsed, numbers)
    if not math.isfinite(value):
        raise ToolRefusedError(f"expression {expression[:80]!r}: got no finite number, expected one; check the values")
    square = 0.0
    matter = []
    for name in sorted(parsed.names):
        step = 1e-5 * (abs(numbers[name]) or 1.0)
        above, below = (number(parsed, {**numbers, name: numbers[name] + way}) for way in (step, -step))
        slope = (above - below) / (2 * step)
        if not math.isfinite(slope):
            raise ToolRefusedError(
                f"expression {expression[:80]!r}: has no slope in {name}; its error cannot be passed on"
            )
        square += (slope * spreads.get(name, 0.0)) ** 2
        if abs(slope * numbers[name]) > _MATTERS * abs(value) or value == 0:
            context.number(values[name], name)
            matter.append(name)
    return {"value": value, "uncertainty": math.sqrt(square), "depends_on": matter}


def solve_linear_tool(
    context: ToolContext,
    matrix: list[list[float | str]],
    matrix_errors: list[list[float | str]],
    right: list[float | str],
    right_errors: list[float | str],
) -> Mapping[str, Any]:
    """Solve matrix * solution = right, with errors; to first order, from uncorrelated errors of all entries.

    Args:
        matrix: rows of the matrix, as many as columns; entries are references such as "call_7.efficiency".
        matrix_errors: standard uncertainties of its entries, in the same form.
        right: right-hand side, one entry for each row.
        right_errors: standard uncertainties of the right-hand side.
    """
    n = len(right)
    rows = [len(row) for row in (*matrix, *matrix_errors)]
    if not 1 <= n <= _LARGEST or [len(matrix), len(matrix_errors), len(right_errors)] != [n] * 3 or rows != [n] * 2 * n:
        raise ToolRefusedError(
            f"matrix: got {len(matrix)} rows for {n} on the right, expected a square matrix of up to {_LARGEST}, its"
            " errors in the same form, and as many numbers and errors on the right"
        )
    a, a_errors = (
        np.array([[context.number(entry, what) for entry in row] for row in rows_of])
        for what, rows_of in (("matrix", matrix), ("matrix_errors", matrix_errors))
    )
    b, b_errors = (
        np.array([context.number(entry, what) for entry in entries])
        for what, entries in (("right", right), ("right_errors", right_errors))
    )
    if (a_errors < 0).any() or (b_errors < 0).any():
        raise ToolRefusedError("errors: got a negative one, expected 0 or more")
    if not np.linalg.cond(a) < 1e10:
        raise ToolRefusedError("matrix: got rows that depend on each other, expected independent ones")
    inverse = np.linalg.inv(a)
    solution = inverse @ b
    # x = A^-1 b: dx = A^-1 db - A^-1 dA x
    square = np.square(inverse) @ (np.square(b_errors) + np.square(a_errors) @ np.square(solution))
    return {"solution": solution.tolist(), "errors": np.sqrt(square).tolist()}


_ONE_SIGMA: Final = 0.6826894921370859


def efficiency_tool(
    context: ToolContext,
    passed: float | str,
    total: float | str,
    passed_error: float | str | None = None,
    total_error: float | str | None = None,
) -> Mapping[str, Any]:
    """Efficiency = passed / total; with its error and its interval of one standard deviation.

    Counts give Clopper and Pearson's interval. Yields from fits are given with their errors; the total is then passed
    plus failed, whose errors are independent: total_error^2 = passed_error^2 + failed_error^2.

    Args:
        passed: reference to the number that passed, such as "call_7.n".
        total: reference to the number of all.
        passed_error: reference to the error of passed, if it comes from a fit.
        total_error: reference to the error of total, if it comes from a fit.
    """
    passed, total = context.number(passed, "passed"), context.number(total, "total")
    if not 0 <= passed <= total or total <= 0:
        raise ToolRefusedError(f"efficiency: got {passed:g} of {total:g}, expected 0 <= passed <= total and total > 0")
    efficiency = passed / total
    if (passed_error is None) != (total_error is None):
        raise ToolRefusedError("efficiency: got one error, expected both passed_error and total_error, or neither")
    if passed_error is not None and total_error is not None:
        passed_error = context.number(passed_error, "passed_error")
        total_error = context.number(total_error, "total_error")
        if not 0 <= passed_error <= total_error * (1 + 1e-9):
            raise ToolRefusedError(
                f"efficiency: got passed_error {passed_error:g} and total_error {total_error:g}, expected"
                " 0 <= passed_error <= total_error; total_error is sqrt(passed_error^2 + failed_error^2)"
            )
        failed_error = math.sqrt(max(total_error**2 - passed_error**2, 0.0))
        error = math.hypot((1 - efficiency) * passed_error, efficiency * failed_error) / total
        lower, upper = max(0.0, efficiency - error), min(1.0, efficiency + error)
    else:
        if passed != round(passed) or total != round(total):
            raise ToolRefusedError(
                "efficiency: got counts that are not whole, expected passed_error and total_error too"
            )
        from beampipe.tracking.evaluation.results import clopper_pearson

        lower, upper = clopper_pearson(round(passed), round(total), _ONE_SIGMA)
        error = (upper - lower) / 2
    return {"efficiency": efficiency, "error": error, "lower": lower, "upper": upper}


_REACH: Final = 6.0
"""Range of the average over an uncertainty, in standard deviations."""

_BAND: Final = {"expected_minus_1": 0.15865525393145707, "expected": 0.5, "expected_plus_1": 0.8413447460685429}
"""Quantiles of the count without a signal: the median and one standard deviation to each side."""


@dataclass(frozen=True)
class CountingLimit:
    """A counting experiment.

    Attributes:
        background: expected number without signal.
        background_error: its standard uncertainty.
        signal: expected number for strength 1.
        signal_error: its standard uncertainty.
        level: confidence level.
    """

    background: float
    background_error: float
    signal: float
    signal_error: float = 0.0
    level: float = 0.95

    def cls(self, strength: float, observed: int) -> float:
        """CLs of a strength."""
        return self.at_most(observed, strength) / max(self.at_most(observed, 0.0), 1e-300)

    def at_most(self, count: int, strength: float) -> float:
        """Probability of counting at most this many events."""
        from scipy.special import gammaincc

        if count < 0:
            return 0.0
        (level, weight), (signal, share) = self._background_nodes, self._signal_nodes
        rates = level[:, None] + strength * signal[None, :]
        return float(weight @ gammaincc(count + 1.0, np.maximum(rates, 1e-300)) @ share)

    def limit(self, observed: int) -> float:
        """Upper limit on the strength."""
        from scipy.optimize import brentq

        alpha = 1 - self.level
        high = 5.0 * (np.sqrt(max(observed, self.background) + 1.0) + 1.0) / self.signal
        for _ in range(60):
            if self.cls(high, observed) < alpha:
                return float(brentq(lambda strength: self.cls(strength, observed) - alpha, 0.0, high, rtol=1e-9))
            high *= 2
        raise ToolRefusedError("limit: got none, since the signal may be 0; expected a smaller signal_error")

    def quantile(self, probability: float) -> int:
        """Smallest count that, without a signal, is not exceeded with at least this probability."""
        spread = np.sqrt(self.background + self.background_error**2)
        low, high = -1, int(self.background + 12 * spread + 20)
        while high - low > 1:
            middle = (low + high) // 2
            if self.at_most(middle, 0.0) >= probability:
                high = middle
            else:
                low = middle
        return high

    @cached_property
    def _background_nodes(self) -> tuple[ndarray, ndarray]:
        return _nodes(self.background, self.background_error, 160)

    @cached_property
    def _signal_nodes(self) -> tuple[ndarray, ndarray]:
        return _nodes(self.signal, self.signal_error, 80)


def limit_tool(
    context: ToolContext,
    observed: float | str,
    background: float | str,
    background_error: float | str,
    signal: float | str,
    signal_error: float | str = 0.0,
    level: float = 0.95,
) -> Mapping[str, Any]:
    """Upper limit on a signal strength by CLs; of a counting experiment, with the expected limit and its band.

    Args:
        observed: reference to the number of events counted in data, such as "call_7.n".
        background: reference to the expected number without signal.
        background_error: reference to its standard uncertainty.
        signal: reference to the expected number of signal events for strength 1, or 1.
        signal_error: reference to its standard uncertainty.
        level: confidence level.
    """
    observed, background = context.number(observed, "observed"), context.number(background, "background")
    background_error = context.number(background_error, "background_error")
    signal, signal_error = context.number(signal, "signal"), context.number(signal_error, "signal_error")
    if observed != round(observed):
        raise ToolRefusedError(f"limit: got {observed:g} observed events, expected a whole number")
    observed = round(observed)
    if not (0 <= observed < 1e7 and 0 <= background < 1e7 and background_error >= 0 and signal_error >= 0):
        raise ToolRefusedError("limit: expected numbers from 0 to 1e7 that are not negative")
    if signal <= 0 or not 0.5 <= level < 1:
        raise ToolRefusedError(f"limit: got signal {signal:g} and level {level:g}, expected above 0, and 0.5 to 1")
    counting = CountingLimit(background, background_error, signal, signal_error, level)
    band = {name: counting.limit(counting.quantile(quantile)) for name, quantile in _BAND.items()}
    return {
        "limit": counting.limit(observed),
        **band,
        "p_background": 1 - counting.at_most(observed - 1, 0.0),
        "method": "CLs, exact Poisson sums averaged over Gaussian uncertainties",
    }


def _nodes(value: float, error: float, number: int) -> tuple[ndarray, ndarray]:
    """Quadrature nodes of a Gaussian truncated at 0, with weights that sum to 1."""
    if error <= 0:
        return np.array([value]), np.ones(1)
    low, high = max(0.0, value - _REACH * error), value + _REACH * error
    at, weight = np.polynomial.legendre.leggauss(number)
    values = low + (high - low) * (at + 1) / 2
    weight = weight * np.exp(-0.5 * np.square((values - value) / error))
    return values, weight / weight.sum()
