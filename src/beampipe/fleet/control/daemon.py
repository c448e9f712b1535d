"""The process of a fleet: started in the background or run in the foreground, and stopped."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, DeadlineError, FileError, ServiceError, ServiceUnavailableError
from beampipe.fleet.checks import check_fleet
from beampipe.fleet.control.commands import GatewayCommands, LocalCommands
from beampipe.fleet.control.control_socket import ControlSocket, send_command
from beampipe.fleet.control.intent import (
    VARIABLE,
    Intent,
    check_owner,
    end_intent,
    end_processes,
    fleet_processes,
    prepare,
    read_intent,
    this_asker,
)
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler, RegistryReconciler
from beampipe.fleet.control.scaling import FleetScaler
from beampipe.fleet.gateway.haproxy import gateway_processes
from beampipe.fleet.run_folder import RunFolder, run_folder_of, shared_folder
from beampipe.fleet.specification import Fleet, read_fleet
from beampipe.processes import ManagedProcess
from beampipe.terminal import log, say
from beampipe.triton.server.watchdog import RestartedChild, restart_when_killed
from beampipe.triton.systemd import is_managed_by_systemd

_POLL: Final = 0.1

_ANSWER: Final = 3.0
"""Time limit [s] of the answer to a command that takes no work."""

_DEMAND: Final = 1.0
"""Time [s] between two measurements of the load."""

_STARTS: Final = 3
"""Number of failed starts after which a server counts as failed."""


def daemon_pid(folder: RunFolder) -> int | None:
    """Process id of the fleet that runs in a folder, None if none does."""
    try:
        who = json.loads(folder.process.read_text(encoding="utf-8"))
        pid, started = int(who["pid"]), int(who["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if processes.is_same(pid, started) else None


def run_fleet(specification: Path, folder: Path | None = None) -> None:
    """Run a fleet until a signal or a command ends it.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.

    Raises:
        ConfigError: the fleet is already running.
        BeampipeError: it cannot be started.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder)
    child, intent = _claim(run, specification)
    reconciler = LocalReconciler(intent.fleet, run, intent)
    orders = LocalCommands(reconciler)

    def scale(group: str, count: int) -> None:
        by = asdict(this_asker("automatic scaling"))
        orders.obey({"do": "scale", "group": group, "count": count, "by": by})

    go_on = threading.Thread(target=orders.go_on, name="fleet-go-on", daemon=True)
    run_until_stopped(reconciler, orders, child, FleetScaler(reconciler, scale).check, go_on.start)


def _claim(run: RunFolder, specification: Path) -> tuple[RestartedChild | None, Intent]:
    """Make the run folder of a fleet, and continue in a child process that is restarted when it is killed or hangs.

    If the waiting process itself is killed, the fleet goes on. The child is None where systemd restarts this process.
    """
    run.make()
    # Held until this process and the child have ended.
    lock = os.open(run.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        text = f"{run.path}: got a fleet that runs already; do: beampipe fleet status -f {specification}"
        raise ConfigError(text) from None
    check_owner(run, specification)
    os.environ[VARIABLE] = str(run.path)
    intent = read_intent(run)
    if intent is None or intent.ended or intent.text != specification.read_text(encoding="utf-8"):
        intent, notes = prepare(run, specification)
        for note in notes:
            log(note)
    child = None if is_managed_by_systemd() else restart_when_killed(log, ends_with_parent=False)
    if child is not None and child.state is not None:
        with suppress(BeampipeError):  # damaged in the moment of a crash
            intent = read_intent(run) or intent
        if intent.ended is not None:  # it was killed while it stopped the fleet
            end_processes(run)
            raise SystemExit(0)
    return child, intent


def run_until_stopped(
    reconciler: Reconciler,
    orders: GatewayCommands,
    child: RestartedChild | None = None,
    scale: Callable[[], None] = lambda: None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Run a reconciler until SIGTERM, SIGINT, or the command ``down``.

    Args:
        reconciler: the reconciler of the fleet.
        orders: the commands that it accepts.
        child: this process as a child that is restarted; None if it is none.
        scale: measures the load, and adds or removes servers; called once a second.
        started: called once, when the gateway runs.

    Raises:
        BeampipeError: the gateway does not start.
    """
    reconciler.ended.set_on(signal.SIGTERM, signal.SIGINT)
    with reconciler.running(), ControlSocket(reconciler.folder.socket, orders.obey):
        if child is not None:
            if child.state is not None:
                reconciler.note("fleet: its process was killed or hung; this is another")
            child.ready({})
        started()
        while not reconciler.ended.wait(_DEMAND):
            try:
                scale()
            except BeampipeError as error:
                reconciler.note(f"scaling: {error}")


def check_start(
    specification: Path, folder: Path | None = None, *, take_over: bool = False
) -> tuple[Fleet, RunFolder, list[str]]:
    """Check a specification and what it refers to, without starting anything.

    Args:
        specification: the TOML file.
        folder: the run folder of the fleet; None for the usual one.
        take_over: whether a fleet that was started by another specification may be replaced.

    Returns:
        The specification, the run folder, and what will probably not work as intended, a sentence each.

    Raises:
        BeampipeError: the fleet cannot be started.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder)
    if not take_over:
        check_owner(run, specification)
    runs = daemon_pid(run) is not None or bool(gateway_processes(run.path))
    return fleet, run, check_fleet(fleet, run.path, starts=not runs)


def start_fleet(
    specification: Path,
    folder: Path | None = None,
    progress: Callable[[str], None] = lambda text: None,
    *,
    take_over: bool = False,
) -> dict[str, Any]:
    """Start a fleet in the background, or apply the specification to one that is already running.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.
        progress: called with each incident, and with each earlier request that is kept or discarded.
        take_over: whether a fleet that was started by another specification may be replaced.

    Returns:
        Its status, once every server takes requests, other than drained ones.

    Raises:
        BeampipeError: the specification, or something that it refers to, cannot be used.
        ServiceError: it does not start; the message has the end of its log.
    """
    fleet, run, notes = check_start(specification, folder, take_over=take_over)
    for note in notes:
        progress(f"note: {note}")
    daemon = ManagedProcess(run.logs / "fleet.log")
    begin, pid = time.time(), _running(run)
    if pid is not None:
        order = {"do": "apply", "specification": str(specification.absolute()), "take_over": take_over}
        changed = send_command(run.socket, order)["changed"]
        progress(f"{fleet.name} runs; changed: {', '.join(changed) or 'nothing'}")
        daemon.adopt(pid)
    else:
        run.make()
        for note in prepare(run, specification)[1]:
            progress(note)
        command = ["fleet", "run", "-f", str(specification), "--folder", str(run.path)]
        daemon.start([sys.executable, "-m", "beampipe", *command], {**os.environ, VARIABLE: str(run.path)})
    reported: set[str] = set()
    deadline = time.monotonic() + fleet.start_timeout + 10.0
    while True:
        status: dict[str, Any] = {}
        with suppress(ServiceUnavailableError, DeadlineError):
            status = send_command(run.socket, {"do": "status"}, _ANSWER)
        for when, text in status.get("incidents", ()):
            if when >= begin and text not in reported:
                reported.add(text)
                progress(text)
        drained = all(row["desired"] == "drain" for row in status.get("servers", ()))
        if status and (status["ready"] or drained) and not status["changing"]:
            # The daemon usually outlives this process; if not, its exit status must be collected (no zombie).
            threading.Thread(target=daemon.wait, name="fleet-daemon-end", daemon=True).start()
            return status
        failing = any(row["starts"] > _STARTS and row["address"] is None for row in status.get("servers", ()))
        if daemon.pid is None or failing or time.monotonic() > deadline:
            if pid is None:
                daemon.signal(signal.SIGTERM)
            lines = "".join(f"\n    {line}" for line in daemon.last_lines(6))
            raise ServiceError(f"{fleet.name}: did not start:{lines}")
        time.sleep(_POLL)


def _running(run: RunFolder) -> int | None:
    """The process of a fleet, once those that are stopped by a signal have been killed; None if there is none.

    Raises:
        ServiceError: one starts, but does not get ready.
    """
    deadline = time.monotonic() + _STOP_TIMEOUT
    while left := fleet_processes(run):
        if time.monotonic() > deadline:
            raise ServiceError(f"{run.path}: got a fleet that does not answer; do: beampipe fleet down")
        for pid in left:
            with suppress(ProcessLookupError):
                if processes.is_stopped(pid):
                    os.kill(pid, signal.SIGKILL)
        if (found := daemon_pid(run)) is not None and not processes.is_stopped(found):
            return found
        time.sleep(_POLL)
    return None


_STOP_TIMEOUT: Final = 60.0
"""Time [s], after that for work in progress, until a fleet that does not end is killed."""


def _parent(pid: int) -> int | None:
    """The process that restarts the process of a fleet; None if that was killed."""
    parent = processes.parent(pid)
    return parent if parent and processes.arguments(parent) == processes.arguments(pid) else None


def stop_fleet(specification: Path, folder: Path | None = None) -> str:
    """Stop a fleet, and wait until every process that it has started has ended.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.

    Returns:
        A sentence on what was done.

    Raises:
        ConfigError: it was started by another specification.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder)
    check_owner(run, specification)
    reconciler = daemon_pid(run)
    if reconciler is None:
        end_intent(run)
        ended = end_processes(run)
        left = f"; ended {ended} process(es) that an earlier one had left" if ended else ""
        return f"{fleet.name}: did not run{left}"
    waiting = [reconciler, *filter(None, [_parent(reconciler)])]
    try:
        send_command(run.socket, {"do": "down"}, _ANSWER)
    except (ServiceError, DeadlineError):  # its control socket is not open, or it hangs or was killed
        end_intent(run)
        for pid in reversed(waiting):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if processes.is_stopped(pid) else signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT + fleet.exit_timeout
    while any(map(processes.is_alive, waiting)):
        if time.monotonic() > deadline:
            for pid in filter(processes.is_alive, waiting):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)
    end_processes(run)  # of a process that had to be killed
    return f"{fleet.name}: ended"


def run_gateway(specification: Path, shared: Path | None = None, folder: Path | None = None) -> None:
    """Run a gateway for servers that report to a registry, until a signal or a command stops it.

    Args:
        specification: the TOML file.
        shared: folder of registry and secret, which all machines of the fleet see; None for that of `slurm`.
        folder: its run folder on this machine; None for the usual one.

    Raises:
        FileError: there is no such shared folder.
        ConfigError: a fleet of that name is already running on this machine.
        BeampipeError: the gateway cannot be started.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder, shared_folder(fleet) if shared is None else shared)
    if not run.secret.is_file():
        raise FileError(
            f"{run.secret}: got no file, expected the secret of the servers; do: beampipe fleet slurm -f"
            f" {specification}"
        )
    for note in check_fleet(fleet, run.path, starts=not gateway_processes(run.path), servers=False):
        say(f"note: {note}", err=True)
    child, intent = _claim(run, specification)
    follower = RegistryReconciler(fleet, run, intent)
    scheme = "grpc" if fleet.gateway.tls is None else "grpcs"
    address = f"{scheme}://{fleet.gateway.host}:{fleet.gateway.port}"
    run_until_stopped(
        follower, GatewayCommands(follower), child, started=lambda: say(f"gateway: {address} until Ctrl-C", err=True)
    )
