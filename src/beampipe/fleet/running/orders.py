"""What a fleet can be told while it runs. Each order returns when it is done, and loses no request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from beampipe.errors import ConfigError, ServiceError, UnknownNameError
from beampipe.fleet.members.settings import MemberSettings
from beampipe.fleet.running.keeper import FleetKeeper
from beampipe.fleet.running.seats import Seat
from beampipe.fleet.running.status import status_of
from beampipe.fleet.specification import Fleet, read_fleet

__all__ = ["Orders"]

_LOOK: Final = 0.05
_DRAINED: Final = 600.0
"""Longest time [s] that requests in progress may take, when a server is taken out."""


class Orders:
    """Does what the keeper of a fleet is told.

    Args:
        keeper: the keeper.
    """

    def __init__(self, keeper: FleetKeeper) -> None:
        self._keeper = keeper
        self._verbs: Mapping[str, Callable[..., Any]] = {
            "status": self.status,
            "drain": self.drain,
            "resume": self.resume,
            "scale": self.scale,
            "restart": self.restart,
            "update": self.update,
            "apply": self.apply,
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
        return status_of(self._keeper)

    def drain(self, server: str) -> None:
        """Take a server out: it finishes what it has, and lives on without requests."""
        seat = self._seat(server)
        with self._keeper.lock:
            seat.wish = "drain"
        self._empty(seat)

    def resume(self, server: str) -> None:
        """Give a server requests again that was taken out."""
        seat = self._seat(server)
        with self._keeper.lock:
            seat.wish = "serve"
            if seat.placed is not None:
                self._keeper.gateway.socket.set_state(seat.name, "ready")
        self._wait_for_service([seat])

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
        self._wait_for_service(new)
        for seat in old:
            self._end(seat)

    def restart(self, servers: Sequence[str] = ()) -> None:
        """Restart servers one after the other, all of them if none is named; where there is one only, another first."""
        names = list(servers or self._keeper.seats)
        for name in names:
            self._seat(name)
        for name in names:
            self._replace(self._seat(name))

    def update(self) -> dict[str, Any]:
        """Serve the models as they are in the repository now; the old ones again if they do not start."""
        keeper = self._keeper
        with keeper.lock:
            models, before = keeper.models, {seat.name: seat.settings for seat in keeper.seats.values()}
            keeper.take_models()
            digest = keeper.models[0]
            due = [seat for seat in keeper.seats.values() if seat.settings.digest != digest]
        for seat in due:
            try:
                self._replace(seat)
            except ServiceError as error:
                keeper.note(f"update: {seat.name} does not start with the new models; going back")
                keeper.models = models
                for name, settings in before.items():
                    if (back := keeper.seats.get(name)) is not None and back.settings != settings:
                        self._replace(back, settings)
                raise ServiceError(f"update: {error}; the old models are served again") from error
        keeper.forget_models()
        keeper.watch.renew(keeper.fleet)
        return {"digest": digest, "servers": len(due)}

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
            self._end(seat)
            done.append(seat.name)
        for group in wanted.servers.values():
            if sum(seat.settings.group == group.name for seat in keeper.seats.values()) != group.count:
                self.scale(group.name, group.count)
                done.append(f"servers.{group.name}")
        done += self._renew_changed()
        keeper.watch.renew(wanted)
        return {"changed": done}

    def down(self) -> None:
        """End everything."""
        self._keeper.ended.set()

    def _renew_changed(self) -> list[str]:
        keeper = self._keeper
        keeper.take_models()
        done = []
        for seat in list(keeper.seats.values()):
            before = seat.settings
            keeper.renew(seat)
            after, seat.settings = seat.settings, before
            if after != before:
                self._replace(seat)
                done.append(seat.name)
        return done

    # Steps

    def _seat(self, server: str) -> Seat:
        if server not in self._keeper.seats:
            raise UnknownNameError("server", server, self._keeper.seats)
        return self._keeper.seats[server]

    def _empty(self, seat: Seat) -> None:
        """Let a server finish what it has."""
        keeper = self._keeper
        with keeper.lock:
            if seat.placed is None:
                return
            keeper.gateway.socket.set_state(seat.name, "drain")
        self._wait(lambda: keeper.gateway.socket.places()[seat.name].idle, _DRAINED, f"{seat.name}: requests to finish")

    def _end(self, seat: Seat) -> None:
        with self._keeper.lock:
            seat.wish = "drain"
        self._empty(seat)
        with self._keeper.lock:
            seat.wish = "end"
            if seat.placed is not None:
                self._keeper.place(seat, None)
        seat.end()
        self._wait(
            lambda: seat.name not in self._keeper.seats, 60.0 + self._keeper.fleet.exit_timeout, f"{seat.name}: end"
        )

    def _replace(self, seat: Seat, settings: MemberSettings | None = None) -> None:
        """Empty a server, end it, and wait until the next one in its place takes requests.

        Args:
            seat: the server.
            settings: what it is started with; None for what the fleet wants now.
        """
        keeper = self._keeper
        helper = self._helper(seat)
        try:
            with keeper.lock:
                seat.wish = "drain"
            self._empty(seat)
            with keeper.lock:
                if seat.placed is not None:
                    keeper.place(seat, None)
                if settings is None:
                    keeper.renew(seat)
                else:
                    seat.settings = settings
                seat.wish = "serve"
                starts = seat.starts
            seat.end()
            self._wait_for_service([seat], starts)
        finally:
            if helper is not None:
                self._end(helper)

    def _helper(self, seat: Seat) -> Seat | None:
        """A server that serves meanwhile, where no other does and there is a place for it."""
        keeper = self._keeper
        others = [other for other in keeper.seats.values() if other is not seat and other.wish == "serve"]
        if any(other.placed is not None for other in others) or seat.placed is None:
            return None
        group = keeper.fleet.servers[seat.settings.group]
        free = [number for number in range(group.places) if group.server_name(number) not in keeper.seats]
        if not free:
            raise ConfigError(
                f"{seat.name}: got the only server and no place for another; set servers.{group.name}.most to"
                f" {group.places + 1} and do: beampipe fleet up"
            )
        with keeper.lock:
            helper = keeper.add(group, free[0])
        try:
            self._wait_for_service([helper])
        except ServiceError:
            self._end(helper)
            raise
        return helper

    def _wait_for_service(self, seats: Sequence[Seat], after: int | None = None) -> None:
        """Wait until servers take requests.

        Args:
            seats: the servers.
            after: number of starts of which there must be one more; None if a server need not start again.
        """
        limit = self._keeper.fleet.start_timeout + 10.0
        for seat in seats:
            failed = (seat.starts if after is None else after) + 1

            def there(seat: Seat = seat, failed: int = failed) -> bool:
                if seat.starts > failed:
                    raise ServiceError(f"{seat.name}: does not start; its log is {seat.settings.log}")
                return seat.placed is not None and (after is None or seat.starts > after)

            self._wait(there, limit, f"{seat.name}: to take requests")

    def _wait(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise ServiceError(f"{what}: got none within {seconds:g} s; see: beampipe fleet status")
            if self._keeper.ended.is_set():
                raise ServiceError(f"{what}: got the end of the fleet, expected it to go on")
            time.sleep(_LOOK)


def _places(fleet: Fleet) -> list[tuple[str, int, int]]:
    return [(group.name, group.places, group.weight) for group in fleet.servers.values()]
