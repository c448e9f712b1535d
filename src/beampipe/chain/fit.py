"""The stage `result`: a fit of the fraction of gluon jets, with pyhf.

Cuts of the working points divide the jets of each bin of pT into classes by their number of tracks. With the shares
s_qk and s_gk of quark and gluon jets in class k, the expected number of jets is

    n_k = N (mu_q s_qk + mu_g s_gk)        fraction of gluons = mu_g / (mu_q + mu_g)

The shares come from simulation. *Calibrated* shares are those of efficiencies times scale factors; each principal
component of the covariance of the scale factors is a nuisance parameter that shifts all shares together. Weighted
jets are scaled to their effective number in each bin of pT.

L. Heinrich, M. Feickert, G. Stark, K. Cranmer, J. Open Source Softw. 6 (2021) 2823 (pyhf).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy import ndarray

from beampipe.arrays import Float64, Int64
from beampipe.calibration.method.factors import FLAVOUR_NAMES, FactorKey, Factors
from beampipe.calibration.method.joint import JointUncertainties, principal_components
from beampipe.errors import InputError

TAGGER: Final = "n_trk"
"""Name of the tagger whose working points divide the jets into classes, unless there is a model."""

SCORE_BINS: Final = 100
"""Bins of the score of a model."""

_SMALLEST: Final = 1e-3
"""Smallest share of a class: scale factors with large errors could make it negative."""

_FEWEST: Final = 5.0
"""Effective number of jets of pseudo-data or of a flavour in simulation below which a bin of pT is left out."""


@dataclass(frozen=True, eq=False)
class JetCounts:
    """Numbers of jets by bin of pT and number of tracks.

    Attributes:
        simulation: (n_pt, (quark, gluon), n_x) weighted jets of simulation.
        simulation_squares: (n_pt, (quark, gluon), n_x) sums of squared weights.
        data: (n_pt, n_x) weighted jets of pseudo-data.
        data_squares: (n_pt, n_x) sums of squared weights.
        true_fraction: (n_pt,) fraction of gluons among the jets of pseudo-data with a label.
    """

    simulation: Float64[ndarray, "p 2 x"]
    simulation_squares: Float64[ndarray, "p 2 x"]
    data: Float64[ndarray, "p x"]
    data_squares: Float64[ndarray, "p x"]
    true_fraction: Float64[ndarray, " p"]


@dataclass(frozen=True, eq=False)
class Shares:
    """Shares of the jets of each flavour in the classes, with their uncertainties.

    Attributes:
        nominal: (n_pt, (quark, gluon), n_classes) the shares; they add up to 1.
        errors: (n_pt, (quark, gluon), n_classes) statistical errors of simulation.
        shifts: (n_components, n_pt, (quark, gluon), n_classes) shifts by the components of the scale factors.
        usable: (n_pt,) bool, bins of pT with enough jets, and with scale factors if they are applied.
    """

    nominal: Float64[ndarray, "p 2 k"]
    errors: Float64[ndarray, "p 2 k"]
    shifts: Float64[ndarray, "c p 2 k"]
    usable: ndarray


@dataclass(frozen=True)
class FractionInBin:
    """The fitted fraction of gluons in a bin of pT.

    Attributes:
        pt_low: lower edge of the bin [GeV].
        pt_high: upper edge of the bin [GeV].
        fraction: fraction of gluons.
        error: its uncertainty.
        true: fraction of gluons by the labels of the pseudo-data.
        jets: effective number of jets.
    """

    pt_low: float
    pt_high: float
    fraction: float
    error: float
    true: float
    jets: float


@dataclass(frozen=True)
class Measurement:
    """The result of a fit.

    Attributes:
        shares: where the shares come from: ``simulation`` or ``calibrated``.
        bins: the bins of pT that were fitted.
        fraction: fraction of gluons in these bins, averaged with their `expected_precision`.
        error: its uncertainty.
        true: the same average of the fractions by label.
        left_out: bins of pT that were left out, as text.
    """

    shares: str
    bins: tuple[FractionInBin, ...]
    fraction: float
    error: float
    true: float
    left_out: tuple[str, ...]

    @property
    def pull(self) -> float:
        """Difference between fitted and true fraction in units of the uncertainty."""
        return (self.fraction - self.true) / self.error


def in_classes(counts: Float64[ndarray, "*v p x"], cuts: Int64[ndarray, "p w"]) -> Float64[ndarray, "*v p k"]:
    """Sums of histograms over the classes between cuts, which are numbers of bins; the last axis but one is pT."""
    bounds = np.concatenate(
        [np.zeros((len(cuts), 1), np.int64), cuts, np.full((len(cuts), 1), counts.shape[-1])], axis=1
    )
    sums = np.concatenate([np.zeros((*counts.shape[:-1], 1)), np.cumsum(counts, axis=-1)], axis=-1)
    at = np.broadcast_to(bounds, (*counts.shape[:-1], bounds.shape[1]))
    return np.diff(np.take_along_axis(sums, at, axis=-1), axis=-1)


def class_cuts(factors: Factors) -> Int64[ndarray, "p w"]:
    """Numbers of bins below the cuts of the working points, in rising order."""
    ((tagger, cuts),) = factors.cuts.items()
    return np.sort(np.rint(cuts if tagger == TAGGER else cuts * SCORE_BINS).astype(np.int64), axis=1)


def simulated_shares(counts: JetCounts, cuts: Int64[ndarray, "p w"]) -> Shares:
    """Shares from simulation."""
    jets, squares = (
        in_classes(values.swapaxes(0, 1), cuts).swapaxes(0, 1)
        for values in (counts.simulation, counts.simulation_squares)
    )
    total, total_squares = jets.sum(axis=-1, keepdims=True), squares.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(total > 0, jets / total, np.nan)
        effective = np.where(total_squares > 0, total**2 / total_squares, 0.0)
        errors = np.sqrt(shares * (1 - shares) / effective)
        data = counts.data.sum(axis=-1) ** 2 / counts.data_squares.sum(axis=-1)
    usable = (effective[..., 0] >= _FEWEST).all(axis=1) & (np.nan_to_num(data) >= _FEWEST)
    nominal = np.maximum(np.nan_to_num(shares), _SMALLEST)
    return Shares(
        nominal / nominal.sum(axis=-1, keepdims=True),
        np.maximum(np.nan_to_num(errors), _SMALLEST),
        np.zeros((0, *nominal.shape)),
        usable,
    )


def calibrated_shares(simulated: Shares, factors: Factors, joint: JointUncertainties) -> Shares:
    """Shares after scale factors: efficiencies at the working points are multiplied by them.

    Args:
        simulated: shares from simulation.
        factors: the scale factors.
        joint: their covariance.
    """
    components = principal_components(joint)
    efficiency = np.cumsum(simulated.nominal, axis=-1)[..., :-1]  # (p, flavour, working point)
    factor, known = np.ones_like(efficiency), np.ones_like(efficiency, bool)
    shift = np.zeros((len(components), *efficiency.shape))
    order = np.argsort(factors.working_points)
    for f, flavour in enumerate(FLAVOUR_NAMES):
        for k, w in enumerate(order.tolist()):
            part = joint.part(FactorKey(next(iter(factors.cuts)), factors.working_points[w], flavour, "efficiency"))
            known[:, f, k] = joint.published[part]
            factor[:, f, k] = np.where(known[:, f, k], joint.nominal[part], 1.0)
            shift[:, :, f, k] = np.where(known[:, f, k], components[:, part], 0.0)

    def classes(values: ndarray, whole: float) -> ndarray:
        ends = [np.zeros((*values.shape[:-1], 1)), np.full((*values.shape[:-1], 1), whole)]
        return np.diff(np.concatenate([ends[0], values, ends[1]], axis=-1), axis=-1)

    nominal = np.maximum(classes(np.clip(efficiency * factor, 0, 1), 1.0), _SMALLEST)
    return Shares(
        nominal / nominal.sum(axis=-1, keepdims=True),
        simulated.errors,
        classes(efficiency * shift, 0.0),
        simulated.usable & known.all(axis=(1, 2)),
    )


def expected_precision(shares: Shares, jets: Float64[ndarray, " p"]) -> Float64[ndarray, " p"]:
    """Inverse square of the error that the fraction should have in each bin of pT, for as many quarks as gluons.

    It depends on the shares and not on the fit, so that averages have no bias. A bin in which quark and gluon jets have
    the same shares has none.

    Args:
        shares: shares of the flavours in the classes.
        jets: effective number of jets.
    """
    mean, difference = shares.nominal.mean(axis=1), np.diff(shares.nominal, axis=1)[:, 0]
    shifts = shares.shifts.mean(axis=2)
    variance = mean / np.maximum(jets, 1)[:, None] + np.square(shifts).sum(axis=0)
    precision: ndarray = (difference**2 / variance).sum(axis=1)
    return precision


def fit_fraction(
    counts: JetCounts, shares: Shares, cuts: Int64[ndarray, "p w"], pt_edges: Sequence[float], name: str
) -> Measurement | None:
    """Fit the fraction of gluons in all usable bins of pT together.

    Args:
        counts: jets of simulation and pseudo-data.
        shares: shares of the flavours in the classes.
        cuts: the cuts between the classes.
        pt_edges: edges of the bins of pT [GeV].
        name: where the shares come from.

    Returns:
        The result; None if no bin is usable.
    """
    import pyhf

    weights = counts.data.sum(axis=-1)
    effective = np.divide(weights**2, counts.data_squares.sum(axis=-1), out=np.zeros(len(cuts)), where=weights > 0)
    precision = expected_precision(shares, effective)
    bins = np.flatnonzero(shares.usable & (precision > 0)).tolist()
    left_out = tuple(f"{pt_edges[p]:g}-{pt_edges[p + 1]:g} GeV" for p in range(len(cuts)) if p not in bins)
    if not bins:
        return None
    classes = in_classes(counts.data, cuts)
    channels, observed = [], []
    for p in bins:
        samples = [_sample(shares, p, f, flavour, effective[p]) for f, flavour in enumerate(FLAVOUR_NAMES)]
        channels.append({"name": f"pt{p}", "samples": samples})
        observed += (classes[p] * effective[p] / weights[p]).tolist()
    pyhf.set_backend("numpy", "minuit")
    model = pyhf.Model({"channels": channels}, poi_name=None, validate=False)
    fitted, correlations = pyhf.infer.mle.fit(
        [*observed, *model.config.auxdata], model, return_uncertainties=True, return_correlations=True
    )
    values, errors = np.asarray(fitted).T
    covariance = np.asarray(correlations) * errors[:, None] * errors
    fractions, slopes = np.zeros(len(bins)), np.zeros((len(bins), len(values)))
    for row, p in enumerate(bins):
        at = [model.config.par_slice(f"{flavour}_{p}").start for flavour in FLAVOUR_NAMES]
        quark, gluon = values[at]
        fractions[row] = gluon / (quark + gluon)
        slopes[row, at] = np.array([-gluon, quark]) / (quark + gluon) ** 2
    spread = slopes @ covariance @ slopes.T
    part = precision[bins] / precision[bins].sum()
    in_bins = tuple(
        FractionInBin(
            pt_edges[p],
            pt_edges[p + 1],
            float(fractions[row]),
            float(np.sqrt(spread[row, row])),
            float(counts.true_fraction[p]),
            float(effective[p]),
        )
        for row, p in enumerate(bins)
    )
    return Measurement(
        name,
        in_bins,
        float(part @ fractions),
        float(np.sqrt(part @ spread @ part)),
        float(part @ counts.true_fraction[bins]),
        left_out,
    )


def _sample(shares: Shares, p: int, f: int, flavour: str, jets: float) -> dict[str, Any]:
    """The jets of one flavour in one bin of pT, for pyhf."""
    nominal = shares.nominal[p, f]
    modifiers: list[dict[str, Any]] = [{"name": f"{flavour}_{p}", "type": "normfactor", "data": None}]
    for k, shift in enumerate(shares.shifts[:, p, f]):
        moved = {
            side: (np.maximum(nominal + sign * shift, _SMALLEST) * jets).tolist()
            for side, sign in (("hi_data", 1), ("lo_data", -1))
        }
        modifiers.append({"name": f"scale_factors_{k}", "type": "histosys", "data": moved})
    errors = (shares.errors[p, f] * jets).tolist()
    modifiers.append({"name": f"simulation_{p}", "type": "staterror", "data": errors})
    return {"name": flavour, "data": (nominal * jets).tolist(), "modifiers": modifiers}


def measure(counts: JetCounts, factors: Factors, joint: JointUncertainties) -> list[Measurement]:
    """The fraction of gluons by shares of simulation, and by calibrated ones if there are scale factors.

    Raises:
        InputError: no bin of pT has enough jets.
    """
    cuts = class_cuts(factors)
    simulated = simulated_shares(counts, cuts)
    by_simulation = fit_fraction(counts, simulated, cuts, factors.pt_edges, "simulation")
    if by_simulation is None:
        raise InputError(
            f"gluon fraction: got no bin of pT with {_FEWEST:g} jets or more, in which quark and gluon jets differ,"
            " expected one; generate more events"
        )
    calibrated = calibrated_shares(simulated, factors, joint)
    by_factors = fit_fraction(counts, calibrated, cuts, factors.pt_edges, "calibrated")
    return [by_simulation] if by_factors is None else [by_simulation, by_factors]


def write_measurements(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write results as JSON, rounded to ten digits."""

    def rounded(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.10g}")
        if isinstance(value, dict):
            return {key: rounded(each) for key, each in value.items()}
        return [rounded(each) for each in value] if isinstance(value, list | tuple) else value

    plain = {"gluon_fraction": [rounded(asdict(each)) for each in measurements]}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_measurements(path: Path) -> list[Measurement]:
    """Read what `write_measurements` wrote."""
    plain = json.loads(path.read_text(encoding="utf-8"))["gluon_fraction"]
    return [
        Measurement(
            **{**each, "bins": tuple(FractionInBin(**one) for one in each["bins"]), "left_out": tuple(each["left_out"])}
        )
        for each in plain
    ]
