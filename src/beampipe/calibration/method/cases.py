"""Templates of quarks and gluons, the cases for which scale factors are measured, and events that are not counted.

Merged histograms are converted to numbers of jets: slices are scaled to the luminosity and added. A case is the nominal
one, a variation, another sample, or a replica.

The cuts on the trigger, pT and eta define which events are measured. Cuts on quality, labels and weights drop some of
these: no loss is silent, so every result contains the shares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64
from beampipe.calibration.events.dijets import CUT_NAMES, LAST_OF_PHASE_SPACE, WeightUnits
from beampipe.calibration.events.histograms import Axes, Filled
from beampipe.calibration.events.variations import UNVARIED, Variation
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping
from beampipe.errors import InputError

SumsOf = Literal["values", "replicas", "groups"]
"""Name of an attribute of `Templates`."""


@dataclass(frozen=True, eq=False)
class Templates:
    """Numbers of jets of a sample.

    Attributes:
        axes: axes of the histograms.
        variations: the variations along the first axis of `values` and `squares`: nominal, then weights, then jets.
        values: (n_variations, n_pt, 2 regions, n_flavours, n_x) sums of weights.
        squares: (n_variations, n_pt, 2 regions, n_flavours, n_x) sums of squares of weights.
        replicas: (n_replicas, n_pt, 2 regions, n_flavours, n_x) sums of weights of the nominal case.
        entries: (n_pt, 2 regions, n_flavours, n_x) numbers of jets of the nominal case, not weighted.
        groups: (n_groups, n_variations, n_pt, 2 regions, n_flavours, n_x) sums of weights of each group of events; no
            groups if they are not configured.
    """

    axes: Axes
    variations: tuple[Variation, ...]
    values: Float64[ndarray, "v p 2 f x"]
    squares: Float64[ndarray, "v p 2 f x"]
    replicas: Float64[ndarray, "b p 2 f x"]
    entries: Float64[ndarray, "p 2 f x"]
    groups: Float64[ndarray, "g c q 2 h y"] = field(default_factory=lambda: np.empty((0, 0, 0, 2, 0, 0)))

    def part(self, bins: slice, eta_edges: tuple[float, ...]) -> Templates:
        """The jets in some of the bins, which are those of pT in one bin of \\|eta\\|."""
        axes = {"values": 1, "squares": 1, "replicas": 1, "entries": 0, "groups": 2}
        sliced = {name: getattr(self, name)[(slice(None),) * axis + (bins,)] for name, axis in axes.items()}
        return replace(self, axes=replace(self.axes, eta_edges=eta_edges), **sliced)

    def flavours(self, tagger: str, of: SumsOf = "values") -> Float64[ndarray, "*v p 2 2 x"]:
        """Quarks and gluons of one tagger: (axes in front of `values`, `replicas` or `groups`, (quark, gluon), x)."""
        values: ndarray = getattr(self, of)[..., self.axes.columns(tagger)]
        quark, gluon = self._split()
        summed = values[..., quark[0], :]
        for flavour in quark[1:]:
            summed = summed + values[..., flavour, :]
        return np.stack([summed, values[..., gluon, :]], axis=-2)

    def total(self, tagger: str, of: SumsOf = "values") -> Float64[ndarray, "*v p 2 x"]:
        """All flavours of one tagger together: (axes in front of `values`, `replicas` or `groups`, x)."""
        values: ndarray = getattr(self, of)[..., self.axes.columns(tagger)]
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

        The effective number is (sum of weights)^2 / (sum of squared weights): the number of jets of equal weight with
        the same relative error.
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


def templates_of(by_slice: Mapping[int, Filled], bookkeeping: Bookkeeping, weight_bits: int) -> Templates:
    """Scale the slices and add them, in the order of their numbers.

    Args:
        by_slice: merged histograms of each slice.
        bookkeeping: factors of each slice and weight.
        weight_bits: number of bits after the point that weights were rounded to.
    """
    total: Templates | None = None
    for of_slice in bookkeeping.slices:
        if of_slice.number not in by_slice:
            continue  # no event
        filled, units = by_slice[of_slice.number], WeightUnits(weight_bits, of_slice.exponent)
        unit, square_unit = 1 / units.scale, 1 / units.square_scale
        axes = filled.axes
        factors = {name: of_slice.factors[bookkeeping.weight_names.index(name)] for name in filled.weight_names}
        by_weight = np.array([factors[name] for name in filled.weight_names])[:, None]
        nominal = factors[filled.weight_names[0]]
        values = np.concatenate([filled.sumw.T * unit * by_weight, filled.varied_sumw * unit * nominal])
        by_case = np.concatenate([by_weight[:, 0], np.full(len(filled.kinematics), nominal)])
        squares = np.concatenate(
            [filled.sumw2.T * square_unit * by_weight**2, filled.varied_sumw2 * square_unit * nominal**2]
        )
        unit_of_case = unit * by_case
        shape = (filled.n_groups, len(by_case), *filled.axes.shape)
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
            ((filled.groups * unit_of_case[:, None]).reshape(shape) if filled.n_groups else np.zeros(shape)),
        )
        if total is None:
            total = part
        else:
            total = replace(total, **{name: getattr(total, name) + getattr(part, name) for name in _SUMS})
    assert total is not None  # at least one slice has events
    return total


@dataclass(frozen=True, eq=False)
class Cases:
    """Numbers of jets for one tagger; regions are (forward, central), flavours (quark, gluon).

    Attributes:
        variations: the variations along the first axis of `simulation`: of the nominal sample, then other samples.
        simulation: (n_cases, n_pt, 2 regions, 2 flavours, n_x) jets of simulation.
        simulation_replicas: (n_replicas, n_pt, 2 regions, 2 flavours, n_x) jets of nominal simulation.
        data: (n_pt, 2 regions, n_x) jets of data.
        data_replicas: (n_replicas, n_pt, 2 regions, n_x) jets of data.
        jets: (n_pt, 2 regions, 3, 2) number and effective number of nominal jets of (quark, gluon, data); no bins if
            they are unknown.
        groups: (n_groups, n_cases, n_pt, 2 regions, 2 flavours, n_x) the part of `simulation` from each group of
            events; no groups if they are not configured.
        data_groups: (n_groups, n_pt, 2 regions, n_x) the same of `data`.
    """

    variations: tuple[Variation, ...]
    simulation: Float64[ndarray, "v p 2 2 x"]
    simulation_replicas: Float64[ndarray, "b p 2 2 x"]
    data: Float64[ndarray, "p 2 x"]
    data_replicas: Float64[ndarray, "b p 2 x"]
    jets: Float64[ndarray, "q 2 3 2"] = field(default_factory=lambda: np.empty((0, 2, 3, 2)))
    groups: Float64[ndarray, "g w r 2 2 y"] = field(default_factory=lambda: np.empty((0, 0, 0, 2, 2, 0)))
    data_groups: Float64[ndarray, "g r 2 y"] = field(default_factory=lambda: np.empty((0, 0, 2, 0)))

    def without_group(self, number: int) -> Cases:
        """The cases with a group of events left out, without replicas."""
        simulation, data = self.simulation - self.groups[number], self.data - self.data_groups[number]
        return Cases(self.variations, simulation, self.simulation_replicas[:0], data, self.data_replicas[:0])


def simulation_of(
    tagger: str, nominal: Templates, samples: Mapping[str, Templates]
) -> tuple[Float64[ndarray, "v p 2 2 x"], Float64[ndarray, "b p 2 2 x"]]:
    """`simulation` and `simulation_replicas` of `Cases`.

    Raises:
        InputError: the samples were filled with different axes.
    """
    _same_axes(nominal, samples)
    others: Sequence[Float64[ndarray, "1 p 2 2 x"]] = [templates.flavours(tagger)[:1] for templates in samples.values()]
    return np.concatenate([nominal.flavours(tagger), *others]), nominal.flavours(tagger, "replicas")


def cases_of(tagger: str, nominal: Templates, data: Templates, samples: Mapping[str, Templates]) -> Cases:
    """Stack the cases of one tagger.

    Args:
        tagger: name of the tagger.
        nominal: numbers of jets of the nominal sample, with all variations.
        data: numbers of jets of the sample that is used as data; only their sum over flavours is used.
        samples: numbers of jets of the other samples, by name; ``jets:NAME`` is a variation of jets.

    Raises:
        InputError: the samples were filled with different axes.
    """
    _same_axes(nominal, {"data": data})
    simulation, replicas = simulation_of(tagger, nominal, samples)
    grouped = {}
    if len(nominal.groups):
        parts = [nominal.flavours(tagger, "groups")]
        parts += [templates.flavours(tagger, "groups")[:, :1] for templates in samples.values()]
        grouped = {"groups": np.concatenate(parts, axis=1), "data_groups": data.total(tagger, "groups")[:, 0]}
    parsed = ((name, Variation.parse(name)) for name in samples)
    variations = (each if each.kind == "jets" else Variation("sample", name) for name, each in parsed)
    return Cases(
        variations=(*nominal.variations, *variations),
        simulation=simulation,
        simulation_replicas=replicas,
        data=data.total(tagger)[0],
        data_replicas=data.total(tagger, "replicas"),
        jets=np.concatenate([nominal.flavour_numbers(tagger), data.total_numbers(tagger)[:, :, None]], axis=2),
        **grouped,
    )


def _same_axes(nominal: Templates, others: Mapping[str, Templates]) -> None:
    for name, templates in others.items():
        if replace(templates.axes, flavours=()) != replace(nominal.axes, flavours=()):
            raise InputError(f"sample {name}: got other axes than the nominal sample, expected the same; fill it again")


REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "clean": "jets that are not clean (layout.branches.clean)",
        "n_trk": "jets with fewer tracks than selection.min_n_trk",
        "label": "jets without the label of a parton (layout.labels)",
        "weight": "weights above selection.max_weight",
    }
)
"""Cut that drops events inside the cuts on pT and eta -> what it drops."""

WARN_DROPPED: Final = 0.01
"""Share of dropped events from which on commands print a warning."""


class Dropped(NamedTuple):
    """Events of a sample inside the cuts on pT and eta that another cut drops, as shares.

    Attributes:
        sample: name of the sample.
        cut: name of the cut, one of `REASONS`.
        events: share of the events.
        weight: share of the sum of nominal weights, scaled to the luminosity.
    """

    sample: str
    cut: str
    events: float
    weight: float

    @property
    def share(self) -> float:
        """The larger of the two shares; 0 if there are no events."""
        return max((abs(share) for share in (self.events, self.weight) if isfinite(share)), default=0.0)

    def __str__(self) -> str:
        """Sample, shares and reason."""
        shares = f"{self.events:.2%} of the events, {self.weight:.2%} of the sum of weights"
        return f"sample {self.sample}: dropped {shares}: {REASONS[self.cut]}"


class CutNumbers(NamedTuple):
    """The cut flow of a sample, all slices together.

    Attributes:
        events: (n_cuts,) numbers of events after each of `CUT_NAMES`, then after `EVENT_CUTS`, if there are any.
        weights: (n_cuts,) sums of the weights of these events, scaled to the luminosity.
    """

    events: Float64[ndarray, " c"]
    weights: Float64[ndarray, " c"]

    def dropped(self, sample: str) -> tuple[Dropped, ...]:
        """The shares of the events inside the cuts on pT and eta that each other cut drops."""
        first = CUT_NAMES.index(LAST_OF_PHASE_SPACE)
        with np.errstate(divide="ignore", invalid="ignore"):
            flows = (numbers[first : len(CUT_NAMES)] for numbers in self)
            shares = [(numbers[:-1] - numbers[1:]) / numbers[0] for numbers in flows]
        return tuple(
            map(Dropped, (sample,) * len(shares[0]), CUT_NAMES[first + 1 :], *(each.tolist() for each in shares))
        )


def cut_numbers_of(by_slice: Mapping[int, Filled], bookkeeping: Bookkeeping, weight_bits: int) -> CutNumbers:
    """The cut flows of the slices, scaled and added; arguments are those of `templates_of`."""
    n_cuts = max((len(filled.cut_flow.events) for filled in by_slice.values()), default=len(CUT_NAMES))
    total = CutNumbers(np.zeros(n_cuts), np.zeros(n_cuts))
    for of_slice in bookkeeping.slices:
        if of_slice.number in by_slice:
            flow, units = by_slice[of_slice.number].cut_flow, WeightUnits(weight_bits, of_slice.exponent)
            weights = total.weights + flow.weight / units.scale * of_slice.factors[0]
            total = CutNumbers(total.events + flow.events, weights)
    return total
