"""The tables of a report: scale factors, uncertainties, numbers of jets, cut flows and costs."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from beampipe.calibration.config.regions import REGIONS
from beampipe.calibration.jets.dijets import CUT_NAMES
from beampipe.calibration.method.factors import FactorKey
from beampipe.calibration.method.validity import FLAGS, NO_VALID_ERROR, in_words
from beampipe.calibration.report.correction import growth
from beampipe.calibration.report.gather import Results
from beampipe.calibration.report.style import key_name, percent, point_name

__all__ = [
    "UNKNOWN",
    "TextTable",
    "cost_table",
    "cut_flow_tables",
    "extrapolation_table",
    "factor_table",
    "fixed",
    "flag_table",
    "number",
    "source_table",
    "uncertainty_table",
    "write_csv",
    "yield_table",
]

UNKNOWN = "not known"
"""What stands in a table in place of a number that is not known."""

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
    """By how much uncertainties grow above the last edge of pT: a row per scale factor."""
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
    """What each flag of a scale factor says."""
    rows = tuple(
        (in_words([name]), text, "no" if name in NO_VALID_ERROR else "yes, look before use")
        for name, text in FLAGS.items()
    )
    return TextTable("flags", "Flags", ("flag", "rule", "has a valid error"), rows, labels=3)


def uncertainty_table(results: Results, key: FactorKey) -> TextTable:
    """The uncertainties of one scale factor: a row per source, a column per bin of pT.

    A second row has the statistical error of the uncertainty itself, if it was worked out.
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
    """The sources of uncertainty: what each varies, and how its variations become one uncertainty."""
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
    tagger = results.configuration.tagger_names[0]  # every jet is in the histogram of each
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
    """What each stage cost: artifacts, bytes, seconds of work."""
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
    """A number for a reader, with so many significant digits; `UNKNOWN` if it is not finite."""
    if not math.isfinite(value):
        return UNKNOWN
    text = f"{value:.{digits}g}"
    return f"{value:.0f}" if "e+" in text and abs(value) < 1e9 else text


def fixed(value: float) -> str:
    """A number with four decimals, so that points stand below each other; `UNKNOWN` if it is not finite."""
    return f"{value:.4f}" if math.isfinite(value) else UNKNOWN


def write_csv(table: TextTable, path: Path) -> None:
    """Write a table as CSV, with its heads in the first row."""
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
