"""All files of a report, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from beampipe.calibration.method.factors import FLAVOUR_NAMES, FactorKey
from beampipe.calibration.report.closure import plot_closure, plot_fractions
from beampipe.calibration.report.correction import Above, write_correction, write_covariance
from beampipe.calibration.report.export import write_root
from beampipe.calibration.report.gather import Results, gather
from beampipe.calibration.report.page import STYLE, Picture, write_page
from beampipe.calibration.report.plots import HEADLINES, plot_points, plot_scale_factor, plot_uncertainties
from beampipe.calibration.report.style import REPORT_STYLE, figure_paths, key_name, percent
from beampipe.calibration.report.tables import (
    Table,
    cost_table,
    cut_flow_tables,
    factor_table,
    source_table,
    uncertainty_table,
    write_csv,
    yield_table,
)
from beampipe.calibration.tasks.plan import Plan
from beampipe.figures import save_figure
from beampipe.files import sweep, write_whole
from beampipe.workflow import Input, Recipe, Store, Task, code_digest
from beampipe.workflow.digest import NO_RESULT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "CORRECTIONS",
    "COVARIANCE",
    "PAGE",
    "ROOT",
    "Spread",
    "figures_of",
    "in_turn",
    "report_recipe",
    "write_all",
    "write_report",
]

PAGE: Final = "index.html"
CORRECTIONS: Final = "corrections.json"
COVARIANCE: Final = "covariance.json"
ROOT: Final = "histograms.root"

_MADE: Final = "made.json"
_NO_RESULT: Final = (*NO_RESULT, "beampipe.serving")

Figures = Iterator[tuple[Picture, Callable[[], "Figure"]]]

Spread = Callable[[str, Sequence[Task[None]]], object]
"""``spread(what, tasks)`` runs tasks, in whatever order and process."""


def in_turn(what: str, tasks: Sequence[Task[None]]) -> None:
    """Run tasks here, one after the other."""
    for task in tasks:
        task.function(*task.arguments)


def write_report(
    plan: Plan, store: Store, folder: Path, *, above: Above = "last", spread: Spread = in_turn
) -> tuple[Path, ...]:
    """Write the report, unless the one in the folder is of the same results.

    Args:
        plan: of the calibration; its histograms, efficiencies and factors are in the store.
        store: where they are.
        folder: for the report; made if it is not there.
        above: what corrections hold above the last edge of pT: the last bin, or nothing (``error``).
        spread: runs the tasks that draw, which takes most of the time.

    Returns:
        The files, the page first.

    Raises:
        FileError: something is missing in the store.
        MissingExtraError: a package that draws or writes is not installed.
        ConfigError: a systematic has a name that corrections need for themselves.
    """
    recipe = report_recipe(plan, above)
    before, sizes = _read_made(folder)
    if before == recipe.key and _whole(sizes):
        return tuple(sizes)
    (folder / _MADE).unlink(missing_ok=True)  # what is there is no longer one report
    results = gather(plan, store)
    every = write_all(results, folder, above=above, spread=spread)
    for path in set(sizes) - set(every):
        path.unlink(missing_ok=True)
    plain = {path.relative_to(folder).as_posix(): path.stat().st_size for path in every}
    text = json.dumps({"key": recipe.key, "files": plain}, indent=1) + "\n"
    write_whole(folder / _MADE, lambda path: path.write_text(text, encoding="utf-8"))
    sweep(folder, deep=True)
    return every


def write_all(results: Results, folder: Path, *, above: Above = "last", spread: Spread = in_turn) -> tuple[Path, ...]:
    """Write all files of a report; see `write_report`."""
    figures, tables, plots = list(figures_of(results)), list(_tables(results)), folder / "plots"
    paths = [
        write_whole(folder / CORRECTIONS, lambda path: write_correction(results.factors, path, above)),
        write_whole(folder / COVARIANCE, lambda path: write_covariance(results.factors, path)),
        write_whole(folder / ROOT, lambda path: write_root(results, path)),
    ]
    for table in tables:
        paths.append(write_whole(folder / "tables" / f"{table.name}.csv", partial(write_csv, table)))
    spread("drawing", [Task(picture.name, _draw, (draw, plots, picture.name)) for picture, draw in figures])
    for picture, _ in figures:
        paths += figure_paths(plots, picture.name)
    pictures = [picture for picture, _ in figures]
    return write_whole(folder / PAGE, lambda path: write_page(results, pictures, tables, plots, path)), *paths


def report_recipe(plan: Plan, above: Above = "last") -> Recipe:
    """What the report depends on. It is no artifact of the store: its place is where people look for it."""
    inputs = [Input("factors", plan.factors.key), Input("extract", plan.extract.key)]
    inputs += [item for part in plan.samples.values() for item in part.inputs]
    code = code_digest("beampipe.calibration.report.write", but=_NO_RESULT)
    return Recipe("report", code, {"above": above, "style": STYLE}, tuple(inputs), "report")


def figures_of(results: Results) -> Figures:
    """All figures, the headline first: what each shows, and the function that draws it."""
    for tagger in results.factors.taggers:
        for number, wp in enumerate(results.factors.working_points):
            for flavour, quantity in HEADLINES:
                key = FactorKey(tagger, wp, flavour, quantity)
                what = f"the {flavour} {quantity} scale factor against jet pT, {tagger}, working point {percent(wp)}"
                alt = f"Points with bands and bars of uncertainty: {what}"
                picture = Picture(f"scale_factor_{key_name(key)}", alt, "scale factor", tagger)
                yield picture, partial(plot_scale_factor, results, key)
                if number == 0:
                    alt = f"Steps: uncertainties by source of {what}"
                    picture = Picture(f"uncertainties_{key_name(key)}", alt, "uncertainty", tagger)
                    yield picture, partial(plot_uncertainties, results, key)
        for flavour, quantity in HEADLINES:
            alt = f"Points: {flavour} {quantity} scale factors of all working points against jet pT, {tagger}"
            picture = Picture(f"working_points_{tagger}_{flavour}_{quantity}", alt, "working points", tagger)
            yield picture, partial(plot_points, results, tagger, flavour, quantity)
        for flavour in FLAVOUR_NAMES:
            alt = f"Histograms of {tagger} of {flavour} jets in bins of pT: from data, from simulation, by label"
            picture = Picture(f"closure_{tagger}_{flavour}", alt, "closure", tagger)
            yield picture, partial(plot_closure, results, tagger, flavour)
        alt = f"Steps: fractions of quarks in forward and central jets against jet pT, their difference, {tagger}"
        yield Picture(f"fractions_{tagger}", alt, "fractions", tagger), partial(plot_fractions, results, tagger)


def _tables(results: Results) -> Iterator[Table]:
    factors = results.factors
    for tagger in factors.taggers:
        for wp in factors.working_points:
            yield factor_table(results, tagger, wp)
    yield source_table(results)
    yield from (uncertainty_table(results, key) for key in factors.by_name)
    yield yield_table(results)
    yield from cut_flow_tables(results)
    yield cost_table(results)


def _draw(draw: Callable[[], Figure], folder: Path, name: str) -> None:
    save_figure(draw(), *figure_paths(folder, name), settings=REPORT_STYLE)


def _read_made(folder: Path) -> tuple[str, dict[Path, int]]:
    """Key of the report in the folder, and the sizes of its files."""
    try:
        made = json.loads((folder / _MADE).read_text(encoding="utf-8"))
        return str(made["key"]), {folder / name: int(size) for name, size in made["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def _whole(sizes: Mapping[Path, int]) -> bool:
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())
