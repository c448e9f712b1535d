"""One server process of a fleet: a Triton with its supervisor, which writes its record into the registry."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from beampipe.errors import FileError
from beampipe.files import write_whole
from beampipe.fleet.registry import BEAT, Record, remove_record, write_record
from beampipe.fleet.run_folder import RunFolder
from beampipe.fleet.specification import Fleet, ServerGroup
from beampipe.processes import SignalEvent
from beampipe.settings import build
from beampipe.terminal import log
from beampipe.triton.client.endpoint import is_loopback
from beampipe.triton.server.access import AccessSettings
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision.interfaces import Incident

_Settings = TypeVar("_Settings")


@dataclass(frozen=True)
class FleetServerSettings:
    """Settings of one server of a fleet.

    Attributes:
        server: name of the server.
        group: group that it belongs to.
        registry: folder of the records.
        secret_file: file with the secret of the fleet's servers.
        triton: settings of its Triton, without the secret. The gateway reaches it at their `host`.
        digest: digest of the repository.
        farewell: time [s] for which it keeps serving after it has announced its end, until the gateway has read that.
    """

    server: str
    group: str
    registry: Path
    secret_file: Path
    triton: ServerSettings
    digest: str = ""
    farewell: float = 0.0

    def with_models(self, models: tuple[str, Path]) -> FleetServerSettings:
        """The same for other models.

        Args:
            models: digest and folder of the copy of the models.
        """
        return replace(self, digest=models[0], triton=replace(self.triton, repository=models[1]))


def fleet_server_settings(
    fleet: Fleet, group: ServerGroup, folder: RunFolder, models: tuple[str, Path], name: str = ""
) -> FleetServerSettings:
    """Settings of a server.

    Args:
        fleet: the specification.
        group: group of the server.
        folder: run folder of the fleet.
        models: digest and folder of the copy of the models that it serves.
        name: its name; empty if each job sets name, log and host.
    """
    triton = ServerSettings(
        models[1],
        fleet.models,
        log=folder.logs / f"{name}.log",
        threads=group.threads,
        start_timeout=fleet.start_timeout,
        exit_timeout=fleet.exit_timeout,
        patience=fleet.patience,
        access=AccessSettings(open_http=True, closed=True),
        telemetry=fleet.telemetry,
        checks=dict(fleet.checks),  # as `asdict` takes it
    )
    return FleetServerSettings(name, group.name, folder.registry, folder.secret, triton, models[0])


def write_settings(path: Path, settings: Any) -> None:
    """Write settings for `read_settings`.

    Args:
        path: the file.
        settings: a dataclass, or a table.

    Raises:
        FileError: it cannot be written.
    """
    text = json.dumps(settings, default=_plain, indent=1) + "\n"
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
    """A value of settings as values of JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value) if isinstance(value, Mapping) else str(value)


def read_settings(kind: type[_Settings], path: Path) -> _Settings:
    """Settings in a JSON file, such as a process of a fleet gets.

    Args:
        kind: their class.
        path: the file.

    Raises:
        FileError: the file cannot be read, or is no JSON.
        ConfigError: it is of another version.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: got {error}, expected JSON with the fields of {kind.__name__}") from error
    return build(kind, table, str(path), path.parent)


def run_server(settings: FleetServerSettings) -> None:
    """Serve until SIGTERM or SIGINT, and write the record twice a second.

    Raises:
        BeampipeError: the server cannot be started.
    """
    started, stopped, ended = threading.Event(), threading.Event(), SignalEvent()
    ended.set_on(signal.SIGTERM, signal.SIGINT)
    last = [""]

    def tell(incident: Incident) -> None:
        last[0] = f"{incident.kind}: {incident.text}"

    try:
        secret = settings.secret_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise FileError(f"{settings.secret_file}: got {error.strerror}, expected the secret of the fleet") from error
    triton = settings.triton
    server = TritonServer(replace(triton, access=replace(triton.access, secret=secret)), tell)
    starting = Record(
        settings.server, settings.group, triton.host, 0, 0, 0, os.getpid(), "starting", repository=settings.digest
    )

    def write() -> None:
        record = starting
        if started.is_set():
            record = replace(
                starting,
                http=server.ports.http,
                grpc=server.ports.grpc,
                metrics=server.ports.metrics
                if is_loopback(triton.host)
                else server.ports.http,  # other machines use the reverse proxy
                models=server.models,
                state="ending" if ended.is_set() else "ready" if server.answering else "hangs",
                text="ended by a signal" if ended.is_set() else last[0],
            )
        try:
            write_record(settings.registry, record)
        except OSError as error:  # a full disk, for example, does not stop the server
            log(f"beampipe: {error}")

    def beat() -> None:
        write()
        while not stopped.wait(BEAT):
            write()

    beats = threading.Thread(target=beat, name="record", daemon=True)
    beats.start()
    try:
        with server:
            started.set()
            ended.wait()
            write()
            time.sleep(settings.farewell)  # until the gateway has read it
    finally:
        stopped.set()
        beats.join()
        remove_record(settings.registry, settings.server)
