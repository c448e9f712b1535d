"""Does the quoted statistical error hold the truth in 68 % of parametric toys?

Each toy draws simulation and pseudo-data (3 % fewer tracks in quark jets, 2 % fewer in gluon jets), writes them as
ROOT files, and goes through select, fill, reweighting, inversion and bootstrap. The truth comes from the labels of
samples a hundred times as large, at the cuts that the toy froze. Beside it: the errors of binned toys with fixed
factors and fractions, and forward and central jets drawn independently, as the original workflow has them.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from measuring import conditions, report
from numpy import ndarray

from beampipe.calibration.config import Bootstrap, DijetSelection, Energy, Regions, Tagger
from beampipe.calibration.events.dijets import WeightUnits
from beampipe.calibration.events.fill import FillSettings, fill_table
from beampipe.calibration.events.histograms import merge
from beampipe.calibration.events.scores import Scores
from beampipe.calibration.events.select import SelectSettings, select
from beampipe.calibration.method.matrix import cumulated, extract, measure_efficiencies, mixtures, scale_factors, truth
from beampipe.calibration.method.reweight import apply_factors, measure_reweighting
from beampipe.calibration.method.templates import Cases, Templates, cases_of, templates_of
from beampipe.calibration.method.uncertainties import statistical
from beampipe.calibration.ntuple.bookkeeping import Bookkeeping, SliceFactors
from beampipe.simulation.ntuples import Slice, ToyModel, simulate_toy

EDGES = (500.0, 600.0, 800.0, 1000.0, 1200.0, 1500.0, 2000.0)
SLICES = (Slice(470.0, 2400.0, 4.0, 1.0),)
SIMULATION = ToyModel(extra_jets=0.1)
DATA = replace(SIMULATION, quark_tracks=0.97, gluon_tracks=0.98)
POINT = 0.5
BINNED_TOYS = 200


def sample(folder: Path, events: int, seed: int, model: ToyModel, name: str, replicas: int) -> Templates:
    """Draw a sample and fill its histograms."""
    paths = simulate_toy(folder, events, files=1, seed=seed, slices=SLICES, dataset=name, model=model)
    units = WeightUnits()
    to_select = SelectSettings(DijetSelection(), Regions(), units, True, True)
    to_fill = FillSettings(
        pt_edges=EDGES,
        taggers=(Tagger(),),
        selection=DijetSelection(),
        energy=Energy(0, 0),
        units=units,
        labelled=True,
        weight_names=("nominal",),
        kinematics=(),
        bootstrap=Bootstrap(replicas),
        dataset=name,
    )
    filled = merge(
        fill_table(select(path, start, min(start + 250_000, events), to_select), Scores(), to_fill)
        for path in paths
        for start in range(0, events, 250_000)
    )
    for path in paths:
        path.unlink()
    books = Bookkeeping(name, ("nominal",), (), True, (SliceFactors(0, (1.0,)),))
    return templates_of({0: filled}, books, units.bits)


def one_toy(arguments: tuple[int, int, int]) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Scale factors, their errors, those of binned toys, and the cuts: (n_pt, flavour) and (n_pt,)."""
    number, events, replicas = arguments
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        made = [
            sample(Path(scratch), events, 2 * number + k + 1000, model, name, replicas)
            for k, (model, name) in enumerate(((SIMULATION, f"simulation{number}"), (DATA, f"data{number}")))
        ]
    cases = cases_of("n_trk", *made, {})
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    measured = measure_efficiencies(cases, frozen, (POINT,))
    drawn = scale_factors(measured.data_replicas, measured.simulation_replicas, "efficiency")[:, :, 0]
    factors = scale_factors(measured.data[0], measured.simulation[0], "efficiency")[:, 0]
    errors = np.stack([statistical(drawn[:, :, flavour])[0] for flavour in (0, 1)], axis=-1)
    return factors, errors, binned_errors(cases, made, measured.cuts, number), measured.cuts[:, 0]


def binned_errors(cases: Cases, made: list[Templates], cuts: ndarray, seed: int) -> ndarray:
    """Errors of toys bin by bin, factors and fractions fixed."""
    rng = np.random.default_rng(seed)
    frozen = measure_reweighting(cases.simulation, cases.simulation[:0])
    mixture, fractions = mixtures(cases.simulation[:1], frozen.quark[:1])
    squares = made[0].squares[:1].sum(axis=-2), made[1].squares[:1].sum(axis=-2)
    weighted = apply_factors(cases.data[None], frozen.quark[:1])
    out = []
    for values, square in ((mixture, squares[0]), (weighted, squares[1])):
        spread = np.sqrt(apply_factors(square, frozen.quark[:1] ** 2))
        toys = values + spread * rng.standard_normal((BINNED_TOYS, *values.shape[1:]))
        result = extract(toys, fractions)
        out.append(np.stack([cumulated(result.quark, cuts), cumulated(result.gluon, cuts)], axis=-1)[:, :, 0])
    return np.std(out[1] / out[0], axis=0)


def true_factors(events: int) -> ndarray:
    """(n_pt, n_cuts, flavour) scale factor of forward jets for every cut."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        shapes = []
        for k, (model, name) in enumerate(((SIMULATION, "truth_simulation"), (DATA, "truth_data"))):
            total = sum(
                sample(Path(scratch), 1_000_000, 77 + 2 * part + k, model, name, 0).flavours("n_trk")[0]
                for part in range(max(1, events // 1_000_000))
            )
            known = truth(total)
            shapes.append(np.stack([known.quark, known.gluon], axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.cumsum(shapes[1], axis=1) / np.cumsum(shapes[0], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=500)
    parser.add_argument(
        "--events", type=int, default=40_000, help="number of events of simulation and of data, in each toy"
    )
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_coverage.json"))
    options = parser.parse_args()
    begun = conditions("coverage of the statistical error")
    exact = true_factors(100 * options.events)
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        arguments = [(number, options.events, options.replicas) for number in range(options.toys)]
        results = list(pool.map(one_toy, arguments))
    factors, errors, binned, cuts = (np.stack(part) for part in zip(*results, strict=True))
    bins = np.arange(exact.shape[0])
    expected = exact[bins, cuts - 1]
    pull = (factors - expected) / errors
    body: dict[str, Any] = {"toys": options.toys, "events": options.events}
    for flavour, name in enumerate(("quark", "gluon")):
        inside = np.abs(pull[:, :, flavour]) < 1
        of_binned = np.abs((factors - expected)[:, :, flavour]) < binned[:, :, flavour]
        body[name] = {
            "coverage": float(inside.mean()),
            "error": float(np.sqrt(inside.mean() * (1 - inside.mean()) / inside.size)),
            "by_pt": inside.mean(axis=0).round(4).tolist(),
            "pull_median": np.median(pull[:, :, flavour], axis=0).round(3).tolist(),
            "median_error": np.median(errors[:, :, flavour], axis=0).round(4).tolist(),
            "binned_coverage": float(of_binned.mean()),
            "binned_by_pt": of_binned.mean(axis=0).round(4).tolist(),
            "binned_over_bootstrap": float(np.median(binned[:, :, flavour] / errors[:, :, flavour])),
        }
        one = body[name]
        print(
            f"SF of {name} efficiency: {one['coverage']:.1%} +- {one['error']:.1%} covered, by pT"
            f" {', '.join(f'{value:.0%}' for value in one['by_pt'])}; binned toys {one['binned_coverage']:.1%}"
            f" (their error / ours {one['binned_over_bootstrap']:.2f}); median error {one['median_error']}"
        )
    report(options.output, begun, body)


if __name__ == "__main__":
    main()
