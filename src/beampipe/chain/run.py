"""Run a chain: chunks of events in parallel, then the stages that need all of them, the calibration and the fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from beampipe.calibration.config import (
    Bootstrap,
    Configuration,
    DijetSelection,
    Energy,
    InputSample,
    Regions,
    ShiftSettings,
    Systematic,
)
from beampipe.calibration.layout import BEAMPIPE, preset_layout
from beampipe.calibration.method.cases import Templates
from beampipe.calibration.method.factors import Factors
from beampipe.calibration.method.joint import joint_uncertainties
from beampipe.calibration.method.matrix import Efficiencies
from beampipe.calibration.results import read_templates
from beampipe.calibration.run import run_calibration
from beampipe.calibration.taggers import Tagger
from beampipe.calibration.tasks.runtime import RunSettings, workspace_of
from beampipe.chain.cost import measured_artifact
from beampipe.chain.fit import SCORE_BINS, JetCounts, Measurement, measure, read_measurements, write_measurements
from beampipe.chain.ntuples import NtupleSpec, read_cross_section, write_chain_ntuple, write_performance, write_scale
from beampipe.chain.recipes import Plan, made, make_chunk, stage_code
from beampipe.chain.settings import ChainSettings, CollisionSettings, Sample
from beampipe.chain.tables import UNKNOWN, JetEvents
from beampipe.chain.telemetry import recorded, span, target_below, trace_target
from beampipe.chain.tracks import served_finder
from beampipe.chain.verify import keep_settings
from beampipe.errors import InputError
from beampipe.files import check_output, write_whole
from beampipe.simulation.samples import GAMMAJET
from beampipe.tables import load_tables
from beampipe.terminal import Progress, no_bar
from beampipe.workflow import (
    EventLog,
    Input,
    Recipe,
    Store,
    Task,
    digest_of,
    file_digest,
    open_pool,
    remembering_code,
    run,
)

RESULT: Final = "result.json"
"""Name of the file of the fitted fractions in the folder of a chain."""

_RECYCLE: Final = 16
"""Chunks per worker after which it is replaced: each leaves about 50 MB of ACTS and Pythia behind."""

_GROUPS: Final = 20
"""Groups of events that give the errors of the shifts by alternative samples, with which these are made smooth in pT:
otherwise a bin with few jets, whose shift is small by chance, counts too much in the fraction."""

_WITH_REGIONS: Final = preset_layout("beampipe", {"branches": {"region": "jet_region"}})
"""Layout of ntuples with photons, whose jets have a region."""

_PRELOAD: Final = ("beampipe.chain.recipes",)
"""Modules that workers import before their first task."""


def store_of(settings: ChainSettings) -> Store:
    """The store of a chain; nothing is created yet."""
    return Store(settings.output / "store", durable=False, log=EventLog(settings.output / "log.jsonl"))


def make_ntuples(settings: ChainSettings, where: RunSettings, progress: Progress | None = None) -> dict[str, Path]:
    """Make all artifacts up to the ntuples that are missing.

    Args:
        settings: settings of the chain.
        where: where tasks run.
        progress: opens a progress bar for the chunks.

    Returns:
        The ntuple of each sample.

    Raises:
        WorkflowError: chunks failed; all others are done and kept.
    """
    _ = stage_code("result")  # a missing package is an error now, and not after all collisions
    plan, store = Plan(settings), store_of(settings)
    for name in settings.input.events:
        plan.make_cross_section(store, name)  # as is one that no file states
    make_chunks(plan, where, progress)
    with remembering_code():
        return {name: _ntuple(plan, store, name) for name in plan.chunks}


def make_chunks(plan: Plan, where: RunSettings, progress: Progress | None = None) -> None:
    """Make all artifacts of chunks that are missing. Arguments and errors as of `make_ntuples`."""
    settings, store = plan.settings, store_of(plan.settings)
    check_output(store.root / "artifact", parents=True)
    store.sweep()
    keep_settings(settings, store)
    with remembering_code():
        # All samples grow together; other finders come after that of the chain, whose hits they share.
        own = sorted((chunk for chunks in plan.chunks.values() for chunk in chunks), key=lambda chunk: chunk.number)
        others = [chunk for chunks in list(plan.compared.values())[1:] for chunk in chunks]
        steps = [[chunk for chunk in part if store.find(chunk.recipes["jets"]) is None] for part in (own, others)]
        if any(steps):
            tracks = settings.tracks
            searched = [chunk for chunk in steps[0] if "simulate" in chunk.stages]
            if tracks.servers and any(store.find(chunk.recipes["tracks"]) is None for chunk in searched):
                with served_finder(tracks, searched[0].finder) as finder:
                    finder.check()
            with (
                span("chunks"),
                open_pool(where.executor, where.workers, slurm=where.slurm, recycle=_RECYCLE, preload=_PRELOAD) as pool,
                (progress or no_bar)("chunks of events", sum(map(len, steps))) as step,
            ):
                trace = target_below()
                for missing in filter(None, steps):
                    tasks = [Task(chunk.label, make_chunk, (store, chunk, "jets", trace)) for chunk in missing]
                    run(tasks, pool, log=store.log, progress=lambda _: step())


def calibration_of(settings: ChainSettings, ntuples: dict[str, Path], data: str = "data") -> Configuration:
    """The configuration of the calibration by the number of tracks.

    Args:
        settings: settings of the chain.
        ntuples: ntuple of each sample.
        data: role of the sample that is used as data, ``data`` or ``measured``.
    """
    measurement, photons = settings.measurement, settings.collisions.with_photons
    roles = ("nominal", data, "alternative")
    used = [sample for sample in settings.samples.values() if sample.role in roles]
    alternatives = [sample.name for sample in used if sample.role == "alternative"]
    edges = measurement.pt_edges
    tagger = Tagger(cut="nearest", cut_shape="label")  # few jets
    if measurement.tagger is not None:
        tagger = replace(tagger, name="score", bins=SCORE_BINS, high=1.0, model=str(measurement.tagger))
    sources = [
        Systematic("tracking", "quadrature", kinematics=("trk_*",), experimental=True),
        Systematic("nonclosure", method="nonclosure"),
        *(Systematic(name, samples=(name,), smooth=True, only_data=True) for name in alternatives),
    ]
    return Configuration(
        output=settings.output / "calibration",
        samples={
            sample.name: InputSample(
                sample.name,
                (ntuples[sample.name],),
                "pseudo-data" if sample.role == data else "simulation",
            )
            for sample in used
        },
        nominal=settings.of_role("nominal").name,
        data=settings.of_role(data).name,
        pt_edges=edges,
        working_points=measurement.working_points,
        extraction=measurement.extraction,
        selection=DijetSelection(edges[0], edges[-1], min_n_trk=0 if photons else 1),  # a photon has no tracks
        regions=Regions("branch") if photons else Regions("eta_rank", measurement.min_eta_gap),
        layout=_WITH_REGIONS if photons else BEAMPIPE,
        taggers=(tagger,),
        energy=Energy(0, 0),
        bootstrap=Bootstrap(measurement.replicas, settings.seed),
        systematics=tuple(sources),
        shifts=ShiftSettings(_GROUPS if alternatives else 0),
    )


@dataclass(frozen=True, eq=False)
class ChainResult:
    """What a chain made.

    Attributes:
        settings: settings of the chain.
        plan: recipes of the artifacts up to the ntuples.
        ntuples: the ntuple of each sample.
        factors: the scale factors.
        counts: jets by number of tracks, as they were fitted.
        result: recipe of the fit.
        measurements: the fitted fractions of gluons.
        trace: identifier of the trace; empty without telemetry.
    """

    settings: ChainSettings
    plan: Plan
    ntuples: dict[str, Path]
    factors: Factors
    counts: JetCounts
    result: Recipe
    measurements: list[Measurement]
    trace: str = ""


@dataclass(frozen=True, eq=False)
class InputResult:
    """What a chain made of files alone.

    Attributes:
        settings: settings of the chain.
        plan: recipes of the artifacts.
        events: tracks and jets of all events.
        trace: identifier of the trace; empty without telemetry.
    """

    settings: ChainSettings
    plan: Plan
    events: JetEvents
    trace: str = ""

    @property
    def has_truth(self) -> bool:
        """Whether tracks were compared with particles."""
        return bool((self.events.tracks.kind != UNKNOWN).any()) or len(self.events.particles.pt) > 0

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Stages that were left out, and why."""
        sources = [chunk.source.kind for chunks in self.plan.chunks.values() for chunk in chunks if chunk.source]
        has_hits, has_record = "tracks" not in sources, not {"hits", "tracks"} & {*sources}
        reasons = {
            "simulate": "" if has_hits else "tracks were read: there are no hits",
            "towers": "" if has_record else "no generated particles: jets are made of tracks",
            "labels and true pT of jets": "" if has_record else "no generated partons and particles",
            "performance": "" if self.has_truth else "no truth: tracks are compared with no particles",
            "calibration, fit": "files alone: they need the samples of a measurement",
        }
        return [(stage, why) for stage, why in reasons.items() if why]


def run_inputs(settings: ChainSettings, where: RunSettings, progress: Progress | None = None) -> InputResult:
    """Take events of files up to jets. Arguments and errors as of `run_chain`."""
    plan, store = Plan(settings), store_of(settings)
    with recorded(trace_target(settings), "chain", executor=str(where.executor)) as trace:
        make_chunks(plan, where, progress)
        chunks = [chunk for each in plan.chunks.values() for chunk in each]
        if not chunks:
            raise InputError(f"input: got no events in {', '.join(plan.settings.input.names)}, expected some")
        events = JetEvents.join([JetEvents.load(made(store, chunk)) for chunk in chunks])
    return InputResult(settings, plan, events, "" if trace is None else trace.trace)


def run_chain(settings: ChainSettings, where: RunSettings, progress: Progress | None = None) -> ChainResult:
    """Run all stages; each makes only what is missing.

    Args:
        settings: settings of the chain.
        where: where chunks of events and tasks of the calibration run.
        progress: opens a progress bar for each batch of tasks.

    Raises:
        WorkflowError: tasks failed; all others are done and kept.
        InputError: no bin of pT has enough jets.
        ConfigError: no collector answers.
    """
    about = {"finder": settings.tracks.finder, "executor": str(where.executor)}
    with recorded(trace_target(settings), "chain", **about) as trace:
        result = measure_ntuples(settings, make_ntuples(settings, where, progress), where, progress)
    return result if trace is None else replace(result, trace=trace.trace)


def measure_ntuples(
    settings: ChainSettings, ntuples: dict[str, Path], where: RunSettings, progress: Progress | None = None
) -> ChainResult:
    """The stages after the ntuples: scale factors and the fit. Arguments and errors as of `run_chain`."""
    store = store_of(settings)
    configuration = calibration_of(settings, ntuples)
    with span("calibration"):
        calibrated = run_calibration(configuration, where, progress=progress)
    made = workspace_of(configuration).store
    factors = Factors.read(made.require(calibrated.factors))
    # The same selection for the measurement, in which pairs of any difference in |eta| count.
    photons = settings.collisions.with_photons
    measured = replace(
        calibration_of(settings, ntuples, "measured"),
        regions=Regions("branch" if photons else "eta_rank"),
        systematics=(),
        shifts=ShiftSettings(),
        bootstrap=Bootstrap(0, settings.seed),
    )
    with span("jets of the fit"):
        filled = run_calibration(measured, where, until="fill", progress=progress)
    simulation = read_templates(made, filled.samples[measured.nominal])
    of_dijets = slice(1, 2) if photons else slice(0, 2)
    data = read_templates(made, filled.samples[measured.data])
    counts = _counts(simulation, data, measured.taggers[0].name, of_dijets)
    inputs = [("factors", calibrated.factors), ("extract", calibrated.extract)]
    parts = (filled.samples[measured.nominal], filled.samples[measured.data])
    inputs += [("jets", recipe) for part in parts for recipe in part.merged.values()]
    result = Recipe(
        "result",
        stage_code("result"),
        None,
        tuple(Input(name, each.key, each.label) for name, each in inputs),
        "result",
    )

    def make(path: Path) -> None:
        efficiencies = load_tables(made.require(calibrated.extract), Efficiencies)
        joint = joint_uncertainties(configuration, efficiencies, factors)
        write_measurements(path, measure(counts, factors, joint))

    path = store.load(result)
    if path is None:
        path = measured_artifact(store, result, ".json", make, settings.of_role("measured").events)
    content = path.read_bytes()
    write_whole(settings.output / RESULT, lambda part: part.write_bytes(content))
    return ChainResult(settings, Plan(settings), ntuples, factors, counts, result, read_measurements(path))


def _counts(simulation: Templates, data: Templates, tagger: str, regions: slice) -> JetCounts:
    """Jets of these regions together, by bins of pT and of the tagger."""
    by_flavour = [
        replace(simulation, values=each).flavours(tagger)[0][:, regions]
        for each in (simulation.values, simulation.squares)
    ]
    labelled = data.flavours(tagger)[0][:, regions].sum(axis=(1, 3))  # (p, (quark, gluon))
    total = np.maximum(labelled.sum(axis=1), np.finfo(float).tiny)
    jets, jet_squares = (each.sum(axis=1) for each in by_flavour)
    values, squares = (
        replace(data, values=each).flavours(tagger)[0][:, regions].sum(axis=(1, 2))
        for each in (data.values, data.squares)
    )
    return JetCounts(jets, jet_squares, values, squares, labelled[:, 1] / total)


def sample_settings(sample: Sample, settings: ChainSettings) -> tuple[str, ...]:
    """What decides whether ntuples are of the same sample: collisions, state of the detector, and finder."""
    collisions, given = settings.collisions, settings.input.events.get(sample.name)
    read = [] if given is None else [f"events of {digest_of([file_digest(path) for path in given.files])}"]
    return (
        *(read or [sample.generator]),
        *sample.lines,
        *(collisions.process if collisions.with_photons else ()),
        f"pT {collisions.pt_min:g} to {collisions.pt_max:g} GeV, power {collisions.power:g}",
        *([f"energy {collisions.energy:g} TeV"] if collisions.energy != CollisionSettings.energy else []),
        *([f"pile-up {collisions.pileup:g}, within {settings.tracks.max_dz:g} mm"] if collisions.pileup else []),
        f"hit loss {sample.hit_loss:g}, dead modules {sample.dead_modules:g}, noise {sample.noise:g}",
        f"tracks by {settings.tracks.finder}: {', '.join(f'{cut:g}' for cut in settings.tracks.cuts)}",
    )


def _ntuple(plan: Plan, store: Store, name: str) -> Path:
    """The ntuple of a sample, with the artifacts of all chunks together that it needs."""
    nominal = plan.settings.of_role("nominal").name
    cross_section = plan.make_cross_section(store, name)

    def jets_of(sample: str) -> list[Path]:
        return [made(store, chunk) for chunk in plan.chunks[sample]]

    def of_all(recipe: Recipe, suffix: str, sample: str, make: Callable[[Path, Sequence[Path]], None]) -> Path:
        path = store.load(recipe)
        if path is not None:
            return path
        inputs, events = jets_of(sample), sum(chunk.n_events for chunk in plan.chunks[sample])
        return measured_artifact(store, recipe, suffix, lambda part: make(part, inputs), events, inputs)

    scale = of_all(plan.scale, ".npz", nominal, write_scale)
    performance = of_all(plan.performance(nominal), ".npz", nominal, write_performance)
    of_all(plan.performance(name), ".npz", name, write_performance)
    each = plan.settings.samples[name]
    spec = NtupleSpec(
        name,
        plan.run_number(name),
        plan.seed(name),
        plan.settings.seed,
        read_cross_section(cross_section),
        sample_settings(each, plan.settings),
        each.further,
        sum(chunk.process == GAMMAJET for chunk in plan.chunks[name]),
    )
    return of_all(
        plan.ntuple(name), ".root", name, lambda path, jets: write_chain_ntuple(path, jets, scale, performance, spec)
    )
