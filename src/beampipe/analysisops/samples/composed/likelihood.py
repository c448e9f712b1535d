"""Counts in bins, their expectation, and what they tell of a parameter with all others profiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.errors import ConfigError

Values = Mapping[str, float]
"""Values of parameters, by name."""

Expectation = Callable[[Values], ndarray]
"""Expected contents of the bins of a channel."""

_STEP: Final = 1e-2
"""Step of numerical derivatives, in units of the scale of a parameter."""

_ITERATIONS: Final = 30
_EMPTY: Final = 1e-9
"""Smallest expected content of a bin."""


class IllPosedError(ConfigError):
    """The data of a draw cannot answer its question."""


@dataclass(frozen=True)
class Model:
    """A likelihood of independent Poisson counts.

    Attributes:
        channels: expected contents of bins by channel; each is a smooth function of the parameters.
        truth: true values of the parameters.
        scales: size of a change of each parameter that changes expectations by little, for derivatives.
    """

    channels: Mapping[str, Expectation]
    truth: Values
    scales: Values

    def expected(self, values: Values) -> Float64[ndarray, " bins"]:
        """Expected contents of all channels, one after the other."""
        contents = np.concatenate([channel(values) for channel in self.channels.values()])
        return np.asarray(np.maximum(contents, _EMPTY))

    def derivatives(self, values: Values) -> Float64[ndarray, "bins parameters"]:
        """Derivatives of `expected` by each parameter, in units of its scale."""
        columns = []
        for name in self.truth:
            step = _STEP * self.scales[name]
            ends = [self.expected({**values, name: values[name] + sign * step}) for sign in (1, -1)]
            columns.append((ends[0] - ends[1]) / (2 * _STEP))
        return np.stack(columns, axis=1)

    def uncertainties(self, values: Values | None = None) -> dict[str, float]:
        """Smallest achievable standard uncertainty of each parameter, all others profiled (Cramér and Rao).

        Raises:
            IllPosedError: the data do not determine some parameter.
        """
        values = self.truth if values is None else values
        variances = np.diag(np.linalg.inv(self._information(values)))
        if not (variances > 0).all():
            raise IllPosedError("composition: the data do not determine all parameters")
        return {
            name: float(np.sqrt(variance)) * self.scales[name]
            for name, variance in zip(self.truth, variances, strict=True)
        }

    def fitted(self, counts: Mapping[str, ndarray]) -> dict[str, float]:
        """The parameters of the highest likelihood, searched from the truth by Fisher's scoring.

        Args:
            counts: contents of the bins of each channel.
        """
        observed = np.concatenate([counts[name] for name in self.channels])
        values, best = dict(self.truth), self._log_likelihood(observed, self.truth)
        for _ in range(_ITERATIONS):
            expected, derivatives = self.expected(values), self.derivatives(values)
            slope = derivatives.T @ (observed / expected - 1)
            step = np.linalg.solve(self._information(values), slope)
            for _ in range(12):
                trial = {
                    name: values[name] + change * self.scales[name]
                    for name, change in zip(self.truth, step, strict=True)
                }
                reached = self._log_likelihood(observed, trial)
                if reached >= best:
                    break
                step = step / 2
            else:
                return values
            gain, values, best = reached - best, trial, reached
            if gain < 1e-6:
                break
        return values

    def _information(self, values: Values) -> Float64[ndarray, "parameters parameters"]:
        derivatives = self.derivatives(values)
        information: ndarray = derivatives.T @ (derivatives / self.expected(values)[:, None])
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e14:
            raise IllPosedError("composition: the data do not determine all parameters")
        return information

    def _log_likelihood(self, observed: ndarray, values: Values) -> float:
        with np.errstate(all="ignore"):
            expected = self.expected(values)
            total = float(np.sum(observed * np.log(expected) - expected))
        return total if np.isfinite(total) else -np.inf
