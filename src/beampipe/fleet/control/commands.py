"""Commands for a running fleet. Each returns when its work is done; no request is lost.

They consist of a few steps: drain a server, wait until it serves, end or replace it, configure the gateway. A step
changes the desired state, and waits until the reconciler has made it the actual one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from beampipe.errors import BeampipeError, ConfigError, FileError, ServiceError, UnknownNameError, look_up
from beampipe.fleet.control.intent import Asker, Intent, Kind, Request, check_owner, this_asker
from beampipe.fleet.control.managed_server import LocalServer, ManagedServer
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler
from beampipe.fleet.control.release import ReleaseRule, Trial
from beampipe.fleet.gateway.plan import slots_of
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import Fleet, ServerGroup, read_fleet
from beampipe.triton.server.launch import check_repository

_LATEST: Final = 20
"""Number of incidents in a status."""
_PERIOD: Final = 0.05
"""Time [s] between two evaluations of a condition that is waited for."""
_DRAINED: Final = 600.0
"""Longest time [s] for requests in progress to finish when a server is drained."""
_CONFIGURED: Final = 30.0
"""Longest time [s] until the gateway runs with another configuration; 0.2 s is typical."""

_asker: ContextVar[Asker | None] = ContextVar("asker", default=None)
"""Who has asked for the command that this thread executes; None for the user of this process."""


def _request(do: Kind, of: str = "", count: int = 0) -> Request:
    return Request(do, of, count, _asker.get() or this_asker())


class GatewayCommands:
    """Commands for any running fleet, also for one whose servers are started elsewhere.

    Args:
        reconciler: the reconciler of the fleet.

    Attributes:
        verbs: names of the commands.
    """

    verbs: tuple[str, ...] = ("status", "drain", "resume", "down")

    def __init__(self, reconciler: Reconciler) -> None:
        self.reconciler = reconciler

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Execute a command: its name is under the key ``do``, its arguments under the other keys.

        Raises:
            UnknownNameError: there is no such command, server or group.
            BeampipeError: it cannot be done.
        """
        arguments = dict(order)
        verb, by = str(arguments.pop("do", "")), arguments.pop("by", None)
        if verb not in self.verbs:
            raise UnknownNameError("command", verb, self.verbs)
        asked = _asker.set(None if by is None else Asker(**by))
        try:
            return dict(getattr(self, verb)(**arguments) or {})
        finally:
            _asker.reset(asked)

    def status(self) -> dict[str, Any]:
        """The status of the fleet as data: servers, gateway, and the last incidents."""
        reconciler = self.reconciler
        gateway, prometheus = reconciler.fleet.gateway, reconciler.prometheus
        servers = []
        for server in list(reconciler.servers.values()):
            record = reconciler.records.get(server.name)
            current = record if server.describes(record) else None
            actual = reconciler.actual.servers.get(server.name)
            unknown = "silent" if actual is not None and actual.report is not None else "starting"
            servers.append(
                {
                    "server": server.name,
                    "group": server.group,
                    "desired": server.desired_state,
                    "state": current.state if current is not None else unknown if server.pid else "dead",
                    "pid": server.pid,
                    "metrics": None if current is None else current.metrics,
                    "models": [] if current is None else list(current.models),
                    "last": "" if current is None else current.text,
                    "digest": server.digest,
                    "starts": server.starts,
                    "log": str(server.log),
                    **reconciler.slot_status(server),
                }
            )
        intent = reconciler.intent
        return {
            "name": reconciler.fleet.name,
            "specification": str(intent.specification),
            "asked": [f"{intent.specification} ({intent.by})"] * bool(intent.text) + [*map(str, intent.requests)],
            "left_over": list(reconciler.left_over().values()),
            "folder": str(reconciler.folder.path),
            "time": time.time(),
            "gateway": {
                **reconciler.gateway_status(),
                "host": gateway.host,
                "port": gateway.port,
                "tls": gateway.tls is not None,
                "tokens": gateway.wants_token,
                "balancing": gateway.balancing,
                "credentials": reconciler.credentials.rows(),
                "status_port": reconciler.status_port,
            },
            "page": reconciler.page.url,
            "prometheus": {"pid": prometheus.pid, "url": prometheus.url},
            "alertmanager": {"pid": reconciler.alertmanager.pid, "url": reconciler.alertmanager.url},
            "servers": servers,
            "ready": reconciler.actual.gateway.condition == "running"
            and any(row["gateway"].startswith("UP") for row in servers)
            # A server on trial has no weight, which HAProxy calls DRAIN.
            and all(row["gateway"].startswith(("UP", "DRAIN")) or row["desired"] != "serve" for row in servers),
            "incidents": [list(incident) for incident in reconciler.incidents[-_LATEST:]],
        }

    def drain(self, server: str) -> None:
        """Drain a server: it finishes its requests, gets no further ones, and keeps running."""
        drained = self.server(server)
        self.reconciler.intend(lambda intent: intent.having(_request("drain", server)))
        self.empty(drained)

    def resume(self, server: str) -> None:
        """Send requests to a drained server again."""
        drained = self.server(server)
        self.reconciler.intend(lambda intent: intent.without("drain", server))
        self.serve([drained])

    def down(self) -> None:
        """Stop the fleet."""
        with suppress(FileError):  # on a full disk, too
            self.reconciler.intend(lambda intent: intent.having(_request("down")))
        self.reconciler.ended.set()

    def server(self, name: str) -> ManagedServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        return look_up("server", name, self.reconciler.servers)

    def empty(self, server: ManagedServer) -> None:
        """Drain a server, and wait until its requests are finished."""
        with self.reconciler.lock:
            server.desired_state = "drain"
        self.wait(lambda: self.reconciler.is_drained(server), _DRAINED, f"{server.name}: requests to finish")

    def serve(self, servers: Sequence[ManagedServer], after: int | None = None) -> None:
        """Let servers take requests, and wait until they do; those that are drained only have to be ready for it.

        Args:
            servers: the servers.
            after: number of starts before the present process was started; None if it may be any number.
        """
        limit = self.reconciler.fleet.start_timeout + 10.0
        with self.reconciler.lock:
            for server in servers:
                server.desired_state = "drain" if self.reconciler.intent.find("drain", server.name) else "serve"
        for server in servers:
            failed = (server.starts if after is None else after) + 1

            def serves(server: ManagedServer = server, failed: int = failed) -> bool:
                if server.starts > failed:
                    raise ServiceError(f"{server.name}: does not start; its log is {server.log}")
                return self.reconciler.in_service(server, "drain" if server.desired_state == "drain" else "ready")

            self.wait(serves, limit, f"{server.name}: to take requests")

    def configure_gateway(self, fleet: Fleet, models: tuple[str, ...] | None = None) -> None:
        """Change the configuration of the gateway, and wait until it is in force.

        Args:
            fleet: the specification.
            models: names of the models that a server must have to get requests; None for those as before.

        Raises:
            ConfigError: HAProxy does not load it; the old one is in force again.
            ServiceError: HAProxy does not answer; the old one is in force again.
        """
        reconciler = self.reconciler
        before = reconciler.fleet, reconciler.gateway.plan.models
        reconciler.change_gateway(fleet, models)
        try:
            self.wait(reconciler.gateway_is_configured, _CONFIGURED, "gateway: another configuration")
        except (ConfigError, ServiceError):
            if not reconciler.ended.is_set():
                reconciler.change_gateway(*before)
            raise
        reconciler.credentials.remove_others()

    def wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until a condition holds.

        Args:
            holds: evaluates the condition.
            seconds: time limit [s].
            what: name of the condition in the error message.

        Raises:
            ServiceError: the time limit is over, or the fleet stops.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise ServiceError(f"{what}: got none within {seconds:g} s; see: beampipe fleet status")
            if self.reconciler.ended.is_set():
                raise ServiceError(f"{what}: got the end of the fleet, expected it to go on")
            time.sleep(_PERIOD)


_CHANGES: Final = ("scale", "restart", "update", "apply")
"""Names of the commands that change the servers, of which one runs at a time."""


class LocalCommands(GatewayCommands):
    """Commands for a fleet whose servers are processes of this machine.

    Args:
        reconciler: the reconciler of the fleet.
    """

    reconciler: LocalReconciler
    verbs = (*GatewayCommands.verbs, *_CHANGES)

    def __init__(self, reconciler: LocalReconciler) -> None:
        super().__init__(reconciler)
        self._change = threading.Lock()

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Execute a command; one that changes the servers is refused while another one does."""
        if order.get("do") not in _CHANGES:
            return super().obey(order)
        if not self._change.acquire(blocking=False):
            raise ConfigError("fleet: got a command while another one changes the servers; try again later")
        try:
            return super().obey(order)
        finally:
            self._change.release()

    def status(self) -> dict[str, Any]:
        """The status of the fleet as data; `changing` is whether a command changes the servers."""
        return {**super().status(), "changing": self._change.locked()}

    def go_on(self) -> None:
        """Finish what the intent has and an earlier process of the fleet has not finished; a trial is undone."""
        reconciler = self.reconciler
        with self._change:
            try:
                update = reconciler.intent.find("update")
                if trial := reconciler.intent.find("trial"):
                    reconciler.note(f"interrupted, and undone: {trial}")
                    reconciler.intend(lambda intent: intent.without("trial"))
                if update is not None:
                    self._update(reconciler.models, update)
                for server in [*reconciler.servers.values()]:
                    if server.desired_state != "end" and reconciler.current_settings(server) != server.settings:
                        self.replace(server)
                self._restart()
            except (BeampipeError, OSError) as error:
                reconciler.note(f"fleet: {error}")

    def scale(self, group: str | None, count: int) -> None:
        """Set the number of servers in a group: start missing ones and wait until they serve; drain and stop others.

        Args:
            group: name of the group; None for the only one.
            count: number of servers.
        """
        reconciler = self.reconciler
        if group is None:
            group, *others = reconciler.fleet.servers
            if others:
                raise ConfigError(f"--group: got none, expected one of {', '.join(reconciler.fleet.servers)}")
        specified = look_up("group of servers", group, reconciler.fleet.servers)
        if not 0 <= count <= specified.slots:
            raise ConfigError(
                f"{group}: got {count} servers, expected 0 to {specified.slots}, the slots that the gateway has;"
                f" for more, set servers.{group}.most and do: beampipe fleet up"
            )
        scaled = [_request("scale", group, count)] if count != specified.count else []

        def change(intent: Intent) -> Intent:
            for number in range(count, specified.slots):
                intent = intent.without("drain", specified.server_name(number))
            return intent.without("scale", group).having(*scaled)

        reconciler.intend(change)
        self._resize(specified, count)

    def _resize(self, specified: ServerGroup, count: int) -> None:
        reconciler = self.reconciler
        names = [specified.server_name(number) for number in range(specified.slots)]
        with reconciler.lock:
            new = [
                reconciler.add(specified, number) for number in range(count) if names[number] not in reconciler.servers
            ]
            old = [reconciler.servers[name] for name in names[count:] if name in reconciler.servers]
        self.serve(new)
        for server in old:
            self.end(server)

    def restart(self, servers: Sequence[str] = ()) -> None:
        """Restart servers one by one, all if none is named; for the only server, a temporary one serves meanwhile."""
        named = [self.server(name).name for name in servers or self.reconciler.servers]
        requests = [_request("restart", name) for name in named]
        self.reconciler.intend(lambda intent: intent.having(*requests))
        self._restart()

    def _restart(self) -> None:
        """Restart the servers of which that was asked; the requests end with the first one that fails."""
        intend = self.reconciler.intend
        try:
            while request := self.reconciler.intent.find("restart"):
                if server := self.reconciler.servers.get(request.of):
                    self.replace(server)
                intend(lambda intent, done=request: intent.without("restart", done.of))  # type: ignore[misc]
        except BeampipeError:
            if not self.reconciler.ended.is_set():
                intend(lambda intent: intent.without("restart"))
            raise

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
        update = _request("update", reconciler.models[0])
        if trial and models[0] != reconciler.models[0]:
            return self._release(models, update, **trial)
        return self._update(models, update)

    def _release(
        self, models: tuple[str, Path], update: Request, events: str | None = None, **rule: Any
    ) -> dict[str, Any]:
        """Try models on a share of the requests, and serve them if the rule allows it."""
        reconciler = self.reconciler
        reconciler.intend(lambda intent: intent.having(replace(update, do="trial")))
        try:
            return self._try(models, update, events, **rule)
        finally:
            if not reconciler.ended.is_set():
                reconciler.intend(lambda intent: intent.without("trial"))

    def _try(self, models: tuple[str, Path], update: Request, events: str | None, **rule: Any) -> dict[str, Any]:
        reconciler = self.reconciler
        trial = Trial(self, models, ReleaseRule(**rule), None if events is None else Path(events))
        reconciler.note(f"release {models[0]}: {trial.server.name} gets {100 * rule['share']:g} % of the requests")
        try:
            decision = trial.decide()
        except BeampipeError:
            if not reconciler.ended.is_set():
                trial.take_back()
            raise
        reconciler.note(f"release {models[0]}: {decision.text}")
        if decision.promoted:
            trial.end()
            try:
                done = self._update(models, update)
            finally:
                trial.leave()
        else:
            trial.take_back()
            done = {"digest": reconciler.models[0], "servers": 0}
        reconciler.remove_unused_snapshots()
        return {**done, "decision": asdict(decision)}

    def _update(self, models: tuple[str, Path], update: Request) -> dict[str, Any]:
        """Serve models on all servers, one by one; return to the old ones if a server does not start."""
        reconciler = self.reconciler
        self._serve_models(models, update)
        due = [server for server in reconciler.servers.values() if server.settings.digest != models[0]]
        for server in due:
            try:
                self.replace(server)
            except ServiceError as error:
                if reconciler.ended.is_set():
                    raise
                reconciler.note(f"update: {server.name} does not start with the new models; going back")
                self._serve_models((update.of, reconciler.folder.repositories / update.of), update)
                for back in [*reconciler.servers.values()]:
                    if back.settings.digest != update.of:
                        self.replace(back)
                reconciler.intend(lambda intent: intent.without("update"))
                raise ServiceError(f"update: {error}; the old models are served again") from error
        reconciler.intend(lambda intent: intent.without("update"))
        reconciler.remove_unused_snapshots()
        reconciler.prometheus.reconfigure(reconciler.fleet)
        return {"digest": models[0], "servers": len(due)}

    def _serve_models(self, models: tuple[str, Path], *requests: Request) -> None:
        """Make models those of servers that start from now on, with the requests that say why."""
        reconciler = self.reconciler
        with reconciler.lock:
            reconciler.intend(lambda intent: replace(intent.having(*requests), models=models[0]))
            reconciler.models = models

    def apply(self, specification: str, take_over: bool = False) -> dict[str, Any]:
        """Apply a specification, changing only what differs.

        Args:
            specification: path of the TOML file.
            take_over: whether the file may be another one than the last one.
        """
        reconciler = self.reconciler
        if not take_over:
            check_owner(reconciler.folder, Path(specification))
        specified = read_fleet(Path(specification))
        before = reconciler.fleet
        done: list[str] = []
        if specified.name != before.name:
            raise ConfigError(f"name: got {specified.name!r}, expected {before.name!r}; it is another fleet")
        if (
            specified.gateway != before.gateway
            or slots_of(specified) != slots_of(before)
            or specified.models != before.models
        ):
            self.configure_gateway(specified, check_repository(reconciler.models[1], specified.models))
            done.append("gateway")
        intent, notes = reconciler.intent.specified_by(Path(specification), _asker.get() or this_asker())
        for note in notes:
            reconciler.note(note)
        with reconciler.lock:
            reconciler.intend(lambda now: replace(intent, models=now.models))
            reconciler.fleet = specified
            gone = [server for server in reconciler.servers.values() if server.group not in specified.servers]
        for server in gone:
            self.end(server)
            done.append(server.name)
        for group in specified.servers.values():
            count = intent.count(specified, group.name)
            if sum(server.group == group.name for server in reconciler.servers.values()) != count:
                self._resize(group, count)
                done.append(f"servers.{group.name}")
        self._serve_models(reconciler.take_snapshot())
        for server in list(reconciler.servers.values()):
            if reconciler.current_settings(server) != server.settings:
                self.replace(server)
                done.append(server.name)
        reconciler.alertmanager.reconfigure(specified)
        reconciler.prometheus.reconfigure(specified)
        return {"changed": done, "notes": notes}

    def server(self, name: str) -> LocalServer:
        """The server of a name.

        Raises:
            UnknownNameError: there is none.
        """
        server = super().server(name)
        assert isinstance(server, LocalServer)
        return server

    def free_number(self, group: ServerGroup) -> int | None:
        """The lowest unused server number of a group, None if all its slots are taken."""
        servers = self.reconciler.servers
        return next((number for number in range(group.slots) if group.server_name(number) not in servers), None)

    def end(self, server: LocalServer) -> None:
        """Drain a server, stop it, and wait until it has ended."""
        with self.reconciler.lock:
            server.desired_state = "end"
        self.wait(lambda: server.name not in self.reconciler.servers, self._limit, f"{server.name}: end")

    def replace(self, server: LocalServer, settings: FleetServerSettings | None = None) -> None:
        """Drain a server, stop it, and wait until its successor takes requests.

        If no other server takes requests, a temporary one is started first, in a free slot of the group.

        Args:
            server: the server.
            settings: settings of the successor; None for those of the current specification.
        """
        helper = self._helper(server)
        try:
            self.serve([server], after=self.renew(server, settings))
        finally:
            if helper is not None:
                self.end(helper)

    def renew(self, server: LocalServer, settings: FleetServerSettings | None) -> int:
        """Have a server drained and its process replaced, and wait until the next one was started.

        Args:
            server: the server.
            settings: settings of the successor; None for those of the current specification.

        Returns:
            Number of its starts before.
        """
        with self.reconciler.lock:
            server.settings = settings or self.reconciler.current_settings(server)
            server.outdated = True
            starts = server.starts
        self.wait(lambda: server.starts > starts, self._limit, f"{server.name}: another process")
        return starts

    @property
    def _limit(self) -> float:
        """Longest time [s] for a server to finish its requests and to end."""
        return _DRAINED + 60.0 + self.reconciler.fleet.exit_timeout

    def _helper(self, server: LocalServer) -> LocalServer | None:
        """Start a temporary server if no other takes requests; None if one does."""
        reconciler = self.reconciler
        others = [
            other for other in reconciler.servers.values() if other is not server and other.desired_state == "serve"
        ]
        if any(map(reconciler.in_service, others)) or not reconciler.in_service(server):
            return None
        group = reconciler.fleet.servers[server.group]
        free = self.free_number(group)
        if free is None:
            raise group.no_slot(server.name)
        with reconciler.lock:
            helper = reconciler.add(group, free)
        try:
            self.serve([helper])
        except ServiceError:
            self.end(helper)
            raise
        return helper
