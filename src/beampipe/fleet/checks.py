"""Whether a fleet can be started on this machine: its models, credentials, addresses and processors.

`beampipe fleet up`, `beampipe fleet gateway` and `beampipe fleet check` call this before anything is started, so that
the error names what the operator has to change, not what a server or HAProxy makes of it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from beampipe.errors import ConfigError, FileError, UnknownNameError
from beampipe.fleet.gateway.credentials import credentials_of
from beampipe.fleet.monitoring.alertmanager import PROGRAMS
from beampipe.fleet.monitoring.prometheus import installed_program
from beampipe.fleet.specification import AlertSettings, Fleet, GatewaySettings
from beampipe.triton.client.endpoint import LOOPBACK
from beampipe.triton.model.canary import read_request
from beampipe.triton.server.launch import check_repository

_NAME = re.compile(r'^name:\s*"([^"]*)"', re.M)


def check_fleet(fleet: Fleet, folder: Path, *, starts: bool = True, servers: bool = True) -> list[str]:
    """Check what a specification refers to.

    Args:
        fleet: the specification.
        folder: run folder of the fleet, which may have copies of its credential files.
        starts: whether the gateway is not running yet, so that its ports must be free.
        servers: whether the servers run on this machine.

    Returns:
        What will work, but probably not as intended: a sentence each.

    Raises:
        BeampipeError: it cannot work; the message names the first cause.
    """
    notes = [*_check_models(fleet), *_check_credentials(fleet.gateway, folder)]
    if fleet.alerts is not None:
        _check_alerts(fleet.alerts)
    if starts:
        _check_addresses(fleet)
    if servers:
        notes += _check_processors(fleet)
    return notes


def _check_alerts(alerts: AlertSettings) -> None:
    for names, package in ((PROGRAMS, PROGRAMS[0]), (("prometheus",), "prometheus")):
        if installed_program(*names) is None:
            raise ConfigError(f"alerts: got no program {names[0]}, which sends them; do: apt-get install {package}")
    for name, path in alerts.files.items():
        if not path.is_file():
            raise FileError(f"{path}: got no file, expected the secret of {name.replace('-', '.', 1)}")


def _check_models(fleet: Fleet) -> Iterator[str]:
    repository, models = fleet.repository, fleet.models
    if (repository / "config.pbtxt").is_file():
        raise FileError(f"{repository}: got the folder of one model, expected that of all models, {repository.parent}")
    for model in (served := check_repository(repository, models)):
        folder = repository / model
        name = _NAME.search((folder / "config.pbtxt").read_text(encoding="utf-8", errors="replace"))
        if name is not None and name[1] != model:
            raise ConfigError(
                f"{folder}: got the configuration of a model named {name[1]!r}, expected {model!r}; a copied folder"
                " needs its new name in config.pbtxt"
            )
        if not any(version.name.isdecimal() and int(version.name) for version in folder.iterdir() if version.is_dir()):
            raise FileError(f"{folder}: got no version of the model, expected a folder 1 with its files")
    for model, check in fleet.checks.items():
        if model not in served:
            raise UnknownNameError("model in checks", model, served)
        if check.request is not None:
            read_request(check.request)
        if check.program and shutil.which(check.program[0]) is None:
            raise ConfigError(f"checks.{model}.program: got {check.program[0]!r}, expected a program")
    if not models:
        for folder in sorted(repository.iterdir()):
            if folder.is_dir() and folder.name not in served and not folder.name.startswith("."):
                yield f"{folder}: got no config.pbtxt in it, so it is not served; is it a model?"


def _check_credentials(gateway: GatewaySettings, folder: Path) -> Iterator[str]:
    for credential in credentials_of(gateway, folder).values():
        try:
            if not credential.fetched:
                credential.check(credential.source)
        except FileError as error:
            if not credential.copy.exists():
                raise
            yield f"{error}; the gateway goes on with the copy of the last good one"
    if gateway.tls is not None:
        yield from _open_to_others(gateway.tls.certificate, "its private key")
    if gateway.tokens is not None and gateway.tokens.exists():
        if gateway.tokens.stat().st_mode & 0o022:
            raise FileError(f"{gateway.tokens}: others can add tokens to it; do: chmod go-w {gateway.tokens}")
        yield from _open_to_others(gateway.tokens, "the names and hashes of tokens")
    if gateway.athena is not None and any(network.endswith("/0") for network in gateway.athena.networks):
        yield f"gateway.athena.networks: got {gateway.athena.networks}: all may use the models there, without a token"


def _open_to_others(path: Path, what: str) -> Iterator[str]:
    if path.exists() and path.stat().st_mode & 0o007:
        yield f"{path}: others can read {what}; do: chmod o= {path}"


def _check_addresses(fleet: Fleet) -> None:
    """Refuse addresses at which nothing can listen now."""
    gateway, monitoring = fleet.gateway, fleet.monitoring
    addresses = {
        "gateway": (gateway.host, "host", gateway.port, "port"),
        "gateway.status_port": (LOOPBACK, "", gateway.status_port, ""),
        "monitoring.prometheus_port": (LOOPBACK, "", monitoring.prometheus_port, ""),
        "monitoring.page_port": (LOOPBACK, "", monitoring.page_port, ""),
    }
    if gateway.athena is not None:
        addresses["gateway.athena"] = (gateway.athena.host, "host", gateway.athena.port, "port")
    for table, (host, host_key, port, port_key) in addresses.items():
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except socket.gaierror as error:
            raise ConfigError(f"{table}.{host_key}: got {host!r}, which has no address ({error.strerror})") from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigError(
                    f"{table}.{host_key}: got {host}, which is no address of this machine, expected one, or 0.0.0.0 for"
                    " all"
                ) from error
            reason = "another program listens there" if error.errno == errno.EADDRINUSE else error.strerror
            key = f"{table}.{port_key}".removesuffix(".")
            raise ConfigError(f"{key}: got {port} on {host}: {reason}; choose another port") from error


def _check_processors(fleet: Fleet) -> Iterator[str]:
    cores, gpus = len(os.sched_getaffinity(0)), len(list(Path("/dev").glob("nvidia[0-9]*")))
    needed = sum(group.count * group.cores for group in fleet.servers.values())
    if needed > cores:
        yield f"servers: got {needed} cores in sum, more than the {cores} of this machine: servers slow each other"
    on_gpus = [group for group in fleet.servers.values() if group.device == "gpu" and group.count]
    for group in on_gpus:
        if group.count > gpus:
            raise ConfigError(
                f"servers.{group.name}: got {group.count} server(s) with a GPU each, and {gpus} GPU(s) on this machine"
            )
    if len(on_gpus) > 1:
        names = ", ".join(group.name for group in on_gpus)
        yield f"servers: got several groups with GPUs ({names}); each counts from GPU 0, so that they share GPUs"
