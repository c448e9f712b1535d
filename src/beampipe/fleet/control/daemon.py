"""The process of a fleet: started in the background or run in the foreground, and stopped."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from beampipe import processes
from beampipe.errors import BeampipeError, ConfigError, DeadlineError, FileError, ServiceError, ServiceUnavailableError
from beampipe.fleet.checks import check_fleet
from beampipe.fleet.control.commands import GatewayCommands, LocalCommands
from beampipe.fleet.control.control_socket import ControlSocket, send_command
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler, RegistryReconciler
from beampipe.fleet.control.scaling import FleetScaler
from beampipe.fleet.gateway.haproxy import gateway_processes
from beampipe.fleet.monitoring.prometheus import prometheus_processes
from beampipe.fleet.registry import read_records
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
    child = _claim(run, specification)
    reconciler = LocalReconciler(fleet, run)
    orders = LocalCommands(reconciler)

    def scale(group: str, count: int) -> None:
        orders.obey({"do": "scale", "group": group, "count": count})

    run_until_stopped(reconciler, orders, child, FleetScaler(reconciler, scale).check)


def _claim(run: RunFolder, specification: Path) -> RestartedChild | None:
    """Make the run folder of a fleet, and continue in a child process that is restarted when it is killed or hangs.

    If the waiting process itself is killed, the fleet goes on. None where systemd restarts this process.
    """
    run.make()
    if daemon_pid(run) is not None:
        raise ConfigError(f"{run.path}: got a fleet that runs already; do: beampipe fleet status {specification}")
    return None if is_managed_by_systemd() else restart_when_killed(log, ends_with_parent=False)


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
    processes.set_by_signals(reconciler.ended, signal.SIGTERM, signal.SIGINT)
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


def check_start(specification: Path, folder: Path | None = None) -> tuple[Fleet, RunFolder, list[str]]:
    """Check a specification and what it refers to, without starting anything.

    Args:
        specification: the TOML file.
        folder: the run folder of the fleet; None for the usual one.

    Returns:
        The specification, the run folder, and what will probably not work as intended, a sentence each.

    Raises:
        BeampipeError: the fleet cannot be started.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder)
    runs = daemon_pid(run) is not None or bool(gateway_processes(run.path))
    return fleet, run, check_fleet(fleet, starts=not runs)


def start_fleet(
    specification: Path, folder: Path | None = None, progress: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Start a fleet in the background, or apply the specification to one that is already running.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.
        progress: called with each incident.

    Returns:
        Its status, once every server takes requests.

    Raises:
        BeampipeError: the specification, or something that it refers to, cannot be used.
        ServiceError: it does not start; the message has the end of its log.
    """
    fleet, run, notes = check_start(specification, folder)
    for note in notes:
        progress(f"note: {note}")
    if daemon_pid(run) is not None:
        changed = send_command(run.socket, {"do": "apply", "specification": str(specification.absolute())})["changed"]
        progress(f"{fleet.name} runs; changed: {', '.join(changed) or 'nothing'}")
        return dict(send_command(run.socket, {"do": "status"}))
    run.make()
    daemon = ManagedProcess(run.logs / "fleet.log")
    daemon.start([sys.executable, "-m", "beampipe", "fleet", "run", str(specification), "--folder", str(run.path)])
    reported: set[str] = set()
    deadline = time.monotonic() + fleet.start_timeout + 10.0
    while True:
        time.sleep(_POLL)
        status: dict[str, Any] = {}
        with suppress(ServiceUnavailableError, DeadlineError):
            status = send_command(run.socket, {"do": "status"}, _ANSWER)
        for _, text in status.get("incidents", ()):
            if text not in reported:
                reported.add(text)
                progress(text)
        if status.get("ready"):
            # The daemon usually outlives this process; if not, its exit status must be collected (no zombie).
            threading.Thread(target=daemon.wait, name="fleet-daemon-end", daemon=True).start()
            return status
        failing = any(row["starts"] > _STARTS and row["address"] is None for row in status.get("servers", ()))
        if daemon.pid is None or failing or time.monotonic() > deadline:
            daemon.signal(signal.SIGTERM)
            lines = "".join(f"\n    {line}" for line in daemon.last_lines(6))
            raise ServiceError(f"{fleet.name}: did not start:{lines}")


_STOP_TIMEOUT: Final = 60.0


def stop_fleet(specification: Path, folder: Path | None = None) -> str:
    """Stop a fleet and wait until it has ended.

    Args:
        specification: the TOML file.
        folder: its run folder; None for the usual one.

    Returns:
        A sentence on what was done.

    Raises:
        ServiceError: it does not end in time.
    """
    fleet = read_fleet(specification)
    run = run_folder_of(fleet.name, folder)
    if (reconciler := daemon_pid(run)) is not None:
        waiting = [reconciler]
        parent = processes.parent(reconciler)
        if parent is not None and processes.arguments(parent) == processes.arguments(reconciler):  # restarts it
            waiting.append(parent)
        try:
            send_command(run.socket, {"do": "down"}, _ANSWER)
        except (ServiceUnavailableError, DeadlineError):  # its control socket is not open, or it hangs
            for pid in reversed(waiting):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_TIMEOUT + fleet.exit_timeout
        while any(map(processes.is_alive, waiting)):
            if time.monotonic() > deadline:
                raise ServiceError(f"{run.path}: got a fleet that does not end; its log is {run.logs / 'fleet.log'}")
            time.sleep(_POLL)
        _stop_leftovers(run)  # of a process that had to be killed
        return f"{fleet.name}: ended"
    ended = _stop_leftovers(run)
    return f"{fleet.name}: did not run" + (f"; ended {ended} process(es) that an earlier one had left" if ended else "")


def _stop_leftovers(run: RunFolder) -> int:
    """Stop servers, gateway and Prometheus left running by a fleet process that was killed; gives their number."""
    pids = [record.pid for record in read_records(run.registry).values() if record.lives()]
    leftovers = [process for pid in pids if (process := ManagedProcess()).adopt(pid)]
    leftovers += gateway_processes(run.path) + prometheus_processes(run.prometheus)
    for process in leftovers:
        process.signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT
    for process in leftovers:
        if not process.wait(max(0.0, deadline - time.monotonic())):  # it hangs
            process.kill()
    return len(leftovers)


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
            f"{run.secret}: got no file, expected the secret of the servers; do: beampipe fleet slurm {specification}"
        )
    for note in check_fleet(fleet, starts=not gateway_processes(run.path), servers=False):
        say(f"note: {note}", err=True)
    child = _claim(run, specification)
    follower = RegistryReconciler(fleet, run)
    scheme = "grpc" if fleet.gateway.tls is None else "grpcs"
    address = f"{scheme}://{fleet.gateway.host}:{fleet.gateway.port}"
    run_until_stopped(
        follower, GatewayCommands(follower), child, started=lambda: say(f"gateway: {address} until Ctrl-C", err=True)
    )
