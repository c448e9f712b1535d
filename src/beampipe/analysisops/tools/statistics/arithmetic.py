"""Tools that compute with single numbers and pass their errors on.

To first order, for uncorrelated inputs x_i: error^2 = sum over i of (df/dx_i * error_i)^2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.expressions.evaluation import number
from beampipe.analysisops.tools.expressions.parser import parse
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.errors import nearest

__all__ = ["calculate_tool", "solve_linear_tool"]

_MATTERS: Final = 1e-3
"""A value is a source of a result if the result changes by this part when the value doubles, to first order."""

_LARGEST: Final = 20
"""So many unknowns may a system have."""


def calculate_tool(
    bench: Bench,
    expression: str,
    values: dict[str, float],
    errors: dict[str, float] = {},  # noqa: B006 - only read; it stands in the schema as the default
) -> Mapping[str, Any]:
    """Compute an expression of numbers, and its uncertainty to first order, with uncorrelated errors.

    Args:
        expression: such as "(n - b) / (lumi * eff)".
        values: name -> number; numbers from results of tools.
        errors: name -> standard uncertainty of that number; left out: exact.
    """
    parsed = parse(expression)
    for name in errors:
        if name not in values:
            raise ToolRefusedError(
                f"errors: got {name[:40]!r}, expected some of {', '.join(values)}{nearest(name, values)}"
            )
    if min(errors.values(), default=0.0) < 0:
        raise ToolRefusedError("errors: got a negative one, expected 0 or more")
    value = number(parsed, values)
    if not math.isfinite(value):
        raise ToolRefusedError(f"expression {expression[:80]!r}: got no finite number, expected one; check the values")
    square = 0.0
    matter = []
    bench.numbers_judged = True
    for name in sorted(parsed.names):
        step = 1e-5 * (abs(values[name]) or 1.0)
        above, below = (number(parsed, {**values, name: values[name] + way}) for way in (step, -step))
        slope = (above - below) / (2 * step)
        if not math.isfinite(slope):
            raise ToolRefusedError(
                f"expression {expression[:80]!r}: has no slope in {name}; its error cannot be passed on"
            )
        square += (slope * errors.get(name, 0.0)) ** 2
        if abs(slope * values[name]) > _MATTERS * abs(value) or value == 0:
            bench.use_number(values[name])
            matter.append(name)
    return {"value": value, "uncertainty": math.sqrt(square), "depends_on": matter}


def solve_linear_tool(
    bench: Bench,
    matrix: list[list[float]],
    matrix_errors: list[list[float]],
    right: list[float],
    right_errors: list[float],
) -> Mapping[str, Any]:
    """Solve matrix * solution = right, with errors to first order from uncorrelated errors of all entries.

    Args:
        matrix: rows of the matrix; as many as columns.
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
    a, b = np.array(matrix), np.array(right)
    a_errors, b_errors = np.array(matrix_errors), np.array(right_errors)
    if (a_errors < 0).any() or (b_errors < 0).any():
        raise ToolRefusedError("errors: got a negative one, expected 0 or more")
    if not np.linalg.cond(a) < 1e10:
        raise ToolRefusedError("matrix: got rows that depend on each other, expected independent ones")
    inverse = np.linalg.inv(a)
    solution = inverse @ b
    # x = A^-1 b: dx = A^-1 db - A^-1 dA x
    square = np.square(inverse) @ (np.square(b_errors) + np.square(a_errors) @ np.square(solution))
    return {"solution": solution.tolist(), "errors": np.sqrt(square).tolist()}
