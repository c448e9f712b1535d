"""Does the chi2 of the refolded data notice a bias? `python benchmarks/calibration/goodness.py [--toys 200]`

Toys of 2 bins of pT with 36,000 and 16,000 jets of a region; simulation has twice as many. In biased ones the jets of
data have other mean values of x than simulation, by a factor, and the scale factors of `template` are wrong by several
of their errors. For each extraction: the share of toys with a flag in any bin, and the largest bias in quoted errors.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, begin, write_result

from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import Cases
from beampipe.calibration.method.extractions import extraction_named, refolding_of
from beampipe.calibration.method.goodness import IMPROBABLE, probability
from beampipe.calibration.method.matrix import efficiencies_at, measure_efficiencies, truth
from beampipe.calibration.method.reweight import measure_reweighting

N_X: Final = 24
WORKING_POINT: Final = 0.5
FRACTIONS: Final = np.array([[0.7, 0.45], [0.75, 0.6]])
JETS: Final = np.array([36_000.0, 16_000.0])


def expected(factor: float = 1.0, quarks: float = 1.0) -> ndarray:
    """(2 bins of pT, 2 regions, 2 flavours, x) jets; factors of the mean x and of the fractions of quarks."""
    x = np.arange(N_X) + 0.5
    shapes = np.stack([np.exp(-0.5 * ((x - factor * mean) / 4.0) ** 2) for mean in (8.0, 14.0)])
    shapes /= shapes.sum(axis=-1, keepdims=True)
    fractions = quarks * FRACTIONS
    jets: ndarray = np.stack([fractions, 1 - fractions], axis=-1)[..., None] * shapes * JETS[:, None, None, None]
    return jets


def measure(name: str, data: ndarray, rng: np.random.Generator, replicas: int) -> tuple[ndarray, ndarray, ndarray]:
    """Efficiencies and their errors by (pT, flavour), and probabilities by pT, of a toy with expected data."""
    simulated = rng.poisson(2 * expected()) / 2
    drawn = rng.poisson(2 * simulated, (replicas, *simulated.shape)) / 2
    seen = rng.poisson(data.sum(axis=-2)).astype(float)
    drawn_data = rng.poisson(seen, (replicas, *seen.shape)).astype(float)
    cases = Cases((UNVARIED,), simulated[None], drawn, seen, drawn_data)
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    measured = measure_efficiencies(
        cases, frozen, (WORKING_POINT,), extraction=extraction_named(name), refolded=refolding_of(name)
    )
    want = efficiencies_at(truth(data), measured.cuts)
    errors = measured.data_replicas.std(axis=0)
    chances = np.array([probability(*each) for each in measured.described[:, 0].tolist()])
    return ((measured.data[0] - want) / errors)[:, 0], errors[:, 0], chances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toys", type=int, default=200)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/calibration_goodness.json"))
    options = parser.parse_args()
    begun, figures = begin("chi2 of the refolded data"), []
    for title, data in (
        ("as simulated", expected()),
        ("means 3 % lower", expected(0.97)),
        ("means 5 % lower", expected(0.95)),
        ("20 % fewer quarks", expected(quarks=0.8)),
    ):
        for name in ("matrix", "template", "topics"):
            rng = np.random.default_rng(1)
            toys = [measure(name, data, rng, options.replicas) for _ in range(options.toys)]
            pulls = np.stack([pull for pull, _, _ in toys])
            flagged = np.mean([(chances < IMPROBABLE).any() for _, _, chances in toys])
            known = np.mean([np.isfinite(chances).all() for _, _, chances in toys])
            bias = float(np.abs(np.nanmean(pulls, axis=0)).max())
            figures += [
                Figure(f"{name}, {title}: flagged toys", float(flagged), ""),
                Figure(f"{name}, {title}: largest bias", bias, "quoted errors"),
            ]
            print(f"{title:20} {name:9} flagged {flagged:.3f}  known {known:.2f}  bias {bias:.2f} errors", flush=True)
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
