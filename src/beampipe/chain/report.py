"""The report of a chain: one HTML page with a picture of each stage, the result and the costs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe import __version__
from beampipe.calibration.report.figures import REPORT_STYLE
from beampipe.calibration.report.write import STYLE
from beampipe.chain import figures
from beampipe.chain.cost import projections, read_facility, stage_costs
from beampipe.chain.ntuples import EnergyScale, Performance
from beampipe.chain.recipes import INPUTS, made
from beampipe.chain.run import ChainResult, InputResult, store_of
from beampipe.chain.tables import VERTEX_MATCHED, JetEvents
from beampipe.chain.telemetry import TRACE, read_trace
from beampipe.chain.tracks import local_finder, served_finder
from beampipe.events import Event
from beampipe.figures import html_templates, png_base64
from beampipe.files import write_whole
from beampipe.processes import processor_name
from beampipe.simulation.ntuples.ntuple_files import read_ntuple
from beampipe.tables import load_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from beampipe.chain.fit import Measurement
    from beampipe.chain.recipes import Chunk
    from beampipe.chain.settings import ChainSettings

PAGE: Final = "report.html"
"""Name of the page in the folder of a chain."""

_NO_INFORMATION: Final = 12**-0.5
"""Uncertainty of a fraction of which nothing is known: it may be anything from 0 to 1."""

_TEMPLATE: Final = Path(__file__).parent / "page.html.j2"

_PROJECTED: Final = 1e9
"""Number of events to which costs are projected."""


def write_report(result: ChainResult) -> Path:
    """Write the page of a chain.

    Args:
        result: the result of `beampipe.chain.run.run_chain`.

    Returns:
        The path of the page.
    """
    from markupsafe import Markup

    store, plan, settings = store_of(result.settings), result.plan, result.settings
    nominal = settings.of_role("nominal").name
    data = JetEvents.join([JetEvents.load(made(store, chunk)) for chunk in plan.chunks[nominal]])
    scale = load_table(store.require(plan.scale), "scale", EnergyScale)
    performance = {
        name: load_table(store.require(plan.performance(name)), "performance", Performance) for name in plan.chunks
    }
    event = _first_event(settings, plan.chunks[nominal][0])
    drawn = {
        "generate": figures.plot_spectrum(data),
        "simulate": _event_figure(event, settings),
        "tracks": figures.plot_efficiency(performance),
        "jets": figures.plot_jets(data, scale),
        "ntuple": figures.plot_ntuple(read_ntuple(result.ntuples[nominal]).columns),
        "calibration": result.factors.plot(),
        "fit": figures.plot_fit(result.counts, result.factors, result.measurements),
    }
    compared = _compared(result)
    by_finder = {name: Performance.measured(jets) for name, jets in compared.items()}
    if compared:
        drawn["finders"] = figures.plot_efficiency(by_finder)
    spans = read_trace(settings.output / TRACE, result.trace) if result.trace else []
    if spans:
        drawn["trace"] = figures.plot_trace(spans)
    costs = stage_costs(store, [*plan.recipes(), result.result])
    facility = None if settings.facility is None else read_facility(settings.facility)
    page = html_templates().from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = page.render(
        style=Markup(STYLE),  # shipped file, trusted
        result=result,
        settings=settings,
        nominal=nominal,
        data=data,
        event=event,
        pictures={name: png_base64(figure, settings=REPORT_STYLE) for name, figure in drawn.items()},
        verdict=closure(result.measurements),
        n_invalid=sum(not each.valid.all() for each in result.factors.by_name.values()),
        track_rows=figures.track_table(performance),
        compared=next(iter(compared.values()), None),
        finder_rows=_finder_rows(result, compared, by_finder),
        vertex_matched=VERTEX_MATCHED,
        spans=spans,
        trace_file=TRACE,
        load=", ".join(f"{load:.1f}" for load in os.getloadavg()),
        costs=costs,
        n_projected=_PROJECTED,
        processor=processor_name(),
        facility=facility,
        projected=projections(costs, tuple(INPUTS), _PROJECTED, facility),
        keys=[("result", result.result.key), *((f"ntuple {name}", plan.ntuple(name).key) for name in result.ntuples)],
        version=__version__,
    )
    return write_whole(settings.output / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def write_input_report(result: InputResult) -> Path:
    """Write the page of a run of files alone.

    Args:
        result: the result of `beampipe.chain.run.run_inputs`.

    Returns:
        The path of the page.
    """
    from markupsafe import Markup

    settings, plan, data = result.settings, result.plan, result.events
    drawn = {"jets": figures.plot_found_jets(data)}
    event = None
    chunk = next(chunk for chunks in plan.chunks.values() for chunk in chunks)
    if "simulate" in chunk.stages:
        event = _first_event(settings, chunk)
        drawn = {"simulate": _event_figure(event, settings), **drawn}
    performance = {"all": Performance.measured(data)} if result.has_truth else {}
    if performance:
        drawn["tracks"] = figures.plot_efficiency(performance)
    page = html_templates().from_string((_TEMPLATE.parent / "inputs.html.j2").read_text(encoding="utf-8"))
    text = page.render(
        style=Markup(STYLE),  # shipped file, trusted
        result=result,
        settings=settings,
        data=data,
        event=event,
        inputs=[(name, *given) for name in settings.samples if (given := settings.input.of(name)) is not None],
        chunks=plan.chunks,
        pictures={name: png_base64(figure, settings=REPORT_STYLE) for name, figure in drawn.items()},
        track_rows=figures.track_table(performance),
        costs=stage_costs(store_of(settings), plan.recipes()),
        load=", ".join(f"{load:.1f}" for load in os.getloadavg()),
        version=__version__,
    )
    return write_whole(settings.output / PAGE, lambda path: path.write_text(text, encoding="utf-8"))


def closure(measurements: Sequence[Measurement]) -> str:
    """Whether the fit with scale factors closes, in words; shares of simulation alone are no such fit."""
    if len(measurements) == 1:
        return "No bin of pT has valid scale factors: the fit uses shares of simulation. Generate more events."
    error, pull = measurements[-1].error, measurements[-1].pull
    if error > _NO_INFORMATION:
        return f"The fit does not know the fraction: its uncertainty is {error:.2f}. Generate more events."
    verdict = "closes" if abs(pull) <= 2 else "does not close"
    return f"The fit {verdict} within 2 standard deviations of the fraction by label ({pull:+.2f})."


def _compared(result: ChainResult) -> dict[str, JetEvents]:
    """Jets of the same collisions by finder, if others are compared with that of the chain."""
    store, compared = store_of(result.settings), result.plan.compared
    if len(compared) == 1:
        return {}
    return {
        name: JetEvents.join([JetEvents.load(made(store, chunk)) for chunk in chunks])
        for name, chunks in compared.items()
    }


def _finder_rows(
    result: ChainResult, jets: dict[str, JetEvents], performance: dict[str, Performance]
) -> list[tuple[str, ...]]:
    """For each finder: the figures of `figures.track_table`, tracks over particles, and processor time of an event."""
    rows = []
    for row, (name, data) in zip(figures.track_table(performance), jets.items(), strict=True):
        ratio = figures.track_ratio(data)
        chunks = result.plan.compared[name]
        (cost,) = stage_costs(store_of(result.settings), [chunk.recipes["tracks"] for chunk in chunks])
        rows.append((*row, f"{ratio.ratio:.3f} ± {ratio.ratio_error:.3f}", f"{1000 * cost.cpu / cost.events:.1f}"))
    return rows


def _first_event(settings: ChainSettings, chunk: Chunk) -> Event:
    """The first event of a chunk, as tracks were found in it."""
    return next(chunk.events(made(store_of(settings), chunk, "simulate")))


def _event_figure(event: Event, settings: ChainSettings) -> Figure:
    tracks, layout = settings.tracks, settings.detector.read()
    # A model that is only on servers has an identity; others give the same tracks here.
    with served_finder(tracks, tracks.identity) if tracks.identity else local_finder(tracks, layout) as finder:
        return finder.find(event.hits).found_in(event).plot(min_pt=1.0)
