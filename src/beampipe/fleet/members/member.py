"""A server of a fleet in the foreground: it says what it does, twice a second, until a signal ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from types import FrameType

from beampipe.errors import FileError
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.registry import BEAT, Record, State, remove_record, write_record
from beampipe.triton.door.settings import DoorSettings
from beampipe.triton.hosts import is_loopback
from beampipe.triton.server.launch import ServerSettings
from beampipe.triton.server.server import TritonServer
from beampipe.triton.supervision.incidents import Incident

__all__ = ["run_member"]


def run_member(settings: MemberSettings) -> None:
    """Serve until a signal comes.

    Raises:
        BeampipeError: the server cannot be started.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    last = [""]

    def tell(incident: Incident) -> None:
        last[0] = f"{incident.kind}: {incident.text}"

    server = TritonServer(_server_settings(settings), tell)
    empty = Record(settings.server, settings.group, settings.reached or settings.host, 0, 0, 0, os.getpid(), "starting")
    record = replace(empty, repository=settings.digest)
    beats = threading.Thread(target=_beat_until, args=(settings, record, started := threading.Event()), daemon=True)
    beats.start()
    try:
        with server:
            started.set()
            beats.join()
            here = is_loopback(settings.host)
            record = replace(
                record,
                http=server.ports.http,
                grpc=server.ports.grpc,
                metrics=server.ports.metrics if here else server.ports.http,  # others find them behind the shield
                models=server.models,
            )
            while not ended.wait(BEAT):
                state: State = "ready" if server.answering else "hangs"
                _write(settings, replace(record, state=state, text=last[0]))
            _say_farewell(settings, replace(record, state="ending", text="was told to end"))
    finally:
        started.set()
        remove_record(settings.registry, settings.server)


def _beat_until(settings: MemberSettings, record: Record, started: threading.Event) -> None:
    """Say that the server is loading its models, until it has."""
    while True:
        _write(settings, record)
        if started.wait(BEAT):
            return


def _say_farewell(settings: MemberSettings, record: Record) -> None:
    """Say that the server takes no more requests, and serve on until whoever sends some has read it."""
    end = time.monotonic() + settings.farewell
    _write(settings, record)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(BEAT, left))
        _write(settings, record)


def _write(settings: MemberSettings, record: Record) -> None:
    """Write the record; a server goes on where that cannot be done: a full disk, a file system that stumbles."""
    try:
        write_record(settings.registry, record)
    except OSError as error:
        print(f"beampipe: {error}", flush=True)


def _server_settings(settings: MemberSettings) -> ServerSettings:
    try:
        secret = settings.secret_file.read_text(encoding="ascii").strip()
    except OSError as error:
        raise FileError(f"{settings.secret_file}: got {error.strerror}, expected the secret of the fleet") from error
    return ServerSettings(
        settings.repository,
        settings.models,
        host=settings.host,
        log=settings.log,
        threads=settings.threads,
        start_timeout=settings.start_timeout,
        exit_timeout=settings.exit_timeout,
        patience=settings.patience,
        door=DoorSettings(secret=secret, open_http=True),
    )
