"""The command `beampipe track`: find the tracks of events in files, in this process or on servers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beampipe.errors import ConfigError
from beampipe.terminal.commands import STANDARD_OUTPUT, Json, output_file, print_json
from beampipe.tracking import cli as tracking
from beampipe.tracking.catalogue import DEFAULT_MODEL, DEFAULT_PIPELINE, MODEL_HELP, complete_model, with_displaced
from beampipe.tracking.cli import PIPELINE_HELP, BeamSpotText, Device, Force, Parameters, Threads, complete_finder
from beampipe.tracking.formats.options import InputPaths, TrackFormatName, TracksFile, reads_events

if TYPE_CHECKING:
    from beampipe.tracking.formats import ReadOptions


_Pipeline = Annotated[
    str | None,
    typer.Option("--pipeline", "-p", help=PIPELINE_HELP, show_default=DEFAULT_PIPELINE, autocompletion=complete_finder),
]
_TrackerModel = Annotated[
    str | None,
    typer.Option(help=MODEL_HELP, show_default=DEFAULT_MODEL, autocompletion=complete_model),
]
_Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Name of the model to ask on the servers, with --url.",
        show_default="name of the pipeline",
    ),
]
_Displaced = Annotated[
    bool,
    typer.Option(
        "--displaced", help="Go on to tracks of decays that miss the beam line, over the hits that are left over."
    ),
]
_TokenFile = Annotated[
    Path | None, typer.Option(help="File with the access token that the servers ask for, on one line.")
]
_Ca = Annotated[
    Path | None,
    typer.Option(
        help="PEM file of the authority whose certificates are trusted, with https:// and grpcs://.",
        show_default="those of the system",
    ),
]
_Certificate = Annotated[
    Path | None, typer.Option(help="PEM file with the certificate and key to show to servers that ask who comes.")
]
_Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Address of a Triton server to ask, grpc://HOST:PORT or http://HOST:PORT; may be given several times.",
    ),
]


@reads_events
def track(
    files: InputPaths,
    output: TracksFile,
    pipeline: _Pipeline = None,
    tracker_model: _TrackerModel = None,
    displaced: _Displaced = False,
    device: Device = "cpu",
    *,
    options: ReadOptions,
    form: TrackFormatName = "labels",
    threads: Threads = 1,
    beam_spot: BeamSpotText = None,
    parameters: Parameters = False,
    url: _Servers = None,
    model: _Model = None,
    token_file: _TokenFile = None,
    ca: _Ca = None,
    certificate: _Certificate = None,
    timeout: Annotated[
        float, typer.Option(help="Longest wait for the servers' answer to one event, in seconds.", min=0.01)
    ] = 60.0,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Find the tracks in this process if no server answers.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find the tracks of the events in files, and write the number of its track for each hit."""
    from beampipe.serving.finders import IN_FLIGHT, Credentials, open_finder

    finder = partial(
        open_finder,
        url or (),
        pipeline=with_displaced(pipeline or DEFAULT_PIPELINE) if displaced else pipeline,
        served_model=model,
        model=tracker_model,
        credentials=Credentials(token_file, ca, certificate),
        fallback=fallback,
        device=device,
        threads=threads,
        timeout=timeout,
        beam_spot=tracking.parsed_beam_spot(beam_spot),
        parameters=parameters,
        check=not force,
        warn=lambda text: typer.secho(f"beampipe: {text}", err=True, fg="yellow"),
    )
    if output == STANDARD_OUTPUT and (len(files) > 1 or parameters):
        raise ConfigError("got --output - for several FILES or with --parameters, expected a folder or a file")
    with output_file(output, ".csv") as place:
        summary = tracking.track(
            files, place, finder, options, form, in_flight=IN_FLIGHT if url else 1, parameters=parameters
        )
    if as_json:
        print_json(summary)
