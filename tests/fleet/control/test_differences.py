"""The actions that follow from desired and actual states, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from beampipe.fleet.control.differences import (
    FORGOTTEN,
    FROZEN,
    Action,
    Actual,
    Desired,
    ServerState,
    desired_slots,
    differences,
)
from beampipe.fleet.gateway.haproxy import GatewayState, SlotState
from beampipe.fleet.gateway.plan import Address, Slot
from beampipe.fleet.specification import Fleet, ServerGroup

NOW = 1000.0
FLEET = Fleet(Path("models"), {"cpu": ServerGroup("cpu")}, start_timeout=120.0, patience=3.0, exit_timeout=5)
HERE, THERE = Address("127.0.0.1", 1, 2), Address("127.0.0.1", 3, 4)
FREE = Slot("cpu-0", 80)
SERVING = replace(FREE, address=HERE)
DRAINED = replace(SERVING, drained=True)
MAINT = SlotState("MAINT", mode="maint")
UP = SlotState("UP", address=HERE, mode="ready")
DRAIN = SlotState("DRAIN", address=HERE, mode="drain")
BUSY = replace(DRAIN, running=1)
DOWN = replace(UP, status="DOWN")

READY = ServerState("cpu-0", "cpu-0", report="ready", address=HERE, started=NOW - 900.0, since=NOW - 800.0)
ENDED = replace(READY, running=False)
SILENT = replace(READY, silent=True, since=NOW)
ELSEWHERE = replace(READY, name="cpu-0-17", local=False)


START, STOP = Action("start server", "cpu-0"), Action("stop server", "cpu-0")


def set_slots(*slots: Slot) -> Action:
    return Action("set slots", slots=slots)


def kill(why: str) -> Action:
    return Action("kill server", "cpu-0", why)


def actions_of(
    server: ServerState | None, slot: Slot, state: SlotState | None, **others: object
) -> tuple[Slot, Sequence[Action]]:
    """The desired slot and the actions for a fleet of one slot; without state, the gateway reports none."""
    states = {} if state is None else {"cpu-0": state}
    gateway = GatewayState("running", None if state is None else "desired", states)
    actual = Actual(gateway, {} if server is None else {server.name: server})
    actual = replace(actual, **others)  # type: ignore[arg-type]
    slots = desired_slots([slot], actual)
    return slots[0], differences(Desired(FLEET, "desired", slots), actual, NOW)


CASES: dict[str, tuple[ServerState | None, Slot, SlotState | None, Slot, list[Action]]] = {
    # Servers and their slots.
    "all is well": (READY, SERVING, UP, SERVING, []),
    "ready": (READY, FREE, MAINT, SERVING, [set_slots(SERVING)]),
    "the gateway has forgotten it": (READY, SERVING, MAINT, SERVING, [set_slots(SERVING)]),
    "resumed": (READY, SERVING, DRAIN, SERVING, [set_slots(SERVING)]),
    "half changed": (READY, SERVING, replace(UP, mode=None), SERVING, [set_slots(SERVING)]),
    "the gateway checks health by itself": (READY, SERVING, DOWN, SERVING, []),
    "the gateway tells nothing": (READY, FREE, None, SERVING, []),
    "at another address": (
        replace(READY, address=THERE),
        SERVING,
        UP,
        replace(SERVING, address=THERE),
        [set_slots(replace(SERVING, address=THERE))],
    ),
    "to be drained": (replace(READY, desired="drain"), SERVING, UP, DRAINED, [set_slots(DRAINED)]),
    "drained": (replace(READY, desired="drain"), DRAINED, DRAIN, DRAINED, []),
    "drained, to be ended": (replace(READY, desired="end"), DRAINED, DRAIN, DRAINED, [STOP]),
    "outdated": (replace(READY, outdated=True), DRAINED, DRAIN, DRAINED, [STOP]),
    "to be replaced": (replace(READY, outdated=True), SERVING, UP, DRAINED, [set_slots(DRAINED)]),
    "to be replaced, has requests": (replace(READY, outdated=True), DRAINED, BUSY, DRAINED, []),
    "to be ended, has requests, is silent": (
        replace(SILENT, desired="end"),
        DRAINED,
        replace(BUSY, status="DOWN"),
        FREE,
        [set_slots(FREE), kill("is silent")],
    ),
    "ending": (replace(READY, stopping_since=NOW - 1.0), DRAINED, DRAIN, DRAINED, []),
    "does not end": (replace(READY, stopping_since=NOW - 21.0), DRAINED, DRAIN, DRAINED, [kill("does not end")]),
    "ends by itself": (replace(READY, report="ending", since=NOW), SERVING, UP, DRAINED, [set_slots(DRAINED)]),
    # Ended servers.
    "crashed": (ENDED, SERVING, UP, FREE, [set_slots(FREE), START]),
    "crashed often": (replace(ENDED, may_start=False), FREE, MAINT, FREE, []),
    "ended as desired": (replace(ENDED, desired="end"), FREE, MAINT, FREE, [Action("forget", "cpu-0")]),
    "crashed while the gateway hangs": (ENDED, SERVING, None, FREE, [START]),
    # Servers that start.
    "no record yet": (replace(READY, report=None, started=NOW), FREE, MAINT, FREE, []),
    "starting": (replace(READY, report="starting", started=NOW), FREE, MAINT, FREE, []),
    "does not start": (
        replace(READY, report="starting", silent=True, started=NOW - 271.0),
        FREE,
        MAINT,
        FREE,
        [kill("does not start in time")],
    ),
    # Silent and hanging servers.
    "silent, answers": (SILENT, SERVING, UP, SERVING, []),
    "silent, and the gateway tells nothing": (SILENT, SERVING, None, SERVING, []),
    "silent, does not answer": (SILENT, SERVING, DOWN, FREE, [set_slots(FREE), kill("is silent")]),
    "silent, drained": (replace(SILENT, desired="drain"), DRAINED, DRAIN, DRAINED, []),
    "hangs": (replace(READY, report="hangs", since=NOW - 1.0), SERVING, UP, FREE, [set_slots(FREE)]),
    "hangs for long": (
        replace(READY, report="hangs", since=NOW - 133.0),
        FREE,
        MAINT,
        FREE,
        [kill("hangs for too long")],
    ),
    # Servers elsewhere, which are not started or stopped here.
    "elsewhere: ready": (ELSEWHERE, FREE, MAINT, SERVING, [set_slots(SERVING)]),
    "elsewhere: silent, answers": (replace(ELSEWHERE, silent=True), SERVING, UP, SERVING, []),
    "elsewhere: does not answer": (replace(ELSEWHERE, silent=True), SERVING, DOWN, FREE, [set_slots(FREE)]),
    "elsewhere: silent for long": (
        replace(ELSEWHERE, slot=None, silent=True, since=NOW - FORGOTTEN - 1.0),
        FREE,
        MAINT,
        FREE,
        [Action("forget", "cpu-0-17", "is silent for 60 s; forgotten")],
    ),
    "its supervisor is stopped, its Triton answers": (
        replace(READY, frozen_since=NOW - FROZEN - 0.1),
        SERVING,
        UP,
        SERVING,
        [kill("is stopped by a signal")],
    ),
    "stopped just now": (replace(READY, frozen_since=NOW - 1.0), SERVING, UP, SERVING, []),
    "a slot without server": (None, SERVING, UP, FREE, [set_slots(FREE)]),
}
"""Server, its slot before and as the gateway reports it -> desired slot and actions."""


@pytest.mark.parametrize("name", CASES)
def test_a_server(name: str) -> None:
    server, before, state, desired, actions = CASES[name]
    assert actions_of(server, before, state) == (desired, actions)


@pytest.mark.parametrize(
    ("gateway", "others", "actions"),
    [
        (GatewayState("ended"), {}, [Action("start gateway")]),
        (GatewayState("ended"), {"gateway_may_start": False}, []),
        (GatewayState("starting"), {}, []),
        (GatewayState("hangs"), {}, [Action("kill gateway")]),
        (GatewayState("running"), {}, []),
        (GatewayState("running", "desired", {"cpu-0": UP}), {}, []),
        (GatewayState("running", "other", {"cpu-0": UP}), {}, [Action("reload gateway")]),
        (GatewayState("running", "other", {"cpu-0": UP}), {"gateway_may_reload": False}, []),
        (GatewayState("running", "other", {"cpu-0": MAINT}), {}, [Action("reload gateway"), set_slots(SERVING)]),
        (GatewayState("running", "other", {}), {}, [Action("reload gateway")]),
    ],
)
def test_the_gateway(gateway: GatewayState, others: dict[str, bool], actions: list[Action]) -> None:
    assert actions_of(READY, SERVING, None, gateway=gateway, **others)[1] == actions
