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


def set_slots(slots: tuple[Slot, ...]) -> Action:
    return Action("set slots", slots=slots)


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


@pytest.mark.parametrize(
    ("server", "before", "state", "desired", "actions"),
    [
        # Servers and their slots.
        pytest.param(READY, SERVING, UP, SERVING, [], id="all is well"),
        pytest.param(READY, FREE, MAINT, SERVING, [set_slots((SERVING,))], id="ready"),
        pytest.param(READY, SERVING, MAINT, SERVING, [set_slots((SERVING,))], id="the gateway has forgotten it"),
        pytest.param(READY, SERVING, DRAIN, SERVING, [set_slots((SERVING,))], id="resumed"),
        pytest.param(READY, SERVING, replace(UP, mode=None), SERVING, [set_slots((SERVING,))], id="half changed"),
        pytest.param(READY, SERVING, DOWN, SERVING, [], id="the gateway checks health by itself"),
        pytest.param(READY, FREE, None, SERVING, [], id="the gateway tells nothing"),
        pytest.param(
            replace(READY, address=THERE),
            SERVING,
            UP,
            replace(SERVING, address=THERE),
            [set_slots((replace(SERVING, address=THERE),))],
            id="at another address",
        ),
        pytest.param(
            replace(READY, desired="drain"), SERVING, UP, DRAINED, [set_slots((DRAINED,))], id="to be drained"
        ),
        pytest.param(replace(READY, desired="drain"), DRAINED, DRAIN, DRAINED, [], id="drained"),
        pytest.param(
            replace(READY, desired="end"),
            DRAINED,
            DRAIN,
            DRAINED,
            [Action("stop server", "cpu-0")],
            id="drained, to be ended",
        ),
        pytest.param(
            replace(READY, outdated=True), DRAINED, DRAIN, DRAINED, [Action("stop server", "cpu-0")], id="outdated"
        ),
        pytest.param(replace(READY, outdated=True), SERVING, UP, DRAINED, [set_slots((DRAINED,))], id="to be replaced"),
        pytest.param(replace(READY, outdated=True), DRAINED, BUSY, DRAINED, [], id="to be replaced, has requests"),
        pytest.param(
            replace(SILENT, desired="end"),
            DRAINED,
            replace(BUSY, status="DOWN"),
            FREE,
            [set_slots((FREE,)), Action("kill server", "cpu-0", "is silent")],
            id="to be ended, has requests, is silent",
        ),
        pytest.param(replace(READY, stopping_since=NOW - 1.0), DRAINED, DRAIN, DRAINED, [], id="ending"),
        pytest.param(
            replace(READY, stopping_since=NOW - 21.0),
            DRAINED,
            DRAIN,
            DRAINED,
            [Action("kill server", "cpu-0", "does not end")],
            id="does not end",
        ),
        pytest.param(
            replace(READY, report="ending", since=NOW),
            SERVING,
            UP,
            DRAINED,
            [set_slots((DRAINED,))],
            id="ends by itself",
        ),
        # Ended servers.
        pytest.param(ENDED, SERVING, UP, FREE, [set_slots((FREE,)), Action("start server", "cpu-0")], id="crashed"),
        pytest.param(replace(ENDED, may_start=False), FREE, MAINT, FREE, [], id="crashed often"),
        pytest.param(
            replace(ENDED, desired="end"), FREE, MAINT, FREE, [Action("forget", "cpu-0")], id="ended as desired"
        ),
        pytest.param(
            ENDED, SERVING, None, FREE, [Action("start server", "cpu-0")], id="crashed while the gateway hangs"
        ),
        # Servers that start.
        pytest.param(replace(READY, report=None, started=NOW), FREE, MAINT, FREE, [], id="no record yet"),
        pytest.param(replace(READY, report="starting", started=NOW), FREE, MAINT, FREE, [], id="starting"),
        pytest.param(
            replace(READY, report="starting", silent=True, started=NOW - 271.0),
            FREE,
            MAINT,
            FREE,
            [Action("kill server", "cpu-0", "does not start in time")],
            id="does not start",
        ),
        # Silent and hanging servers.
        pytest.param(SILENT, SERVING, UP, SERVING, [], id="silent, answers"),
        pytest.param(SILENT, SERVING, None, SERVING, [], id="silent, and the gateway tells nothing"),
        pytest.param(
            SILENT,
            SERVING,
            DOWN,
            FREE,
            [set_slots((FREE,)), Action("kill server", "cpu-0", "is silent")],
            id="silent, does not answer",
        ),
        pytest.param(replace(SILENT, desired="drain"), DRAINED, DRAIN, DRAINED, [], id="silent, drained"),
        pytest.param(
            replace(READY, report="hangs", since=NOW - 1.0), SERVING, UP, FREE, [set_slots((FREE,))], id="hangs"
        ),
        pytest.param(
            replace(READY, report="hangs", since=NOW - 133.0),
            FREE,
            MAINT,
            FREE,
            [Action("kill server", "cpu-0", "hangs for too long")],
            id="hangs for long",
        ),
        # Servers elsewhere, which are not started or stopped here.
        pytest.param(ELSEWHERE, FREE, MAINT, SERVING, [set_slots((SERVING,))], id="elsewhere: ready"),
        pytest.param(replace(ELSEWHERE, silent=True), SERVING, UP, SERVING, [], id="elsewhere: silent, answers"),
        pytest.param(
            replace(ELSEWHERE, silent=True), SERVING, DOWN, FREE, [set_slots((FREE,))], id="elsewhere: does not answer"
        ),
        pytest.param(
            replace(ELSEWHERE, slot=None, silent=True, since=NOW - FORGOTTEN - 1.0),
            FREE,
            MAINT,
            FREE,
            [Action("forget", "cpu-0-17", "is silent for 60 s; forgotten")],
            id="elsewhere: silent for long",
        ),
        pytest.param(
            replace(READY, frozen_since=NOW - FROZEN - 0.1),
            SERVING,
            UP,
            SERVING,
            [Action("kill server", "cpu-0", "is stopped by a signal")],
            id="its supervisor is stopped, its Triton answers",
        ),
        pytest.param(replace(READY, frozen_since=NOW - 1.0), SERVING, UP, SERVING, [], id="stopped just now"),
        pytest.param(None, SERVING, UP, FREE, [set_slots((FREE,))], id="a slot without server"),
    ],
)
def test_a_server(
    server: ServerState | None, before: Slot, state: SlotState | None, desired: Slot, actions: list[Action]
) -> None:
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
        (GatewayState("running", "other", {"cpu-0": MAINT}), {}, [Action("reload gateway"), set_slots((SERVING,))]),
        (GatewayState("running", "other", {}), {}, [Action("reload gateway")]),
    ],
)
def test_the_gateway(gateway: GatewayState, others: dict[str, bool], actions: list[Action]) -> None:
    assert actions_of(READY, SERVING, None, gateway=gateway, **others)[1] == actions
