"""Tables of the results: for the report, the terminal, notebooks and CSV files."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console

from beampipe.calibration.config import REGIONS, Configuration
from beampipe.calibration.events.dijets import CUT_NAMES, EVENT_CUTS
from beampipe.calibration.exports.corrections import growth
from beampipe.calibration.method.cases import REASONS, WARN_DROPPED
from beampipe.calibration.method.factors import (
    FLAGS,
    NO_VALID_ERROR,
    SHORT_NAMES,
    FactorKey,
    Factors,
    FlavourAndQuantity,
    in_words,
)
from beampipe.calibration.method.goodness import IMPROBABLE, probability
from beampipe.calibration.method.joint import Combination
from beampipe.calibration.method.reweight import QUARK, merged_bins, reweighting_factors, sum_over_bins
from beampipe.calibration.results import Results, between_samples, key_name, other_samples, percent, point_name
from beampipe.calibration.tasks.runtime import FACTORS
from beampipe.notebook import html_table
from beampipe.terminal import make_table

UNKNOWN = "not known"
"""Table entry for an unknown number."""


@dataclass(frozen=True)
class TextTable:
    """A table as text, for the page, CSV files, the terminal and notebooks.

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
    factors, columns = results.factors, ("nominal", "statistical", "total", "data", "simulation", "truth")
    rows = []
    for key, factor in factors.by_name.items():
        if (key.tagger, key.working_point) != (tagger, working_point):
            continue
        true = results.true.get(key)
        for p, pt in enumerate(f"{each.pt}{each.eta}" for each in factors.bins):
            numbers = [getattr(factor, name)[p] for name in columns]
            cells = (fixed(value) for value in (numbers if true is None else [*numbers, true[p]]))
            rows.append((key.flavour, key.quantity, pt, in_words(factor.flags[p]) or "none", *cells))
    names = ("flavour", "quantity", "pT [GeV]", "flags")
    heads = ("scale factor", "± stat", "± total", "data", "MC", "MC by label")
    return TextTable(
        f"scale_factors_{point_name(tagger, working_point)}",
        f"Scale factors, {tagger}, working point {percent(working_point)}",
        (*names, *heads, *(("true, by label",) if results.true else ())),
        tuple(rows),
        labels=4,
    )


def extrapolation_table(results: Results) -> TextTable:
    """Growth of uncertainties above the last edge of pT: a row per scale factor."""
    high = results.factors.pt_edges[-1]
    rows = []
    for factors in results.factors.by_eta():
        for key, factor in factors.by_name.items():
            numbers = (factor.nominal[-1], factor.total[-1], growth(factor))
            names = (key.tagger, percent(key.working_point), key.flavour, f"{key.quantity}{factors.bins[0].eta}")
            rows.append((*names, *(fixed(float(value)) for value in numbers)))
    return TextTable(
        "extrapolation",
        f"Above {high:g} GeV: value of the last bin, with an uncertainty that grows",
        ("tagger", "working point", "flavour", "quantity", "scale factor", "± total", "± more for each doubling of pT"),
        tuple(rows),
        labels=4,
    )


def refolded_table(factors: Factors) -> TextTable:
    """How well each extraction describes data: a row per tagger, working point and bin."""
    rows = []
    for tagger, described in factors.described.items():
        for w, point in enumerate(factors.working_points):
            for p, each in enumerate(factors.bins):
                chi2, ndf = described[p, w].tolist()
                larger = probability(chi2, ndf)
                verdict = "does not describe the data" if larger < IMPROBABLE else "ok" if ndf > 0 else UNKNOWN
                where = (tagger, percent(point), f"{each.pt}{each.eta}")
                rows.append((*where, number(chi2, 3), number(ndf, 3), number(larger, 2), verdict))
    return TextTable(
        "refolded",
        "chi2 of the refolded data",
        ("tagger", "working point", "pT [GeV]", "chi2", "ndf", "probability of a larger one", "verdict"),
        tuple(rows),
        labels=3,
    )


def flag_table() -> TextTable:
    """The meaning of each flag of a scale factor."""
    rows = tuple(
        (in_words([name]), text, "no" if name in NO_VALID_ERROR else "yes, check before use")
        for name, text in FLAGS.items()
    )
    return TextTable("flags", "Flags", ("flag", "rule", "has a valid error"), rows, labels=3)


def uncertainty_table(results: Results, key: FactorKey) -> TextTable:
    """The uncertainties of one scale factor: a row per source, a column per bin of pT.

    A second row has the statistical error of the uncertainty itself, if it was computed.
    """
    factors, factor = results.factors, results.factors.by_name[key]
    tagger, wp, flavour, quantity = key
    rows = []
    for name, values in factor.sources.items():
        kinds = ["experimental"] if name in factors.experimental else []
        kinds += [factor.remarks[name]] if name in factor.remarks else []
        rows.append((f"{name} ({'; '.join(kinds)})" if kinds else name, values))
        if name in factor.source_errors:
            rows.append((f"± of {name}", factor.source_errors[name]))
    rows += [("statistical", factor.statistical), ("total", factor.total)]
    flags = tuple(in_words(names) or "none" for names in factor.flags)
    return TextTable(
        f"uncertainties_{key_name(key)}",
        f"Uncertainties of the {flavour} {quantity} scale factor, {tagger}, working point {percent(wp)}",
        ("source", *(f"{each.pt} GeV{each.eta}" for each in factors.bins)),
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
            "extraction": ", ".join(source.extractions),
            "method": source.method.replace("_", " "),
        }
        what = next(f"{kind}: {text}" for kind, text in varied.items() if text)
        rule = source.rule.replace("_", " and ") + ", smooth" * source.smooth + ", in data alone" * source.only_data
        rows.append((source.name, what, rule, "experimental" if source.experimental else "theory or method"))
    return TextTable(
        "sources", "Sources of uncertainty", ("source", "what varies", "rule", "drawn as"), tuple(rows), labels=4
    )


def yield_table(results: Results) -> TextTable:
    """Numbers of jets by sample, pT, region and flavour: as counted, and weighted and scaled to the luminosity."""
    tagger = results.configuration.tagger_names[0]  # the histograms of all taggers contain the same jets
    rows = []
    for sample, result in results.samples.items():
        templates = result.templates
        columns = templates.axes.columns(tagger)
        weighted = sum_over_bins(templates.values[0][..., columns])
        squares = sum_over_bins(templates.squares[0][..., columns])
        entries = sum_over_bins(templates.entries[..., columns])
        labelled = results.configuration.samples[sample].kind != "data"
        for p, pt in enumerate(f"{each.pt}{each.eta}" for each in templates.axes.bins):
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
    for sample, result in results.samples.items():
        rows = []
        events, weights = result.cuts
        for c, cut in enumerate((*CUT_NAMES, EVENT_CUTS)[: len(events)]):
            before = events[c - 1] if c else events[0]
            kept = 100 * events[c] / before if before else math.nan
            rows.append((cut, f"{events[c]:.0f}", number(kept, 4), number(weights[c], 6)))
        yield TextTable(
            f"cut_flow_{sample}",
            f"Events of {sample} after each cut",
            ("cut", "events", "% of those before", "weighted"),
            tuple(rows),
        )


def dropped_table(factors: Factors) -> TextTable:
    """The shares of events inside the cuts on pT and eta that were dropped: a row per sample and cut."""
    rows = []
    for each in factors.dropped:
        state = "ok" if each.share < WARN_DROPPED else "check" if each.share <= factors.max_dropped else "too many"
        shares = (number(100 * each.events, 3), number(100 * each.weight, 3))
        rows.append((each.sample, each.cut, REASONS[each.cut], state, *shares))
    limits = f"check from {WARN_DROPPED:.0%} on, error above {factors.max_dropped:.0%}"
    title = f"Dropped inside the cuts on pT and eta: {limits}"
    heads = ("sample", "cut", "what it drops", "state", "% of events", "% of the sum of weights")
    return TextTable("dropped", title, heads, tuple(rows), labels=4)


def reweighting_table(results: Results) -> TextTable:
    """The bins of taggers without a ratio of forward to central quark jets, and the factor that they share: a row each.

    Bins without any simulated quark jet have the factor 1, and are listed only if data are in them.
    """
    names, rows = results.configuration, []
    for tagger in names.taggers:
        nominal, data = (results.samples[name].templates for name in (names.nominal, names.data))
        edges = np.linspace(tagger.low, tagger.high, tagger.bins + 1)
        central = data.total(tagger.name)[0][:, REGIONS.index("central")]
        jets = nominal.flavours(tagger.name)[0]
        group, factors, of_quarks = merged_bins(jets[..., QUARK, :]), reweighting_factors(jets), jets[..., QUARK, :]
        for p, x in np.argwhere((group != np.arange(tagger.bins)) & ((group >= 0) | (central > 0))).tolist():
            with_bin = "none" if group[p, x] < 0 else f"{edges[group[p, x]]:g} to {edges[group[p, x] + 1]:g}"
            share = 100 * central[p, x] / max(central[p].sum(), 1e-300)
            numbers = (*of_quarks[p, :, x].tolist(), share, factors[p, x])
            place = (f"{data.axes.bins[p]}", f"{edges[x]:g} to {edges[x + 1]:g}", with_bin)
            rows.append((tagger.name, *place, *(number(float(each)) for each in numbers)))
    heads = ("forward quark jets", "central quark jets", "% of central data", "factor")
    return TextTable(
        "reweighting",
        "Bins without a ratio of forward to central quark jets: each has the factor of the bin that it is merged with",
        ("tagger", "pT [GeV]", "bin", "merged with", *heads),
        tuple(rows),
        labels=4,
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


_NAMES: Final = "SF_q: efficiency, SF_g: rejection; data / simulation."

_STAR: Final = "*: flagged, see Factors.table()."


def overview_table(factors: Factors) -> TextTable:
    """The main scale factors `SHORT_NAMES` at the first working point: a row for each, a column per bin of pT."""
    point = factors.working_points[0]
    rows = []
    for tagger in factors.taggers:
        for name, what in SHORT_NAMES.items():
            factor, cells = factors.against_pt(tagger=tagger, working_point=point, **what._asdict()), []
            for p, valid in enumerate(factor.valid):
                value = f"{factor.nominal[p]:.3f}" if np.isfinite(factor.nominal[p]) else UNKNOWN
                errors = f" +- {factor.statistical[p]:.3f} ({factor.total[p]:.3f}){' *' if factor.flags[p] else ''}"
                cells.append(f"{value}{errors}" if valid else value if value == UNKNOWN else f"{value}, no valid error")
            rows.append((tagger, name, *cells))
    title = f"scale factors at the {point:.0%} working point: value +- statistical (total)"
    bins = map(str, factors.bins)
    return TextTable("overview", title, ("tagger", "", *bins), tuple(rows), labels=2)


def print_table(table: TextTable, console: Console, importance: Sequence[str]) -> None:
    """Print a table on a terminal; `importance` names the columns to keep longest on a narrow one, see `make_table`."""
    names, numbers = table.columns[: table.labels], table.columns[table.labels :]
    drawn = make_table(table.title, names, numbers, importance=importance)
    for row in table.rows:
        drawn.add_row(*row)
    console.print(drawn)


def print_factors(configuration: Configuration, console: Console) -> None:
    """Print the scale factors of the first working point, with both uncertainties, and how many are flagged.

    Args:
        configuration: configuration of a calibration that was run.
        console: console to print the table on.
    """
    path = configuration.output / FACTORS
    factors = Factors.read(path)
    print_table(overview_table(factors), console, ("",))
    console.print(f"{_NAMES} All of them: {path}", highlight=False)
    rows = factors.table()
    flags = {flag for row in rows for flag in row.flags}
    if flags:
        flagged = sum(bool(row.flags) for row in rows)
        kinds = in_words(flag for flag in FLAGS if flag in flags)
        line = (
            f"*: check before use. {flagged} of {len(rows)} are flagged ({kinds}); that file and the report list them"
        )
        console.print(line, highlight=False, soft_wrap=True)
    for line in (*factors.notes, *dropped_lines(factors)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def factors_html(factors: Factors) -> str:
    """The same table in HTML, for a notebook."""
    table = overview_table(factors)
    return html_table(table.title, table.rows, table.columns, caption=f"{_NAMES} {_STAR}", most=10)


def dropped_lines(factors: Factors) -> Iterator[str]:
    """A line for each cut that drops a share of the events of a sample that is worth a warning."""
    yield from (f"warning: {each}" for each in factors.dropped if each.share >= WARN_DROPPED)


def print_estimate(combination: Combination, console: Console) -> None:
    """Print combined scale factors `SHORT_NAMES`: value, total uncertainty and weights of the sets, and chi2.

    Args:
        combination: the scale factors from several sets.
        console: console to print the table on.
    """
    joint, short = combination.joint, {what: name for name, what in SHORT_NAMES.items()}
    errors = np.sqrt(np.diagonal(joint.covariance))
    rows = []
    for k, key in enumerate(joint.keys):
        name = short.get(FlavourAndQuantity(key.flavour, key.quantity))
        if name is None:
            continue
        part = joint.part(key)
        cells = [
            f"{value:.3f} +- {error:.3f} ({', '.join(f'{weight:.2f}' for weight in weights)})"
            if np.isfinite(error)
            else UNKNOWN
            for value, error, weights in zip(joint.nominal[part], errors[part], combination.shares(key).T, strict=True)
        ]
        chi2 = f"{combination.chi2[k]:.2f}/{combination.ndf[k]}"
        rows.append((key.tagger, f"{key.working_point:.0%}", name, *cells, chi2))
    title = f"combined: value +- total (weights of {', '.join(combination.names)})"
    bins = map(str, joint.bins)
    heads = ("tagger", "point", "", *bins, "chi2/ndf")
    print_table(TextTable("combined", title, heads, tuple(rows), labels=3), console, ("", "point"))


def mc_to_mc_table(results: Results) -> TextTable:
    """The MC-to-MC factors of all samples: a row per sample, scale factor and bin of pT."""
    rows = []
    for sample in other_samples(results):
        for key in results.factors.by_name:
            ratios = between_samples(results, sample, key)
            names = (sample, key.tagger, percent(key.working_point), key.flavour, key.quantity)
            for jets, value, error in zip(results.factors.bins, ratios.values, ratios.errors, strict=True):
                rows.append((*names, f"{jets.pt}{jets.eta}", fixed(value), fixed(error)))
    heads = ("sample", "tagger", "working point", "flavour", "quantity", "pT [GeV]", "nominal / sample", "± stat")
    return TextTable("mc_to_mc", "From simulation to simulation", heads, tuple(rows), labels=6)
