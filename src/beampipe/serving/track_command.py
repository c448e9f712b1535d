"""The command `beampipe track`: find the tracks of events in files, in this process or on servers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from beampipe.errors import ConfigError, UnknownNameError
from beampipe.terminal.commands import STANDARD_OUTPUT, Json, output_file, print_json
from beampipe.tracking import cli as tracking
from beampipe.tracking.catalogue import (
    DEFAULT_MODEL,
    DEFAULT_PIPELINE,
    MODEL_HELP,
    PIPELINES,
    complete_model,
)
from beampipe.tracking.cli import BeamSpotText, Device, Force, Parameters, PipelineName, Threads
from beampipe.tracking.formats.options import FITTED_FORMS, InputPaths, TrackFormatName, TracksFile, reads_events
from beampipe.triton.cli import several

if TYPE_CHECKING:
    from beampipe.tracking.finder import TrackFinder
    from beampipe.tracking.formats import ReadOptions

_IN_FLIGHT: Final = 8
"""Number of events in flight."""


@reads_events
def track(
    files: InputPaths,
    output: TracksFile,
    pipeline: PipelineName = None,
    tracker_model: Annotated[
        str | None, typer.Option(help=MODEL_HELP, show_default=DEFAULT_MODEL, autocompletion=complete_model)
    ] = None,
    device: Device = "cpu",
    *,
    options: ReadOptions,
    form: TrackFormatName = "labels",
    threads: Threads = 1,
    beam_spot: BeamSpotText = None,
    parameters: Parameters = False,
    url: Annotated[
        list[str] | None,
        several("Address of a Triton server, grpc://HOST:PORT or http://HOST:PORT", "--url", metavar="URL"),
    ] = None,
    model: str | None = None,
    token_file: Path | None = None,
    ca: Path | None = None,
    certificate: Path | None = None,
    timeout: Annotated[float, typer.Option(min=0.01)] = 60.0,
    fallback: bool = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find the tracks of the events in files, and write the number of its track for each hit.

    Args:
        model: Name of the model on the servers, with --url. [default: name of the pipeline]
        token_file: File with the access token that the servers require, on one line.
        ca: PEM file of the authority whose certificates are trusted, with https:// and grpcs://. [default: those of the
            system]
        certificate: PEM file with the certificate and key for servers that require one.
        timeout: Longest wait for the servers' answer to one event, in seconds.
        fallback: Find the tracks in this process if no server answers.
    """
    if not url and (model or token_file or ca or certificate or fallback):
        raise ConfigError(
            "got --model, --token-file, --ca, --certificate or --fallback without --url, expected the address of a"
            " server"
        )
    if url and tracker_model and not fallback:
        raise ConfigError(
            "got --tracker-model with --url, expected --fallback with it: servers have tracker models of their own;"
            " which of their models to use is --model"
        )
    if url and (beam_spot or force) and not fallback:
        raise ConfigError(
            "got --force or --beam-spot with --url, expected --fallback with it: a server gets the beam line by"
            " `beampipe serve --beam-spot`, and answers for hits of any detector with `beampipe serve --force`"
        )
    served_model = model or pipeline or DEFAULT_PIPELINE
    fits = parameters or form in FITTED_FORMS

    def warn(text: str) -> None:
        typer.secho(f"beampipe: {text}", err=True, fg="yellow")

    def finder() -> TrackFinder:
        from beampipe.serving.finders import DirectTrackFinder, FallbackTrackFinder, TritonTrackFinder
        from beampipe.serving.variants import pipeline_of

        direct = partial(
            DirectTrackFinder,
            device=device,
            threads=threads,
            model=tracker_model or DEFAULT_MODEL,
            beam_spot=tracking.parsed_beam_spot(beam_spot),
            parameters=fits,
            check=not force,
        )
        if not url:
            return direct(pipeline)
        served = partial(
            TritonTrackFinder,
            url,
            served_model,
            timeout=timeout,
            token=token_file,
            tls=ca,
            certificate=certificate,
            parameters=fits,
            in_flight=_IN_FLIGHT,
        )
        if not fallback:
            return served(on_failure=lambda error: warn(f"{error} Retrying for up to {timeout:g} s."))
        local_pipeline = pipeline or pipeline_of(served_model)
        if local_pipeline not in PIPELINES:
            raise UnknownNameError("pipeline", local_pipeline, PIPELINES)
        return FallbackTrackFinder(
            served(), partial(direct, local_pipeline), on_failure=lambda error: warn(f"{error}; going on here")
        )

    if output == STANDARD_OUTPUT and (len(files) > 1 or parameters):
        raise ConfigError("got --output - for several FILES or with --parameters, expected a folder or a file")
    with output_file(output, ".csv") as path:
        summary = tracking.track(
            files, path, finder, options, form, in_flight=_IN_FLIGHT if url else 1, parameters=parameters, force=force
        )
    if as_json:
        print_json(summary)
