"""Does a chain give back what was put in? `python benchmarks/chain/closure.py [CHAIN.toml]`, which runs it first.

tracks   number of tracks against charged particles of the same jets, by jet pT: ratio of the means, mean and spread
         of the difference; other finders on the same hits beside
fit      gluon fractions in pseudo-experiments. First the bootstrap replicas of the sample `measured`: pulls with shares
         of independent collisions of the same kind (the sample `data`), with those of nominal simulation, and with
         scale factors; all replicas share these and the simulation, so their errors show as one common shift, and the
         width is below 1
toys     experiments with toy samples, and so with simulation and scale factors, of their own: jets of pseudo-data
         differ by a random multiple of the difference between the alternative sample and nominal simulation
loss     pseudo-data whose tracks are lost at random: shifts of the scale factors against the same pseudo-data without,
         and those that nominal simulation predicts if its tracks are lost by the efficiency that was measured in
         pseudo-data, in bins of pT, eta and distance to the jet's axis. The replicas of the bootstrap have the same
         events with and without, so their spread is the error of a shift
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import beampipe.terminal.scripts  # noqa: F401

import numpy as np
from numpy import ndarray

sys.path.insert(0, str(Path(__file__).parents[1]))

from recording import CONSOLE, Figure, Reference, begin, parser_of, write_result

from beampipe.calibration.config import Bootstrap, Regions
from beampipe.calibration.method.cases import SumsOf, Templates
from beampipe.calibration.method.joint import joint_uncertainties
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.results import read_templates
from beampipe.calibration.run import run_calibration
from beampipe.calibration.tasks.plan import Plan as CalibrationPlan
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.chain.figures import track_ratio
from beampipe.chain.fit import (
    TAGGER,
    JetCounts,
    Shares,
    calibrated_shares,
    class_cuts,
    fit_fraction,
    simulated_shares,
)
from beampipe.chain.ntuples import (
    EnergyScale,
    NtupleSpec,
    Performance,
    write_chain_ntuple,
    write_performance,
    write_scale,
)
from beampipe.chain.recipes import Plan
from beampipe.chain.run import ChainResult, calibration_of, make_ntuples, measure_ntuples, run_chain, store_of
from beampipe.chain.settings import EXAMPLE, ROLES, ChainSettings, Sample, load_settings
from beampipe.chain.tables import PRIMARY, JetEvents, Owners, TrackTable
from beampipe.random_numbers import keys, uniform
from beampipe.simulation.ntuples import ToyModel, simulate_toy
from beampipe.simulation.ntuples.ntuple_files import read_bookkeeping, read_ntuple, write_ntuple
from beampipe.simulation.samples import Slice
from beampipe.tables import load_table, load_tables
from beampipe.workflow import Store


def compare_tracks(settings: ChainSettings) -> list[Figure]:
    """The figures of `tracks`: the finder of the chain in all nominal collisions, another in the first ones."""
    edges = (100.0, 200.0, 300.0, 420.0, 580.0, 800.0, 1200.0)
    plan, store = Plan(settings), store_of(settings)
    scale = load_table(store.require(plan.scale), "scale", EnergyScale)
    name = settings.tracks.finder
    chunks = {name: plan.chunks[settings.of_role("nominal").name]} | plan.compared
    values: dict[str, dict[str, tuple[float, float | None]]] = {}
    for finder, parts in chunks.items():
        data = JetEvents.join([JetEvents.load(store.require(chunk.recipes["jets"])) for chunk in parts])
        pt = scale.corrected(data.jets.pt, data.jets.eta)
        here = values.setdefault(finder, {})
        if settings.collisions.pileup:
            here["hard vertex right"] = (data.events.vertex_efficiency, None)
        for low, high in pairwise(edges):
            if np.count_nonzero(chosen := (pt >= low) & (pt < high)) >= 20:
                ratio = track_ratio(data, chosen)
                bin_name = f"{low:g}-{high:g} GeV"
                here[f"{bin_name}: tracks over particles"] = (ratio.ratio, ratio.ratio_error)
                here[f"{bin_name}: particles with a track"] = (ratio.found, None)
    other = next((finder for finder in chunks if finder != name), "")
    return [
        Figure(
            f"{name}, {what}",
            value,
            "",
            "equal" if what.endswith("over particles") else "higher",
            Reference(other, values[other][what][0]) if other and what in values[other] else None,
            error,
        )
        for what, (value, error) in values[name].items()
    ]


def pseudo_experiments(result: ChainResult, n: int, workers: int) -> list[Figure]:
    """The figures of `fit`."""
    settings = result.settings
    filled: dict[str, Templates] = {}
    nominal: Templates | None = None
    for role in ("measured", "data"):
        configuration = replace(
            calibration_of(settings, result.ntuples, role),
            regions=Regions("eta_rank", 0.0),
            systematics=(),
            bootstrap=Bootstrap(n if role == "measured" else 0, 1),
        )
        plan = run_calibration(configuration, RunSettings("processes", workers), until="fill")
        store = workspace_of(configuration).store
        filled[role] = read_templates(store, plan.samples[configuration.data])
        nominal = nominal or read_templates(store, plan.samples[configuration.nominal])
    assert nominal is not None

    def flavours(templates: Templates, values: ndarray) -> ndarray:
        """Jets of both regions by (pT, flavour, number of tracks)."""
        by_flavour: ndarray = replace(templates, values=values).flavours(TAGGER)[0].sum(axis=1)
        return by_flavour

    def jets(simulation: Templates) -> tuple[ndarray, ndarray]:
        return flavours(simulation, simulation.values), flavours(simulation, simulation.squares)

    measured = filled["measured"]
    whole, squares = jets(measured)
    true = whole.sum(axis=2)[:, 1] / whole.sum(axis=(1, 2))
    cuts, factors = class_cuts(result.factors), result.factors
    simulated = simulated_shares(result.counts, cuts)
    same = replace(result.counts, simulation=jets(filled["data"])[0], simulation_squares=jets(filled["data"])[1])
    shares: dict[str, Shares] = {"same kind": simulated_shares(same, cuts), "simulation": simulated}
    configuration = calibration_of(settings, result.ntuples)
    plan = run_calibration(configuration, RunSettings("processes", workers))
    efficiencies = load_tables(workspace_of(configuration).store.require(plan.extract), Efficiencies)
    shares["calibrated"] = calibrated_shares(
        simulated, factors, joint_uncertainties(configuration, efficiencies, factors)
    )

    figures = []
    for name, each in shares.items():
        pulls = []
        for values in measured.replicas[:n]:
            drawn = flavours(measured, values[None]).sum(axis=1)
            scaled = squares.sum(axis=1) * (drawn.sum(axis=1) / whole.sum(axis=(1, 2)))[:, None]
            counts = JetCounts(result.counts.simulation, result.counts.simulation_squares, drawn, scaled, true)
            fitted = fit_fraction(counts, each, cuts, factors.pt_edges, name)
            if fitted is not None:
                pulls.append(fitted.pull)
        figures += pull_figures(f"gluon fraction, {name}", pulls)
    return figures


def pull_figures(name: str, pulls: Sequence[float]) -> list[Figure]:
    """Mean and width of pulls."""
    if len(pulls) < 2:
        CONSOLE.print(f"{name}: {len(pulls)} experiments are usable", markup=False)
        return []
    return [
        Figure(f"{name}: mean pull", float(np.mean(pulls)), "", "equal"),
        Figure(f"{name}: width of pulls", float(np.std(pulls, ddof=1)), "", "equal"),
    ]


def toy_ntuple(output: Path, sample: Sample, number: int, seed: int, events: int) -> Path:
    """A toy sample of an experiment; jets of pseudo-data have other numbers of tracks than those of simulation.

    The difference is that of the alternative sample times a normal random number of the experiment. Tracks are found
    as in simulation, so that there is no shift by the variations of their number.
    """
    shift = {"nominal": 0.0, "alternative": 1.0}.get(sample.role, float(np.random.default_rng(number).normal()))
    tracks = 1 - TOY_SHIFT * shift
    model = ToyModel(quark_tracks=tracks, gluon_tracks=tracks)
    folder = output.parent / sample.name
    (path,) = simulate_toy(folder, events, seed=seed, slices=(TOY_SLICE,), model=model, dataset=sample.name)
    drawn = read_ntuple(path)
    varied = replace(drawn, jet_n_trk_eff=drawn.jet_n_trk, jet_n_trk_fake=drawn.jet_n_trk)
    write_ntuple(output, varied, read_bookkeeping(path))
    return output


TOY_SLICE: Final = Slice(470.0, 1100.0, 4.0, 1.0)
TOY_SHIFT: Final = 0.05
"""Relative difference of the mean numbers of tracks of the alternative toy sample and of the nominal one."""

TOY_EDGES: Final = (500.0, 600.0, 750.0, 1000.0)


def toy_experiments(n: int, events: int, workers: int) -> list[Figure]:
    """The figures of `toys`: pulls of experiments with simulation, scale factors and pseudo-data of their own."""
    settings = load_settings(EXAMPLE, Path("runs/chain"))
    settings = replace(settings, measurement=replace(settings.measurement, pt_edges=TOY_EDGES))
    executor = RunSettings("processes" if workers > 1 else "inline", workers)
    by_shares: dict[str, list[float]] = {}
    with TemporaryDirectory() as scratch:
        for number in range(n):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            ntuples = {
                name: toy_ntuple(folder / f"{name}.root", sample, number, 100 * number + k, events)
                for k, (name, sample) in enumerate(settings.samples.items())
            }
            for each in measure_ntuples(replace(settings, output=folder), ntuples, executor).measurements:
                by_shares.setdefault(each.shares, []).append(each.pull)
    return [figure for shares, pulls in by_shares.items() for figure in pull_figures(f"toys, {shares}", pulls)]


def with_loss(data: JetEvents, chance: ndarray, seed: int) -> JetEvents:
    """Events without some of their tracks, each of which is lost with a chance of its own."""
    kept = uniform(keys(np.full(len(chance), seed), 1, np.arange(len(chance))), 0) >= chance
    tracks = TrackTable(*(getattr(data.tracks, each.name)[kept] for each in fields(TrackTable)))
    return replace(data, tracks=tracks, owners=Owners(data.owners.track[kept], data.owners.particle))


def ntuples_of(folder: Path, settings: ChainSettings, events: dict[str, JetEvents]) -> dict[str, Path]:
    """The ntuples of some events, with the energy scale and the performance of nominal simulation."""
    jets = {name: folder / f"{name}.npz" for name in events}
    for name, data in events.items():
        data.save(jets[name])
    scale, performance = folder / "scale.npz", folder / "performance.npz"
    write_scale(scale, [jets["nominal"]])
    write_performance(performance, [jets["nominal"]])
    ntuples = {name: folder / f"{name}.root" for name in events}
    for number, (name, path) in enumerate(ntuples.items()):
        # Replicas follow from dataset and run: the same events have the same ones.
        dataset, run_number = ("nominal", 1) if name in ("nominal", "predicted") else ("data", 2)
        spec = NtupleSpec(dataset, run_number, number, settings.seed, 1.0, ())
        write_chain_ntuple(path, [jets[name]], scale, performance, spec)
    return ntuples


SUMS: Final[tuple[SumsOf, SumsOf]] = ("values", "replicas")


def quark_like(templates: Templates, of: SumsOf, cuts: ndarray) -> ndarray:
    """Share of the quark and of the gluon jets below the cuts: (replicas or variations, pT, working point, flavour)."""
    jets = templates.flavours(TAGGER, of).sum(axis=-3)
    below = np.cumsum(jets, axis=-1)
    at_cuts = np.stack([below[:, p][..., cuts[p].astype(int) - 1] for p in range(len(cuts))], axis=1)
    return np.swapaxes(at_cuts / jets.sum(axis=-1)[..., None], -1, -2)


def track_loss(settings: ChainSettings, loss: float, extractions: list[str], workers: int) -> list[Figure]:
    """The figures of `loss`, without alternative samples."""
    settings = replace(settings, samples={each.name: each for each in map(settings.of_role, ROLES)})
    plan, store = Plan(settings), store_of(settings)
    names = {role: settings.of_role(role).name for role in ("nominal", "data")}
    events = {
        role: JetEvents.join([JetEvents.load(store.require(recipe)) for recipe in plan.jets(name)])
        for role, name in names.items()
    }
    nominal = events["nominal"]
    events["lossy"] = with_loss(events["data"], np.full(len(events["data"].tracks.pt), loss), 1)
    before, after = (Performance.measured(events[name]).kinds[..., PRIMARY] for name in ("data", "lossy"))
    measured = replace(Performance.measured(nominal), reconstructable=before, found_reconstructable=after)
    chance = measured.inefficiency(nominal.tracks, nominal.owners.track, nominal)
    events["predicted"] = with_loss(nominal, chance, 2)
    lost = 1 - after.sum() / before.sum()
    counts = {name: len(data.events) for name, data in events.items()}
    CONSOLE.print(f"{counts} collisions; tracks lost in jets: {100 * lost:.2f} %", markup=False)
    with TemporaryDirectory() as name:
        ntuples = ntuples_of(Path(name), settings, events)

        def calibrated(simulation: str, data: str, extraction: str, until: str) -> tuple[Store, CalibrationPlan]:
            files = {names["nominal"]: ntuples[simulation], names["data"]: ntuples[data]}
            output = Path(name) / f"{simulation}-{data}-{extraction}"
            configuration = replace(calibration_of(settings, files), output=output, extraction=extraction)
            filled = run_calibration(configuration, RunSettings("processes", workers), until=until)
            return workspace_of(configuration).store, filled

        templates = []
        for simulation in ("nominal", "predicted"):
            made, filled = calibrated(simulation, "data", extractions[0], "fill")
            templates.append(read_templates(made, filled.samples[names["nominal"]]))
        simulated, predicted = templates
        efficiencies: dict[tuple[str, str], Efficiencies] = {}
        labelled: dict[str, Templates] = {}
        for role in ("data", "lossy"):
            for extraction in extractions:
                made, filled = calibrated("nominal", role, extraction, "extract")
                efficiencies[role, extraction] = load_tables(made.require(filled.extract), Efficiencies)[TAGGER]
            labelled[role] = read_templates(made, filled.samples[names["data"]])
        cuts = efficiencies["data", extractions[0]].cuts

        def moved(before: Templates, after: Templates) -> tuple[ndarray, ndarray]:
            """Relative change of the share of quark-like jets by label, and its error."""
            change, spread = (quark_like(after, of, cuts) / quark_like(before, of, cuts) - 1 for of in SUMS)
            return change[0], spread.std(axis=0)

        expected, expected_error = moved(simulated, predicted)
        changes = {"by label": moved(labelled["data"], labelled["lossy"])}
        for extraction in extractions:
            without, lossy = efficiencies["data", extraction], efficiencies["lossy", extraction]
            changes[extraction] = (
                (lossy.data[0] - without.data[0]) / without.simulation[0],
                ((lossy.data_replicas - without.data_replicas) / without.simulation[0]).std(axis=0),
            )
    figures = [Figure("tracks lost in jets", 100 * float(lost), "%", "equal")]
    for extraction, (shift, error) in changes.items():
        for p, w, flavour in np.ndindex(shift.shape):
            at = (p, w, flavour)
            if not np.isfinite([shift[at], error[at], expected[at], expected_error[at]]).all():
                continue
            low, high = settings.measurement.pt_edges[p : p + 2]
            point = settings.measurement.working_points[w]
            title = f"loss, {extraction}, {('quark', 'gluon')[flavour]} at {point:g}, {low:g}-{high:g} GeV: shift"
            reference = Reference("predicted", float(expected[at]))
            spread = float(np.hypot(error[at], expected_error[at]))
            figures.append(Figure(title, float(shift[at]), "", "equal", reference, spread))
    return figures


def main() -> None:
    parser = parser_of(__doc__, "chain/closure")
    parser.add_argument("config", nargs="?", type=Path, default=EXAMPLE, help="TOML file of a chain")
    what = ["tracks", "fit", "toys", "loss"]
    parser.add_argument("--only", nargs="+", choices=what, default=what)
    parser.add_argument("--loss", type=float, default=0.05, help="share of the tracks that are lost")
    parser.add_argument("--extraction", nargs="+", default=["template", "matrix"], help="extractions, for the loss")
    parser.add_argument("--folder", type=Path, help="folder of the chain; by default that in the file")
    parser.add_argument("--finders", nargs="*", default=["acts-soft"], help="finders compared with that of the chain")
    parser.add_argument("--finder-events", type=int, default=400, help="nominal collisions for these finders")
    parser.add_argument("--experiments", type=int, default=20, help="replicas that are fitted")
    parser.add_argument("--toys", type=int, default=60, help="experiments with toy samples")
    parser.add_argument("--toy-events", type=int, default=20000, help="events of each toy sample")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    begun = begin("chain: closure", ("pyacts", "pythia8mc", "fastjet", "pyhf"))
    figures: list[Figure] = []
    if {"tracks", "fit", "loss"} & set(options.only):
        folder = options.folder or (Path("runs/chain") if options.config == EXAMPLE else None)
        settings = load_settings(options.config, folder)
        finders = {
            "compare": tuple(options.finders) if "tracks" in options.only else (),
            "compare_events": options.finder_events,
        }
        settings = replace(settings, tracks=replace(settings.tracks, **finders))
        executor = RunSettings("processes", options.workers)
        make_ntuples(settings, executor)
        if "loss" in options.only:
            figures += track_loss(settings, options.loss, options.extraction, options.workers)
        if "tracks" in options.only:
            figures += compare_tracks(settings)
        if "fit" in options.only:
            result = run_chain(settings, executor)
            for each in result.measurements:
                CONSOLE.print(
                    f"{each.shares}: {each.fraction:.3f} ± {each.error:.3f}, by label {each.true:.3f},"
                    f" {each.pull:+.2f}",
                    markup=False,
                )
            figures += pseudo_experiments(result, options.experiments, options.workers)
    if "toys" in options.only:
        figures += toy_experiments(options.toys, options.toy_events, options.workers)
    write_result(options.output, begun, figures)


if __name__ == "__main__":
    main()
