"""One HTML page that needs nothing else: no network and no scripts, the figures inside."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Final

from beampipe.calibration.method.uncertainties import about_shifts
from beampipe.calibration.report.tables import UNKNOWN, TextTable
from beampipe.calibration.results import Results, key_name, percent, point_name

__all__ = ["STYLE", "Picture", "write_page"]

STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

_SECTIONS: Final = (
    ("result", "Result"),
    ("definitions", "Definitions"),
    ("points", "Working points"),
    ("uncertainties", "Uncertainties"),
    ("closure", "Closure"),
    ("yields", "Yields"),
    ("cuts", "Cut flow"),
    ("cost", "Cost"),
    ("provenance", "Provenance"),
)

_DEFINITIONS: Final = (
    ("Scale factor", "what the tagger does in data, divided by what it does in simulation, in a bin of jet pT."),
    (
        "Efficiency",
        "share of jets of one flavour that the tagger counts as quark-like: those in the bins before the cut.",
    ),
    ("Rejection", "share of jets of one flavour that it does not: 1 − efficiency. Its scale factor is another one."),
    (
        "Working point",
        "efficiency for quark jets aimed at. The cut is the first bin edge that reaches it in nominal simulation, "
        "and is the same for data and all variations.",
    ),
    (
        "Extracted",
        "solved for quarks and gluons from the mixtures in the forward and central region, with the fractions of "
        "quarks from simulation. Data and simulation are treated alike.",
    ),
    (
        "By label",
        "counted with the flavours that the simulation tells, forward jets. This is what extraction should find.",
    ),
    ("D", "fraction of quarks among forward jets minus that among central jets. Extraction divides by it."),
    ("Statistical", "half the central 68 % interval of replicas, which draw events of data and simulation anew."),
    ("Experimental", "sources of the detector, in quadrature."),
    (
        "Total",
        "statistical and all sources in quadrature; none where one of them is not known. Bands of single sources are "
        "not stacked.",
    ),
)


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: name of the figure's files, without ending.
        alt: what the figure shows, for those who do not see it.
        kind: section that the figure belongs to: scale factor, uncertainty, working points, closure or fractions.
        tagger: name of the tagger that the figure is about.
    """

    name: str
    alt: str
    kind: str
    tagger: str


def write_page(
    results: Results, pictures: Sequence[Picture], tables: Sequence[TextTable], plots: Path, path: Path
) -> None:
    """Write the page of a report.

    Args:
        results: results of the calibration.
        pictures: the figures, the headline first.
        tables: the tables.
        plots: folder of the figures' PNG files.
        path: the file to write.
    """
    path.write_text("\n".join(_page(results, pictures, tables, plots)) + "\n", encoding="utf-8")


_MORE: Final = ("extrapolation", "mc_to_mc")
"""Tables that stand folded beside the result."""


def _page(results: Results, pictures: Sequence[Picture], tables: Sequence[TextTable], plots: Path) -> Iterator[str]:
    configuration = results.configuration
    title = "Quark/gluon tagging: scale factors"
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>"
    yield f"<header>\n<h1>{title}</h1>\n<p class=soft>{escape(_what(results))}</p>\n</header>"
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in _SECTIONS)
    yield f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>'
    figures = {picture.name: _figure(picture, plots) for picture in pictures}
    by_kind = _grouped(pictures)
    by_name = {table.name: table for table in tables}

    yield _section("result")
    for number, tagger in enumerate(results.factors.taggers):
        yield f"<h3>{escape(tagger)}, working point {percent(configuration.working_points[0])}</h3>"
        first = by_kind["scale factor", tagger][:2]
        yield f"<div class=pair>{''.join(figures[one.name] for one in first)}</div>"
        yield from _factor_tables(results, tagger, by_name, opened=number == 0)
    yield from (_details(by_name[name].title, _table(by_name[name])) for name in _MORE if name in by_name)
    yield from _flags(results, by_name["flags"])
    yield _section("definitions")
    items = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in _DEFINITIONS)
    yield f"<dl>{items}</dl>"
    yield _section("points")
    for tagger in results.factors.taggers:
        yield f"<div class=pair>{''.join(figures[one.name] for one in by_kind['working points', tagger])}</div>"
        rest = by_kind["scale factor", tagger][2:]
        if rest:
            inside = "".join(figures[one.name] for one in rest)
            yield _details(f"{tagger}: every other working point with its bands", f"<div class=pair>{inside}</div>")
    yield _section("uncertainties")
    yield _table(by_name["sources"])
    yield f"<p>{about_shifts(configuration.shifts)}</p>"
    for tagger in results.factors.taggers:
        yield f"<div class=pair>{''.join(figures[one.name] for one in by_kind['uncertainty', tagger])}</div>"
        mine = [by_name[f"uncertainties_{key_name(key)}"] for key in results.factors.by_name if key.tagger == tagger]
        yield _details(f"{tagger}: all in numbers", "".join(_titled(table) for table in mine))
    yield _section("closure")
    yield "<p>What is extracted from simulation, against its labels. The shapes of data are the measurement.</p>"
    for tagger in results.factors.taggers:
        yield "".join(figures[one.name] for one in by_kind["closure", tagger])
        yield f"<div class=pair>{''.join(figures[one.name] for one in by_kind['fractions', tagger])}</div>"
    yield _section("yields")
    yield _details("Jets by sample, pT, region and flavour", _table(by_name["yields"]))
    yield _section("cuts")
    yield "<p>Events that pass a cut and all before it, with nominal pT and number of tracks.</p>"
    yield f"<div class=pair>{''.join(_titled(table) for table in tables if table.name.startswith('cut_flow_'))}</div>"
    yield _section("cost")
    yield "<p>Artifacts that this result rests on, and what it took to make them, whenever that was. Seconds of all"
    yield "workers are added up.</p>"
    yield _table(by_name["cost"])
    yield from _provenance(results)
    yield "</main>\n<footer>Made by beampipe. The figures are beside this page as PNG and PDF, the tables as CSV, the"
    yield "scale factors as JSON for correctionlib and as ROOT histograms.</footer>\n</body>\n</html>"


def _what(results: Results) -> str:
    configuration = results.configuration
    kind = configuration.samples[configuration.data].kind
    regions = configuration.regions
    rule = (
        f"{regions.rule}, gap {regions.min_eta_gap:g}"
        if regions.rule == "eta_rank"
        else f"{regions.rule}, {regions.split:g}"
        if regions.rule == "eta_split"
        else regions.rule
    )
    edges = configuration.pt_edges
    return (
        f"Sample {configuration.data} ({kind}) against simulation {configuration.nominal}; jets of {edges[0]:g} to "
        f"{edges[-1]:g} GeV; taggers: {', '.join(configuration.tagger_names)}; regions: {rule}; "
        f"{len(configuration.systematics)} sources of uncertainty; {configuration.bootstrap.replicas} replicas."
    )


def _factor_tables(results: Results, tagger: str, tables: Mapping[str, TextTable], *, opened: bool) -> Iterator[str]:
    for number, wp in enumerate(results.factors.working_points):
        table = tables[f"scale_factors_{point_name(tagger, wp)}"]
        yield _details(table.title, _table(table), opened=opened and number == 0)


def _flags(results: Results, table: TextTable) -> Iterator[str]:
    rows = results.factors.table()
    lost = sum(not math.isfinite(row.total) for row in rows)
    flagged = sum(bool(row.flags) for row in rows)
    yield f"<p>{flagged} of {len(rows)} numbers are flagged; {lost} have no valid error,"
    yield "and so no total uncertainty.</p>"
    yield _details("What the flags say", _table(table), opened=flagged > 0)


def _provenance(results: Results) -> Iterator[str]:
    yield _section("provenance")
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    yield f"<p>Scale factors by {escape(versions)}. A key says what an artifact was made of, down to the bytes of the"
    yield "input files: <code>beampipe calibration explain KEY</code>.</p>"
    rows = tuple((what, key) for what, key in results.provenance)
    yield _table(TextTable("provenance", "Keys", ("artifact", "key"), rows, labels=2))


def _grouped(pictures: Sequence[Picture]) -> Mapping[tuple[str, str], list[Picture]]:
    groups: dict[tuple[str, str], list[Picture]] = {}
    for picture in pictures:
        groups.setdefault((picture.kind, picture.tagger), []).append(picture)
    return groups


def _section(name: str) -> str:
    return f'<h2 id="{name}">{dict(_SECTIONS)[name]}</h2>'


def _details(summary: str, inside: str, *, opened: bool = False) -> str:
    return f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>\n{inside}</details>"


def _figure(picture: Picture, plots: Path) -> str:
    data = base64.b64encode((plots / f"{picture.name}.png").read_bytes()).decode()
    return f'<figure><img alt="{escape(picture.alt)}" src="data:image/png;base64,{data}"></figure>\n'


def _titled(table: TextTable) -> str:
    return f"<div><h3>{escape(table.title)}</h3>\n{_table(table)}</div>"


def _table(table: TextTable) -> str:
    heads = "".join(
        f'<th scope="col"{"" if place < table.labels else " class=value"}>{escape(head)}</th>'
        for place, head in enumerate(table.columns)
    )
    body = "\n".join(f"<tr>{''.join(_cells(table, row))}</tr>" for row in table.rows)
    inside = f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class=scroll tabindex="0"><table>\n{inside}\n</table></div>\n'


def _cells(table: TextTable, row: Sequence[str]) -> Iterator[str]:
    for place, cell in enumerate(row):
        if place < table.labels:
            yield f'<th scope="row">{escape(cell)}</th>'
        else:
            yield f"<td{' class=unknown' if cell == UNKNOWN else ''}>{escape(cell)}</td>"
