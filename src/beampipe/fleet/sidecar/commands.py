"""`beampipe fleet sidecar`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["sidecar_command"]


def sidecar_command(
    url: Annotated[str, typer.Option(help="Address of the gateway of the fleet, grpcs://HOST:PORT.", metavar="URL")],
    token_file: Annotated[Path | None, typer.Option(help="File with the token that is shown to the gateway.")] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the authority that signed the gateway's certificate.", show_default="the system's"
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file with the certificate and key that are shown to the gateway.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port for plain gRPC on this machine; Athena asks at 8001.")] = 8001,
    host: Annotated[str, typer.Option(help="Address to listen on, of this machine alone.")] = "127.0.0.1",
    patience: Annotated[
        int, typer.Option(help="How long a gateway that is away is tried again, in seconds.", min=1)
    ] = 30,
) -> None:
    """Open a plain port on this machine to a fleet elsewhere, for clients that know neither tokens nor TLS."""
    from beampipe.fleet.sidecar.configuration import Sidecar
    from beampipe.fleet.sidecar.running import run_sidecar
    from beampipe.triton.client.endpoint import Security, parse_endpoint

    security = Security(token_file, ca, certificate)
    run_sidecar(Sidecar(parse_endpoint(url, "grpc"), security, port, host, patience), lambda text: typer.echo(text))
