"""What a fleet can be told while it runs. Each order returns when it is done, and loses no request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from beampipe.errors import BeampipeError, ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.releases.rule import ReleaseRule
from beampipe.fleet.running.changing.canary import Canary
from beampipe.fleet.running.changing.steps import GatewaySteps, Steps
from beampipe.fleet.running.changing.trial import Trial
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.overseer import Overseer
from beampipe.fleet.running.status import status_of
from beampipe.fleet.specification import Fleet, read_fleet

__all__ = ["GatewayOrders", "Orders"]

_P = ParamSpec("_P")
_Done = TypeVar("_Done")


def _alone(order: Callable[_P, _Done]) -> Callable[_P, _Done]:
    """An order that is refused while another such order changes the servers: each counts on what it finds."""

    @wraps(order)
    def obeyed(*args: _P.args, **kwargs: _P.kwargs) -> _Done:
        orders = args[0]
        assert isinstance(orders, Orders)
        if not orders.change.acquire(blocking=False):
            raise ConfigError("fleet: got an order while another one changes the servers; try again later")
        try:
            return order(*args, **kwargs)
        finally:
            orders.change.release()

    return obeyed


class GatewayOrders:
    """Does what the overseer of a fleet is told, whoever runs its servers.

    Args:
        keeper: the overseer.
    """

    def __init__(self, keeper: Overseer) -> None:
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


class Orders(GatewayOrders):
    """Does what the keeper of a fleet on this machine is told.

    Args:
        keeper: the keeper.

    Attributes:
        change: held by the order that changes the servers.
    """

    def __init__(self, keeper: FleetKeeper) -> None:
        super().__init__(keeper)
        self._keeper = keeper
        self._steps = Steps(keeper)
        self.change = threading.RLock()
        self._verbs |= {"scale": self.scale, "restart": self.restart, "update": self.update, "apply": self.apply}

    @_alone
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

    @_alone
    def restart(self, servers: Sequence[str] = ()) -> None:
        """Restart servers one after the other, all of them if none is named; where there is one only, another first."""
        names = list(servers or self._keeper.seats)
        for name in names:
            self._steps.seat(name)
        for name in names:
            self._steps.replace(self._steps.seat(name))

    @_alone
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

    def _update(self, models: tuple[str, Path], before: Mapping[str, MemberSettings]) -> dict[str, Any]:
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

    def _settings(self) -> dict[str, MemberSettings]:
        with self._keeper.lock:
            return {seat.name: seat.settings for seat in self._keeper.seats.values()}

    @_alone
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
            if wanted.gateway != before.gateway or _places(wanted) != _places(before) or wanted.models != before.models:
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


def _places(fleet: Fleet) -> list[tuple[str, int, int]]:
    return [(group.name, group.places, group.weight) for group in fleet.servers.values()]
