"""Stage 6, `factors`: scale factors with their uncertainties.

For quark and gluon jets there are two ratios of data to simulation, which are often confused:

    efficiency   fraction of jets that count as quark-like
    rejection    fraction of jets that do not: 1 - efficiency

The statistical error is half the central 68 % interval of the bootstrap replicas. Each replica resamples data and
simulation, and repeats re-weighting, fractions and inversion.

*Sources.* For shifts d_v(pT) of a scale factor by the variations of one source:

    envelope     max over v of |d_v|
    quadrature   sqrt(sum over v of d_v^2)
    up_down      the same over all ups and over all downs; the larger of the two
    difference   |d| of the one variation there is

*Errors.* Events of all samples are divided into K groups by their number. With theta the shift, and theta_g the shift
without group g (re-weighting, fractions and inversion done again), the statistical error of theta is

    sigma^2 = (K - 1) / K  sum over g of (theta_g - mean)^2        (jackknife: B. Efron, doi:10.1137/1.9781611970319)

*Smoothing.* If a source has `smooth`, each shift is replaced by a polynomial in log pT, fitted with these errors: of
the lowest order, 0 to 2, that is compatible with the shift. If none is, the shift stays unchanged. *Compatible* means

    chi2 (K - 3) / (K - 1) <= ndf + 2 sqrt(2 ndf)        (the factor corrects for errors estimated from K groups)

*Pruning.* Shifts that are compatible with 0 in all bins together are left out, the smallest first, as long as in each
bin all of them together, each with its error added, lower the total uncertainty by no more than the configured share.
The up and down shifts of a parameter are left out together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Bool, Float64
from beampipe.calibration.config import Configuration, Rule, Systematic
from beampipe.calibration.events.variations import GLUON_REWEIGHT, Variation, VariationKind
from beampipe.calibration.method.factors import FLAVOUR_NAMES, QUANTITIES, FactorKey, Factors, ScaleFactor, flags_of
from beampipe.calibration.method.matrix import Efficiencies, scale_factors
from beampipe.errors import ConfigError, UnknownNameError


def combine(rule: Rule, names: Sequence[str], shifts: Float64[ndarray, "v ..."]) -> Float64[ndarray, "*p"]:
    """The uncertainty by a rule; the first axis of `shifts` is reduced.

    Raises:
        ConfigError: the rule does not fit the variations.
    """
    check_rule(rule, names)
    if rule == "envelope":
        largest: ndarray = np.max(np.abs(shifts), axis=0)
        return largest
    if rule == "up_down":
        ups, downs = _ways(names)
        larger: ndarray = np.maximum(_quadrature(shifts[ups]), _quadrature(shifts[downs]))
        return larger
    return _quadrature(shifts)


def check_rule(rule: Rule, names: Sequence[str]) -> None:
    """Raise an error if a rule does not fit the variations: see `combine`."""
    if not names:
        raise ConfigError(f"rule {rule}: got no variation, expected at least one")
    if rule == "difference" and len(names) != 1:
        raise ConfigError(f"rule difference: got {len(names)} variations, expected one; take envelope or quadrature")
    if rule == "up_down":
        ups, downs = _ways(names)
        if len(ups) + len(downs) != len(names) or len(ups) != len(downs):
            raise ConfigError(f"rule up_down: got {', '.join(names)}, expected as many names ending _up as _down")


def shift_vectors(rule: Rule, names: Sequence[str], shifts: Float64[ndarray, "v p"]) -> Float64[ndarray, "m p"]:
    """Shifts, each fully correlated over all bins, whose squares add up to the square of `combine` in every bin.

    Those of ``up_down`` have the sign of the up variation, so that shifts of several scale factors are consistent.
    """
    quoted = combine(rule, names, shifts)
    if rule == "envelope":
        largest = np.argmax(np.abs(shifts), axis=0)
        return np.take_along_axis(shifts, largest[None], axis=0)
    if rule == "up_down":
        ups, downs = _ways(names)
        ways = (shifts[ups], shifts[downs])
        chosen, other = sorted(ways, key=lambda way: float(np.nansum(way**2)), reverse=True)
        size = _quadrature(chosen)
        with np.errstate(divide="ignore", invalid="ignore"):
            # Where the larger way has no shift, the other one is quoted.
            vectors: ndarray = np.where(size == 0, -other, chosen * (quoted / size))
        return vectors if chosen is ways[0] else -vectors
    return shifts


def _ways(names: Sequence[str]) -> tuple[list[int], list[int]]:
    ups = [k for k, name in enumerate(names) if name.endswith("_up")]
    downs = [k for k, name in enumerate(names) if name.endswith("_down")]
    return ups, downs


def _quadrature(shifts: Float64[ndarray, "v ..."]) -> Float64[ndarray, "*p"]:
    total: Float64[ndarray, "*p"] = np.sqrt(np.cumsum(shifts**2, axis=0)[-1])
    return total


SMOOTHING_ORDERS: Final = (0, 1, 2)
"""Orders of the polynomials in log pT for smoothing, tried one after the other."""


@dataclass(frozen=True, eq=False)
class Shifts:
    """Shifts of a scale factor by the variations of one source.

    Attributes:
        members: names of the variations.
        values: (n_members, n_pt) shift of the scale factor by each.
        without: (n_groups, n_members, n_pt) the same with one group of events left out at a time; no groups if they
            are not configured.
        smooth: number of members that are replaced by a polynomial.
        pruned: number of members that are left out.
    """

    members: tuple[str, ...]
    values: Float64[ndarray, "m p"]
    without: Float64[ndarray, "g m p"]
    smooth: int = 0
    pruned: int = 0

    @property
    def errors(self) -> Float64[ndarray, "m p"]:
        """(n_members, n_pt) statistical error of each shift; nan if it is unknown."""
        return jackknife(self.without)

    def combined_error(self, rule: Rule) -> Float64[ndarray, " p"]:
        """Statistical error of the uncertainty of the members combined by a rule; nan if it is unknown."""
        every = [combine(rule, self.members, without_group) for without_group in self.without]
        return jackknife(np.array(every).reshape(len(every), self.values.shape[1]))

    def remark(self) -> str:
        """A remark on smoothing and pruning; empty if the shifts are unchanged."""
        n = len(self.members)
        parts = [
            f"{count} of {n} {done}" for count, done in ((self.smooth, "smooth"), (self.pruned, "left out")) if count
        ]
        return ", ".join(parts)


def jackknife(without: Float64[ndarray, "g ..."]) -> Float64[ndarray, "*p"]:
    """Statistical error of a number from its values with one group of events left out at a time.

    nan if there are fewer than two groups, or a value is unknown.
    """
    n = len(without)
    if n < 2:
        return np.full(without.shape[1:], np.nan)
    mean = np.cumsum(without, axis=0)[-1] / n
    error: ndarray = np.sqrt((n - 1) / n * np.cumsum((without - mean) ** 2, axis=0)[-1])
    return error


def shifts_of(measured: Efficiencies, indices: tuple[int, int], quantity: str, source: Systematic) -> Shifts:
    """Signed shifts of one scale factor by each variation of a source.

    Args:
        measured: efficiencies of the tagger.
        indices: indices of the working point and of the flavour on the axes of `measured`.
        quantity: ``efficiency`` or ``rejection``.
        source: source of uncertainty.

    Raises:
        UnknownNameError: a pattern of the source matches no variation.
    """
    w, f = indices
    values = (measured.data[None], measured.simulation[None], measured.truth[None])
    without = (measured.data_without, measured.simulation_without, measured.truth_without)
    members, shifts = _shifts([part[..., w, f] for part in values], quantity, source, measured.variations)
    left = np.zeros((0, *shifts.shape[1:]))
    if len(without[0]):
        left = _shifts([part[..., w, f] for part in without], quantity, source, measured.variations)[1]
    return Shifts(members, shifts[0], left)


def treated_shifts(
    measured: Efficiencies,
    indices: tuple[int, int],
    quantity: str,
    statistical: Float64[ndarray, " p"],
    configuration: Configuration,
) -> dict[str, Shifts]:
    """The shifts of all sources, smoothed and pruned as configured, by name of the source.

    Args:
        measured: efficiencies of the tagger.
        indices: indices of the working point and of the flavour on the axes of `measured`.
        quantity: ``efficiency`` or ``rejection``.
        statistical: statistical error of the scale factor.
        configuration: systematics, and settings of their shifts.
    """
    edges = np.array(configuration.pt_edges)
    x = np.log(edges[:-1] * edges[1:]) / 2
    out = {}
    for source in configuration.systematics:
        shifts = shifts_of(measured, indices, quantity, source)
        if source.smooth:  # each bin of |eta| by itself
            every = (each.reshape(*each.shape[:-1], -1, len(x)) for each in (shifts.values, shifts.without))
            parts = [
                smoothed(replace(shifts, values=values, without=without), x)
                for values, without in zip(*(np.moveaxis(each, -2, 0) for each in every), strict=True)
            ]
            shifts = replace(
                shifts,
                values=np.concatenate([part.values for part in parts], axis=-1),
                without=np.concatenate([part.without for part in parts], axis=-1),
                smooth=max(part.smooth for part in parts),
            )
        out[source.name] = shifts
    if configuration.shifts.prune:
        rules = {source.name: source.rule for source in configuration.systematics}
        return pruned(out, rules, statistical, configuration.shifts.prune)
    return out


def smoothed(shifts: Shifts, x: Float64[ndarray, " p"]) -> Shifts:
    """Shifts replaced by smooth functions where these are compatible; see the docstring of the module.

    A shift whose errors are unknown or 0 stays unchanged.

    Args:
        shifts: shifts of one source.
        x: logarithm of pT in each bin.
    """
    errors = shifts.errors
    values, without, count = shifts.values.copy(), shifts.without.copy(), 0
    for m in range(len(values)):
        usable = np.isfinite(values[m]) & np.isfinite(errors[m]) & (errors[m] > 0)
        n = int(usable.sum())
        for order in SMOOTHING_ORDERS:
            if order > n - 2:
                break
            design = np.vander(x[usable] - x[usable].mean(), order + 1)
            scaled = design / errors[m, usable][:, None]
            # The matrix that maps measurements to the values of the polynomial fitted to them.
            project = design @ np.linalg.solve(scaled.T @ scaled, (scaled / errors[m, usable][:, None]).T)
            fitted = project @ values[m, usable]
            chi2 = float((((values[m, usable] - fitted) / errors[m, usable]) ** 2).sum())
            if _compatible(chi2, n - order - 1, len(without)):
                values[m, usable] = fitted
                without[:, m, usable] = without[:, m, usable] @ project.T
                count += 1
                break
    return replace(shifts, values=values, without=without, smooth=count)


def pruned(
    sources: Mapping[str, Shifts], rules: Mapping[str, Rule], statistical: Float64[ndarray, " p"], share: float
) -> dict[str, Shifts]:
    """Shifts without the negligible ones; see the docstring of the module.

    Args:
        sources: shifts by source.
        rules: rules by source.
        statistical: statistical error of the scale factor.
        share: largest share of the total uncertainty that all shifts left out may make up.
    """
    combined = [combine(rules[name], shifts.members, shifts.values) for name, shifts in sources.items()]
    square = statistical**2 + np.square(combined).sum(axis=0) if combined else statistical**2
    valid = np.isfinite(square) & (square > 0)
    if not valid.any():
        return dict(sources)
    budget = (1 - (1 - share) ** 2) * square[valid]
    candidates = []
    for name, shifts in sources.items():
        for group in _units(rules[name], shifts.members):
            sizes = _possible_size(shifts, group, valid)
            if sizes is not None:
                candidates.append((float(np.max(sizes / square[valid])), name, group, sizes))
    spent = np.zeros_like(budget)
    out = dict(sources)
    for _, name, group, sizes in sorted(candidates, key=lambda each: each[:2]):
        if (spent + sizes > budget).any():
            break
        spent += sizes
        shifts = out[name]
        values, without = shifts.values.copy(), shifts.without.copy()
        for m in group:
            values[m, valid], without[:, m, valid] = 0.0, 0.0
        out[name] = replace(shifts, values=values, without=without, pruned=shifts.pruned + len(group))
    return out


def _units(rule: Rule, members: Sequence[str]) -> Iterable[list[int]]:
    """Indices of members that are left out together: up and down of a parameter, or all, depending on the rule."""
    if rule == "quadrature":
        return [[m] for m in range(len(members))]
    if rule == "up_down":
        stems: dict[str, list[int]] = {}
        for m, name in enumerate(members):
            stems.setdefault(name.removesuffix("_up").removesuffix("_down"), []).append(m)
        return stems.values()
    return [list(range(len(members)))]


def _possible_size(shifts: Shifts, group: Sequence[int], valid: Bool[ndarray, " p"]) -> Float64[ndarray, " q"] | None:
    """Upper bound of the squared contribution of members in each valid bin; None if not compatible with 0."""
    values, errors = shifts.values[group][:, valid], shifts.errors[group][:, valid]
    if not np.isfinite(errors).all():
        return None
    n = int(valid.sum())
    for shift, error in zip(values, errors, strict=True):
        moved = shift != 0
        if (moved & (error == 0)).any():
            return None
        chi2 = float(((shift[moved] / error[moved]) ** 2).sum())
        if not _compatible(chi2, n, len(shifts.without)):
            return None
    largest: ndarray = np.max((np.abs(values) + errors) ** 2, axis=0)
    return largest


def _compatible(chi2: float, ndf: int, groups: int) -> bool:
    limit = ndf + 2 * math.sqrt(2 * ndf)
    return chi2 * (groups - 3) / (groups - 1) <= limit


def _shifts(
    parts: Sequence[Float64[ndarray, "n v p"]], quantity: str, source: Systematic, variations: Sequence[Variation]
) -> tuple[tuple[str, ...], Float64[ndarray, "n m p"]]:
    """Names and shifts of the variations, from efficiencies in data, in simulation and by label."""
    data, simulation, truth = parts
    shared = np.broadcast_to(simulation[:, :1], data.shape) if source.only_data else simulation
    every = scale_factors(data, shared, quantity)
    if source.method == "nonclosure":
        closure = scale_factors(simulation[:, :1], truth[:, :1], quantity)
        return ("nonclosure",), every[:, :1] * (1 - closure)
    if len(source.samples) == 2:
        index_of = {each.name: k for k, each in enumerate(variations) if each.kind == "sample"}
        first, second = (every[:, index_of.get(name, 0)] for name in source.samples)  # 0 is the nominal sample
        return ("difference",), (first - second)[:, None]
    varied = _members(source, variations)
    shifts = np.stack([every[:, variations.index(member)] - every[:, 0] for member in varied], axis=1)
    return tuple(map(str, varied)), shifts


def _members(source: Systematic, variations: Sequence[Variation]) -> Sequence[Variation]:
    """The variations of a source."""
    if source.method:
        return [GLUON_REWEIGHT]
    wanted: tuple[tuple[VariationKind, tuple[str, ...]], ...] = (
        ("weight", source.weights),
        ("jets", source.kinematics),
        ("sample", source.samples),
        ("extraction", source.extractions),
    )
    members = [
        variation for variation in variations if any(variation.matches(kind, patterns) for kind, patterns in wanted)
    ]
    if not members:
        patterns = ", ".join(str(Variation(kind, pattern)) for kind, given in wanted for pattern in given)
        raise UnknownNameError(f"variation of systematic {source.name}", patterns, map(str, variations))
    return members


_ONE_SIGMA: Final = (0.158655, 0.841345)
"""Quantiles between which a normal distribution has its central 68 %: those at -1 and +1 standard deviations."""


def factors_of(configuration: Configuration, efficiencies: Mapping[str, Efficiencies]) -> Factors:
    """Scale factors of all taggers, working points, flavours and quantities.

    Args:
        configuration: taggers, working points and systematics.
        efficiencies: efficiencies of all cases, by tagger.

    Raises:
        UnknownNameError: a systematic's pattern matches no variation.
        ConfigError: the rule of a systematic does not fit its variations.
    """
    by_name = {}
    cuts, fractions, described = {}, {}, {}
    for tagger in configuration.taggers:
        measured = efficiencies[tagger.name]
        width = (tagger.high - tagger.low) / tagger.bins
        cuts[tagger.name] = tagger.low + measured.cuts * width
        fractions[tagger.name] = measured.fractions[0]
        if len(measured.described):
            described[tagger.name] = measured.described
        for w, wp in enumerate(configuration.working_points):
            for f, flavour in enumerate(FLAVOUR_NAMES):
                for quantity in QUANTITIES:
                    by_name[FactorKey(tagger.name, wp, flavour, quantity)] = _scale_factor(
                        measured, (w, f), quantity, configuration
                    )
    experimental = tuple(source.name for source in configuration.systematics if source.experimental)
    return Factors(
        configuration.pt_edges,
        configuration.working_points,
        by_name,
        cuts,
        fractions,
        experimental,
        eta_edges=configuration.eta_edges,
        described=described,
    )


def statistical(replicas: Float64[ndarray, "b p"]) -> tuple[Float64[ndarray, " p"], Float64[ndarray, "p p"]]:
    """Errors and covariance from replicas.

    Replicas with a small determinant D are outliers, so the error is half the central 68 % interval. Correlations are
    those of the replicas, clipped to three errors around the median.

    Each bin is treated separately. Its error is nan if fewer than two replicas, or fewer than half of them, have a
    value in it; a replica without a value in one bin counts in the others. For correlations such a value is replaced by
    the mean, so that the covariance of the bins that have an error never has a negative eigenvalue.
    """
    there = np.isfinite(replicas)
    counts = there.sum(axis=0)
    valid = (counts >= 2) & (counts >= len(replicas) / 2)
    error = np.full(replicas.shape[1], np.nan)
    covariance = np.full((replicas.shape[1],) * 2, np.nan)
    if not valid.any():
        return error, covariance
    of_valid = np.where(there, replicas, np.nan)[:, valid]
    low, middle, high = np.nanquantile(of_valid, [_ONE_SIGMA[0], 0.5, _ONE_SIGMA[1]], axis=0)
    error[valid] = (high - low) / 2
    centred = np.nan_to_num(np.clip(of_valid - middle, -3 * error[valid], 3 * error[valid]))
    centred = np.where(there[:, valid], centred - np.cumsum(centred, axis=0)[-1] / counts[valid], 0.0)
    products = np.zeros((int(valid.sum()),) * 2)
    for deviation in centred:
        products += deviation[:, None] * deviation
    size = np.sqrt(np.diagonal(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(size[:, None] * size > 0, products / (size[:, None] * size), 0.0)
    covariance[np.ix_(valid, valid)] = correlation * error[valid][:, None] * error[valid]
    return error, covariance


def replicas_of(measured: Efficiencies, indices: tuple[int, int], quantity: str) -> Float64[ndarray, "b p"]:
    """The scale factor in every replica; `place` has the indices of the working point and the flavour."""
    w, f = indices
    return scale_factors(measured.data_replicas[:, :, w, f], measured.simulation_replicas[:, :, w, f], quantity)


def _scale_factor(
    measured: Efficiencies, indices: tuple[int, int], quantity: str, configuration: Configuration
) -> ScaleFactor:
    w, f = indices
    data, simulation, truth = (part[0, :, w, f] for part in (measured.data, measured.simulation, measured.truth))
    nominal = scale_factors(data, simulation, quantity)
    error, covariance = statistical(replicas_of(measured, indices, quantity))
    unknown = ~np.isfinite(nominal)
    covariance[unknown], covariance[:, unknown] = np.nan, np.nan
    square = np.where(unknown, np.nan, error**2)
    sources: dict[str, Float64[ndarray, " p"]] = {}
    source_errors, remarks = {}, {}
    treated = treated_shifts(measured, indices, quantity, error, configuration)
    for source in configuration.systematics:
        shifts = treated[source.name]
        sources[source.name] = combine(source.rule, shifts.members, shifts.values)
        if len(shifts.without):
            source_errors[source.name] = shifts.combined_error(source.rule)
        if shifts.remark():
            remarks[source.name] = shifts.remark()
        vectors = shift_vectors(source.rule, shifts.members, shifts.values)
        square = square + sources[source.name] ** 2
        covariance = covariance + np.cumsum(vectors[:, :, None] * vectors[:, None, :], axis=0)[-1]
    both, fractions = np.stack([data, simulation]), measured.fractions[0]
    distance = measured.simulation[0, :, w, 0] - configuration.working_points[w]
    quoted = [1 - part if quantity == "rejection" else part for part in (data, simulation, truth)]
    return ScaleFactor(
        nominal=nominal,
        data=quoted[0],
        simulation=quoted[1],
        truth=quoted[2],
        statistical=error,
        sources=sources,
        total=np.sqrt(square),
        covariance=covariance,
        flags=flags_of(
            *(nominal, error, np.sqrt(square), sources, both, fractions, measured.jets, distance),
            measured.described[:, w] if len(measured.described) else np.empty((0, 2)),
        ),
        source_errors=source_errors,
        remarks=remarks,
    )
