"""Commands for a running fleet. Each returns when its work is done, and loses no request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from beampipe.errors import BeampipeError, ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.control.reconciler import LocalReconciler, Reconciler
from beampipe.fleet.control.release import Canary, Trial
from beampipe.fleet.control.steps import GatewaySteps, Steps
from beampipe.fleet.gateway.haproxy import SlotState
from beampipe.fleet.release_rule import ReleaseRule
from beampipe.fleet.server import FleetServerSettings
from beampipe.fleet.specification import Fleet, read_fleet

_LATEST: Final = 20


def status_of(keeper: Reconciler) -> dict[str, Any]:
    """How everything is: servers, gateway, and what happened last.

    Args:
        keeper: the keeper of the fleet.
    """
    places: dict[str, SlotState] = {}
    with suppress(BeampipeError):
        places = keeper.gateway.socket.places()
    gateway = keeper.fleet.gateway
    servers = []
    for server in list(keeper.servers.values()):
        record = keeper.records.get(server.name)
        said = record if server.describes(record) else None
        place = None if server.place is None else places.get(server.place)
        servers.append(
            {
                "server": server.name,
                "group": server.group,
                "wish": server.wish,
                "state": said.state if said is not None else "starting" if server.pid else "dead",
                "gateway": "-" if place is None else place.status,
                "pid": server.pid,
                "address": None if server.placed is None else list(server.placed),
                "metrics": None if said is None else said.metrics,
                "models": [] if said is None else list(said.models),
                "digest": server.digest,
                "starts": server.starts,
                "running": 0 if place is None else place.running,
                "waiting": 0 if place is None else place.waiting,
                "answered": 0 if place is None else place.answered,
                "log": str(server.log),
            }
        )
    return {
        "name": keeper.fleet.name,
        "folder": str(keeper.folder.path),
        "time": time.time(),
        "gateway": {
            "pid": keeper.gateway.pid,
            "host": gateway.host,
            "port": gateway.port,
            "tls": gateway.tls is not None,
            "tokens": gateway.tokens is not None,
            "balancing": gateway.balancing,
            "status_port": keeper.status_port,
        },
        "page": keeper.watch.page_url,
        "prometheus": {"pid": keeper.watch.prometheus_pid, "url": keeper.watch.prometheus_url},
        "servers": servers,
        "ready": bool(servers) and all(row["address"] is not None or row["wish"] != "serve" for row in servers),
        "incidents": [list(incident) for incident in keeper.incidents[-_LATEST:]],
    }


_P = ParamSpec("_P")

_Done = TypeVar("_Done")


def _exclusive(order: Callable[_P, _Done]) -> Callable[_P, _Done]:
    """An order that is refused while another such order changes the servers: each counts on what it finds."""

    @wraps(order)
    def obeyed(*args: _P.args, **kwargs: _P.kwargs) -> _Done:
        orders = args[0]
        assert isinstance(orders, LocalCommands)
        if not orders.change.acquire(blocking=False):
            raise ConfigError("fleet: got an order while another one changes the servers; try again later")
        try:
            return order(*args, **kwargs)
        finally:
            orders.change.release()

    return obeyed


class GatewayCommands:
    """Does what the overseer of a fleet is told, whoever runs its servers.

    Args:
        keeper: the overseer.
    """

    def __init__(self, keeper: Reconciler) -> None:
        self._overseer = keeper
        self._gateway_steps = GatewaySteps(keeper)
        self._verbs: dict[str, Callable[..., Any]] = {
            "status": self.status,
            "drain": self.drain,
            "resume": self.resume,
            "down": self.down,
        }

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what an order says: its verb under ``do``, its arguments beside it.

        Raises:
            UnknownNameError: there is no such verb, server or group.
            BeampipeError: it cannot be done.
        """
        arguments = dict(order)
        verb = str(arguments.pop("do", ""))
        if verb not in self._verbs:
            raise UnknownNameError("order", verb, self._verbs)
        done = self._verbs[verb](**arguments)
        return dict(done or {})

    def status(self) -> dict[str, Any]:
        """How everything is."""
        return status_of(self._overseer)

    def drain(self, server: str) -> None:
        """Take a server out: it finishes what it has, and lives on without requests."""
        found = self._gateway_steps.server(server)
        with self._overseer.lock:
            found.wish = "drain"
        self._gateway_steps.empty(found)

    def resume(self, server: str) -> None:
        """Give a server requests again that was taken out."""
        found = self._gateway_steps.server(server)
        with self._overseer.lock:
            found.wish = "serve"
            if found.placed is not None and found.place is not None:
                self._overseer.gateway.socket.set_state(found.place, "ready")
        self._gateway_steps.wait_for_service([found])

    def down(self) -> None:
        """End everything."""
        self._overseer.ended.set()


class LocalCommands(GatewayCommands):
    """Does what the keeper of a fleet on this machine is told.

    Args:
        keeper: the keeper.

    Attributes:
        change: held by the order that changes the servers.
    """

    def __init__(self, keeper: LocalReconciler) -> None:
        super().__init__(keeper)
        self._keeper = keeper
        self._steps = Steps(keeper)
        self.change = threading.RLock()
        self._verbs |= {"scale": self.scale, "restart": self.restart, "update": self.update, "apply": self.apply}

    @_exclusive
    def scale(self, group: str, count: int) -> None:
        """Have as many servers of a group as that: more are started, and waited for; too many are emptied and ended."""
        keeper = self._keeper
        if group not in keeper.fleet.servers:
            raise UnknownNameError("group of servers", group, keeper.fleet.servers)
        wanted = keeper.fleet.servers[group]
        if not 0 <= count <= wanted.places:
            raise ConfigError(
                f"{group}: got {count} servers, expected 0 to {wanted.places}, the places that the gateway has;"
                f" for more, set servers.{group}.most and do: beampipe fleet up"
            )
        with keeper.lock:
            names = [wanted.server_name(number) for number in range(wanted.places)]
            new = [keeper.add(wanted, number) for number in range(count) if names[number] not in keeper.seats]
            old = [keeper.seats[name] for name in names[count:] if name in keeper.seats]
        self._steps.wait_for_service(new)
        for seat in old:
            self._steps.end(seat)

    @_exclusive
    def restart(self, servers: Sequence[str] = ()) -> None:
        """Restart servers one after the other, all of them if none is named; where there is one only, another first."""
        names = list(servers or self._keeper.seats)
        for name in names:
            self._steps.seat(name)
        for name in names:
            self._steps.replace(self._steps.seat(name))

    @_exclusive
    def update(self, **trial: Any) -> dict[str, Any]:
        """Serve the models as they are in the repository now; the old ones again if they do not start.

        Args:
            trial: how they are tried on a share of the requests first, if they are: the fields of `ReleaseRule`, and
                ``events``, the path of a file of recorded requests.

        Returns:
            Digest of the models that are served, number of servers changed, and the decision of a trial.
        """
        keeper = self._keeper
        models = keeper.copy_models()
        if trial and models[0] != keeper.models[0]:
            return self._release(models, **trial)
        return self._update(models, self._settings())

    def _release(
        self, models: tuple[str, Path], share: float, events: str | None = None, **rule: Any
    ) -> dict[str, Any]:
        """Try models on a share of the requests, and serve them if the rule says so."""
        keeper, before = self._keeper, self._settings()
        wanted = ReleaseRule(share, **rule)
        trial = Trial(keeper, models, wanted, None if events is None else Path(events))
        canary = Canary(self._steps, models, share)
        keeper.note(f"release {models[0]}: {canary.seat.name} gets {100 * share:g} % of the requests")
        try:
            decision = trial.decide(canary)
        except BeampipeError:
            if not keeper.ended.is_set():
                canary.take_back()
            raise
        keeper.note(f"release {models[0]}: {decision.text}")
        if decision.promoted:
            canary.promote()
            try:
                done = self._update(models, before)
            finally:
                canary.leave()
        else:
            canary.take_back()
            done = {"digest": keeper.models[0], "servers": 0}
        keeper.forget_models()
        return {**done, "decision": asdict(decision)}

    def _update(self, models: tuple[str, Path], before: Mapping[str, FleetServerSettings]) -> dict[str, Any]:
        """Serve models on all servers, one after the other; what was before again if one does not start."""
        keeper = self._keeper
        with keeper.lock:
            old, keeper.models = keeper.models, models
            due = [seat for seat in keeper.seats.values() if seat.settings.digest != models[0]]
        for seat in due:
            try:
                self._steps.replace(seat)
            except ServiceError as error:
                keeper.note(f"update: {seat.name} does not start with the new models; going back")
                keeper.models = old
                for name, settings in before.items():
                    if (back := keeper.seats.get(name)) is not None and back.settings != settings:
                        self._steps.replace(back, settings)
                raise ServiceError(f"update: {error}; the old models are served again") from error
        keeper.forget_models()
        keeper.watch.renew(keeper.fleet)
        return {"digest": models[0], "servers": len(due)}

    def _settings(self) -> dict[str, FleetServerSettings]:
        with self._keeper.lock:
            return {seat.name: seat.settings for seat in self._keeper.seats.values()}

    @_exclusive
    def apply(self, specification: str) -> dict[str, Any]:
        """Become what a specification says, changing only what differs."""
        keeper = self._keeper
        wanted = read_fleet(Path(specification))
        before = keeper.fleet
        done: list[str] = []
        if wanted.name != before.name:
            raise ConfigError(f"name: got {wanted.name!r}, expected {before.name!r}; it is another fleet")
        with keeper.lock:
            keeper.fleet = wanted
            if wanted.gateway != before.gateway or _slots(wanted) != _slots(before) or wanted.models != before.models:
                try:
                    keeper.renew_gateway()
                except ServiceError:
                    keeper.fleet = before
                    raise
                done.append("gateway")
            gone = [seat for seat in keeper.seats.values() if seat.settings.group not in wanted.servers]
        for seat in gone:
            self._steps.end(seat)
            done.append(seat.name)
        for group in wanted.servers.values():
            if sum(seat.settings.group == group.name for seat in keeper.seats.values()) != group.count:
                self.scale(group.name, group.count)
                done.append(f"servers.{group.name}")
        done += self._renew_changed()
        keeper.watch.renew(wanted)
        return {"changed": done}

    def _renew_changed(self) -> list[str]:
        keeper = self._keeper
        keeper.take_models()
        done = []
        for seat in list(keeper.seats.values()):
            before = seat.settings
            keeper.renew(seat)
            after, seat.settings = seat.settings, before
            if after != before:
                self._steps.replace(seat)
                done.append(seat.name)
        return done


def _slots(fleet: Fleet) -> list[tuple[str, int, int]]:
    return [(group.name, group.places, group.weight) for group in fleet.servers.values()]
