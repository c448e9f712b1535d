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

FITTED_FORMS: Final = ("acts-parameters", "edm4hep")
"""Names of the forms of tracks that hold fitted parameters."""

TRACK_FORMAT_HELP: Final = (
    "What to write: labels (one row per hit), lists (one row per track), trackml (submission), acts (proto tracks),"
    " acts-parameters (fits), colliderml (predictions) or edm4hep (tracks with states)."
)

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
TrackFormatName = Annotated[str, typer.Option("--as", metavar="NAME", help=TRACK_FORMAT_HELP)]


def read_options(
    scale: str = "mm",
    format: str | None = None,
    hits: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    links: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None,
    particles: Annotated[str | None, typer.Option(metavar="NAME")] = None,
    cell_id: Annotated[str | None, typer.Option(metavar="FIELDS")] = None,
    event_column: Annotated[str | None, typer.Option(metavar="NAME")] = None,
) -> ReadOptions:
    """How files of events are read, by these options.

    Args:
        scale: Units of r, phi and z in files of three columns and tables: mm, exatrkx or acts.
        format: Name of the format of the files: beampipe, table, trackml, acts, acts-spacepoints, colliderml,
            event-display, edm4hep or features. [default: recognised]
        hits: Name of a collection of tracker hits in EDM4hep; may be given several times.
        links: Name of the link from each of --hits to simulated hits, for truth; may be given several times.
        particles: Name of the particles in EDM4hep, or path of their table of ColliderML.
        cell_id: Fields of cellID in EDM4hep: system:5,side:-2,layer:6,module:11,sensor:8.
        event_column: Column of a table with the number of the event; none if the table is one event.
            [default: recognised]
    """
    from beampipe.tracking.formats.format import ReadOptions

    return ReadOptions(format, scale, tuple(hits or ()), tuple(links or ()), particles, cell_id, event_column)


reads_events: Final = with_options(options=read_options)
"""Decorator of commands that read events: they have the options of `read_options`, and get `options` made of them."""
