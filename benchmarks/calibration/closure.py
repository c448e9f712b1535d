"""Does the chain give back what was put in? `python benchmarks/calibration/closure.py`, after simulating the samples:

    beampipe calibration simulate nominal -o runs/calibration/samples -n 110000 --files 4     # and the others of --list

or, without Pythia, with toy samples whose numbers of tracks or fractions of quarks differ by known factors:

    python benchmarks/calibration/closure.py --toys 120000 --extraction matrix topics

Three tests for each extraction, of the scale factors of quark efficiency and of gluon rejection at the 50 % working
point, against labels:

    injection     shapes of quarks and gluons in the nominal sample are tilted by known factors of the tagger, forward
                  and central alike: the events are the same, statistics cancel, what is left is the method's own error
    tracks        pseudo-data in which each track is kept with a known chance: the same events, but which tracks go is
                  random
    independent   every other sample as pseudo-data: chi2 of (extracted - true) over the six bins of pT, errors by event
                  bootstrap of the difference
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
from recording import Figure, begin, write_result

from beampipe.calibration.config import Configuration, InputSample
from beampipe.calibration.events.variations import UNVARIED
from beampipe.calibration.method.cases import Cases, Templates, cases_of
from beampipe.calibration.method.extractions import extraction_named
from beampipe.calibration.method.factors import json_numbers
from beampipe.calibration.method.matrix import Efficiencies, cumulated, measure_efficiencies, scale_factors, truth
from beampipe.calibration.method.reweight import GLUON, QUARK, measure_reweighting
from beampipe.calibration.method.uncertainties import statistical
from beampipe.calibration.results import read_templates
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.simulation.ntuples import INJECTIONS, ToyModel, inject, simulate_toy

POINT = 0.5
WHAT = (("SF_q", QUARK, "efficiency"), ("SF_g", GLUON, "rejection"))
TILTS = ((0.3, 0.0), (-0.3, 0.0), (0.0, 0.3), (0.0, -0.3), (0.25, -0.25), (-0.25, 0.25))
"""Strengths of the tilts of quarks and gluons: a tilt is 1 + strength * (x - mean) / mean, kept within [0.2, 2]."""

TOY: Final = ToyModel(extra_jets=0.2, fraction_eta=0.25)
TOYS: Final = {
    "nominal2": TOY,
    "quark_fewer": replace(TOY, quark_tracks=0.96),
    "gluon_fewer": replace(TOY, gluon_tracks=0.96),
    "fewer": replace(TOY, quark_tracks=0.96, gluon_tracks=0.96),
    "apart": replace(TOY, quark_tracks=0.97, gluon_tracks=1.03),
    "closer": replace(TOY, quark_tracks=1.03, gluon_tracks=0.97),
    "more_quarks": replace(TOY, fraction=TOY.fraction + 0.03),
    "eta": replace(TOY, fraction_eta=TOY.fraction_eta + 0.05),
}
"""Toy samples that are used as pseudo-data. The last two have other fractions of quarks than the nominal sample."""


def make_toys(folder: Path, events: int) -> None:
    """Toy samples: twice as many events of the nominal one."""
    for seed, (name, model) in enumerate({"nominal": TOY, **TOYS}.items(), 100):
        made = folder / name
        if not any(made.glob("*.root")):
            n_events = 2 * events if name == "nominal" else events
            simulate_toy(made, n_events, files=3, seed=seed, dataset=name, model=model)


def tagger_of(options: argparse.Namespace) -> Tagger:
    models = {"gbdt": "shipped", "constituents": "shipped_constituents"}
    return Tagger() if options.tagger == "n_trk" else Tagger(options.tagger, 50, 0.0, 1.0, models[options.tagger])


def filled(options: argparse.Namespace, name: str, files: Sequence[Path]) -> tuple[Templates, Templates]:
    """Histograms of the nominal sample and of pseudo-data."""
    samples = {
        "nominal": InputSample("nominal", tuple(sorted((options.samples / "nominal").glob("*.root")))),
        "data": InputSample("data", tuple(sorted(files)), "pseudo-data"),
    }
    configuration = Configuration(options.output / "closure", samples, taggers=(tagger_of(options),))
    plan = run_calibration(configuration, RunSettings("processes", options.workers), until="fill")
    store = workspace_of(configuration).store
    return read_templates(store, plan.samples["nominal"]), read_templates(store, plan.samples["data"])


def measured(cases: Cases, extraction: str) -> Efficiencies:
    frozen = measure_reweighting(cases.simulation, cases.simulation_replicas)
    return measure_efficiencies(cases, frozen, (POINT,), extraction=extraction_named(extraction))


def true_efficiencies(flavours: ndarray, cuts: ndarray) -> ndarray:
    """Efficiencies of forward jets by label, (..., n_pt, 2): of quarks and of gluons."""
    known = truth(flavours)
    return np.stack([cumulated(known.quark, cuts), cumulated(known.gluon, cuts)], axis=-1)[..., 0, :]


def injection(nominal: Templates, tagger: str, extraction: str) -> dict[str, float]:
    """Extract from the nominal sample with tilted shapes: the largest difference to the tilts of each scale factor."""
    flavours = nominal.flavours(tagger)[:1]
    x = np.arange(flavours.shape[-1]) + 0.5
    mean = (flavours * x).sum(axis=(2, 3, 4), keepdims=True) / flavours.sum(axis=(2, 3, 4), keepdims=True)
    worst = {name: 0.0 for name, _, _ in WHAT}
    for strengths in TILTS:
        tilt = np.stack(
            [np.clip(1 + s * (x - mean[..., 0, 0, :]) / mean[..., 0, 0, :], 0.2, 2) for s in strengths], axis=2
        )
        tilted = flavours * tilt[:, :, None]
        cases = Cases((UNVARIED,), flavours, flavours[:0], tilted.sum(axis=3)[0], tilted.sum(axis=3)[:0])
        result = measured(cases, extraction)
        for name, flavour, quantity in WHAT:
            got = scale_factors(result.data[0, :, 0, flavour], result.simulation[0, :, 0, flavour], quantity)
            due = [true_efficiencies(part, result.cuts)[0, :, flavour] for part in (tilted, flavours)]
            wanted = scale_factors(due[0], due[1], quantity)
            worst[name] = max(worst[name], float(np.abs(got - wanted).max()))
    return worst


def compare(nominal: Templates, data: Templates, tagger: str, extraction: str) -> dict[str, float]:
    """chi2 per bin of extracted against true scale factors, with errors of the difference by bootstrap."""
    cases = cases_of(tagger, nominal, data, {})
    result = measured(cases, extraction)
    chi2: dict[str, float] = {}
    for name, flavour, quantity in WHAT:
        got = scale_factors(result.data[0, :, 0, flavour], result.simulation[0, :, 0, flavour], quantity)
        due = [true_efficiencies(item.flavours(tagger)[0], result.cuts)[:, flavour] for item in (data, nominal)]
        drawn = [
            true_efficiencies(item.flavours(tagger, "replicas"), result.cuts)[..., flavour] for item in (data, nominal)
        ]
        difference = scale_factors(
            result.data_replicas[:, :, 0, flavour], result.simulation_replicas[:, :, 0, flavour], quantity
        ) - scale_factors(drawn[0], drawn[1], quantity)
        off = (got - scale_factors(due[0], due[1], quantity)) / statistical(difference)[0]
        chi2[name] = float((off**2).mean())
    return chi2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, default=Path("runs/calibration/samples"))
    parser.add_argument("--tagger", default="n_trk", choices=["n_trk", "gbdt", "constituents"])
    parser.add_argument("--extraction", nargs="+", default=["matrix"], help="extractions")
    parser.add_argument(
        "--toys", type=int, default=0, help="make toy samples of this number of events; 0: use --samples"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"))
    options = parser.parse_args()
    begun = begin("closure of the calibration")
    if options.toys:
        options.samples = options.output / "closure_toys"
        make_toys(options.samples, options.toys)
    others = sorted(path.name for path in options.samples.iterdir() if any(path.glob("*.root")))
    others = [name for name in others if name != "nominal"]
    values: dict[str, float] = {}
    details: dict[str, Any] = {}
    nominal_files = sorted((options.samples / "nominal").glob("*.root"))
    for extraction in options.extraction:
        nominal, _ = filled(options, "none", pseudo(options, "none", nominal_files))
        largest = injection(nominal, options.tagger, extraction)
        chi2 = {}
        for name in INJECTIONS.keys() - {"none"}:
            pair = filled(options, name, pseudo(options, name, nominal_files))
            chi2[f"tracks kept at random, {name}"] = compare(*pair, options.tagger, extraction)["SF_q"]
        independent = []
        for name in others:
            pair = filled(options, name, sorted((options.samples / name).glob("*.root")))
            independent.append(compare(*pair, options.tagger, extraction)["SF_q"])
            chi2[name] = independent[-1]
        details[extraction] = {"largest": largest, "chi2_ndf": chi2}
        title = f"{extraction}: chi2 / ndf of SF_q, independent samples"
        values[f"{extraction}: largest error of injected SF_q"] = largest["SF_q"]
        values[title] = float(np.mean(independent))
    output = options.output / f"calibration_closure_{options.tagger}.json"
    # Few jets leave bins, and so figures, without a value.
    figures = [Figure(name, value) for name, value in values.items() if np.isfinite(value)]
    write_result(output, begun, figures, **json_numbers(details))


def pseudo(options: argparse.Namespace, name: str, files: Sequence[Path]) -> list[Path]:
    """Files of pseudo-data by an injection, which are made if they are not there yet."""
    folder = options.output / ("toy_pseudo" if options.toys else "pseudo") / name
    made = sorted(folder.glob("*.root"))
    return made if len(made) == len(files) else inject(files, folder, replace(INJECTIONS[name]))


if __name__ == "__main__":
    main()
