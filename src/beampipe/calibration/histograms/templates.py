"""Merged histograms as numbers of jets: slices scaled to the luminosity and added, quarks apart from gluons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
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
        groups: (n_groups, n_variations, n_pt, 2 regions, n_flavours, n_x) sums of weights of each group of events; no
            groups if they were not wanted.
    """

    axes: Axes
    variations: tuple[Variation, ...]
    values: Float64[ndarray, "v p 2 f x"]
    squares: Float64[ndarray, "v p 2 f x"]
    replicas: Float64[ndarray, "b p 2 f x"]
    entries: Float64[ndarray, "p 2 f x"]
    groups: Float64[ndarray, "g c q 2 h y"] = field(default_factory=lambda: np.empty((0, 0, 0, 2, 0, 0)))

    def flavours(self, tagger: str, *, replicas: bool = False) -> Float64[ndarray, "v p 2 2 x"]:
        """Quarks and gluons of one tagger: (variation or replica, pt, region, (quark, gluon), x)."""
        return self._flavours(self.replicas if replicas else self.values, tagger)

    def flavours_by_group(self, tagger: str) -> Float64[ndarray, "g v p 2 2 x"]:
        """As by `flavours`, of each group of events: (group, variation, pt, region, (quark, gluon), x)."""
        return self._flavours(self.groups, tagger)

    def totals_by_group(self, tagger: str) -> Float64[ndarray, "g p 2 x"]:
        """As by `total`, of each group of events, nominal: (group, pt, region, x)."""
        return self._total(self.groups[:, 0] if len(self.groups) else self.values[:0], tagger)

    def _flavours(self, every: Float64[ndarray, "*v f x"], tagger: str) -> Float64[ndarray, "*v 2 y"]:
        values = every[..., self.axes.columns(tagger)]
        quark, gluon = self._split()
        summed = values[..., quark[0], :]
        for flavour in quark[1:]:
            summed = summed + values[..., flavour, :]
        return np.stack([summed, values[..., gluon, :]], axis=-2)

    def total(self, tagger: str, *, replicas: bool = False) -> Float64[ndarray, "v p 2 x"]:
        """All flavours of one tagger together: (variation or replica, pt, region, x)."""
        return self._total(self.replicas if replicas else self.values, tagger)

    def _total(self, every: Float64[ndarray, "*v f x"], tagger: str) -> Float64[ndarray, "*v y"]:
        values = every[..., self.axes.columns(tagger)]
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


_SUMS: Final = ("values", "squares", "replicas", "entries", "groups")
"""The fields of `Templates` that are summed over slices."""


def _by_group(filled: Filled, units: Float64[ndarray, " v"]) -> Float64[ndarray, "g v p 2 f x"]:
    shape = (filled.n_groups, len(units), *filled.axes.shape)
    return (filled.groups * units[:, None]).reshape(shape) if filled.n_groups else np.zeros(shape)


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
        by_case = np.concatenate([by_weight[:, 0], np.full(len(filled.kinematics), nominal)])
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
            _by_group(filled, unit * by_case),
        )
        if total is None:
            total = part
        else:
            total = replace(total, **{name: getattr(total, name) + getattr(part, name) for name in _SUMS})
    assert total is not None  # keep_books gives at least one slice
    return total
