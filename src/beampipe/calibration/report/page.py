"""A self-contained HTML page: no network, no scripts, embedded figures."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from beampipe.calibration.method.uncertainties import about_shifts
from beampipe.calibration.report.tables import UNKNOWN, TextTable
from beampipe.calibration.results import Results, key_name, percent, point_name

__all__ = ["STYLE", "TEMPLATE", "Picture", "write_page"]

STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")

TEMPLATE: Final = (Path(__file__).parent / "page.html.j2").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: name of the figure's files, without ending.
        alt: alternative text of the figure.
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

    Raises:
        MissingExtraError: jinja2 is not installed.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    by_kind: dict[tuple[str, str], list[Picture]] = {}
    for picture in pictures:
        by_kind.setdefault((picture.kind, picture.tagger), []).append(picture)
    rows = results.factors.table()
    text = environment.from_string(TEMPLATE).render(
        style=Markup(STYLE),  # shipped file, trusted
        summary=_summary(results),
        configuration=results.configuration,
        factors=results.factors,
        pictures=by_kind,
        png=lambda picture: base64.b64encode((plots / f"{picture.name}.png").read_bytes()).decode(),
        tables={table.name: table for table in tables},
        provenance=TextTable("provenance", "Keys", ("artifact", "key"), tuple(results.provenance), labels=2),
        versions=", ".join(f"{name} {version}" for name, version in results.versions.items()),
        about_shifts=about_shifts(results.configuration.shifts),
        n_factors=len(rows),
        flagged=sum(bool(row.flags) for row in rows),
        without_error=sum(not math.isfinite(row.total) for row in rows),
        unknown=UNKNOWN,
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
