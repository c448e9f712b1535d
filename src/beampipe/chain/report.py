"""The report of a chain: one HTML page with a picture of each stage, the result and the costs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe import __version__
from beampipe.calibration.report.figures import REPORT_STYLE
from beampipe.calibration.report.write import STYLE
from beampipe.chain import figures
from beampipe.chain.cost import Facility, projections, read_facility, stage_costs
from beampipe.chain.ntuples import EnergyScale, Performance
from beampipe.chain.plan import INPUTS
from beampipe.chain.run import ChainResult, store_of
from beampipe.chain.settings import ROLES
from beampipe.chain.tables import VERTEX_MATCHED, JetEvents
from beampipe.chain.telemetry import TRACE, read_trace
from beampipe.chain.tracks import local_finder
from beampipe.events import Event
from beampipe.figures import html_templates, png_base64
from beampipe.files import write_whole
from beampipe.processes import processor_name
from beampipe.simulation.degradation import degrade
from beampipe.simulation.detector import detector_modules
from beampipe.simulation.ntuples.ntuple_files import read_ntuple
from beampipe.tables import load_table
from beampipe.tracking.formats.parquet import read_events

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE: Final = "report.html"
"""Name of the page in the folder of a chain."""

_png: Final = partial(png_base64, settings=REPORT_STYLE)

_TEMPLATE: Final = Path(__file__).parent / "page.html.j2"

_PROJECTED: Final = 1e9
"""Number of events to which costs are projected."""

_MB: Final = 1e6

_TRACK_COLUMNS: Final = (
    "particles in jets",
    "efficiency",
    "of all particles",
    "fakes / tracks",
    "other particles / tracks",
)
"""Heads of the columns of `figures.track_table` after the first."""


@dataclass(frozen=True)
class Section:
    """One stage on the page.

    Attributes:
        name: name of the section for links.
        title: its heading.
        text: what the stage did, in a sentence or two.
        alt: alternative text of the picture.
        png: the picture in base64; empty for none.
        head: heads of the columns of its table.
        rows: rows of its table.
        narrow: whether the picture is a single panel.
    """

    name: str
    title: str
    text: str
    alt: str = ""
    png: str = ""
    head: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    narrow: bool = False


def write_report(result: ChainResult) -> Path:
    """Write the page of a chain.

    Args:
        result: the result of `beampipe.chain.run.run_chain`.

    Returns:
        The path of the page.
    """
    from markupsafe import Markup

    store, plan, settings = store_of(result.settings), result.plan, result.settings
    samples = ", ".join(
        f"{each.name} ({each.role}): {each.events} {each.generator}" for each in settings.samples.values()
    )
    last = result.measurements[-1]
    costs = stage_costs(store, [*plan.recipes(), result.result])
    facility = None if settings.facility is None else read_facility(settings.facility)
    page = html_templates().from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = page.render(
        style=Markup(STYLE),  # shipped file, trusted
        summary=f"Collisions by sample: {samples}. Tracks by {settings.tracks.finder}.",
        answers=[
            (
                each.shares,
                f"{each.fraction:.3f}",
                f"{each.error:.3f}",
                f"{each.true:.3f}",
                f"{each.pull:+.2f}",
                ", ".join(each.left_out) or "none",
            )
            for each in result.measurements
        ],
        verdict=closure(last.pull),
        notes=_notes(result),
        sections=[*_sections(result), *_trace_section(result)],
        load=", ".join(f"{load:.1f}" for load in os.getloadavg()),
        cost_head=(
            "stage",
            "artifacts",
            "events",
            "wall [s]",
            "CPU [s]",
            "CPU / event [ms]",
            "read [MB]",
            "written [MB]",
            "peak memory [MB]",
        ),
        costs=[
            (
                each.stage,
                f"{each.artifacts}",
                f"{each.events}",
                f"{each.wall:.1f}",
                f"{each.cpu:.1f}",
                f"{1000 * each.cpu / max(each.events, 1):.1f}",
                f"{each.read / _MB:.1f}",
                f"{each.written / _MB:.1f}",
                f"{each.peak / _MB:.0f}",
            )
            for each in costs
        ],
        projected_text=_about_projection(facility),
        projected_head=(
            "stage",
            "core-hours",
            "written [TB]",
            *([] if facility is None else ["hours at the facility"]),
        ),
        projected=[
            (
                each.stage,
                f"{each.core_hours:,.0f}",
                f"{each.written / 1e12:,.1f}",
                *([] if each.hours is None else [f"{each.hours:,.1f}"]),
            )
            for each in projections(costs, tuple(INPUTS), _PROJECTED, facility)
        ],
        keys=[("result", result.result.key), *((f"ntuple {name}", plan.ntuple(name).key) for name in result.ntuples)],
        version=__version__,
    )
    return write_whole(settings.output / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def _about_projection(facility: Facility | None) -> str:
    """What the projection assumes."""
    text = (
        f"Projected to {_PROJECTED:,.0f} events, in proportion to the processor time and the bytes of the stages above"
        f" that handle events. A core is one of {processor_name()}. Reading, writing and failures cost no time."
    )
    if facility is None:
        return text
    nodes = "; ".join(
        f"{each.count} {name} nodes with {each.cores} cores of speed {each.speed:g} and {each.memory_gb:g} GB"
        for name, each in facility.nodes.items()
    )
    return f"{text} The facility: {nodes}. As many tasks run on a node as it has cores, and memory for."


def closure(pull: float) -> str:
    """Whether a fit closes, in words."""
    verdict = "closes" if abs(pull) <= 2 else "does not close"
    return f"The fit {verdict} within 2 standard deviations of the fraction by label ({pull:+.2f})."


def _notes(result: ChainResult) -> list[str]:
    """What a reader must know of the result."""
    notes = []
    for sample in result.settings.samples.values():
        if sample.further:
            names = ", ".join(path.name for path in sample.further)
            notes.append(
                f"{sample.name}: events of {names}, made by earlier chains, are added to those simulated here."
            )
    if result.settings.measurement.extraction == "template" and len(result.settings.samples) == len(ROLES):
        notes.append(
            "No alternative sample: no uncertainty covers shapes of jets that differ from those of simulation."
        )
    if len(result.measurements) == 1:
        notes.append("No bin of pT has valid scale factors: the fit uses shares of simulation. Generate more events.")
    factors = [each for each in result.factors.by_name.values() if not each.valid.all()]
    if factors and len(result.measurements) > 1:
        notes.append(f"{len(factors)} of {len(result.factors.by_name)} scale factors have bins without a valid error.")
    return notes


def _sections(result: ChainResult) -> list[Section]:
    """The stages in their order."""
    store, plan, settings = store_of(result.settings), result.plan, result.settings
    nominal = settings.of_role("nominal").name
    data = JetEvents.join([JetEvents.load(store.require(recipe)) for recipe in plan.jets(nominal)])
    scale = load_table(store.require(plan.scale), "scale", EnergyScale)
    performance = {
        name: load_table(store.require(plan.performance(name)), "performance", Performance) for name in plan.chunks
    }
    event = _first_event(result)
    unfitted = int(data.events.unfitted.sum())
    ntuple = read_ntuple(result.ntuples[nominal]).columns
    collisions, tracks = settings.collisions, settings.tracks
    regions = ", jets beside photons and jets of dijets" if collisions.with_photons else ""
    return [
        Section(
            "generate",
            "1 Collisions",
            f"Pythia 8: {' and '.join(collisions.process)} at 13 TeV with a hard process of"
            f" {collisions.pt_min:g} to {collisions.pt_max:g} GeV, generated with the factor pT^{collisions.power:g};"
            f" weights undo it. Mean number of further collisions in an event: {collisions.pileup:g}.",
            "Steps: events against the pT of the leading jet, as generated and with weights",
            _png(figures.plot_spectrum(data)),
            narrow=True,
        ),
        Section(
            "simulate",
            "2 Hits",
            "ACTS Fatras with hadronic interactions; then hits are lost, modules are dead, and noise is added."
            f" The first event of {nominal}: {len(event.hits)} hits, and the tracks above 1 GeV that were found.",
            "Two views of an event: hits as dots, tracks as lines",
            _png(_event_figure(event, result)),
        ),
        Section(
            "tracks",
            "3 Tracks",
            "Efficiency: charged particles of the generator in jets, with hits on 7 layers or more, that a track"
            f" matches by double majority. Cuts: pT > {tracks.min_pt:g} GeV, |eta| < {tracks.max_abs_eta:g},"
            f" |d0| < {tracks.max_d0:g} mm from the beam line. {_about_vertices(result, data)}"
            f" {unfitted} of {int(data.events.tracks.sum())} tracks of {nominal} have no fit and are left out.",
            "Points: efficiency of tracks in jets against pT and against the distance to the axis, by sample",
            _png(figures.plot_efficiency(performance)),
            ("sample", *_TRACK_COLUMNS),
            figures.track_table(performance),
        ),
        *_finders_section(result),
        Section(
            "jets",
            "4 Jets",
            "Anti-kt jets (R = 0.4) of calorimeter towers by FastJet. Their energy is corrected by the mean response in"
            f" {nominal}. Tracks and particles belong to jets by ghost association.",
            "Left: response of jets before and after the correction. Right: tracks against charged particles",
            _png(figures.plot_jets(data, scale)),
        ),
        Section(
            "ntuple",
            "5 Ntuple",
            "ROOT files with the number of tracks, width and C1 of each jet from the tracks that were found. Variations"
            " of the number follow from the measured inefficiency and fakes.",
            "Histograms of number of tracks, width and C1 for quark and gluon jets",
            _png(figures.plot_ntuple(ntuple)),
        ),
        Section(
            "calibration",
            "6 Scale factors",
            "Efficiencies of quark and gluon jets in pseudo-data over those in simulation, from two regions with"
            f" different shares of quarks{regions}; extraction: {settings.measurement.extraction}. Each number with its"
            " flags is in calibration/factors.json.",
            "Points with errors: quark efficiency scale factor against jet pT",
            _png(result.factors.plot()),
            narrow=True,
        ),
        Section(
            "fit",
            "7 Fit",
            "pyhf: numbers of quark and gluon jets in each bin of pT are free; scale factors are nuisance parameters."
            " The pseudo-data of the fit are independent of those that the scale factors come from. The left picture"
            " shows the fit with shares of simulation alone.",
            "Left: jets in classes, and the fit by simulation. Right: fractions of gluons, fitted and by label",
            _png(figures.plot_fit(result.counts, result.factors, result.measurements)),
        ),
    ]


def _finders_section(result: ChainResult) -> list[Section]:
    """Other finders beside that of the chain, if there are any."""
    compared, store = result.plan.compared, store_of(result.settings)
    if len(compared) == 1:
        return []
    jets = {
        name: JetEvents.join([JetEvents.load(store.require(chunk.recipes["jets"])) for chunk in chunks])
        for name, chunks in compared.items()
    }
    performance = {name: Performance.measured(data) for name, data in jets.items()}
    rows = []
    for row, (name, data) in zip(figures.track_table(performance), jets.items(), strict=True):
        ratio = figures.track_ratio(data)
        (cost,) = stage_costs(store, [chunk.recipes["tracks"] for chunk in compared[name]])
        rows.append((*row, f"{ratio.ratio:.3f} ± {ratio.ratio_error:.3f}", f"{1000 * cost.cpu / cost.events:.1f}"))
    data = next(iter(jets.values()))
    return [
        Section(
            "finders",
            "3 Tracks: finders compared",
            f"Each finder on the same hits: the first {len(data.events)} collisions of"
            f" {result.settings.of_role('nominal').name}, with {len(data.jets)} jets. The track fit is the same."
            " Processor time is that of the whole stage: search, fit and matching; not that of servers.",
            "Points: efficiency of tracks in jets against pT and against the distance to the axis, by finder",
            _png(figures.plot_efficiency(performance)),
            ("finder", *_TRACK_COLUMNS, "tracks / particles", "CPU / event [ms]"),
            rows,
        )
    ]


def _trace_section(result: ChainResult) -> list[Section]:
    """The picture of the trace, if there is one."""
    if not result.trace:
        return []
    spans = read_trace(result.settings.output / TRACE, result.trace)
    return [
        Section(
            "trace",
            "8 Trace",
            f"{len(spans)} spans of this run, which made what earlier ones had not; trace {result.trace} in {TRACE}."
            " Left: the stages of each chunk of events, and those after them. Right: the chunk that took longest, with"
            " its first events; `find` is the search for the tracks of an event with their fit.",
            "Waterfalls: bars of chunks, stages and events against time",
            _png(figures.plot_trace(spans)),
        )
    ]


def _about_vertices(result: ChainResult, data: JetEvents) -> str:
    """How often the hard vertex was found, and what that means for the tracks."""
    if result.settings.collisions.pileup == 0:
        return "Without pile-up no vertex is needed."
    events = data.events
    return (
        f"Vertices by the adaptive multi-vertex finder of ACTS: {events.vertices.mean():.1f} an event. That with the"
        f" largest sum of squared pT is within {VERTEX_MATCHED:g} mm of the hard collision in"
        f" {100 * events.vertex_efficiency:.1f} % of {len(events)} events. Only tracks count with |dz sin(theta)| <"
        f" {result.settings.tracks.max_dz:g} mm from it."
    )


def _first_event(result: ChainResult) -> Event:
    """The first event of the nominal sample, as tracks were found in it."""
    settings = result.settings
    sample = settings.of_role("nominal")
    chunk = result.plan.chunks[sample.name][0]
    clean = next(read_events(store_of(settings).require(chunk.recipes["simulate"])))
    modules = detector_modules(settings.detector.read())
    return degrade(clean, sample.degradation, chunk.seed(4), run_seed=chunk.run_seed, modules=modules)


def _event_figure(event: Event, result: ChainResult) -> Figure:
    with local_finder(result.settings.tracks, result.settings.detector.read()) as finder:
        return finder.find(event.hits).found_in(event).plot(min_pt=1.0)
