"""Stage 5, `extract`: shapes of quark and gluon jets from two mixtures of them, and efficiencies at fixed cuts.

With fractions f of quarks and gluons in the forward (F) and central (C) region, bin by bin in x:

    p_F = f_q^F p_q + f_g^F p_g          p_q = ( f_g^C p_F - f_g^F p_C) / D
    p_C = f_q^C p_q + f_g^C p_g   <=>    p_g = (-f_q^C p_F + f_q^F p_C) / D       D = f_q^F - f_q^C

The fractions come from re-weighted simulation, for simulation and data alike. D is small, so statistical errors grow by
1/D.

The cuts of the working points come from nominal simulation and are the same for all cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64, Shaped
from beampipe.calibration.events.variations import GLUON_REWEIGHT, Variation
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.goodness import Refolding, goodness
from beampipe.calibration.method.reweight import (
    CENTRAL,
    FORWARD,
    GLUON,
    QUARK,
    Reweighting,
    apply_factors,
    measure_reweighting,
    shapes,
    sum_over_bins,
)


@dataclass(frozen=True, eq=False)
class Extracted:
    """Shapes of unit area; any axes in front of x.

    Attributes:
        quark: (..., n_x) shape of quark jets.
        gluon: (..., n_x) shape of gluon jets.
    """

    quark: Float64[ndarray, "*v x"]
    gluon: Float64[ndarray, "*v x"]


def quark_fractions(flavours: Float64[ndarray, "*v 2 2 x"]) -> Float64[ndarray, "*v 2"]:
    """Fraction of quarks by region, from jets by (region, (quark, gluon), x) after re-weighting; nan without jets."""
    areas = sum_over_bins(flavours)
    total = areas[..., QUARK] + areas[..., GLUON]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, areas[..., QUARK] / total, np.nan)


def reweighted(
    flavours: Float64[ndarray, "*v 2 2 x"], factors: Float64[ndarray, "*v x"]
) -> Float64[ndarray, "*v 2 2 x"]:
    """Simulation after re-weighting, by (region, (quark, gluon), x)."""
    return np.stack([apply_factors(flavours[..., flavour, :], factors) for flavour in (QUARK, GLUON)], axis=-2)


def all_flavours(flavours: Float64[ndarray, "*v 2 2 x"]) -> Float64[ndarray, "*v 2 x"]:
    """Jets of both flavours together."""
    total: ndarray = flavours[..., QUARK, :] + flavours[..., GLUON, :]
    return total


def extract(mixture: Float64[ndarray, "*v 2 x"], fractions: Float64[ndarray, "*w 2"]) -> Extracted:
    """Invert the two mixtures.

    Args:
        mixture: re-weighted jets by (region, x).
        fractions: fractions of quarks by region.

    Returns:
        Shapes; nan where D is 0 or a region has no jets.
    """
    shape = shapes(mixture)
    p_forward, p_central = shape[..., FORWARD, :], shape[..., CENTRAL, :]
    f_forward, f_central = fractions[..., FORWARD, None], fractions[..., CENTRAL, None]
    determinant = f_forward - f_central
    with np.errstate(divide="ignore", invalid="ignore"):
        quark = ((1 - f_central) * p_forward - (1 - f_forward) * p_central) / determinant
        gluon = (f_forward * p_central - f_central * p_forward) / determinant
    bad = determinant == 0
    return Extracted(np.where(bad, np.nan, quark), np.where(bad, np.nan, gluon))


def truth(flavours: Float64[ndarray, "*v 2 2 x"]) -> Extracted:
    """The expected result of `extract`: shapes by label of forward jets, to which central jets are re-weighted."""
    return Extracted(shapes(flavours[..., FORWARD, QUARK, :]), shapes(flavours[..., FORWARD, GLUON, :]))


def cumulated(shape: Float64[ndarray, "*v p x"], cuts: Shaped[ndarray, "p w"]) -> Float64[ndarray, "*v p w"]:
    """Fraction of jets below each cut, ``sum(shape[:cut])``, by bin of pT and working point.

    Args:
        shape: shapes of unit area.
        cuts: numbers of bins; the fractional part counts this fraction of the next bin.
    """
    sums = np.cumsum(shape, axis=-1)
    whole = np.floor(cuts).astype(np.int64)
    part = cuts - whole
    before: ndarray = np.take_along_axis(sums, _everywhere(np.maximum(whole - 1, 0), sums), axis=-1)
    before = np.where(whole == 0, 0.0 * before, before)  # nan stays nan
    if not part.any():
        return before
    inside = np.take_along_axis(shape, _everywhere(np.minimum(whole, shape.shape[-1] - 1), sums), axis=-1)
    return np.where(part > 0, before + part * inside, before)


def _everywhere(places: Int64[ndarray, "p w"], sums: Float64[ndarray, "*v p x"]) -> Int64[ndarray, "*v p w"]:
    return np.broadcast_to(places, (*sums.shape[:-2], *places.shape))


def working_point_cuts(
    quark: Float64[ndarray, "*v x"], working_point: float, cut: str = "at_least"
) -> Shaped[ndarray, "*v"]:
    """Number of bins that count as quark-like.

    All bins if the cumulated shape never reaches the working point, or is nan.

    Args:
        quark: shapes of quark jets.
        working_point: target quark efficiency.
        cut: ``at_least``: the smallest number of bins with at least this efficiency. ``nearest``: that number or one
            less, whichever efficiency is nearer, but at least one. ``inside``: a fraction of the last of these bins, by
            linear interpolation.
    """
    sums = np.cumsum(quark, axis=-1)
    reached = sums >= working_point
    ever = reached.any(axis=-1)
    counts: ndarray = np.where(ever, np.argmax(reached, axis=-1) + 1, quark.shape[-1]).astype(np.int64)
    if cut == "at_least":
        return counts
    last = np.take_along_axis(quark, counts[..., None] - 1, axis=-1)[..., 0]
    over = np.take_along_axis(sums, counts[..., None] - 1, axis=-1)[..., 0] - working_point
    if cut == "nearest":
        fewer: ndarray = np.where(ever & (counts > 1) & (last - over < over), counts - 1, counts)
        return fewer
    with np.errstate(divide="ignore", invalid="ignore"):
        part: ndarray = np.where(ever & (last > 0), counts - over / last, counts)
    return part


@dataclass(frozen=True, eq=False)
class Efficiencies:
    """Efficiencies: fraction of quark and of gluon jets (last axis) that count as quark-like.

    Attributes:
        names: (n_cases,) variations as text, nominal first; then `GLUON_REWEIGHT` and other
            extractions.
        cuts: (n_pt, n_wp) numbers of bins that count as quark-like, from nominal simulation, for all cases. They are
            int64, or float64 if a tagger is cut inside bins.
        data: (n_cases, n_pt, n_wp, 2) efficiencies in data.
        simulation: (n_cases, n_pt, n_wp, 2) efficiencies in simulation, extracted in the same way as in data.
        truth: (n_cases, n_pt, n_wp, 2) efficiencies of forward jets of simulation by label.
        data_replicas: (n_replicas, n_pt, n_wp, 2) efficiencies in data, nominal case.
        simulation_replicas: (n_replicas, n_pt, n_wp, 2) efficiencies in simulation, nominal case.
        fractions: (n_cases, n_pt, 2 regions) fractions of quarks in re-weighted simulation.
        shapes: (3, n_pt, 2, n_x) shapes of the nominal case: data, simulation and truth, of quark and gluon jets.
        jets: (n_pt, 2 regions, 3, 2) number and effective number of nominal jets of (quark, gluon, data); no bins if
            they are unknown.
        described: (n_pt, n_wp, 2) chi2 and ndf of the refolded data, see `beampipe.calibration.method.goodness`; no
            bins if they are unknown.
        data_without: (n_groups, n_cases, n_pt, n_wp, 2) `data` with one group of events left out at a time; no groups
            if they are not configured.
        simulation_without: (n_groups, n_cases, n_pt, n_wp, 2) the same of `simulation`.
        truth_without: (n_groups, n_cases, n_pt, n_wp, 2) the same of `truth`.
    """

    names: ndarray
    cuts: Shaped[ndarray, "p w"]
    data: Float64[ndarray, "v p w 2"]
    simulation: Float64[ndarray, "v p w 2"]
    truth: Float64[ndarray, "v p w 2"]
    data_replicas: Float64[ndarray, "b p w 2"]
    simulation_replicas: Float64[ndarray, "b p w 2"]
    fractions: Float64[ndarray, "v p 2"]
    shapes: Float64[ndarray, "3 p 2 x"]
    jets: Float64[ndarray, "q 2 3 2"] = field(default_factory=lambda: np.empty((0, 2, 3, 2)))
    described: Float64[ndarray, "i j 2"] = field(default_factory=lambda: np.empty((0, 0, 2)))
    data_without: Float64[ndarray, "g c r n 2"] = field(default_factory=lambda: np.empty((0, 0, 0, 0, 2)))
    simulation_without: Float64[ndarray, "g c r n 2"] = field(default_factory=lambda: np.empty((0, 0, 0, 0, 2)))
    truth_without: Float64[ndarray, "g c r n 2"] = field(default_factory=lambda: np.empty((0, 0, 0, 0, 2)))

    def part(self, bins: slice) -> Efficiencies:
        """The efficiencies in some of the bins of jets."""
        sliced: dict[str, ndarray] = {}
        for item in fields(self):
            axis = 0 if item.name in ("cuts", "jets", "described") else 2 if item.name.endswith("_without") else 1
            if item.name != "names":
                sliced[item.name] = getattr(self, item.name)[(slice(None),) * axis + (bins,)]
        return replace(self, **sliced)

    @property
    def variations(self) -> tuple[Variation, ...]:
        """The variations along the first axis of `data`, `simulation`, `truth` and `fractions`."""
        return tuple(Variation.parse(str(name)) for name in self.names)


Extraction = Callable[
    [
        Float64[ndarray, "*v p 2 x"],
        Float64[ndarray, "*s p 2 2 x"],
        Shaped[ndarray, "p w"],
        Float64[ndarray, "p 2 2 x"],
    ],
    Float64[ndarray, "*u p w 2"],
]
"""Measures the efficiencies of quark and gluon jets: ``extraction(jets, flavours, cuts, nominal)``.

`jets` are those of data by (pT, region, x), `flavours` those of simulation by (pT, region, (quark, gluon), x), both
after re-weighting, and `cuts` the numbers of bins that count as quark-like by (pT, working point). It returns fractions
of jets below the cuts by (pT, working point, (quark, gluon)). There may be further axes in front. `nominal` is nominal
simulation as `flavours`, without further axes: for what is the same in all cases, as are the cuts.
"""


def inverted(
    jets: Float64[ndarray, "*v p 2 x"],
    flavours: Float64[ndarray, "*s p 2 2 x"],
    cuts: Shaped[ndarray, "p w"],
    nominal: Float64[ndarray, "p 2 2 x"],
) -> Float64[ndarray, "*u p w 2"]:
    """The extraction `matrix`: shapes by `extract`, with the fractions of simulation."""
    return efficiencies_at(extract(jets, quark_fractions(flavours)), cuts)


def both_shapes(extracted: Extracted) -> Float64[ndarray, "*v p 1 2 x"]:
    """Shapes by (pT, one working point, (quark, gluon), x), as a `Refolding` returns them."""
    return np.stack([extracted.quark, extracted.gluon], axis=-2)[..., None, :, :]


def inverted_shapes(
    jets: Float64[ndarray, "*v p 2 x"],
    flavours: Float64[ndarray, "*s p 2 2 x"],
    cuts: Shaped[ndarray, "p w"],
    nominal: Float64[ndarray, "p 2 2 x"],
) -> Float64[ndarray, "*u p 1 2 x"]:
    """The shapes that the extraction `matrix` finds; no fraction depends on a working point."""
    return both_shapes(extract(jets, quark_fractions(flavours)))


refolding: Final = Refolding(inverted_shapes, one_sided=True)


def measure_efficiencies(
    cases: Cases,
    reweighting: Reweighting,
    working_points: Sequence[float],
    cut: str = "at_least",
    extraction: Extraction = inverted,
    others: Mapping[str, Extraction] = MappingProxyType({}),
    cut_shape: str = "inverted",
    refolded: Refolding | None = refolding,
) -> Efficiencies:
    """Fractions and efficiencies of all cases.

    Each case has its own factors, fractions and simulation; data and cuts are the same. In a replica both simulation
    and data are resampled. Shapes for figures are those of the inversion.

    Args:
        cases: numbers of jets of all cases.
        reweighting: factors of central jets, from `measure_reweighting`.
        working_points: target quark efficiencies.
        cut: position of the cut of a working point, as for `working_point_cuts`.
        extraction: measures the efficiencies.
        others: other extractions by name, each of which is a case with nominal simulation.
        cut_shape: shape of quark jets for the cuts: ``inverted``, or ``label``.
        refolded: numbers by which `extraction` is compared with data; None for a plug-in, which has none.
    """
    extractions = (extraction, *others.values())
    flavours, data = _reweighted_cases(cases, reweighting, len(others))
    fractions, frozen = quark_fractions(flavours), flavours[0]
    nominal = [extract(jets, fractions[0]) for jets in (data[0], all_flavours(frozen))]
    labelled = truth(frozen)
    every = (*nominal, labelled)
    quark = (labelled if cut_shape == "label" else nominal[1]).quark
    cuts = np.stack([working_point_cuts(quark, wp, cut) for wp in working_points], axis=-1)
    drawn = reweighted(cases.simulation_replicas, reweighting.replicas)
    drawn_data = apply_factors(cases.data_replicas, reweighting.replicas)
    other_cases = (Variation("extraction", name) for name in others)
    names = ("data", "simulation", "truth")
    without: dict[str, list[Float64[ndarray, "v p w 2"]]] = {name: [] for name in names}
    for group in range(len(cases.groups)):
        rest = cases.without_group(group)
        of_rest = _reweighted_cases(rest, measure_reweighting(rest.simulation, rest.simulation_replicas), len(others))
        for name, values in zip(names, _efficiencies(*of_rest, cuts, frozen, extractions), strict=True):
            without[name].append(values)
    return Efficiencies(
        names=np.array([str(variation) for variation in (*cases.variations, GLUON_REWEIGHT, *other_cases)]),
        cuts=cuts,
        **dict(zip(names, _efficiencies(flavours, data, cuts, frozen, extractions), strict=True)),
        data_replicas=extraction(drawn_data, drawn, cuts, frozen),
        simulation_replicas=extraction(all_flavours(drawn), drawn, cuts, frozen),
        fractions=fractions,
        shapes=np.stack([np.stack([extracted.quark, extracted.gluon], axis=-2) for extracted in every]),
        jets=cases.jets,
        **_described(data[0], frozen, drawn_data, drawn, cuts, refolded),
        **{f"{name}_without": np.stack(values) for name, values in without.items() if values},
    )


def _described(
    data: Float64[ndarray, "p 2 x"],
    frozen: Float64[ndarray, "p 2 2 x"],
    drawn_data: Float64[ndarray, "b p 2 x"],
    drawn: Float64[ndarray, "b p 2 2 x"],
    cuts: Shaped[ndarray, "p w"],
    refolded: Refolding | None,
) -> dict[str, Float64[ndarray, "p w 2"]]:
    """chi2 and ndf of the refolded data, the same for all working points if the extraction is; {} if not known."""
    if refolded is None or len(drawn) == 0:
        return {}
    numbers, replicas = (
        refolded.numbers(jets, flavours, cuts, frozen) for jets, flavours in ((data, frozen), (drawn_data, drawn))
    )
    found = goodness(numbers, replicas, data, all_flavours(frozen), one_sided=refolded.one_sided)
    return {"described": np.broadcast_to(found, (*cuts.shape, 2)).copy()}


def _reweighted_cases(
    cases: Cases, reweighting: Reweighting, n_others: int
) -> tuple[Float64[ndarray, "v p 2 2 x"], Float64[ndarray, "v p 2 x"]]:
    """Simulation and data of all cases after re-weighting: those of `Cases`, factors of gluons, other extractions."""
    factors = np.concatenate([reweighting.quark, reweighting.gluon, *[reweighting.quark[:1]] * n_others])
    simulation = np.concatenate([cases.simulation, *[cases.simulation[:1]] * (1 + n_others)])
    return reweighted(simulation, factors), apply_factors(cases.data, factors)


def _efficiencies(
    flavours: Float64[ndarray, "v p 2 2 x"],
    data: Float64[ndarray, "v p 2 x"],
    cuts: Shaped[ndarray, "p w"],
    nominal: Float64[ndarray, "p 2 2 x"],
    extractions: Sequence[Extraction],
) -> tuple[Float64[ndarray, "v p w 2"], Float64[ndarray, "v p w 2"], Float64[ndarray, "v p w 2"]]:
    """Efficiencies of all cases in data, in simulation and by label; the last cases are of the other extractions."""
    first, *others = extractions
    n = len(flavours) - len(others)
    data_and_simulation = []
    for jets in (data, all_flavours(flavours)):
        measured = [first(jets[:n], flavours[:n], cuts, nominal)]
        measured += [each(jets[k : k + 1], flavours[k : k + 1], cuts, nominal) for k, each in enumerate(others, n)]
        data_and_simulation.append(np.concatenate(measured))
    return data_and_simulation[0], data_and_simulation[1], efficiencies_at(truth(flavours), cuts)


def scale_factors(
    data: Float64[ndarray, "*v"], simulation: Float64[ndarray, "*v"], quantity: str
) -> Float64[ndarray, "*v"]:
    """Ratio of data to simulation; nan where simulation has 0."""
    if quantity == "rejection":
        data, simulation = 1 - data, 1 - simulation
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(simulation != 0, data / simulation, np.nan)


def efficiencies_at(shapes: Extracted, cuts: Shaped[ndarray, "p w"]) -> Float64[ndarray, "*v p w 2"]:
    """Fractions of quark and gluon jets below the cuts."""
    return np.stack([cumulated(shapes.quark, cuts), cumulated(shapes.gluon, cuts)], axis=-1)
