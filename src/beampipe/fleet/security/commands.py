"""`beampipe fleet token` and `beampipe fleet certificate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beampipe.terminal.commands import Commands

__all__ = ["certificate_app", "token_app"]

token_app = Commands("Tokens of clients; the file holds their hashes only.")
certificate_app = Commands("Certificates of an authority of your own.")

_Tokens = Annotated[Path, typer.Option("--tokens", help="File of tokens, gateway.tokens of the fleet.")]
_Authority = Annotated[Path, typer.Option("--authority", help="Folder of the authority.")]
_Days = Annotated[int, typer.Option(help="How long it holds, in days.", min=1)]


@token_app.command("add")
def add_command(
    name: Annotated[str, typer.Argument(help="Whose token it is, as the file of tokens shows it.")],
    tokens: _Tokens = Path("tokens"),
) -> None:
    """Make a token and print it; it is not kept. A fleet that runs takes it at once."""
    from beampipe.fleet.security.tokens import add_token

    typer.echo(add_token(tokens, name))


@token_app.command("revoke")
def revoke_command(
    name: Annotated[str, typer.Argument(help="Whose token it is.")], tokens: _Tokens = Path("tokens")
) -> None:
    """Forget a token. A fleet that runs refuses it at once."""
    from beampipe.fleet.security.tokens import revoke_token

    revoke_token(tokens, name)


@certificate_app.command("authority")
def authority_command(authority: _Authority = Path("certificates"), days: _Days = 3650) -> None:
    """Make an authority: ca.pem for clients, ca-key.pem to sign with."""
    from beampipe.fleet.security.certificates import make_authority

    typer.echo(make_authority(authority, days))


@certificate_app.command("server")
def server_command(
    hosts: Annotated[list[str], typer.Argument(help="Names and addresses by which clients know the gateway.")],
    authority: _Authority = Path("certificates"),
    days: _Days = 365,
) -> None:
    """Make a certificate for a gateway. A fleet that runs takes it at once."""
    from beampipe.fleet.security.certificates import make_server

    typer.echo(make_server(authority, hosts, days))


@certificate_app.command("client")
def client_command(
    name: Annotated[str, typer.Argument(help="Whose it is, the common name of the certificate.")],
    authority: _Authority = Path("certificates"),
    days: _Days = 365,
) -> None:
    """Make a certificate by which a client shows who it is."""
    from beampipe.fleet.security.certificates import make_client

    typer.echo(make_client(authority, name, days))
