"""A fleet that is started and goes on by itself, or in the foreground."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, Final

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, ServiceError, ServiceUnavailableError
from beampipe.fleet.running.folder import RunFolder, folder_of
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.line import Line, give_order
from beampipe.fleet.running.orders import GatewayOrders, Orders
from beampipe.fleet.running.overseer import Overseer
from beampipe.fleet.running.scaling import FleetScaler
from beampipe.fleet.specification import read_fleet

__all__ = ["keep_fleet", "keeper_of", "make_free", "oversee", "start_fleet"]

_LOOK: Final = 0.1
_DEMAND: Final = 1.0
"""Time [s] between two looks at what is asked of the servers."""
_STARTS: Final = 3
"""Number of starts in vain after which a server does not start."""


def keeper_of(folder: RunFolder) -> int | None:
    """The process that keeps the fleet of a folder, None if none does."""
    try:
        who = json.loads(folder.process.read_text(encoding="utf-8"))
        pid, started = int(who["pid"]), int(who["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if processes.is_same(pid, started) and processes.is_alive(pid) else None


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
    orders = Orders(keeper)
    oversee(keeper, orders, FleetScaler(keeper, orders.scale).look)


def make_free(run: RunFolder, specification: Path) -> None:
    """Make the run folder of a fleet that is to be kept by this process.

    Raises:
        ConfigError: another process keeps it.
    """
    run.make()
    if keeper_of(run) is not None:
        raise ConfigError(f"{run.path}: got a fleet that runs already; do: beampipe fleet status {specification}")


def oversee(
    overseer: Overseer,
    orders: GatewayOrders,
    scale: Callable[[], None] = lambda: None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Look after a fleet until a signal or an order ends that.

    Args:
        overseer: looks after it.
        orders: does what it is told.
        scale: looks at what is asked of the servers, and has some added or taken away.
        started: called once, when the gateway runs.

    Raises:
        BeampipeError: the gateway does not start.
    """

    def end(number: int, frame: FrameType | None) -> None:
        overseer.ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    with overseer.running(), Line(overseer.folder.socket, orders.obey):
        started()
        while not overseer.ended.wait(_DEMAND):
            try:
                scale()
            except BeampipeError as error:
                overseer.note(f"scaling: {error}")


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
    if keeper_of(run) is not None:
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
            # It outlives this process as a rule; where it does not, somebody must take note of its end.
            threading.Thread(target=process.wait, name="fleet-keeper-end", daemon=True).start()
            return status
        vain = any(row["starts"] > _STARTS and row["address"] is None for row in status.get("servers", ()))
        if process.poll() is not None or vain or time.monotonic() > deadline:
            said = log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()[-6:]
            if process.poll() is None:
                process.terminate()
            raise ServiceError(f"{fleet.name}: did not start:" + "".join(f"\n    {line}" for line in said))
