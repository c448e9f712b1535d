"""Tools that build a statistical model of several regions, a HistFactory workspace, and fit it with pyhf.

In bin i of a channel the model expects

    b_i * sum over samples s of scale_s * n_si * product over the parameters p of s of f_p

with the contents n_si of the sample's histogram. A free parameter p scales its samples by f_p = p; one with a relative
uncertainty r by a factor between 1 - r and 1 + r at p = -1 and +1, and p has a Gaussian constraint of width 1. The
factor b_i has the statistical uncertainty of all samples in the bin.

K. Cranmer et al., HistFactory, CERN-OPEN-2012-016 (2012); L. Heinrich, M. Feickert, G. Stark, K. Cranmer, J. Open
Source Softw. 6 (2021) 2823 (pyhf).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations_with_replacement, product
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.analysisops.contract import TimeLimit, ToolRefusedError, require_name
from beampipe.analysisops.tools.fits import propagated
from beampipe.analysisops.tools.handles import Histogram, ToolContext, Workspace

_DATA: Final = "data"
"""Name under which a channel lists its histogram of data."""

_MOST_BINS: Final = 60
"""Maximum number of bins of all channels together."""

_MOST_MODIFIERS: Final = 200
"""Maximum number of modifiers of all samples together in a workspace that a program leaves."""

_RANGE: Final = [0.0, 1000.0]
"""Range of free parameters."""

_STEP: Final = 0.2
"""Step of differences [standard deviations]."""

_LARGEST_CONDITION: Final = 1e8
"""Largest condition of the matrix of second derivatives."""

_UNFIXED: Final = "the fit does not converge; check that each free parameter has a region that fixes it"


@dataclass(frozen=True)
class WorkspaceFit:
    """The best fit of a workspace.

    Attributes:
        values: fitted parameters, by name; factors on bins have the index of the bin in their name.
        errors: their standard uncertainties from the curvature of the likelihood; 0 for fixed ones.
        expected: channel -> sample -> its expected number of events with the standard uncertainty.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]
    expected: Mapping[str, Mapping[str, tuple[float, float]]]


def build_workspace_tool(
    context: ToolContext,
    channels: dict[str, dict[str, str]],
    parameters: dict[str, list[str]],
    measured: str,
    uncertainties: dict[str, float | str] = {},  # noqa: B006 - only read; it is the default in the schema
    scales: dict[str, float | str] = {},  # noqa: B006
) -> Mapping[str, Any]:
    """Build a HistFactory workspace from histograms; of several regions, with the statistics of simulated samples.

    Args:
        channels: region -> handle of its histogram of "data", and of that of each sample expected there.
        parameters: parameter -> the samples that it scales, in all regions.
        measured: name of the parameter that is measured.
        uncertainties: parameter -> reference to its relative uncertainty; those left out float freely.
        scales: sample -> reference to a number that its histograms are multiplied by, such as a normalisation.
    """
    samples = {name for histograms in channels.values() for name in histograms if name != _DATA}
    for what, names, valid in (
        ("parameters", chain.from_iterable(parameters.values()), sorted(samples)),
        ("scales", scales, sorted(samples)),
        ("uncertainties", uncertainties, parameters),
        ("measured", [measured], [name for name in parameters if name not in uncertainties]),
    ):
        for name in names:
            require_name(what, name, valid)
    sizes = {name: context.number(value, f"uncertainties: {name[:40]}") for name, value in uncertainties.items()}
    factors = {name: context.number(value, f"scales: {name[:40]}") for name, value in scales.items()}
    if not all(0 < size < 1 for size in sizes.values()):
        raise ToolRefusedError("uncertainties: expected relative ones, more than 0 and less than 1")
    modifiers: dict[str, list[dict[str, Any]]] = {name: [] for name in samples}
    for parameter, scaled in parameters.items():
        size = sizes.get(parameter)
        kind = "normfactor" if size is None else "normsys"
        interpolation = None if size is None else {"hi": 1 + size, "lo": 1 - size}
        for name in scaled:
            modifiers[name].append({"name": parameter, "type": kind, "data": interpolation})
    made, observed = [], {}
    for channel, handles in channels.items():
        histograms = {name: context.histogram(handle) for name, handle in handles.items()}
        _check_channel(channel, histograms, factors)
        observed[channel] = histograms[_DATA].values.tolist()
        contents = []
        for name in sorted(set(handles) - {_DATA}):
            factor, histogram = factors.get(name, 1.0), histograms[name]
            statistics = {
                "name": f"statistics_{channel}",
                "type": "staterror",
                "data": (abs(factor) * np.sqrt(histogram.variances)).tolist(),
            }
            events = (factor * histogram.values).tolist()
            contents.append({"name": name, "data": events, "modifiers": [*modifiers[name], statistics]})
        made.append({"name": channel, "samples": contents})
    bins = sum(map(len, observed.values()))
    if not 1 <= bins <= _MOST_BINS:
        raise ToolRefusedError(f"channels: got {bins} bins, expected 1 to {_MOST_BINS}; use wider bins")
    specification = _specification(made, observed, measured)
    return {"handle": context.keep(Workspace(specification)), "workspace": specification}


def fit_workspace_tool(
    context: ToolContext,
    workspace: str,
    fixed: list[str] = [],  # noqa: B006 - only read; it is the default in the schema
) -> Mapping[str, Any]:
    """Fit a whole workspace; gives its parameters, and how many events are expected of each sample.

    Args:
        workspace: handle of the workspace.
        fixed: parameters that are fixed at their best values; the others keep only the rest of their uncertainties.
    """
    fit = fit_workspace(context.workspace(workspace).specification, fixed, context.check_time)
    return {
        "parameters": {name: {"value": fit.values[name], "error": fit.errors[name]} for name in fit.values},
        "expected": {
            channel: {name: {"value": value, "error": error} for name, (value, error) in samples.items()}
            for channel, samples in fit.expected.items()
        },
        "method": "maximum likelihood of all regions (pyhf), errors from its curvature",
    }


def read_workspace(table: object) -> Workspace | None:
    """A workspace in the JSON form of pyhf, with the modifiers that `build_workspace_tool` makes; else None.

    Args:
        table: what a program left, of any type.
    """
    try:
        return Workspace(_read(table))
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _read(table: Any) -> dict[str, Any]:
    channels = []
    bins = modifiers = 0
    observed = {str(entry["name"]): _numbers(entry["data"]) for entry in table["observations"]}
    for channel in table["channels"]:
        name = str(channel["name"])
        samples = []
        for sample in channel["samples"]:
            contents = _numbers(sample["data"])
            if len(contents) != len(observed[name]):
                raise ValueError(name)
            read = [_read_modifier(modifier, len(contents)) for modifier in sample["modifiers"]]
            samples.append({"name": str(sample["name"]), "data": contents, "modifiers": read})
            modifiers += len(read)
        bins += len(observed[name])
        channels.append({"name": name, "samples": samples})
    if not 1 <= bins <= _MOST_BINS or modifiers > _MOST_MODIFIERS:
        raise ValueError(bins)
    measured = str(table["measurements"][0]["config"]["poi"])
    return _specification(channels, observed, measured)


def _read_modifier(modifier: Any, bins: int) -> dict[str, Any]:
    kind, content = modifier["type"], modifier["data"]
    if kind == "normsys":
        high, low = _numbers([content["hi"], content["lo"]])
        if not (low > 0 and high > 0):
            raise ValueError(kind)
        content = {"hi": high, "lo": low}
    elif kind == "staterror":
        content = _numbers(content)
        if len(content) != bins or min(content) < 0:
            raise ValueError(kind)
    elif kind == "normfactor":
        content = None
    else:
        raise ValueError(kind)
    return {"name": str(modifier["name"]), "type": kind, "data": content}


def _numbers(values: Any) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(numbers)
    return numbers


def _specification(
    channels: list[dict[str, Any]], observed: Mapping[str, list[float]], measured: str
) -> dict[str, Any]:
    """A workspace of channels in the JSON form of pyhf."""
    free = {
        modifier["name"]
        for channel in channels
        for sample in channel["samples"]
        for modifier in sample["modifiers"]
        if modifier["type"] == "normfactor"
    }
    if measured not in free:
        raise ValueError(measured)
    ranges = [{"name": name, "bounds": [_RANGE]} for name in sorted(free)]
    return {
        "channels": channels,
        "observations": [{"name": channel["name"], "data": observed[channel["name"]]} for channel in channels],
        "measurements": [{"name": "measurement", "config": {"poi": measured, "parameters": ranges}}],
        "version": "1.0.0",
    }


def fit_workspace(
    specification: Mapping[str, Any], fixed: Sequence[str] = (), check_time: Callable[[], None] | None = None
) -> WorkspaceFit:
    """Fit a workspace.

    Args:
        specification: the workspace in the JSON form of pyhf.
        fixed: parameters that are fixed at their best values.
        check_time: called with each evaluation of the likelihood; raises ToolRefusedError when time is over. None for
            the check of a new `TimeLimit`.

    Raises:
        ToolRefusedError: there is no such parameter, names clash, or the fit does not converge, or not in time.
    """
    import pyhf

    check = check_time or TimeLimit().check
    pyhf.set_backend("numpy", "minuit")
    logging.getLogger("pyhf.optimize").setLevel(logging.CRITICAL)  # it raises what it logs, too
    settings = specification["measurements"][0]["config"]
    try:
        model = pyhf.Model(
            {"channels": specification["channels"], "parameters": settings["parameters"]},
            poi_name=settings["poi"],
            validate=False,  # `read_workspace` and `build_workspace_tool` check the form
        )
    except (pyhf.exceptions.InvalidNameReuse, AssertionError) as error:
        raise ToolRefusedError(
            "workspace: got a name of parameters of two types, or of statistics of two regions; use different names"
        ) from error
    observed = {observation["name"]: observation["data"] for observation in specification["observations"]}
    data = [*(count for channel in model.config.channels for count in observed[channel]), *model.config.auxdata]
    names = list(model.config.par_names)
    for name in fixed:
        require_name("fixed", name, names)
    likelihood = model.logpdf

    def limited(parameters: Any, observations: Any) -> Any:
        check()
        return likelihood(parameters, observations)

    model.logpdf = limited
    try:
        values = np.asarray(pyhf.infer.mle.fit(data, model))
    except pyhf.exceptions.FailedMinimization as error:
        raise ToolRefusedError(f"workspace: {_UNFIXED}") from error
    free = np.array([name not in fixed for name in names])
    covariance = np.zeros((len(names), len(names)))
    covariance[np.ix_(free, free)] = _covariance(lambda point: -float(model.logpdf(point, data)[0]), values, free)
    errors = np.sqrt(np.diag(covariance))
    contents = _contents(model, values)
    spreads = propagated(lambda point: _contents(model, point), values, 1e-3 * errors, covariance)
    expected: dict[str, dict[str, tuple[float, float]]] = {}
    pairs = product(model.config.channels, model.config.samples)  # the order of `_contents`
    for (channel, sample), content, spread in zip(pairs, contents, spreads, strict=True):
        expected.setdefault(channel, {})[sample] = float(content), float(spread)
    return WorkspaceFit(
        dict(zip(names, values.tolist(), strict=True)), dict(zip(names, errors.tolist(), strict=True)), expected
    )


def _covariance(function: Callable[[ndarray], float], best: ndarray, free: ndarray) -> ndarray:
    """Inverse of the second derivatives at the minimum, in the free parameters.

    Derivatives are differences over a fifth of a standard deviation, which MINUIT's own are too imprecise for: the
    parts of an uncertainty are differences of such matrices.
    """
    axes = np.eye(len(best))[free]
    lowest = function(best)

    def curvature(step: ndarray) -> float:
        return function(best + step) + function(best - step) - 2 * lowest

    scales = []
    for axis in axes:
        small = 1e-2 * max(1.0, abs(float(best @ axis)))
        second = curvature(small * axis) / small**2
        scales.append(_STEP / np.sqrt(second) if second > 0 else np.nan)
    steps = np.array(scales)[:, None] * axes
    matrix = np.zeros((len(steps), len(steps)))
    for row, column in combinations_with_replacement(range(len(steps)), 2):
        a, b = steps[row], steps[column]
        matrix[row, column] = matrix[column, row] = (curvature(a + b) - curvature(a - b)) / 4
    if not (np.isfinite(matrix).all() and np.linalg.cond(matrix) < _LARGEST_CONDITION):
        raise ToolRefusedError(f"workspace: {_UNFIXED}")
    inverse: ndarray = np.linalg.inv(matrix) * np.outer(scales, scales)
    return inverse


def _contents(model: Any, values: ndarray) -> ndarray:
    """Expected number of events of each sample in each channel; 0 where a channel has no such sample."""
    by_sample = np.asarray(model.main_model.expected_data(values.tolist(), return_by_sample=True))
    slices = [model.config.channel_slices[channel] for channel in model.config.channels]
    contents: ndarray = np.array([by_sample[:, part].sum(axis=1) for part in slices])
    return contents.ravel()


def _check_channel(channel: str, histograms: Mapping[str, Histogram], factors: Mapping[str, float]) -> None:
    if _DATA not in histograms or len(histograms) < 2:
        raise ToolRefusedError(f"channel {channel[:40]}: expected a histogram of data, and one of a sample at least")
    data = histograms[_DATA]
    for name, histogram in histograms.items():
        if not np.array_equal(histogram.edges, data.edges):
            raise ToolRefusedError(f"channel {channel[:40]}: {name[:40]}: got other bins than those of data")
    if (data.values < 0).any():
        raise ToolRefusedError(f"channel {channel[:40]}: got data with negative contents, expected counts")
    expectations = [
        factors.get(name, 1.0) * histogram.values for name, histogram in histograms.items() if name != _DATA
    ]
    if (np.sum(expectations, axis=0) <= 0).any():
        raise ToolRefusedError(
            f"channel {channel[:40]}: got a bin in which no events are expected, expected some in each; use wider bins"
        )
