"""Tables of the results: for the report, the terminal, notebooks and CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from beampipe.calibration.config import REGIONS, Configuration
from beampipe.calibration.events.dijets import CUT_NAMES
from beampipe.calibration.exports.corrections import growth
from beampipe.calibration.method.factors import (
    FLAGS,
    NO_VALID_ERROR,
    SHORT_NAMES,
    FactorKey,
    Factors,
    FlavourAndQuantity,
    ScaleFactor,
    in_words,
)
from beampipe.calibration.method.joint import Combination
from beampipe.calibration.results import Results, between_samples, key_name, other_samples, percent, point_name
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.notebook import html_table
from beampipe.terminal import make_table

UNKNOWN = "not known"
"""Table entry for an unknown number."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True)
class TextTable:
    """A table as text, for a CSV file and for the page.

    Attributes:
        name: name of the CSV file, without ending.
        title: title for a reader.
        columns: heads of the columns.
        rows: the rows, with as many cells as there are columns.
        labels: number of columns that hold names; the columns after them hold numbers.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1


def factor_table(results: Results, tagger: str, working_point: float) -> TextTable:
    """The scale factors of one working point: a row per flavour, quantity and bin of pT."""
    factors = results.factors
    rows = []
    for key, one in factors.by_name.items():
        if (key.tagger, key.working_point) != (tagger, working_point):
            continue
        true = results.true.get(key)
        for p, pt in enumerate(_bins(factors.pt_edges)):
            values = (one.nominal[p], one.statistical[p], one.total[p], one.data[p], one.simulation[p], one.truth[p])
            known = values if true is None else (*values, true[p])
            cells = (fixed(value) for value in known)
            rows.append((key.flavour, key.quantity, pt, in_words(one.flags[p]) or "none", *cells))
    names = ("flavour", "quantity", "pT [GeV]", "flags")
    numbers = ("scale factor", "± stat", "± total", "data", "MC", "MC by label")
    return TextTable(
        f"scale_factors_{point_name(tagger, working_point)}",
        f"Scale factors, {tagger}, working point {percent(working_point)}",
        (*names, *numbers, *(("true, by label",) if results.true else ())),
        tuple(rows),
        labels=4,
    )


def extrapolation_table(results: Results) -> TextTable:
    """Growth of uncertainties above the last edge of pT: a row per scale factor."""
    high = results.factors.pt_edges[-1]
    rows = []
    for key, one in results.factors.by_name.items():
        numbers = (one.nominal[-1], one.total[-1], growth(one))
        names = (key.tagger, percent(key.working_point), key.flavour, key.quantity)
        rows.append((*names, *(fixed(float(value)) for value in numbers)))
    return TextTable(
        "extrapolation",
        f"Above {high:g} GeV: value of the last bin, with an uncertainty that grows",
        ("tagger", "working point", "flavour", "quantity", "scale factor", "± total", "± more for each doubling of pT"),
        tuple(rows),
        labels=4,
    )


def flag_table() -> TextTable:
    """The meaning of each flag of a scale factor."""
    rows = tuple(
        (in_words([name]), text, "no" if name in NO_VALID_ERROR else "yes, look before use")
        for name, text in FLAGS.items()
    )
    return TextTable("flags", "Flags", ("flag", "rule", "has a valid error"), rows, labels=3)


def uncertainty_table(results: Results, key: FactorKey) -> TextTable:
    """The uncertainties of one scale factor: a row per source, a column per bin of pT.

    A second row has the statistical error of the uncertainty itself, if it was computed.
    """
    factors, one = results.factors, results.factors.by_name[key]
    tagger, wp, flavour, quantity = key
    rows = []
    for name, values in one.sources.items():
        kinds = ["experimental"] if name in factors.experimental else []
        kinds += [one.remarks[name]] if name in one.remarks else []
        rows.append((f"{name} ({'; '.join(kinds)})" if kinds else name, values))
        if name in one.source_errors:
            rows.append((f"± of {name}", one.source_errors[name]))
    rows += [("statistical", one.statistical), ("total", one.total)]
    flags = tuple(in_words(names) or "none" for names in one.flags)
    return TextTable(
        f"uncertainties_{key_name(key)}",
        f"Uncertainties of the {flavour} {quantity} scale factor, {tagger}, working point {percent(wp)}",
        ("source", *(f"{pt} GeV" for pt in _bins(factors.pt_edges))),
        (*((name, *(fixed(value) for value in values)) for name, values in rows), ("flags", *flags)),
    )


def source_table(results: Results) -> TextTable:
    """The sources of uncertainty: what each varies, and the rule that combines its variations."""
    rows = []
    for source in results.configuration.systematics:
        samples = " against ".join(source.samples if len(source.samples) == 2 else (*source.samples, "nominal"))
        varied = {
            "weights": ", ".join(source.weights),
            "jets": ", ".join(source.kinematics),
            "sample": samples if source.samples else "",
            "method": source.method.replace("_", " "),
        }
        what = next(f"{kind}: {text}" for kind, text in varied.items() if text)
        rule = source.rule.replace("_", " and ") + (", smooth" if source.smooth else "")
        rows.append((source.name, what, rule, "experimental" if source.experimental else "theory or method"))
    return TextTable(
        "sources", "Sources of uncertainty", ("source", "what varies", "rule", "drawn as"), tuple(rows), labels=4
    )


def yield_table(results: Results) -> TextTable:
    """Numbers of jets by sample, pT, region and flavour: as counted, and weighted and scaled to the luminosity."""
    tagger = results.configuration.tagger_names[0]  # the histograms of all taggers contain the same jets
    rows = []
    for sample, found in results.samples.items():
        templates = found.templates
        columns = templates.axes.columns(tagger)
        weighted = _sum(templates.values[0][..., columns])
        squares = _sum(templates.squares[0][..., columns])
        entries = _sum(templates.entries[..., columns])
        labelled = results.configuration.samples[sample].kind != "data"
        for p, pt in enumerate(_bins(templates.axes.pt_edges)):
            for r, region in enumerate(REGIONS):
                for f, flavour in enumerate(templates.axes.flavours):
                    cells = (number(weighted[p, r, f], 5), number(math.sqrt(squares[p, r, f]), 3))
                    name = flavour if labelled else "all"
                    rows.append((sample, pt, region, name, f"{entries[p, r, f]:.0f}", *cells))
    return TextTable(
        "yields",
        "Jets by sample, pT, region and flavour",
        ("sample", "pT [GeV]", "region", "flavour", "jets", "weighted", "± stat"),
        tuple(rows),
        labels=4,
    )


def cut_flow_tables(results: Results) -> Iterator[TextTable]:
    """Numbers of events after each cut, one table per sample."""
    for sample, found in results.samples.items():
        rows = []
        for c, cut in enumerate(CUT_NAMES):
            before = found.cut_events[c - 1] if c else found.cut_events[0]
            kept = 100 * found.cut_events[c] / before if before else math.nan
            rows.append((cut, f"{found.cut_events[c]:.0f}", number(kept, 4), number(found.cut_weights[c], 6)))
        yield TextTable(
            f"cut_flow_{sample}",
            f"Events of {sample} after each cut",
            ("cut", "events", "% of those before", "weighted"),
            tuple(rows),
        )


def cost_table(results: Results) -> TextTable:
    """The cost of each stage: artifacts, bytes, seconds of work."""
    rows = [
        ("input files", str(results.input_files), str(results.input_files), _size(results.input_bytes), ""),
        *(
            (
                one.stage,
                str(one.artifacts),
                str(one.kept),
                _size(one.size),
                f"{one.seconds:.2f}" if one.kept else UNKNOWN,
            )
            for one in results.costs
        ),
    ]
    kept = [one for one in results.costs if one.kept]
    rows.append(
        (
            "all stages",
            str(sum(one.artifacts for one in results.costs)),
            str(sum(one.kept for one in results.costs)),
            _size(sum(one.size for one in kept)),
            f"{sum(one.seconds for one in kept):.2f}",
        )
    )
    return TextTable(
        "cost", "What it took", ("stage", "artifacts", "kept", "size", "seconds for those kept"), tuple(rows)
    )


def number(value: float, digits: int = 4) -> str:
    """A number as text with `digits` significant digits; `UNKNOWN` if it is not finite."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e9 else text


def fixed(value: float) -> str:
    """A number with four decimals, so that decimal points are aligned; `UNKNOWN` if it is not finite."""
    return f"{value:.4f}" if math.isfinite(value) else UNKNOWN


def write_csv(table: TextTable, path: Path) -> None:
    """Write a table as CSV, with column names in the first row."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.columns)
        writer.writerows(table.rows)


def _bins(edges: Sequence[float]) -> list[str]:
    return [f"{low:g} to {high:g}" for low, high in pairwise(edges)]


def _sum(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.cumsum(values, axis=-1)[..., -1])


def _size(n_bytes: int | None) -> str:
    if n_bytes is None:
        return UNKNOWN
    value, place = float(n_bytes), 0
    while value >= 1000 and place < len(_UNITS) - 1:
        value, place = value / 1000, place + 1
    return f"{value:.0f} B" if place == 0 else f"{value:.3g} {_UNITS[place]}"


_TITLE: Final = "scale factors at the {point:.0%} working point: value +- statistical (total)"

_NAMES: Final = "SF_q: efficiency, SF_g: rejection; data / simulation."

_STAR: Final = "*: flagged, see Factors.table()."


def print_factors(configuration: Configuration, console: Console) -> None:
    """Print the scale factors of the first working point, with statistical and total uncertainty, and all flags.

    Args:
        configuration: configuration of a calibration that was run.
        console: console to print the table on.
    """
    path = configuration.output / FACTORS
    factors = Factors.read(path)
    point = factors.working_points[0]
    table = make_table(_TITLE.format(point=point), ("tagger", ""), _bin_names(factors), importance=("",))
    for row in _factor_rows(factors, point):
        table.add_row(*row)
    console.print(table)
    console.print(f"{_NAMES} All of them: {path}", highlight=False)
    for line in flag_lines(factors):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def factors_html(factors: Factors) -> str:
    """The same table in HTML, for a notebook.

    Args:
        factors: the scale factors.
    """
    point = factors.working_points[0]
    heads = ("tagger", "", *_bin_names(factors))
    return html_table(
        _TITLE.format(point=point), _factor_rows(factors, point), heads, caption=f"{_NAMES} {_STAR}", most=10
    )


def _bin_names(factors: Factors) -> list[str]:
    """Names of the bins of pT."""
    return [f"{low:g}-{high:g} GeV" for low, high in factors.bins]


def _factor_rows(factors: Factors, point: float) -> Iterator[tuple[str, ...]]:
    """Tagger, short name and the cells of every bin, for each of the main scale factors `SHORT_NAMES`."""
    for tagger in factors.taggers:
        for name, what in SHORT_NAMES.items():
            one = factors.against_pt(tagger=tagger, working_point=point, **what._asdict())
            yield (tagger, name, *(_factor_cell(one, place) for place in range(len(factors.bins))))


def flag_lines(factors: Factors) -> Iterator[str]:
    """The flags of the scale factors `SHORT_NAMES`, a line for each flag of a tagger; empty if none is set.

    Args:
        factors: the scale factors.
    """
    names = {what: name for name, what in SHORT_NAMES.items()}
    places: dict[tuple[str, str], dict[str, set[str]]] = {}
    for row in factors.table():
        name = names.get(FlavourAndQuantity(row.flavour, row.quantity))
        for flag in row.flags if name is not None else ():
            found = places.setdefault((flag, row.tagger), {})
            found.setdefault(f"{name} {row.pt_low:g}-{row.pt_high:g} GeV", set()).add(f"{row.working_point:.0%}")
    order = list(FLAGS)
    for (flag, tagger), found in sorted(places.items(), key=lambda item: (order.index(item[0][0]), item[0][1])):
        lost = "no total uncertainty" if flag in NO_VALID_ERROR else "look before use"
        every = len(factors.working_points)
        where = ", ".join(
            bins if len(points) == every else f"{bins} ({', '.join(sorted(points))})" for bins, points in found.items()
        )
        yield f"{lost}: {FLAGS[flag]} [{flag}]: {tagger}: {where}"


def print_estimate(found: Combination, console: Console) -> None:
    """Print combined scale factors `SHORT_NAMES`: value, total uncertainty and weights of the sets, and chi2.

    Args:
        found: the scale factors from several sets.
        console: console to print the table on.
    """
    joint = found.joint
    edges = joint.pt_edges
    heads = (f"{low:g}-{high:g} GeV" for low, high in pairwise(edges))
    table = make_table(
        f"combined: value +- total (weights of {', '.join(found.names)})",
        ("tagger", "point", ""),
        (*heads, "chi2/ndf"),
        importance=("", "point"),
    )
    errors = np.sqrt(np.diagonal(joint.covariance))
    for k, key in enumerate(joint.keys):
        name = next((name for name, what in SHORT_NAMES.items() if what == (key.flavour, key.quantity)), "")
        if name:
            place = joint.part(key)
            numbers = zip(joint.nominal[place], errors[place], found.shares(key).T, strict=True)
            cells = [
                f"{value:.3f} +- {error:.3f} ({', '.join(f'{one:.2f}' for one in weights)})"
                if np.isfinite(error)
                else "not known"
                for value, error, weights in numbers
            ]
            table.add_row(key.tagger, f"{key.working_point:.0%}", name, *cells, f"{found.chi2[k]:.2f}/{found.ndf[k]}")
    console.print(table)


def _factor_cell(one: ScaleFactor, place: int) -> str:
    """A scale factor in one bin: its value and uncertainties, as far as they are known; a star if it is flagged."""
    value, error, total = one.nominal[place], one.statistical[place], one.total[place]
    if not np.isfinite(value):
        return "not known"
    if not one.valid[place]:
        return f"{value:.3f}, no valid error"
    return f"{value:.3f} +- {error:.3f} ({total:.3f}){' *' if one.flags[place] else ''}"


def mc_to_mc_table(results: Results) -> TextTable:
    """The MC-to-MC factors of all samples: a row per sample, scale factor and bin of pT."""
    rows = []
    for sample in other_samples(results):
        for key in results.factors.by_name:
            found = between_samples(results, sample, key)
            for p, (low, high) in enumerate(pairwise(results.factors.pt_edges)):
                names = (
                    sample,
                    key.tagger,
                    percent(key.working_point),
                    key.flavour,
                    key.quantity,
                    f"{low:g} to {high:g}",
                )
                rows.append((*names, fixed(float(found.values[p])), fixed(float(found.errors[p]))))
    heads = ("sample", "tagger", "working point", "flavour", "quantity", "pT [GeV]", "nominal / sample", "± stat")
    return TextTable("mc_to_mc", "From simulation to simulation", heads, tuple(rows), labels=6)
