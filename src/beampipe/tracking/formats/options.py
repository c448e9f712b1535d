"""Options of the command line for reading events and writing tracks, defined once for all commands.

The command line loads this module first, so it repeats the names of formats instead of importing them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from beampipe.terminal.commands import options_of, with_options
from beampipe.tracking.formats.read_options import ReadOptions

FITTED_FORMS: Final = ("acts-parameters", "edm4hep")
"""Names of the forms of tracks that hold fitted parameters."""

TRACK_FORMAT_HELP: Final = (
    "What to write: labels (one row per hit), lists (one row per track), trackml (submission), acts (proto tracks),"
    " acts-parameters (fits), colliderml (predictions), edm4hep (tracks with states) or beampipe (events and tracks)."
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

reads_events: Final = with_options(options=options_of(ReadOptions))
"""Decorator of commands that read events: they have the fields of `ReadOptions` as options, and get `options`."""
