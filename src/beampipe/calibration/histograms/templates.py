"""Merged histograms as numbers of jets: slices scaled to the luminosity and added, quarks apart from gluons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from beampipe.calibration.histograms.sums import Axes, Filled
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.calibration.variations import UNVARIED, Variation
from beampipe.errors import InputError

__all__ = ["Templates", "templates_of"]


@dataclass(frozen=True, eq=False)
class Templates:
    """Numbers of jets of a sample.

    Attributes:
        axes: axes of the histograms.
        variations: what the first axis of `values` and `squares` counts: nominal, then weights, then jets.
        values: (n_variations, n_pt, 2 regions, n_flavours, n_x) sums of weights.
        squares: (n_variations, n_pt, 2 regions, n_flavours, n_x) sums of squares of weights.
        replicas: (n_replicas, n_pt, 2 regions, n_flavours, n_x) sums of weights of the nominal case.
        entries: (n_pt, 2 regions, n_flavours, n_x) numbers of jets of the nominal case, not weighted.
    """

    axes: Axes
    variations: tuple[Variation, ...]
    values: Float64[ndarray, "v p 2 f x"]
    squares: Float64[ndarray, "v p 2 f x"]
    replicas: Float64[ndarray, "b p 2 f x"]
    entries: Float64[ndarray, "p 2 f x"]

    def flavours(self, tagger: str, *, replicas: bool = False) -> Float64[ndarray, "v p 2 2 x"]:
        """Quarks and gluons of one tagger: (variation or replica, pt, region, (quark, gluon), x)."""
        values = (self.replicas if replicas else self.values)[..., self.axes.columns(tagger)]
        quark, gluon = self._split()
        summed = values[..., quark[0], :]
        for flavour in quark[1:]:
            summed = summed + values[..., flavour, :]
        return np.stack([summed, values[..., gluon, :]], axis=-2)

    def total(self, tagger: str, *, replicas: bool = False) -> Float64[ndarray, "v p 2 x"]:
        """All flavours of one tagger together: (variation or replica, pt, region, x)."""
        values = (self.replicas if replicas else self.values)[..., self.axes.columns(tagger)]
        summed = values[..., 0, :]
        for flavour in range(1, values.shape[-2]):
            summed = summed + values[..., flavour, :]
        return summed

    def flavour_numbers(self, tagger: str) -> Float64[ndarray, "p 2 2 2"]:
        """Number and effective number of quark and gluon jets of the nominal case, as by `total_numbers`.

        Axes are pt, region, (quark, gluon), (number, effective number).
        """
        quark, gluon = self._split()
        return np.stack([self._numbers(tagger, quark), self._numbers(tagger, [gluon])], axis=2)

    def total_numbers(self, tagger: str) -> Float64[ndarray, "p 2 2"]:
        """Number and effective number of jets of the nominal case: (pt, region, (number, effective number)).

        The effective number is (sum of weights)^2 / (sum of squared weights): that of jets of equal weight that would
        have the same relative error.
        """
        return self._numbers(tagger, range(len(self.axes.flavours)))

    def _numbers(self, tagger: str, flavours: Iterable[int]) -> Float64[ndarray, "p 2 2"]:
        columns, chosen = self.axes.columns(tagger), list(flavours)
        parts = (self.entries[..., columns], self.values[0][..., columns], self.squares[0][..., columns])
        summed = [np.cumsum(np.cumsum(part, axis=-1)[:, :, chosen, -1], axis=-1)[..., -1] for part in parts]
        number, weights, squares = summed
        with np.errstate(divide="ignore", invalid="ignore"):
            effective = np.where(squares > 0, weights**2 / squares, number)
        return np.stack([number, effective], axis=-1)

    def _split(self) -> tuple[list[int], int]:
        names = self.axes.flavours
        if "gluon" not in names:
            raise InputError(f"flavours: got {names}, expected labelled jets; is this sample data?")
        return [k for k, name in enumerate(names) if name != "gluon"], names.index("gluon")


_SUMS: Final = ("values", "squares", "replicas", "entries")
"""The fields of `Templates` that are summed over slices."""


def templates_of(by_slice: Mapping[int, Filled], bookkeeping: Bookkeeping, weight_bits: int) -> Templates:
    """Scale the slices and add them, in the order of their numbers.

    Args:
        by_slice: merged histograms of each slice.
        bookkeeping: factors of each slice and weight.
        weight_bits: number of bits after the point that weights were rounded to.
    """
    unit = 2.0**-weight_bits
    total: Templates | None = None
    for one in bookkeeping.slices:
        filled = by_slice[one.number]
        axes = filled.axes
        factors = {name: one.factors[bookkeeping.weight_names.index(name)] for name in filled.weight_names}
        by_weight = np.array([factors[name] for name in filled.weight_names])[:, None]
        nominal = factors[filled.weight_names[0]]
        values = np.concatenate([filled.sumw.T * unit * by_weight, filled.varied_sumw * unit * nominal])
        squares = np.concatenate([filled.sumw2.T * unit * by_weight**2, filled.varied_sumw2 * unit * nominal**2])
        part = Templates(
            axes,
            (
                UNVARIED,
                *(Variation("weight", name) for name in filled.weight_names[1:]),
                *(Variation("jets", name) for name in filled.kinematics),
            ),
            values.reshape(-1, *axes.shape),
            squares.reshape(-1, *axes.shape),
            (filled.replicas.T * unit * nominal).reshape(-1, *axes.shape),
            filled.entries.astype(np.float64).reshape(axes.shape),
        )
        if total is None:
            total = part
        else:
            total = replace(total, **{name: getattr(total, name) + getattr(part, name) for name in _SUMS})
    assert total is not None  # keep_books gives at least one slice
    return total
