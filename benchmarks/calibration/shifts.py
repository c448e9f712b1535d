"""Are totals right where shifts of systematics are known badly? `python benchmarks/calibration/shifts.py`

Each toy draws histograms of simulation, of its variations (which share most events with it) and of data, and goes
through re-weighting, inversion, replicas and systematics. Nature differs from simulation by every parameter, each by
a normal number times the size that its variations have. A pull is (scale factor - true one) / total, where the true
one comes from shapes without statistics. Three treatments of the same shifts: as they are, smoothed, smoothed and
pruned. Their pulls should have width 1, and pruning must not lower a total by more than its share.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from measuring import conditions, report
from numpy import ndarray

from beampipe.calibration.config import Configuration, InputSample, ShiftSettings, Systematic, Tagger
from beampipe.calibration.events.variations import UNVARIED, Variation
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.method.matrix import measure_efficiencies, scale_factors
from beampipe.calibration.method.reweight import measure_reweighting
from beampipe.calibration.method.templates import Cases
from beampipe.calibration.method.uncertainties import factors_of

EDGES: Final = (500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0)
CENTRES: Final = np.sqrt(np.array(EDGES[:-1]) * np.array(EDGES[1:]))
FRACTIONS: Final = np.array([[0.60, 0.40], [0.64, 0.45], [0.69, 0.49], [0.72, 0.53], [0.75, 0.56], [0.80, 0.62]])
"""Fractions of quarks in forward and central jets by bin of pT: as with a gap of 0.5 in |eta|."""
N_X: Final = 60
PARAMETERS: Final = 12
GROUPS: Final = 20
SHARE: Final = 0.01
DATA_SHIFT: Final = 0.97
"""Factor on the number of tracks of quark jets in data."""
MOVED: Final = 0.3
"""Share of the events of a variation that are others than the nominal ones, though nothing differs on average."""
TREATMENTS: Final = ("as they are", "smooth", "smooth and pruned")
WHAT: Final = (("SF_q", 0, "efficiency"), ("SF_g", 1, "rejection"))


def sizes() -> tuple[ndarray, ndarray]:
    """(n_parameters, n_pt) relative change of the number of tracks, and change of the fractions, of each parameter."""
    rng = np.random.default_rng(7)
    slope = 1 + rng.normal(0, 0.3, (PARAMETERS, 1)) * np.log(CENTRES / 900)
    return rng.normal(0, 0.004, (PARAMETERS, 1)) * slope, rng.normal(0, 0.006, (PARAMETERS, 1)) * slope


def shapes(parameters: ndarray, tracks: float = 1.0) -> ndarray:
    """(n_pt, 2 flavours, n_x) shapes of quarks and gluons; `tracks` scales those of quarks."""
    moved = 1 + parameters @ sizes()[0]
    x = np.arange(N_X) + 0.5
    out = []
    for mean, width, factor in ((15 * (CENTRES / 600) ** 0.4, 0.36, tracks), (24 * (CENTRES / 600) ** 0.45, 0.30, 1.0)):
        centre = (mean * moved * factor)[:, None]
        out.append(np.exp(-0.5 * ((np.log(x) - np.log(centre)) / width) ** 2) / x)
    both = np.stack(out, axis=1)
    return both / both.sum(axis=-1, keepdims=True)


def expected(jets: float, parameters: ndarray, tracks: float = 1.0) -> ndarray:
    """(n_pt, 2 regions, 2 flavours, n_x) expected numbers of jets, `jets` in each region and bin of pT."""
    quarks = FRACTIONS + (parameters @ sizes()[1])[:, None] * np.array([1.0, -1.0])
    fractions = np.stack([quarks, 1 - quarks], axis=-1)
    return jets * fractions[..., None] * shapes(parameters, tracks)[:, None]


def unit(number: int, sign: int) -> ndarray:
    return sign * np.eye(PARAMETERS)[number]


VARIATIONS: Final = tuple((k, sign) for k in range(PARAMETERS) for sign in (1, -1))


def drawn(rng: np.random.Generator, simulated: float, measured: float, replicas: int, true: ndarray) -> Cases:
    """Histograms of one toy."""
    mean = expected(simulated, np.zeros(PARAMETERS)) / GROUPS
    nominal = rng.poisson(mean, (GROUPS, *mean.shape))
    every = [nominal]
    for number, sign in VARIATIONS:
        varied = expected(simulated, unit(number, sign)) / GROUPS
        kept = (1 - MOVED) * np.minimum(mean, varied)
        every.append(rng.binomial(nominal, kept / mean) + rng.poisson(varied - kept, nominal.shape))
    groups = np.stack(every, axis=1).astype(np.float64)
    of_data = expected(measured, true, DATA_SHIFT).sum(axis=2) / GROUPS
    data_groups = rng.poisson(of_data, (GROUPS, *of_data.shape)).astype(np.float64)
    simulation, data = groups.sum(axis=0), data_groups.sum(axis=0)
    return Cases(
        (UNVARIED, *(Variation("jets", f"p{k}_{'up' if sign > 0 else 'down'}") for k, sign in VARIATIONS)),
        simulation,
        rng.poisson(simulation[0], (replicas, *simulation[0].shape)).astype(np.float64),
        data,
        rng.poisson(data, (replicas, *data.shape)).astype(np.float64),
        groups=groups,
        data_groups=data_groups,
    )


def configurations() -> list[Configuration]:
    samples = {"nominal": InputSample("nominal", ()), "data": InputSample("data", (), "data")}
    plain = Configuration(
        Path("nowhere"),
        samples,
        pt_edges=EDGES,
        working_points=(0.5,),
        taggers=(Tagger("n_trk", N_X, 0.0, float(N_X)),),
        shifts=ShiftSettings(GROUPS),
        systematics=(Systematic("parameters", "up_down", kinematics=("p*",)),),
    )
    smooth = replace(plain, systematics=(replace(plain.systematics[0], smooth=True),))
    return [plain, smooth, replace(smooth, shifts=ShiftSettings(GROUPS, SHARE))]


def one_toy(arguments: tuple[int, float, float, int]) -> tuple[ndarray, ndarray, ndarray]:
    """Pulls and totals, (treatment, what, n_pt), and totals if shifts were known exactly, (what, n_pt)."""
    seed, simulated, measured, replicas = arguments
    rng = np.random.default_rng(seed)
    true = rng.normal(size=PARAMETERS)
    cases = drawn(rng, simulated, measured, replicas, true)
    result = measure_efficiencies(cases, measure_reweighting(cases.simulation, cases.simulation_replicas), (0.5,))
    exact = exactly(result.cuts[:, 0])
    pulls, totals, known = [], [], []
    for configuration in configurations():
        factors = factors_of(configuration, {"n_trk": result})
        for name, flavour, quantity in WHAT:
            one = factors.by_name[FactorKey("n_trk", 0.5, ("quark", "gluon")[flavour], quantity)]
            wanted = true_factors(result.cuts[:, 0], true)[name]
            pulls.append((one.nominal - wanted) / one.total)
            totals.append(one.total)
            if configuration.systematics[0].smooth and not configuration.shifts.prune:
                known.append(np.sqrt(one.statistical**2 + exact[name] ** 2))
    shape = (len(TREATMENTS), len(WHAT), len(CENTRES))
    return np.array(pulls).reshape(shape), np.array(totals).reshape(shape), np.array(known)


def true_factors(cuts: ndarray, parameters: ndarray) -> dict[str, ndarray]:
    """Scale factors of nature, by label, at the cuts of a toy."""
    at = np.arange(len(cuts)), slice(None), cuts - 1
    data, simulation = (np.cumsum(shapes(parameters, tracks), axis=-1)[at[0], :, at[2]] for tracks in (DATA_SHIFT, 1.0))
    return {name: scale_factors(data[:, f], simulation[:, f], quantity) for name, f, quantity in WHAT}


def exactly(cuts: ndarray) -> dict[str, ndarray]:
    """The uncertainty by all parameters if there were no statistics, at the cuts of a toy."""
    from beampipe.calibration.method.matrix import cumulated, extract, mixtures
    from beampipe.calibration.method.reweight import apply_factors

    every = np.stack([expected(1.0, np.zeros(PARAMETERS)), *(expected(1.0, unit(*each)) for each in VARIATIONS)])
    ones = np.ones((*every.shape[:2], N_X))
    mixture, fractions = mixtures(every, ones)
    of_data = apply_factors(expected(1.0, np.zeros(PARAMETERS), DATA_SHIFT).sum(axis=2), ones)
    out = {}
    for name, f, quantity in WHAT:
        data, simulation = (
            cumulated((item.quark, item.gluon)[f], cuts[:, None])[..., 0]
            for item in (extract(of_data, fractions), extract(mixture, fractions))
        )
        shifts = scale_factors(data, simulation, quantity)
        shifts = shifts[1:] - shifts[0]
        out[name] = np.sqrt(np.maximum((shifts[::2] ** 2).sum(axis=0), (shifts[1::2] ** 2).sum(axis=0)))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=500)
    parser.add_argument("--simulated", type=float, default=20_000.0, help="jets of simulation per region and bin of pT")
    parser.add_argument("--measured", type=float, default=60_000.0, help="jets of data per region and bin of pT")
    parser.add_argument("--replicas", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_shifts.json"))
    options = parser.parse_args()
    begun = conditions("shifts of systematics: smoothing and pruning")
    arguments = [(seed, options.simulated, options.measured, options.replicas) for seed in range(options.toys)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        results = list(pool.map(one_toy, arguments, chunksize=5))
    pulls, totals, known = (np.stack(part) for part in zip(*results, strict=True))
    body: dict[str, Any] = {"toys": options.toys}
    for t, treatment in enumerate(TREATMENTS):
        for w, (name, _, _) in enumerate(WHAT):
            low, middle, high = np.quantile(pulls[:, t, w], [0.158655, 0.5, 0.841345])
            ratio = totals[:, t, w] / known[:, w]
            lowest = float((totals[:, t, w] / totals[:, max(t - 1, 0), w]).min())
            one = {
                "pull_width": float((high - low) / 2),
                "pull_median": float(middle),
                "width_by_pt": (np.diff(np.quantile(pulls[:, t, w], [0.158655, 0.841345], axis=0), axis=0)[0] / 2)
                .round(3)
                .tolist(),
                "total_over_known": float(np.median(ratio)),
                "lowest_total_over_treatment_before": lowest,
            }
            body[f"{treatment}: {name}"] = one
            print(
                f"{treatment:18} {name}: width of pulls {one['pull_width']:.3f} (by pT {one['width_by_pt']}), median"
                f" {middle:+.3f}; total / total with exact shifts {one['total_over_known']:.3f}; least total over that"
                f" of the treatment before {lowest:.4f}"
            )
    report(options.output, begun, body)


if __name__ == "__main__":
    main()
