"""The tool that fits yields of templates to a histogram.

    expected in bin i = sum over templates t of yield_t * share_ti

where share_ti are the contents of template t, normalised. The templates' own statistics enter as by Beeston and Barlow
in the short form of Conway (arXiv:1103.0354): a factor b_i on each bin with a Gaussian constraint of relative width
s_i = sqrt(variance of the expectation) / expectation, which has a closed solution:

    b_i^2 + b_i * (mu_i s_i^2 - 1) - n_i s_i^2 = 0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from beampipe.analysisops.tools.bench import Bench
from beampipe.analysisops.tools.contents import Histogram
from beampipe.analysisops.tools.refusal import ToolRefusedError
from beampipe.analysisops.tools.statistics.likelihood import Parameter, goodness, minimise
from beampipe.errors import nearest

__all__ = ["fit_templates_tool"]


def fit_templates_tool(
    bench: Bench,
    data: str,
    templates: dict[str, str],
    fixed: list[str] = [],  # noqa: B006 - only read; it stands in the schema as the default
) -> Mapping[str, Any]:
    """Fit how many events of each template make up a histogram; statistics of the templates are in the errors.

    Args:
        data: handle of the histogram of data.
        templates: name of a process -> handle of its histogram, in the same bins.
        fixed: processes that keep the yield of their template, such as a background that is known well.
    """
    observed = bench.histogram(data)
    shapes = {name: bench.histogram(handle) for name, handle in templates.items()}
    _check(data, observed, shapes, fixed)
    names = list(shapes)
    sums = np.array([shapes[name].values.sum() for name in names])
    shares = np.array([shapes[name].values for name in names]) / sums[:, None]
    variances = np.array([shapes[name].variances for name in names]) / np.square(sums)[:, None]
    total = float(observed.values.sum())
    if total <= 0:
        raise ToolRefusedError(f"data {data}: got no event, expected some")

    def function(yields: Sequence[float]) -> float:
        bench.check_time()
        return _likelihood(observed.values, np.asarray(yields) @ shares, np.square(yields) @ variances)

    kept = sum(float(sums[names.index(name)]) for name in fixed)
    floating = max(1, len(names) - len(fixed))
    start = max(total - kept, 0.1 * total) / floating
    parameters = [
        Parameter(
            name,
            float(sums[i]) if name in fixed else start,
            0.1 * start,
            *((-np.inf, np.inf) if name in fixed else (-total, 3 * total + 10)),
            fixed=name in fixed,
        )
        for i, name in enumerate(names)
    ]
    minimum = minimise(function, parameters)
    yields = np.array([minimum.values[name] for name in names])
    expected = yields @ shares
    spread = observed.values + np.square(yields) @ variances
    filled = expected > 0
    scale = np.ones(len(expected))
    scale[filled] = np.maximum(spread[filled], expected[filled]) / expected[filled]
    good = goodness(observed.values / scale, observed.variances / scale, expected / scale, len(minimum.names))
    return {
        "yields": {name: {"value": minimum.values[name], "error": minimum.errors[name]} for name in names},
        **good.to_json(),
        "valid": minimum.valid,
        "covariance": {"names": list(minimum.names), "matrix": minimum.covariance.tolist()},
        "method": "extended binned maximum likelihood, statistics of templates by Beeston-Barlow lite",
    }


def _likelihood(counts: ndarray, expected: ndarray, variance: ndarray) -> float:
    """Negative logarithm, less what it is for a perfect description; factors of bins at their best values."""
    safe = np.maximum(expected, 1e-9)
    square = variance / np.square(safe)
    linear = safe * square - 1
    factor = np.maximum((-linear + np.sqrt(np.square(linear) + 4 * counts * square)) / 2, 1e-12)
    level = safe * factor
    observed = np.maximum(counts, 0)
    each = level - counts - observed * np.log(level / np.where(observed > 0, observed, level))
    pull = np.where(square > 0, np.square(factor - 1) / (2 * np.where(square > 0, square, 1.0)), 0.0)
    lacking = np.minimum(expected - 1e-9, 0.0)
    return float(each.sum() + pull.sum() + 1e3 * np.square(lacking).sum())


def _check(data: str, observed: Histogram, shapes: Mapping[str, Histogram], fixed: Sequence[str]) -> None:
    if not shapes:
        raise ToolRefusedError("templates: got none, expected at least one")
    for name, shape in shapes.items():
        if len(shape.edges) != len(observed.edges) or not np.allclose(shape.edges, observed.edges):
            got, wanted = (
                f"{len(one.values)} bins from {one.edges[0]:g} to {one.edges[-1]:g}" for one in (shape, observed)
            )
            raise ToolRefusedError(f"template {name}: got {got}, expected those of {data}: {wanted}")
        if shape.values.sum() <= 0 or (shape.values < 0).any():
            raise ToolRefusedError(
                f"template {name}: got an empty one or negative bins, expected events; use wider bins"
            )
    for name in fixed:
        if name not in shapes:
            raise ToolRefusedError(
                f"fixed: got {name[:40]!r}, expected some of {', '.join(shapes)}{nearest(name, shapes)}"
            )
    if len(set(fixed)) == len(shapes):
        raise ToolRefusedError("fixed: got all templates, expected at least one that floats")
