"""Options of the command line for reading events and writing tracks, defined once for all commands.

The command line loads this module first, so it repeats the names of formats instead of importing them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from beampipe.terminal.commands import with_options

if TYPE_CHECKING:
    from beampipe.tracking.formats.format import ReadOptions

SCALE_HELP: Final = "Units of r, phi and z in files of three columns and tables: mm, exatrkx or acts."
FORMAT_HELP: Final = (
    "Name of the format of the files: beampipe, table, trackml, acts, acts-spacepoints, colliderml, event-display,"
    " edm4hep or features."
)
FITTED_FORMS: Final = ("acts-parameters", "edm4hep")
"""Names of the forms of tracks that hold fitted parameters."""

TRACK_FORMAT_HELP: Final = (
    "What to write: labels (one row per hit), lists (one row per track), trackml (submission), acts (proto tracks),"
    " acts-parameters (fits), colliderml (predictions) or edm4hep (tracks with states)."
)

ScaleName = Annotated[str, typer.Option(help=SCALE_HELP)]
InputPaths = Annotated[
    list[Path],
    typer.Argument(
        help="Files of events, or folders of them: Parquet, CSV, JSON or ROOT, recognised by what they hold."
    ),
]
TracksFile = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="File to write the tracks to, .parquet or .csv; for several FILES, a folder; - for standard output.",
    ),
]
EventFormatName = Annotated[str | None, typer.Option(help=FORMAT_HELP, show_default="recognised")]
HitNames = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Name of a collection of tracker hits in EDM4hep; may be given several times."),
]
LinkNames = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Name of the link from each of --hits to simulated hits, for truth; may be given several times.",
    ),
]
ParticlesName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name of the particles in EDM4hep, or path of their table of ColliderML."),
]
CellId = Annotated[
    str | None,
    typer.Option(metavar="FIELDS", help="Fields of cellID in EDM4hep: system:5,side:-2,layer:6,module:11,sensor:8."),
]
EventColumn = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Column of a table with the number of the event; none if the table is one event.",
        show_default="recognised",
    ),
]
TrackFormatName = Annotated[str, typer.Option("--as", metavar="NAME", help=TRACK_FORMAT_HELP)]


def read_options(
    scale: ScaleName = "mm",
    format: EventFormatName = None,
    hits: HitNames = None,
    links: LinkNames = None,
    particles: ParticlesName = None,
    cell_id: CellId = None,
    event_column: EventColumn = None,
) -> ReadOptions:
    """How files of events are read, by these options."""
    from beampipe.tracking.formats.format import ReadOptions

    return ReadOptions(format, scale, tuple(hits or ()), tuple(links or ()), particles, cell_id, event_column)


reads_events: Final = with_options(options=read_options)
"""Decorator of commands that read events: they have the options of `read_options`, and get `options` made of them."""
