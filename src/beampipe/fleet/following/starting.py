"""A gateway in the foreground, before servers that others run."""

from __future__ import annotations

from pathlib import Path

from beampipe.errors import FileError
from beampipe.fleet.following.follower import Follower
from beampipe.fleet.running.folder import folder_of, shared_folder
from beampipe.fleet.running.orders import GatewayOrders
from beampipe.fleet.running.starting import make_free, oversee
from beampipe.fleet.specification import read_fleet
from beampipe.terminal import say

__all__ = ["follow_fleet"]


def follow_fleet(specification: Path, shared: Path | None = None, folder: Path | None = None) -> None:
    """Keep a gateway until a signal or an order ends it.

    Args:
        specification: the TOML file.
        shared: folder of registry and secret, which all machines of the fleet see; None for that of its Slurm.
        folder: its run folder on this machine; None for the usual one.

    Raises:
        FileError: there is no such shared folder.
        ConfigError: a fleet of that name runs already on this machine.
        BeampipeError: the gateway cannot be started.
    """
    fleet = read_fleet(specification)
    run = folder_of(fleet.name, folder, shared_folder(fleet) if shared is None else shared)
    if not run.secret.is_file():
        raise FileError(
            f"{run.secret}: got no file, expected the secret of the servers; do: beampipe fleet slurm {specification}"
        )
    make_free(run, specification)
    follower = Follower(fleet, run)
    scheme = "grpc" if fleet.gateway.tls is None else "grpcs"
    address = f"{scheme}://{fleet.gateway.host}:{fleet.gateway.port}"
    oversee(follower, GatewayOrders(follower), started=lambda: say(f"gateway: {address} until Ctrl-C", err=True))
