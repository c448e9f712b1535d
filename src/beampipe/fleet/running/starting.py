"""A fleet that is started and goes on by itself, or in the foreground."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from beampipe import processes
from beampipe.errors import ConfigError, ServiceError, ServiceUnavailableError
from beampipe.fleet.running.folder import RunFolder, folder_of
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.line import Line, give_order
from beampipe.fleet.running.orders import GatewayOrders, Orders
from beampipe.fleet.running.overseer import Overseer
from beampipe.fleet.specification import read_fleet

__all__ = ["keep_fleet", "make_free", "oversee", "runs", "start_fleet"]

_LOOK: Final = 0.1


def runs(folder: RunFolder) -> bool:
    """Whether a process keeps the fleet of a folder."""
    try:
        who = json.loads(folder.process.read_text(encoding="utf-8"))
        return processes.is_same(who["pid"], who["started"]) and processes.is_alive(who["pid"])
    except (OSError, ValueError, KeyError):
        return False


def keep_fleet(specification: Path, folder: Path | None = None) -> None:
    """Keep a fleet until a signal or an order ends it.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.

    Raises:
        ConfigError: the fleet runs already.
        BeampipeError: it cannot be started.
    """
    fleet = read_fleet(specification)
    run = folder_of(fleet.name, folder)
    make_free(run, specification)
    keeper = FleetKeeper(fleet, run)
    oversee(keeper, Orders(keeper))


def make_free(run: RunFolder, specification: Path) -> None:
    """Make the run folder of a fleet that is to be kept by this process.

    Raises:
        ConfigError: another process keeps it.
    """
    run.make()
    if runs(run):
        raise ConfigError(f"{run.path}: got a fleet that runs already; do: beampipe fleet status {specification}")


def oversee(overseer: Overseer, orders: GatewayOrders) -> None:
    """Look after a fleet until a signal or an order ends that.

    Args:
        overseer: looks after it.
        orders: does what it is told.

    Raises:
        BeampipeError: the gateway does not start.
    """

    def end(number: int, frame: FrameType | None) -> None:
        overseer.ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with overseer.running(), Line(overseer.folder.socket, orders.obey):
        overseer.ended.wait()


def start_fleet(
    specification: Path, folder: Path | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Start a fleet that goes on by itself; one that runs becomes what its file says now.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.
        progress: told what happens.

    Returns:
        Its status, once every server takes requests.

    Raises:
        ServiceError: it does not start; the message has the end of its log.
    """
    fleet = read_fleet(specification)
    run = folder_of(fleet.name, folder)
    if runs(run):
        changed = give_order(run.socket, {"do": "apply", "specification": str(specification.absolute())})["changed"]
        progress(f"{fleet.name} runs; changed: {', '.join(changed) or 'nothing'}")
        return dict(give_order(run.socket, {"do": "status"}))
    run.make()
    log = run.logs / "keeper.log"
    with log.open("ab") as stream:
        begin = stream.tell()
        command = [sys.executable, "-m", "beampipe", "fleet", "run", str(specification), "--folder", str(run.path)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    told: set[str] = set()
    deadline = time.monotonic() + fleet.start_timeout + 10.0
    while True:
        time.sleep(_LOOK)
        status: dict[str, Any] = {}
        with suppress(ServiceUnavailableError):
            status = give_order(run.socket, {"do": "status"})
        for _, text in status.get("incidents", ()):
            if text not in told:
                told.add(text)
                progress(text)
        if status.get("ready"):
            return status
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()[-6:]
            if process.poll() is None:
                process.terminate()
            raise ServiceError(f"{fleet.name}: did not start:" + "".join(f"\n    {line}" for line in said))
