"""New models on trial in a real fleet, while clients ask: they stay or go, and no answer is lost or wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from beampipe.errors import ConfigError
from beampipe.fleet.cli import app
from beampipe.fleet.control.commands import GatewayCommands
from beampipe.fleet.gateway.plan import CanaryShare
from tests.fleet.conftest import Load, RunningFleet
from tests.fleet.specimens import write_requests
from tests.triton.access.attacks import post, raw_answer, status_of
from tests.triton.doublers import BROKEN, DOUBLER

SAME = DOUBLER + "# the same by another name\n"
TRIPLER = DOUBLER.replace("2 * x", "3 * x")
SLOW = DOUBLER.replace("float(x[0]) if", "float(x[0]) + 0.2 if")
FAILING = DOUBLER.replace(
    'responses.append(pb.InferenceResponse([pb.Tensor.from_dlpack("Y", 2 * x)]))',
    'responses.append(pb.InferenceResponse(error=pb.TritonError("no")) if x.size > 1 else'
    ' pb.InferenceResponse([pb.Tensor.from_dlpack("Y", 2 * x)]))',
)
TRIAL = {"share": 0.3, "least": 20, "slower": 5.0, "within": 300.0}


@pytest.fixture(scope="module")
def trials(single: RunningFleet) -> Iterator[RunningFleet]:
    """A fleet of one server, with places for others; in the end its repository has what it serves."""
    model = single.folder / "models" / "one" / "1" / "model.py"
    before = model.read_text()
    yield single
    model.write_text(before)
    single.orders.update()


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Recorded requests."""
    path: Path = tmp_path_factory.mktemp("events") / "events.npz"
    write_requests(path, {"one": [{"X": np.array([0, n], np.float32)} for n in range(10)]})
    return str(path)


def code(fleet: RunningFleet, text: str) -> str:
    """Change the model in the repository, and tell what is served until now."""
    model = fleet.reconciler.fleet.repository / "one" / "1" / "model.py"
    assert model.read_text() != text
    model.write_text(text)
    return str(fleet.orders.status()["servers"][0]["digest"])


def servers(fleet: RunningFleet) -> list[tuple[str, str]]:
    """Name and models of the servers that take requests."""
    return [(row["server"], row["digest"]) for row in fleet.orders.status()["servers"] if row["address"]]


@pytest.mark.parametrize(
    ("text", "recorded", "why"),
    [
        (TRIPLER, True, "one: 9 of 10 answers differ, allowed 0 % (request 1: Y: other values)"),
        (SLOW, True, "one: time in the model"),
        (FAILING, False, "requests failed, allowed 0"),
        (BROKEN, True, "does not start with the new models"),
    ],
    ids=["other answers", "slower", "failing", "not starting"],
)
def test_worse_models_are_taken_back_without_loss(
    trials: RunningFleet, events: str, text: str, recorded: bool, why: str
) -> None:
    old = code(trials, text)
    with Load(trials):
        done = trials.orders.update(**TRIAL, events=events if recorded else None)
    assert not done["decision"]["promoted"]
    assert why in done["decision"]["reasons"][0]
    assert done["decision"]["compared"] == ("recorded requests" if recorded else "stored canaries")
    assert servers(trials) == [("cpu-0", old)]
    assert trials.reconciler.canary is None
    assert any("rolled back" in text for _, text in trials.reconciler.incidents)


def test_without_clients_there_is_not_enough_to_judge(trials: RunningFleet, events: str) -> None:
    """Each server gets a canary a second of its supervisor, which is no use by clients."""
    old = code(trials, SAME + "# unused\n")
    done = trials.orders.update(**{**TRIAL, "least": 2, "within": 5.0}, events=events)
    assert done["decision"]["reasons"] == (
        "not enough traffic to judge: no request of a client reached the new models",
    )
    assert servers(trials) == [("cpu-0", old)]


def test_models_that_are_as_good_are_promoted_without_loss(trials: RunningFleet, events: str) -> None:
    old = code(trials, SAME)
    with Load(trials):
        done = trials.orders.update(**TRIAL, events=events)
    decision = done["decision"]
    assert decision["promoted"], decision["reasons"]
    assert decision["answers"][0] == {"model": "one", "requests": 10, "different": 0, "outputs": ("Y",), "example": ""}
    assert decision["times"][0]["new"]["answered"] >= 20
    assert servers(trials) == [("cpu-0", done["digest"])]
    assert done["digest"] != old
    assert "decision" not in trials.orders.update(**TRIAL)  # nothing is new


def test_without_a_free_place_one_of_several_is_on_trial(fleet: RunningFleet, events: str) -> None:
    fleet.specification.write_text(fleet.write().read_text().replace("most = 3", "most = 2"))
    fleet.orders.apply(str(fleet.specification))
    before = servers(fleet)
    code(fleet, TRIPLER)
    options = ["--share", "30%", "--recorded", events, "--least", "20", "--folder", fleet.reconciler.folder.path]
    try:
        with Load(fleet):
            done = CliRunner().invoke(app, ["update", "-f", str(fleet.specification), *map(str, options)])
    finally:
        code(fleet, DOUBLER)
        fleet.orders.apply(str(fleet.write()))
    assert done.exit_code == 1
    assert "rolled back: one: 9 of 10 answers differ" in done.output
    assert "answers to recorded requests" in done.output
    assert servers(fleet) == before


@pytest.mark.parametrize("balancing", ["least_connections", "least_hits"])
def test_a_server_on_trial_gets_its_share_of_the_requests_and_no_more(fleet: RunningFleet, balancing: str) -> None:
    reconciler, share, request = fleet.reconciler, 0.2, 250
    steps = GatewayCommands(reconciler)
    fleet.orders.apply(str(fleet.write(gateway=f'balancing = "{balancing}"')))
    reconciler.canary = CanaryShare("cpu-1", share)
    steps.configure_gateway(reconciler.fleet)
    try:
        for scheme in ("grpc", "http"):
            with fleet.client(scheme) as client:
                for _ in range(request):
                    client.infer({"X": np.zeros(1, np.float32)})
        for _ in range(10):  # no fault of any model
            assert status_of(raw_answer(fleet.port, post(b"{", "/v2/models/one/infer"))) == 400
        got = {name: slot.answered for name, slot in reconciler.gateway.observe().slots.items()}
        replies = reconciler.gateway.replies()
        assert got["cpu-1"] == replies["cpu-1"].given
        assert not any(reply.failed for reply in replies.values())
        fleet.orders.drain("cpu-1")
        with fleet.client() as client:
            for _ in range(50):
                client.infer({"X": np.zeros(1, np.float32)})
        assert reconciler.gateway.observe().slots["cpu-1"].answered == got["cpu-1"], "drained, and yet named by a rule"
    finally:
        fleet.orders.resume("cpu-1")
        reconciler.canary = None
        steps.configure_gateway(reconciler.fleet)
        fleet.orders.apply(str(fleet.write()))
    of_all = 2 * request + 10
    assert sum(got.values()) >= of_all
    assert abs(got["cpu-1"] - share * of_all) < 5 * (of_all * share * (1 - share)) ** 0.5


def test_an_order_that_changes_servers_waits_for_none_and_is_refused(fleet: RunningFleet) -> None:
    fleet.orders.drain("cpu-1")
    model = fleet.reconciler.fleet.repository / "one" / "1" / "model.py"
    before = model.read_text()
    try:
        model.write_text(SAME)
        with pytest.raises(ConfigError, match="beampipe fleet resume"):
            fleet.orders.update(share=0.1)
        with pytest.raises(ConfigError, match=r"share: got 0\.9"):
            fleet.orders.update(share=0.9)
    finally:
        model.write_text(before)
        fleet.orders.resume("cpu-1")
    assert fleet.reconciler.canary is None
