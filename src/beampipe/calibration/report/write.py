"""All files of a report, each written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

from beampipe.calibration.factors import FLAVOUR_NAMES
from beampipe.calibration.plan import Plan
from beampipe.calibration.report.closure import plot_closure, plot_fractions
from beampipe.calibration.report.correction import Above, write_correction, write_covariance
from beampipe.calibration.report.export import write_root
from beampipe.calibration.report.files import sweep, write_whole
from beampipe.calibration.report.gather import Results, gather
from beampipe.calibration.report.page import STYLE, Picture, write_page
from beampipe.calibration.report.plots import HEADLINES, plot_points, plot_scale_factor, plot_uncertainties
from beampipe.calibration.report.style import percent, save_figure
from beampipe.calibration.report.tables import (
    Table,
    cost_table,
    cut_flow_tables,
    factor_table,
    uncertainty_table,
    write_csv,
    yield_table,
)
from beampipe.workflow import Input, Recipe, Store, code_digest

__all__ = ["CORRECTIONS", "COVARIANCE", "PAGE", "ROOT", "figures_of", "report_recipe", "write_report"]

PAGE: Final = "index.html"
CORRECTIONS: Final = "corrections.json"
COVARIANCE: Final = "covariance.json"
ROOT: Final = "histograms.root"

_MADE: Final = "made.json"
_NO_RESULT: Final = ("beampipe.errors", "beampipe.workflow", "beampipe.serving")

Figures = Iterator[tuple[Picture, Callable[[], Any]]]


def write_report(
    plan: Plan,
    store: Store,
    folder: Path,
    *,
    above: Above = "last",
    progress: Callable[[str, int], Any] = lambda what, total: nullcontext(lambda: None),
) -> tuple[Path, ...]:
    """Write the report, unless the one in the folder is of the same results.

    Args:
        plan: of the calibration; its histograms, efficiencies and factors are in the store.
        store: where they are.
        folder: for the report; made if it is not there.
        above: what corrections hold above the last edge of pT: the last bin, or nothing (``error``).
        progress: ``progress(what, total)`` opens a bar and gives the function that moves it by one.

    Returns:
        The files, the page first.

    Raises:
        FileError: something is missing in the store.
        MissingExtraError: a package that draws or writes is not installed.
        ConfigError: a systematic has a name that corrections need for themselves.
    """
    recipe = report_recipe(plan, above)
    made = _already(folder, recipe)
    if made:
        return made
    (folder / _MADE).unlink(missing_ok=True)  # what is there is no longer one report
    results = gather(plan, store)
    figures = list(figures_of(results))
    tables = list(_tables(results))
    paths = [
        write_whole(folder / CORRECTIONS, lambda path: write_correction(results.factors, path, above)),
        write_whole(folder / COVARIANCE, lambda path: write_covariance(results.factors, path)),
        write_whole(folder / ROOT, lambda path: write_root(results, path)),
    ]
    for table in tables:
        paths.append(write_whole(folder / "tables" / f"{table.name}.csv", lambda path, one=table: write_csv(one, path)))
    with progress("drawing", len(figures)) as step:
        for picture, draw in figures:
            paths += save_figure(draw(), folder / "plots", picture.name)
            step()
    pictures = [picture for picture, _ in figures]
    page = write_whole(folder / PAGE, lambda path: write_page(results, pictures, tables, folder / "plots", path))
    sweep(folder)
    every = (page, *paths)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in every}
    text = json.dumps({"key": recipe.key, "files": sizes}, indent=1) + "\n"
    write_whole(folder / _MADE, lambda path: path.write_text(text, encoding="utf-8"))
    sweep(folder)
    return every


def report_recipe(plan: Plan, above: Above = "last") -> Recipe:
    """What the report depends on. It is no artifact of the store: its place is where people look for it."""
    inputs = [Input("factors", plan.factors.key), Input("extract", plan.extract.key)]
    inputs += [item for part in plan.samples.values() for item in part.inputs]
    code = code_digest("beampipe.calibration.report.write", but=_NO_RESULT)
    kinds = {name: part.sample.kind for name, part in plan.samples.items()}
    return Recipe("report", code, {"above": above, "kinds": kinds, "style": STYLE}, tuple(inputs), "report")


def figures_of(results: Results) -> Figures:
    """All figures, the headline first: what each shows, and the function that draws it."""
    factors = results.factors
    for tagger in factors.taggers:
        for number, wp in enumerate(factors.working_points):
            for flavour, quantity in HEADLINES:
                key = (tagger, wp, flavour, quantity)
                name = f"{tagger}_{100 * wp:g}_{flavour}_{quantity}"
                what = f"the {flavour} {quantity} scale factor against jet pT, {tagger}, working point {percent(wp)}"
                yield (
                    Picture(f"scale_factor_{name}", f"Points, bands and bars: {what}", "scale factor", tagger),
                    lambda key=key: plot_scale_factor(results, key),
                )
                if number == 0:
                    yield (
                        Picture(f"uncertainties_{name}", f"Steps: uncertainties of {what}", "uncertainty", tagger),
                        lambda key=key: plot_uncertainties(results, key),
                    )
        for flavour, quantity in HEADLINES:
            yield (
                Picture(
                    f"working_points_{tagger}_{flavour}_{quantity}",
                    f"Points: {flavour} {quantity} scale factors of all working points against jet pT, {tagger}",
                    "working points",
                    tagger,
                ),
                lambda pair=(flavour, quantity), tagger=tagger: plot_points(results, tagger, *pair),
            )
        for flavour in FLAVOUR_NAMES:
            yield (
                Picture(
                    f"closure_{tagger}_{flavour}",
                    f"Histograms: {tagger} of {flavour} jets in bins of pT, extracted from data and simulation, and by label",
                    "closure",
                    tagger,
                ),
                lambda flavour=flavour, tagger=tagger: plot_closure(results, tagger, flavour),
            )
        yield (
            Picture(
                f"fractions_{tagger}",
                f"Steps: fraction of quarks in forward and central jets against jet pT, and their difference, {tagger}",
                "fractions",
                tagger,
            ),
            lambda tagger=tagger: plot_fractions(results, tagger),
        )


def _tables(results: Results) -> Iterator[Table]:
    factors = results.factors
    for tagger in factors.taggers:
        for wp in factors.working_points:
            yield factor_table(results, tagger, wp)
    yield from (uncertainty_table(results, key) for key in factors.by_name)
    yield yield_table(results)
    yield from cut_flow_tables(results)
    yield cost_table(results)


def _already(folder: Path, recipe: Recipe) -> tuple[Path, ...]:
    """The files of the report in the folder, if it is this one and whole."""
    try:
        made = json.loads((folder / _MADE).read_text(encoding="utf-8"))
        sizes = {folder / name: size for name, size in made["files"].items()}
        whole = made["key"] == recipe.key and all(path.stat().st_size == size for path, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
    return tuple(sizes) if whole else ()
