"""The tool that gives an efficiency with its interval.

Of counts: Clopper and Pearson's interval (Biometrika 26 (1934) 404), whose ends are quantiles of beta distributions.
Of fitted yields with errors, for independent passed p and failed f = t - p:

    error^2 = ((1 - eff)^2 error_p^2 + eff^2 error_f^2) / t^2
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.refusal import ToolRefusedError

__all__ = ["clopper_pearson", "efficiency_tool"]

_ONE_SIGMA: Final = 0.6826894921370859


def efficiency_tool(
    bench: Bench,
    passed: float,
    total: float,
    passed_error: float | None = None,
    total_error: float | None = None,
) -> Mapping[str, Any]:
    """Efficiency = passed / total with its error and its interval of one standard deviation.

    Counts give Clopper and Pearson's interval. Yields from fits are given with their errors; the total is then passed
    plus failed, whose errors are independent: total_error^2 = passed_error^2 + failed_error^2.

    Args:
        passed: number that passed.
        total: number of all.
        passed_error: error of passed, if it comes from a fit.
        total_error: error of total, if it comes from a fit.
    """
    if not 0 <= passed <= total or total <= 0:
        raise ToolRefusedError(f"efficiency: got {passed:g} of {total:g}, expected 0 <= passed <= total and total > 0")
    efficiency = passed / total
    if (passed_error is None) != (total_error is None):
        raise ToolRefusedError("efficiency: got one error, expected both passed_error and total_error, or neither")
    if passed_error is not None and total_error is not None:
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
        lower, upper = clopper_pearson(round(passed), round(total))
        error = (upper - lower) / 2
    return {"efficiency": efficiency, "error": error, "lower": lower, "upper": upper}


def clopper_pearson(passed: int, total: int, level: float = _ONE_SIGMA) -> tuple[float, float]:
    """Central interval of a binomial probability; it covers the truth at least as often as it says."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    lower = 0.0 if passed == 0 else float(betaincinv(passed, total - passed + 1, tail))
    upper = 1.0 if passed == total else float(betaincinv(passed + 1, total - passed, 1 - tail))
    return lower, upper
