"""Desired and actual state of a fleet as data, and the pure function that compares them.

Nothing is remembered of what was done: an action that failed leaves a difference, so the next cycle lists it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from beampipe.fleet.gateway.haproxy import GatewayState
from beampipe.fleet.gateway.plan import Address, Slot
from beampipe.fleet.registry import State
from beampipe.fleet.specification import Fleet

DesiredState = Literal["serve", "drain", "end"]
"""Whether a server should take requests, keep running without requests, or end."""

EXIT_GRACE: Final = 15.0
"""Time [s] after `Fleet.exit_timeout`, which is for work in progress, until a server is killed."""

_START_GRACE: Final = 30.0
"""Time [s] after twice `Fleet.start_timeout`, which is for loading models, until a server without report is killed."""

FROZEN: Final = 2.0
"""Time [s] for which a server's supervisor is stopped by a signal until it is killed."""

FORGOTTEN: Final = 60.0
"""Time [s] after which the record of a silent server without a slot is removed."""


@dataclass(frozen=True)
class Desired:
    """The desired state of a fleet; that of each server is in its `ServerState`.

    Attributes:
        fleet: the specification, for its time limits.
        configuration: digest of the gateway's configuration.
        slots: slots of the gateway, see `desired_slots`.
    """

    fleet: Fleet
    configuration: str
    slots: Sequence[Slot]


@dataclass(frozen=True)
class ServerState:
    """The state of one server: the desired one, and the actual one as far as it is known.

    Attributes:
        name: its name.
        slot: name of its slot in the gateway; None if it has none.
        desired: whether it should serve, be drained, or end.
        local: whether it is a process of this machine, which is started and stopped here.
        running: whether its process runs; always true for a server elsewhere.
        report: state by its last record; None if it has not written any.
        silent: whether it does not write its record any more.
        since: when `report` and `silent` became what they are [s, monotonic].
        started: when its process was started [s, monotonic].
        stopping_since: when SIGTERM was sent to it [s, monotonic]; None if it was not.
        address: its address by its last record; None if it has not written any.
        outdated: whether its process is to be replaced by one with other settings.
        may_start: whether the pause after repeated crashes is over.
        frozen_since: when its process was first seen to be stopped by a signal [s, monotonic]; None if it is not.
    """

    name: str
    slot: str | None
    desired: DesiredState = "serve"
    local: bool = True
    running: bool = True
    report: State | None = None
    silent: bool = False
    since: float = 0.0
    started: float = 0.0
    stopping_since: float | None = None
    address: Address | None = None
    outdated: bool = False
    may_start: bool = True
    frozen_since: float | None = None


@dataclass(frozen=True)
class Actual:
    """The actual state of a fleet.

    Attributes:
        gateway: the gateway, as HAProxy reports it.
        servers: the servers, by name.
        gateway_may_start: whether the pause after repeated crashes of the gateway is over.
        gateway_may_reload: whether the pause after a failed reload is over.
    """

    gateway: GatewayState
    servers: Mapping[str, ServerState]
    gateway_may_start: bool = True
    gateway_may_reload: bool = True

    def answers(self, slot: Slot | None) -> bool:
        """Whether the server in a slot passes the gateway's health checks; true while the gateway cannot tell."""
        if slot is None or slot.address is None:
            return False
        state = self.gateway.slots.get(slot.server)
        return state is None or not state.agrees(slot) or state.healthy

    def is_drained(self, slot: Slot | None) -> bool:
        """Whether the server in a slot gets no requests, and has finished them; false while the gateway cannot tell."""
        if slot is None:
            return True
        state = self.gateway.slots.get(slot.server)
        return state is not None and state.mode in ("drain", "maint") and state.idle


ActionKind = Literal[
    "start gateway",
    "kill gateway",
    "reload gateway",
    "set slots",
    "start server",
    "stop server",
    "kill server",
    "forget",
]
"""Kind of an action. A gateway or server that was killed is started by a later cycle; `forget` removes the record of a
server that has ended, or is silent for long."""


@dataclass(frozen=True)
class Action:
    """Something to be done about a difference.

    Attributes:
        kind: its kind.
        server: name of the server; empty for the gateway.
        why: the reason of an incident; empty if there is nothing to note.
        slots: the slots to set.
    """

    kind: ActionKind
    server: str = ""
    why: str = ""
    slots: tuple[Slot, ...] = ()


def desired_slots(before: Sequence[Slot], actual: Actual) -> tuple[Slot, ...]:
    """The slots of the gateway as they should be: a server that reports `ready` gets requests if it should serve.

    A silent server keeps its slot while it passes health checks: its file system may be slow, or its disk full.

    Args:
        before: their last desired states.
        actual: the actual state.
    """
    servers = {server.slot: server for server in actual.servers.values() if server.slot is not None}
    return tuple(_desired_slot(slot, servers.get(slot.server), actual) for slot in before)


def _desired_slot(before: Slot, server: ServerState | None, actual: Actual) -> Slot:
    free = replace(before, address=None, drained=False)
    if server is None or not server.running:
        return free
    leaving = server.desired != "serve" or server.outdated or server.stopping_since is not None
    if server.silent or server.report is None:
        return replace(before, drained=before.drained or leaving) if actual.answers(before) else free
    if server.report == "ready":
        return replace(before, address=server.address, drained=leaving)
    if server.report == "ending":
        return replace(before, drained=True) if before.address is not None else free
    return free


def differences(desired: Desired, actual: Actual, now: float) -> list[Action]:
    """The actions that turn the actual state into the desired one.

    Args:
        desired: the desired state.
        actual: the actual state.
        now: the time [s, monotonic].
    """
    slots = {slot.server: slot for slot in desired.slots}
    actions = list(_of_gateway(desired, actual))
    for server in actual.servers.values():
        if server.local:
            actions += _of_server(server, slots.get(server.slot or ""), actual, desired.fleet, now)
        elif server.silent and server.slot is None and now - server.since > FORGOTTEN:
            actions.append(Action("forget", server.name, f"is silent for {FORGOTTEN:g} s; forgotten"))
    return actions


def _of_gateway(desired: Desired, actual: Actual) -> Iterator[Action]:
    gateway = actual.gateway
    if gateway.condition == "ended":
        if actual.gateway_may_start:
            yield Action("start gateway")
    elif gateway.condition == "hangs":
        yield Action("kill gateway")
    if gateway.configuration is None:  # it does not run, or did not report its state
        return
    if gateway.configuration != desired.configuration and actual.gateway_may_reload:
        yield Action("reload gateway")
    states = gateway.slots
    different = tuple(slot for slot in desired.slots if slot.server in states and not states[slot.server].agrees(slot))
    if different:
        yield Action("set slots", slots=different)


def _of_server(server: ServerState, slot: Slot | None, actual: Actual, fleet: Fleet, now: float) -> Iterator[Action]:
    """What a server of this machine needs."""
    name, leaves = server.name, server.outdated or server.desired == "end"
    if not server.running:
        if server.desired == "end":
            yield Action("forget", name)
        elif server.may_start:
            yield Action("start server", name)
    elif why := _failure(server, slot, actual, fleet, now):
        yield Action("kill server", name, why)
    elif leaves and server.stopping_since is None and actual.is_drained(slot):
        yield Action("stop server", name)


def _failure(server: ServerState, slot: Slot | None, actual: Actual, fleet: Fleet, now: float) -> str:
    """Why a running server of this machine has to be killed; empty if it has not."""
    if server.frozen_since is not None and now - server.frozen_since > FROZEN:
        return "is stopped by a signal"
    if server.stopping_since is not None:
        return "does not end" if now - server.stopping_since > fleet.exit_timeout + EXIT_GRACE else ""
    if server.report in (None, "starting"):
        return "does not start in time" if now - server.started > 2 * fleet.start_timeout + _START_GRACE else ""
    if server.silent:
        return "" if actual.answers(slot) else "is silent"
    # A server that reports a hang restarts its Triton itself.
    hangs = server.report != "ready" and now - server.since > 4 * fleet.patience + fleet.start_timeout
    return "hangs for too long" if hangs else ""
