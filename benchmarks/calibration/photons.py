"""A second pair of regions, by configuration alone: jets beside photons and dijets; combined with forward and central
dijets. `python benchmarks/calibration/photons.py [--events 3000] [--workers 2]`, by Pythia 8 with the toy detector.

Events have a photon or a jet that balances a jet of 220 to 500 GeV. Jets beside photons are mostly of quarks; they are
one region, jets of dijets the other one, by the branch `region` of the files. Pseudo-data are independent events from
which tracks are dropped at random, 6 % in quark jets and 3 % in gluon jets, so the true scale factors follow from
labels. Other dijets are measured with the usual regions, forward and central, and the two are combined.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
import uproot
from measuring import conditions, report
from numpy import ndarray

from beampipe.calibration.config import Bootstrap, Configuration, DijetSelection, Energy, InputSample, Regions, Tagger
from beampipe.calibration.layout import Layout, preset_layout
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.method.joint import combine_sets
from beampipe.calibration.results import Results, collect_results
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.simulation.jet_detector import reconstruct
from beampipe.simulation.jets import particle_jets
from beampipe.simulation.pythia import Collisions, PythiaRun, seed_of
from beampipe.simulation.random_numbers import keys
from beampipe.simulation.samples import GAMMAJET, PROCESSES, SampleSpec, Slice

EDGES: Final = (220.0, 500.0)
PART: Final = Slice(200.0, 550.0, 5.0, 1.0)
KEPT_TRACKS: Final = {True: 0.94, False: 0.97}
"""Share of tracks that pseudo-data keep in quark jets and in others."""

KINDS: Final = ("photons", "dijets", "other_dijets")
SELECTION: Final = DijetSelection(min_subleading_pt=EDGES[0], max_leading_pt=EDGES[1])
KEYS: Final = tuple(FactorKey("n_trk", 0.5, *what) for what in (("quark", "efficiency"), ("gluon", "rejection")))


def table_of(collisions: Collisions, photons: bool, seed: int) -> dict[str, ndarray]:
    """The two leading objects of the events that have them back to back, and no third one of 30 % of their pT."""
    jets = particle_jets(collisions, 15.0, 4.5)
    seen = reconstruct(jets, keys(np.full(len(collisions), seed), collisions.first + np.arange(len(collisions))))
    pt_of_particles = np.hypot(collisions.momentum[:, 0], collisions.momentum[:, 1])
    rows: dict[str, list[Any]] = {name: [] for name in ("number", "photon", "pt", "eta", "n_trk", "label", "weight")}
    borders = np.searchsorted(jets.event, np.arange(len(collisions) + 1))
    for k in range(len(collisions)):
        order = np.arange(borders[k], borders[k + 1])
        order = order[np.argsort(-seen.pt[order])]
        if len(order) < 2 or (len(order) > 2 and seen.pt[order[2]] > max(15.0, 0.3 * seen.pt[order[0]])):
            continue
        pair = order[:2]
        if abs(abs((jets.phi[pair[0]] - jets.phi[pair[1]] + 3 * np.pi) % (2 * np.pi) - np.pi)) < 2.8:
            continue
        if photons:
            own = slice(collisions.offset[k], collisions.offset[k + 1])
            hardest = np.where(collisions.charged[own], 0.0, pt_of_particles[own]).max()
            beside = np.abs(jets.pt[pair] / hardest - 1)
            if beside.min() > 0.1:
                continue  # a photon that is not isolated
            pair = pair[np.argsort(-beside)]  # the jet first
        rows["number"].append(collisions.first + k)
        rows["photon"].append(photons)
        rows["pt"].append(seen.pt[pair])
        rows["eta"].append(jets.eta[pair])
        rows["n_trk"].append(np.where([False, photons], 99, seen.n_trk[pair]))
        rows["label"].append(np.where([False, photons], 21, jets.label[pair]))
        rows["weight"].append(collisions.weights[k, 0])
    return {name: np.array(values) for name, values in rows.items()}


def produce(folder: Path, events: int, what: tuple[str, bool]) -> Path:
    """A file of one kind of events, as simulation or as pseudo-data."""
    kind, as_data = what
    path = folder / f"{kind}_{'data' if as_data else 'simulation'}_{events}.root"
    if path.exists():
        return path
    photons, number = kind == "photons", 2 * KINDS.index(kind) + as_data
    spec = SampleSpec(kind, "nominal", ("Tune:pp = 21", *(PROCESSES[GAMMAJET] if photons else ())), number)
    seed = seed_of(1, 77, number)
    parts = [table_of(each, photons, seed) for each in PythiaRun(spec, PART, seed).batches(events)]
    table = {name: np.concatenate([part[name] for part in parts if len(part[name])]) for name in parts[0]}
    if as_data:
        rng, quark = np.random.default_rng(number), table["label"] < 21
        share = np.where(quark, KEPT_TRACKS[True], KEPT_TRACKS[False])
        table["n_trk"] = np.where(table["n_trk"] == 99, 99, rng.binomial(table["n_trk"], share))
    columns: dict[str, Any] = {"event": (table["number"] + 10**9 * number).astype(np.uint64)}
    columns["weight"] = table["weight"].astype(np.float32)
    for j in range(2):
        beside = table["photon"] & (j == 1)
        columns |= {f"{name}_{j}": table[name][:, j].astype(np.float32) for name in ("pt", "eta")}
        columns |= {f"{name}_{j}": table[name][:, j].astype(np.int32) for name in ("n_trk", "label")}
        columns[f"region_{j}"] = np.where(beside, -1, np.where(table["photon"], 0, 1)).astype(np.int32)
    part_of_file = path.with_suffix(".part.root")
    with uproot.recreate(part_of_file) as file:
        file.mktree("ntuple", {name: values.dtype for name, values in columns.items()}).extend(columns)
    part_of_file.rename(path)
    return path


def layout(*, by_branch: bool) -> Layout:
    branches: dict[str, Any] = {name: [f"{name}_0", f"{name}_1"] for name in ("pt", "eta", "n_trk", "label")}
    branches |= dict.fromkeys(("run", "phi", "width", "c1"), "")
    branches |= {"region": ["region_0", "region_1"]} if by_branch else {}
    return preset_layout("ntuple", {"branches": branches, "sums": {"source": "events"}})


def calibrate(output: Path, files: Mapping[tuple[str, bool], Path], kinds: tuple[str, ...]) -> Results:
    """Scale factors by events of some kinds: regions by the branch of the files, or forward and central."""
    by_branch = "photons" in kinds
    configuration = Configuration(
        output,
        {
            name: InputSample(name, tuple(files[kind, as_data] for kind in kinds), role, cross_section=1.0)
            for name, as_data, role in (("nominal", False, "simulation"), ("data", True, "pseudo-data"))
        },
        pt_edges=EDGES,
        working_points=(0.5,),
        selection=SELECTION,
        regions=Regions("branch") if by_branch else Regions("eta_rank"),
        taggers=(Tagger(),),
        energy=Energy(0, 0),
        bootstrap=Bootstrap(200),
        layout=layout(by_branch=by_branch),
    )
    plan = run_calibration(configuration, RunSettings("inline"))
    return collect_results(plan, workspace_of(configuration).store)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3000, help="events of each kind to generate, of each sample")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=Path("runs/bench/photons"))
    options = parser.parse_args()
    begun = conditions("jets beside photons and dijets as regions")
    options.output.mkdir(parents=True, exist_ok=True)
    every = [(kind, as_data) for kind in KINDS for as_data in (False, True)]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        files = dict(zip(every, pool.map(partial(produce, options.output, options.events), every), strict=True))
    results = {
        "photons": calibrate(options.output / "by_photons", files, ("photons", "dijets")),
        "dijets": calibrate(options.output / "by_eta", files, ("other_dijets",)),
    }
    combined = combine_sets({name: each.joint for name, each in results.items()})
    body: dict[str, Any] = {}
    for name, each in results.items():
        jets = each.efficiencies["n_trk"].jets[0, :, 2, 0]
        body[name] = {"fractions": each.factors.fractions["n_trk"][0].round(3).tolist(), "jets": jets.tolist()}
        for key in KEYS:
            factor, true = each.factors.by_name[key], float(each.true[key][0])
            body[name][f"{key.flavour} {key.quantity}"] = numbers = {
                "extracted": float(factor.nominal[0]),
                "error": float(factor.statistical[0]),
                "true": true,
                "pull": float((factor.nominal[0] - true) / factor.statistical[0]),
            }
            print(f"{name:8} {key.flavour} {key.quantity}: {numbers}")
        print(f"{name:8} quark fractions {body[name]['fractions']}, jets of data by region {jets}")
    errors = np.sqrt(np.diagonal(combined.joint.covariance))
    for key in KEYS:
        part = combined.joint.part(key)
        shares = combined.shares(key)[:, 0]
        body.setdefault("combined", {})[f"{key.flavour} {key.quantity}"] = {
            "value": float(combined.joint.nominal[part][0]),
            "error": float(errors[part][0]),
            "shares": dict(zip(combined.names, shares.tolist(), strict=True)),
        }
        print(f"combined {key.flavour} {key.quantity}: {body['combined'][f'{key.flavour} {key.quantity}']}")
    body["summary"] = [
        f"{name}, {what}: extracted {item['extracted']:.3f} +- {item['error']:.3f}, true {item['true']:.3f}"
        for name in results
        for what, item in body[name].items()
        if isinstance(item, dict)
    ]
    report(options.output / "calibration_photons.json", begun, body)


if __name__ == "__main__":
    main()
