"""All files of a report, each written atomically. The page needs no network and no scripts; figures are embedded."""

from __future__ import annotations

import base64
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.calibration.config import REGIONS, Style
from beampipe.calibration.exports.write import write_exports
from beampipe.calibration.method.factors import FLAVOUR_NAMES, FactorKey
from beampipe.calibration.report import figures, tables
from beampipe.calibration.report.tables import TextTable
from beampipe.calibration.results import Results, collect_results, key_name, other_samples, percent, point_name
from beampipe.calibration.tasks.plan import Plan
from beampipe.figures import drawing, html_templates, save_figure
from beampipe.files import sweep, write_whole
from beampipe.identity import NO_RESULT
from beampipe.workflow import Input, Recipe, Store, Task, code_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

TEMPLATE: Final = (Path(__file__).parent / "page.html.j2").read_text(encoding="utf-8")

PAGE: Final = "index.html"
"""Name of the page in the folder of a report."""

_MADE: Final = "made.json"
"""Name of the file with the key of the report in the folder and the list of its files."""

_NO_RESULT: Final = (*NO_RESULT, "beampipe.triton")
"""Modules that do not affect a report; clients of a served tagger run before it."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: name of the figure's files, without ending.
        alt: alternative text of the figure.
        kind: section that the figure belongs to: scale factor, uncertainty, working points, closure, fractions or
            control.
        tagger: name of the tagger that the figure is about; empty for all of them.
    """

    name: str
    alt: str
    kind: str
    tagger: str


Figures = Iterator[tuple[Picture, Callable[[], "Figure"]]]

Spread = Callable[[str, Sequence[Task[None]]], object]
"""``spread(what, tasks)`` runs tasks, in any order and in any process; `what` says what they do, for a progress bar."""


def in_turn(what: str, tasks: Sequence[Task[None]]) -> None:
    """A `Spread` that runs tasks in this process, one after the other."""
    for task in tasks:
        task.function(*task.arguments)


def write_report(plan: Plan, store: Store, folder: Path, *, spread: Spread = in_turn) -> tuple[Path, ...]:
    """Write the report of a calibration, unless the folder holds a report of the same results.

    Args:
        plan: plan of the calibration.
        store: store that holds its histograms, efficiencies and factors.
        folder: folder of the report; it is created if necessary.
        spread: runs the tasks that draw figures, which take most of the time.

    Returns:
        The files of the report, the page first.

    Raises:
        FileError: the store lacks an artifact.
        MissingExtraError: a package that draws or writes is not installed.
        ConfigError: a source of uncertainty is called ``stat`` or ``total``.
    """
    recipe = report_recipe(plan)
    before, sizes = "", dict[Path, int]()
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        made = json.loads((folder / _MADE).read_text(encoding="utf-8"))
        before, sizes = str(made["key"]), {folder / name: int(size) for name, size in made["files"].items()}
    if before == recipe.key and all(path.is_file() and path.stat().st_size == size for path, size in sizes.items()):
        return tuple(sizes)
    (folder / _MADE).unlink(missing_ok=True)  # from here on the folder may contain files of two reports
    results = collect_results(plan, store)
    every = write_all(results, folder, spread=spread)
    for path in set(sizes) - set(every):
        path.unlink(missing_ok=True)
    plain = {path.relative_to(folder).as_posix(): path.stat().st_size for path in every}
    text = json.dumps({"key": recipe.key, "files": plain}, indent=1) + "\n"
    write_whole(folder / _MADE, lambda path: path.write_text(text, encoding="utf-8"))
    sweep(folder, deep=True)
    return every


def write_all(results: Results, folder: Path, *, spread: Spread = in_turn) -> tuple[Path, ...]:
    """Write all files of a report.

    Args:
        results: results of the calibration.
        folder: folder of the report.
        spread: runs the tasks that draw figures.

    Returns:
        The files of the report, the page first.
    """
    drawn, texts, plots = list(figures_of(results)), list(_tables(results)), folder / "plots"
    style = results.configuration.style
    paths = list(write_exports(results, folder))
    for table in texts:
        paths.append(write_whole(folder / "tables" / f"{table.name}.csv", partial(tables.write_csv, table)))
    spread("drawing", [Task(picture.name, _draw, (draw, plots, picture.name, style)) for picture, draw in drawn])
    for picture, _ in drawn:
        paths += figures.figure_paths(plots, picture.name)
    pictures = [picture for picture, _ in drawn]
    return write_whole(folder / PAGE, lambda path: _write_page(results, pictures, texts, plots, path)), *paths


def _write_page(
    results: Results, pictures: Sequence[Picture], texts: Sequence[TextTable], plots: Path, path: Path
) -> None:
    """Write the page of a report, with the headline figure first; `plots` is the folder of the figures' PNG files."""
    from markupsafe import Markup

    by_kind: dict[tuple[str, str], list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_kind[picture.kind, picture.tagger].append(picture)
    rows = results.factors.table()
    page = html_templates().from_string(TEMPLATE)
    text = page.render(
        style=Markup(STYLE),  # shipped file, trusted
        summary=_summary(results),
        configuration=results.configuration,
        factors=results.factors,
        pictures=by_kind,
        png=lambda picture: base64.b64encode((plots / f"{picture.name}.png").read_bytes()).decode(),
        tables={table.name: table for table in texts},
        normalisation=figures.normalisation(results),
        dropped=list(tables.dropped_lines(results.factors)),
        provenance=TextTable("provenance", "Keys", ("artifact", "key"), tuple(results.provenance), labels=2),
        versions=", ".join(f"{name} {version}" for name, version in results.versions.items()),
        n_factors=len(rows),
        flagged=sum(bool(row.flags) for row in rows),
        without_error=sum(not math.isfinite(row.total) for row in rows),
        unknown=tables.UNKNOWN,
        percent=percent,
        point_name=point_name,
        key_name=key_name,
    )
    path.write_text(text, encoding="utf-8")


def _summary(results: Results) -> str:
    """Samples, taggers, regions and sources in one sentence."""
    configuration, regions = results.configuration, results.configuration.regions
    rule = {
        "eta_rank": f"{regions.rule}, gap {regions.min_eta_gap:g}",
        "eta_split": f"{regions.rule}, {regions.split:g}",
    }.get(regions.rule, regions.rule)
    kind, edges = configuration.samples[configuration.data].kind, configuration.pt_edges
    return (
        f"Sample {configuration.data} ({kind}) against simulation {configuration.nominal}; jets of {edges[0]:g} to "
        f"{edges[-1]:g} GeV; taggers: {', '.join(configuration.tagger_names)}; regions: {rule}; "
        f"{len(configuration.systematics)} sources of uncertainty; {configuration.bootstrap.replicas} replicas."
    )


def report_recipe(plan: Plan) -> Recipe:
    """The recipe of a report. Its key is saved in the folder to detect an up-to-date report, not in the store."""
    inputs = [Input("factors", plan.factors.key), Input("extract", plan.extract.key)]
    inputs += [item for part in plan.samples.values() for item in part.inputs]
    code = code_digest("beampipe.calibration.report.write", but=_NO_RESULT)
    parameters = {"style": STYLE, "template": TEMPLATE, "figures": plan.configuration.style}
    return Recipe("report", code, parameters, tuple(inputs), "report")


def figures_of(results: Results) -> Figures:
    """The figures of a report by bin of \\|eta\\|, the main one first: description and drawing function of each."""
    for part in results.by_eta():
        edges = "".join(f"_{edge:g}" for edge in part.factors.eta_edges)
        for picture, draw in _figures_against_pt(part):
            name = f"{picture.name}_abs_eta{edges}" if edges else picture.name
            yield replace(picture, name=name, alt=f"{picture.alt}{part.factors.bins[0].eta}"), draw


def _figures_against_pt(results: Results) -> Figures:
    every = results.configuration.style.figures == "all"
    for tagger in results.factors.taggers:
        for number, wp in enumerate(results.factors.working_points if every else results.factors.working_points[:1]):
            for flavour, quantity in figures.HEADLINES:
                key = FactorKey(tagger, wp, flavour, quantity)
                what = f"the {flavour} {quantity} scale factor against jet pT, {tagger}, working point {percent(wp)}"
                alt = f"Points with bands and bars of uncertainty: {what}"
                picture = Picture(f"scale_factor_{key_name(key)}", alt, "scale factor", tagger)
                yield picture, partial(figures.plot_scale_factor, results, key)
                if number == 0:
                    alt = f"Steps: uncertainties by source of {what}"
                    picture = Picture(f"uncertainties_{key_name(key)}", alt, "uncertainty", tagger)
                    yield picture, partial(figures.plot_uncertainties, results, key)
        for flavour, quantity in figures.HEADLINES:
            alt = f"Points: {flavour} {quantity} scale factors of all working points against jet pT, {tagger}"
            picture = Picture(f"working_points_{tagger}_{flavour}_{quantity}", alt, "working points", tagger)
            yield picture, partial(figures.plot_points, results, tagger, flavour, quantity)
        for flavour in FLAVOUR_NAMES:
            alt = f"Histograms of {tagger} of {flavour} jets in bins of pT: from data, from simulation, by label"
            picture = Picture(f"closure_{tagger}_{flavour}", alt, "closure", tagger)
            yield picture, partial(figures.plot_closure, results, tagger, flavour)
        if every:
            alt = f"Steps: fractions of quarks in forward and central jets against jet pT, their difference, {tagger}"
            picture = Picture(f"fractions_{tagger}", alt, "fractions", tagger)
            yield picture, partial(figures.plot_fractions, results, tagger)
    alt = "Jets against pT in both regions: points of data, stacks of simulation by flavour, and their ratio"
    yield Picture("spectra", alt, "control", ""), partial(figures.plot_spectra, results)
    alt = "Curves: rejection of gluons against efficiency of quarks by label, all taggers, in bins of pT"
    yield Picture("separation", alt, "control", ""), partial(figures.plot_separation, results)
    for tagger in results.factors.taggers if every else ():
        for region, name in enumerate(REGIONS):
            alt = f"{tagger} of {name} jets in bins of pT: data, stacks of simulation by flavour, and their ratio"
            picture = Picture(f"stacks_{tagger}_{name}", alt, "control", tagger)
            yield picture, partial(figures.plot_stacks, results, tagger, region)
        alt = f"Steps: re-weighting factors of central jets against {tagger} in bins of pT, by quarks and by gluons"
        picture = Picture(f"reweighting_{tagger}", alt, "control", tagger)
        yield picture, partial(figures.plot_reweighting, results, tagger)


def _tables(results: Results) -> Iterator[TextTable]:
    factors = results.factors
    for tagger in factors.taggers:
        for wp in factors.working_points:
            yield tables.factor_table(results, tagger, wp)
    yield tables.extrapolation_table(results)
    if other_samples(results):
        yield tables.mc_to_mc_table(results)
    yield tables.refolded_table(factors)
    yield tables.flag_table()
    yield tables.source_table(results)
    yield from (tables.uncertainty_table(results, key) for key in factors.by_name)
    yield tables.yield_table(results)
    yield tables.dropped_table(factors)
    yield tables.reweighting_table(results)
    yield from tables.cut_flow_tables(results)


def _draw(draw: Callable[[], Figure], folder: Path, name: str, style: Style) -> None:
    figure = draw()
    with drawing(figures.REPORT_STYLE):
        figures.add_labels(figure, style)
    save_figure(figure, *figures.figure_paths(folder, name), settings=figures.REPORT_STYLE)
