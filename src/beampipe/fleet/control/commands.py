"""Commands for a running fleet. Each returns when its work is done; no request is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from beampipe.errors import BeampipeError, ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler
from beampipe.fleet.control.release import Canary, Trial
from beampipe.fleet.control.steps import GatewaySteps, Steps
from beampipe.fleet.release_rule import ReleaseRule
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import Fleet, read_fleet
from beampipe.triton.server.launch import check_repository

_LATEST: Final = 20


def status_of(reconciler: Reconciler) -> dict[str, Any]:
    """The status of a fleet as data: servers, gateway, and the last incidents.

    Args:
        reconciler: the reconciler of the fleet.
    """
    gateway = reconciler.fleet.gateway
    servers = []
    for server in list(reconciler.servers.values()):
        record = reconciler.records.get(server.name)
        current = record if server.describes(record) else None
        servers.append(
            {
                "server": server.name,
                "group": server.group,
                "wish": server.desired_state,
                "state": current.state if current is not None else "starting" if server.pid else "dead",
                "pid": server.pid,
                "metrics": None if current is None else current.metrics,
                "models": [] if current is None else list(current.models),
                "digest": server.digest,
                "starts": server.starts,
                "log": str(server.log),
                **reconciler.slot_status(server),
            }
        )
    return {
        "name": reconciler.fleet.name,
        "folder": str(reconciler.folder.path),
        "time": time.time(),
        "gateway": {
            **reconciler.gateway_status(),
            "host": gateway.host,
            "port": gateway.port,
            "tls": gateway.tls is not None,
            "tokens": gateway.wants_token,
            "balancing": gateway.balancing,
            "status_port": reconciler.status_port,
        },
        "page": reconciler.monitoring.page_url,
        "prometheus": {"pid": reconciler.monitoring.prometheus_pid, "url": reconciler.monitoring.prometheus_url},
        "servers": servers,
        "ready": bool(servers) and all(row["address"] is not None or row["wish"] != "serve" for row in servers),
        "incidents": [list(incident) for incident in reconciler.incidents[-_LATEST:]],
    }


class GatewayCommands:
    """Commands for any running fleet, also for one whose servers are started elsewhere.

    Args:
        reconciler: the reconciler of the fleet.
    """

    def __init__(self, reconciler: Reconciler) -> None:
        self.reconciler = reconciler
        self._steps = GatewaySteps(reconciler)
        self._verbs: dict[str, Callable[..., Any]] = {
            "status": self.status,
            "drain": self.drain,
            "resume": self.resume,
            "down": self.down,
        }

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Execute a command: its name is under the key ``do``, its arguments under the other keys.

        Raises:
            UnknownNameError: there is no such command, server or group.
            BeampipeError: it cannot be done.
        """
        arguments = dict(order)
        verb = str(arguments.pop("do", ""))
        if verb not in self._verbs:
            raise UnknownNameError("command", verb, self._verbs)
        done = self._verbs[verb](**arguments)
        return dict(done or {})

    def status(self) -> dict[str, Any]:
        """The status of the fleet."""
        return status_of(self.reconciler)

    def drain(self, server: str) -> None:
        """Drain a server: it finishes its requests, gets no further ones, and keeps running."""
        self._steps.drain(self._steps.server(server))

    def resume(self, server: str) -> None:
        """Send requests to a drained server again."""
        self._steps.serve([self._steps.server(server)])

    def down(self) -> None:
        """Stop the fleet."""
        self.reconciler.ended.set()


class LocalCommands(GatewayCommands):
    """Commands for a fleet whose servers are processes of this machine.

    Args:
        reconciler: the reconciler of the fleet.

    """

    reconciler: LocalReconciler
    _steps: Steps

    def __init__(self, reconciler: LocalReconciler) -> None:
        super().__init__(reconciler)
        self._steps = Steps(reconciler)
        self._change = threading.Lock()
        self._changes: dict[str, Callable[..., Any]] = {
            "scale": self.scale,
            "restart": self.restart,
            "update": self.update,
            "apply": self.apply,
        }
        self._verbs |= self._changes

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Execute a command; one that changes the servers is refused while another one does."""
        if order.get("do") not in self._changes:
            return super().obey(order)
        if not self._change.acquire(blocking=False):
            raise ConfigError("fleet: got a command while another one changes the servers; try again later")
        try:
            return super().obey(order)
        finally:
            self._change.release()

    def scale(self, group: str, count: int) -> None:
        """Set the number of servers in a group: start missing ones and wait until they serve; drain and stop others."""
        reconciler = self.reconciler
        if group not in reconciler.fleet.servers:
            raise UnknownNameError("group of servers", group, reconciler.fleet.servers)
        wanted = reconciler.fleet.servers[group]
        if not 0 <= count <= wanted.slots:
            raise ConfigError(
                f"{group}: got {count} servers, expected 0 to {wanted.slots}, the slots that the gateway has;"
                f" for more, set servers.{group}.most and do: beampipe fleet up"
            )
        with reconciler.lock:
            names = [wanted.server_name(number) for number in range(wanted.slots)]
            new = [reconciler.add(wanted, number) for number in range(count) if names[number] not in reconciler.servers]
            old = [reconciler.servers[name] for name in names[count:] if name in reconciler.servers]
        self._steps.serve(new)
        for server in old:
            self._steps.end(server)

    def restart(self, servers: Sequence[str] = ()) -> None:
        """Restart servers one by one, all if none is named; for the only server, a temporary one serves meanwhile."""
        names = list(servers or self.reconciler.servers)
        for name in names:
            self._steps.server(name)
        for name in names:
            self._steps.replace(self._steps.server(name))

    def update(self, **trial: Any) -> dict[str, Any]:
        """Serve the current models of the repository; return to the old ones if they do not start.

        Args:
            trial: settings of a trial on a share of the requests: the fields of `ReleaseRule`, and ``events``, the
                path of a file of recorded requests; without them there is no trial.

        Returns:
            Digest of the models that are served, number of servers changed, and the decision of a trial.
        """
        reconciler = self.reconciler
        models = reconciler.take_snapshot()
        if trial and models[0] != reconciler.models[0]:
            return self._release(models, **trial)
        return self._update(models, self._settings())

    def _release(
        self, models: tuple[str, Path], share: float, events: str | None = None, **rule: Any
    ) -> dict[str, Any]:
        """Try models on a share of the requests, and serve them if the rule allows it."""
        reconciler, before = self.reconciler, self._settings()
        wanted = ReleaseRule(share, **rule)
        trial = Trial(reconciler, models, wanted, None if events is None else Path(events))
        canary = Canary(self._steps, models, share)
        reconciler.note(f"release {models[0]}: {canary.server.name} gets {100 * share:g} % of the requests")
        try:
            decision = trial.decide(canary)
        except BeampipeError:
            if not reconciler.ended.is_set():
                canary.take_back()
            raise
        reconciler.note(f"release {models[0]}: {decision.text}")
        if decision.promoted:
            canary.end_trial()
            try:
                done = self._update(models, before)
            finally:
                canary.leave()
        else:
            canary.take_back()
            done = {"digest": reconciler.models[0], "servers": 0}
        reconciler.remove_unused_snapshots()
        return {**done, "decision": asdict(decision)}

    def _update(self, models: tuple[str, Path], before: Mapping[str, FleetServerSettings]) -> dict[str, Any]:
        """Serve models on all servers, one by one; return to the old ones if a server does not start."""
        reconciler = self.reconciler
        with reconciler.lock:
            old, reconciler.models = reconciler.models, models
            due = [server for server in reconciler.servers.values() if server.settings.digest != models[0]]
        for server in due:
            try:
                self._steps.replace(server)
            except ServiceError as error:
                reconciler.note(f"update: {server.name} does not start with the new models; going back")
                reconciler.models = old
                for name, settings in before.items():
                    if (back := reconciler.servers.get(name)) is not None and back.settings != settings:
                        self._steps.replace(back, settings)
                raise ServiceError(f"update: {error}; the old models are served again") from error
        reconciler.remove_unused_snapshots()
        reconciler.monitoring.reconfigure(reconciler.fleet)
        return {"digest": models[0], "servers": len(due)}

    def _settings(self) -> dict[str, FleetServerSettings]:
        with self.reconciler.lock:
            return {server.name: server.settings for server in self.reconciler.servers.values()}

    def apply(self, specification: str) -> dict[str, Any]:
        """Apply a specification, changing only what differs."""
        reconciler = self.reconciler
        wanted = read_fleet(Path(specification))
        before = reconciler.fleet
        done: list[str] = []
        if wanted.name != before.name:
            raise ConfigError(f"name: got {wanted.name!r}, expected {before.name!r}; it is another fleet")
        if wanted.gateway != before.gateway or _slots(wanted) != _slots(before) or wanted.models != before.models:
            self._steps.configure_gateway(wanted, check_repository(reconciler.models[1], wanted.models))
            done.append("gateway")
        with reconciler.lock:
            reconciler.fleet = wanted
            gone = [server for server in reconciler.servers.values() if server.settings.group not in wanted.servers]
        for server in gone:
            self._steps.end(server)
            done.append(server.name)
        for group in wanted.servers.values():
            if sum(server.settings.group == group.name for server in reconciler.servers.values()) != group.count:
                self.scale(group.name, group.count)
                done.append(f"servers.{group.name}")
        done += self._renew_changed()
        reconciler.monitoring.reconfigure(wanted)
        return {"changed": done}

    def _renew_changed(self) -> list[str]:
        reconciler = self.reconciler
        reconciler.models = reconciler.take_snapshot()
        done = []
        for server in list(reconciler.servers.values()):
            if reconciler.current_settings(server) != server.settings:
                self._steps.replace(server)
                done.append(server.name)
        return done


def _slots(fleet: Fleet) -> list[tuple[str, int, int]]:
    return [(group.name, group.slots, group.weight) for group in fleet.servers.values()]
