"""The task over a running fleet, without a fleet: its files, its faults, what changes are refused, and its grades."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.contract import Reference, TaskRequest, ToolRefusedError
from beampipe.analysisops.evaluation import evaluate
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.submission import Evidence
from beampipe.analysisops.harbor import export_task
from beampipe.analysisops.instances import PreparedInstance, prepare_instance
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.registry import make_agent
from beampipe.analysisops.samples.dataset import HiddenTruth
from beampipe.analysisops.seeds import Seeds
from beampipe.analysisops.tasks.load import (
    SYSTEM,
    all_tasks,
    load_program,
    load_start,
    load_task,
    shipped_task,
    shipped_tasks,
)
from beampipe.errors import ConfigError, FileError
from tests.analysisops.grading.examples import entry

TASK = shipped_task("fleet")
PROGRAM: Any = load_program(TASK.folder / "task.py")
SYSTEM_OF_TASK: dict[str, Any] = load_start(TASK.folder / SYSTEM).__wrapped__.__globals__  # type: ignore[attr-defined]
FACTS = {"interval_s": 1, "clients": 9}
WORDS = {"cause": "slow_process", "component": "amber"}
LIVE_FILES = ("metrics.json", "fleet.log", "amber-0.log", "fleet.toml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedInstance:
    return prepare_instance(TASK, 1, tmp_path_factory.mktemp("instance"))


def test_it_is_whole_and_runs_only_where_it_is_named() -> None:
    assert set(all_tasks()) - set(shipped_tasks()) == {"composed", "fleet"}
    assert load_task(TASK.folder).warnings == ()
    assert TASK.is_live
    assert TASK.levels == (1, 2, 3)
    assert TASK.rubric.total == TASK.rubric.max_points == 100


def test_equal_seeds_give_equal_faults_and_all_faults_occur(tmp_path: Path) -> None:
    hidden = [prepare_instance(TASK, seed, tmp_path / str(seed)).hidden for seed in range(1, 21)]
    assert hidden[0] == prepare_instance(TASK, 1, tmp_path / "again").hidden
    assert {truth.words["cause"] for truth in hidden} == set(PROGRAM.CAUSES)
    for truth in hidden:
        everywhere = {"few_slots": "gateway", "few_instances": "all_servers"}
        allowed = everywhere.get(truth.words["cause"])
        assert truth.words["component"] in ([allowed] if allowed else truth.analysis["servers"])


def test_nothing_hidden_lies_in_the_data(prepared: PreparedInstance) -> None:
    text = "".join(path.read_text() for path in prepared.data.iterdir())
    assert prepared.hidden.words["cause"] not in text
    assert set(json.loads(text)["public"]) == {"servers", "clients", "interval_s", "generator_version"}


def server(weight: float = 10, at_once: float = 3, seconds: float = 0.2) -> dict[str, float]:
    return {"weight": weight, "at_once": at_once, "seconds": seconds}


@pytest.mark.parametrize(
    ("servers", "balancing", "seconds"),
    [
        ([server()] * 3, "round_robin", 0.2),
        ([server()] * 2, "round_robin", 0.3),
        ([server(at_once=1)] * 3, "round_robin", 0.6),
        ([server(), server(), server(seconds=1.0)], "round_robin", 1.0),
        ([server(), server(), server(seconds=1.0)], "least_connections", 9 / 33),
        ([server(), server(), server(weight=200)], "round_robin", 9 * 200 / 220 * 0.2 / 3),
        ([server()] * 6, "round_robin", 0.2),
        ([], "round_robin", 60.0),
    ],
)
def test_the_expected_latency_is_that_of_a_closed_network(
    servers: list[dict[str, float]], balancing: str, seconds: float
) -> None:
    assert SYSTEM_OF_TASK["expected_latency"](servers, balancing, 9) == pytest.approx(seconds)


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    """A fleet that was not started: whatever reaches it fails."""
    analysis = {"servers": ["amber", "basalt", "cobalt"], "in_flight": 12, "queue": 64, "weight": 10}
    hidden = HiddenTruth("fleet", 1, "1", {}, {}, WORDS, analysis=analysis)
    (tmp_path / "data").mkdir()
    return SYSTEM_OF_TASK["FleetSystem"](hidden, FACTS, tmp_path, tmp_path / "data")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gateway.host": "0.0.0.0"},
        {"repository": "/etc"},
        {"gateway.tokens": "/etc/shadow"},
        {"servers.amber.device": "gpu"},
        {"servers.evil.count": 1},
        {"servers.amber.count": 100},
        {"servers.amber.count": True},
        {"servers.amber.weight": "10\n[gateway.tls]"},
        {"gateway.balancing": 'round_robin"\nhost = "0.0.0.0'},
        {"gateway.in_flight": 0},
        {"gateway.in_flight": 10**400},
        {"model.instances": 1000},
        {"servers.amber.count": 0, "servers.basalt.count": 0, "servers.cobalt.count": 0},
    ],
)
def test_changes_that_the_task_does_not_allow_are_refused_before_the_fleet_gets_them(
    fleet: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ToolRefusedError, match="expected"):
        fleet.change(changes)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


@pytest.mark.parametrize("number", [-1, 0, 1, 21, 10**9])
def test_floods_of_test_requests_are_refused(fleet: Any, number: int) -> None:
    with pytest.raises(ToolRefusedError, match="expected 2 to 20"):
        fleet.send(number)


def test_without_triton_one_line_says_what_to_do(
    prepared: PreparedInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEAMPIPE_ENGINE", str(tmp_path / "none"))
    with pytest.raises(FileError, match="run: beampipe serving engine install"):
        assess(prepared, 3, 1, ask_here(make_agent("nop")), tmp_path)


def test_what_cannot_carry_a_running_fleet_refuses_it(tmp_path: Path) -> None:
    seed = Seeds((1,)).of("fleet", 3)[0]
    with pytest.raises(ConfigError, match="fleet: got a running system"):
        export_task(TASK, seed, 3, tmp_path, "beampipe")
    program = tmp_path / "program.py"
    program.write_text("")
    with pytest.raises(ConfigError, match="fleet: got the program program, expected an agent with tools"):
        evaluate(["fleet"], [str(program)], Seeds((1,)), tmp_path / "run")


# Grades, from ledgers and measurements as an attempt leaves them.

HEALTHY = {"latency_ms": 210.0, "latency_error_ms": 2.0, "answers": 60, "failures": 0}
BROKEN = {**HEALTHY, "latency_ms": 800.0}
SYSTEM_MEASURED: dict[str, Any] = {
    "healthy": HEALTHY,
    "expected_healthy_s": 0.2,
    "broken_at_s": 10.0,
    "broken": BROKEN,
    "expected_broken_s": 1.0,
    "after": HEALTHY,
    "expected_after_s": 0.2,
}


def sent(latency: float, start: float) -> Entry:
    result = {"start_s": start, "end_s": start + 5, "latency_ms": latency, "latency_error_ms": 9.0}
    return entry(0, "send_requests_tool", {"number": 12}, result, ("fleet.toml",))


def queried(start: float, label: str = "all", name: str = "latency_ms") -> Entry:
    series = {"labels": {"server": label}, "times": [start, start + 3], "values": [820.0, 780.0], "mean": 800.0}
    return entry(0, "query_metrics_tool", {"name": name}, {"name": name, "series": [series]}, ("metrics.json",))


def changed(start: float) -> Entry:
    result = {"start_s": start, "end_s": start + 4, "done": "restart amber-0"}
    return entry(0, "command_server_tool", {"command": "restart", "server": "amber-0"}, result, ("fleet.toml",))


def shares(
    entries: Sequence[Entry],
    before: str = "call_1.latency_ms",
    after: str = "call_3.latency_ms",
    measured: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Share of each check for a report of these references, with the right words."""
    numbered = [replace(item, number=number) for number, item in enumerate(entries, 1)]
    answers = {}
    for name, path in (("latency_before", before), ("latency_after", after)):
        if path:
            call, *keys = path.split(".")
            value: Any = numbered[int(call.removeprefix("call_")) - 1].result
            for key in keys:
                value = value[int(key)] if isinstance(value, list) else value[key]
            answers[name] = {"value": value, "from": path}
    submission = {"status": "ok", "answers": answers, "words": WORDS}
    evidence = Evidence(system={**SYSTEM_MEASURED, **(measured or {})})
    result = grade(TASK, submission, Reference(words=WORDS), numbered, evidence=evidence, level=3)
    return {rule.id: rule.points / rule.max_points for rule in result.rules}


GOOD = (sent(900.0, 20.0), changed(30.0), sent(220.0, 40.0))


def test_a_repair_that_is_proved_earns_all() -> None:
    assert set(shares(GOOD).values()) == {1.0}
    by_metrics = shares((queried(20.0), changed(30.0), sent(220.0, 40.0)), before="call_1.series.0.mean")
    assert set(by_metrics.values()) == {1.0}


def test_a_busy_machine_costs_nothing() -> None:
    slow = {**HEALTHY, "latency_ms": 1400.0}
    assert shares(GOOD, measured={"after": slow})["mended"] == 1.0
    assert shares(GOOD, measured={"broken": {**BROKEN, "latency_ms": 4000.0}, "after": slow})["mended"] == 1.0
    assert shares((sent(900.0, 20.0), changed(30.0), sent(880.0, 40.0)))["latency_after"] == 1.0


@pytest.mark.parametrize(("expected", "share"), [(1.0, 0.0), (0.8, 0.0), (0.64, 0.5), (0.5, 1.0)])
def test_the_share_of_the_excess_that_is_gone_counts(expected: float, share: float) -> None:
    busy = {**HEALTHY, "latency_ms": 1e3 * expected + 300}
    broken = {**BROKEN, "latency_ms": 1000.0}
    got = shares(GOOD, measured={"broken": broken, "expected_after_s": expected, "after": busy})
    assert got["mended"] == pytest.approx(share)


@pytest.mark.parametrize("after", [{**HEALTHY, "failures": 10}, {**HEALTHY, "latency_ms": 0.0, "answers": 0}])
def test_a_fleet_that_does_not_answer_or_was_not_changed_is_not_mended(after: Mapping[str, Any]) -> None:
    assert shares(GOOD, measured={"after": after})["mended"] == 0.0
    assert shares((sent(900.0, 20.0), sent(220.0, 30.0), sent(220.0, 40.0)))["mended"] == 0.0


def test_many_changes_cost_a_little() -> None:
    entries = (sent(900.0, 20.0), *(changed(30.0 + number) for number in range(9)), sent(220.0, 60.0))
    graded = shares(entries, after="call_11.latency_ms")
    assert graded["careful"] == 0.0
    assert graded["mended"] == graded["latency_after"] == 1.0


@pytest.mark.parametrize(
    ("entries", "before", "after"),
    [
        ((changed(30.0), sent(900.0, 36.0), sent(220.0, 50.0)), "call_2.latency_ms", "call_3.latency_ms"),
        ((sent(900.0, 2.0), changed(30.0), sent(220.0, 40.0)), "call_1.latency_ms", "call_3.latency_ms"),
        (GOOD, "call_1.latency_error_ms", "call_3.latency_ms"),
        (GOOD, "call_1.end_s", "call_3.latency_ms"),
        ((queried(20.0, "amber-0"), *GOOD[1:]), "call_1.series.0.mean", "call_3.latency_ms"),
        ((queried(20.0, name="model_ms"), *GOOD[1:]), "call_1.series.0.mean", "call_3.latency_ms"),
        ((queried(28.0), *GOOD[1:]), "call_1.series.0.mean", "call_3.latency_ms"),
        (GOOD, "", "call_3.latency_ms"),
    ],
    ids=["after the repair", "before the fault", "an error", "a time", "one server", "other metric", "across", "none"],
)
def test_a_latency_before_that_is_none_earns_nothing(entries: Sequence[Entry], before: str, after: str) -> None:
    graded = shares(entries, before, after)
    assert graded["latency_before"] == graded["latency_after"] == 0.0
    assert graded["mended"] == 1.0


def test_a_latency_after_must_be_measured_after_the_last_change_and_be_lower() -> None:
    between = (sent(900.0, 20.0), changed(30.0), sent(220.0, 40.0), changed(50.0))
    assert shares(between)["latency_after"] == 0.0
    without_effect = {"expected_after_s": 1.0}
    for latency, share in ((880.0, 0.0), (680.0, 1.0)):
        entries = (sent(900.0, 20.0), changed(30.0), sent(latency, 40.0))
        assert shares(entries, measured=without_effect)["latency_after"] == share


def test_invented_latencies_void_the_answer() -> None:
    numbered = [replace(item, number=number) for number, item in enumerate(GOOD, 1)]
    evidence = Evidence(system=SYSTEM_MEASURED)
    for answer in ({"value": 200.0}, {"value": 200.0, "from": "call_3.latency_ms"}, {"value": 5.0, "from": "call_9.x"}):
        submission = {"status": "ok", "answers": {"latency_after": answer}, "words": WORDS}
        result = grade(TASK, submission, Reference(words=WORDS), numbered, evidence=evidence, level=3)
        assert result.to_json()["final"]["total_score"] == 0.0


@pytest.mark.parametrize("name", ["nop", "recall"])
def test_no_work_earns_nothing(name: str, prepared: PreparedInstance) -> None:
    request = TaskRequest("fleet", "fleet", 3, "")
    submission = make_agent(name, TASK.folder).solve(request, NoTools())
    graded = grade(TASK, submission, prepared.reference, (), evidence=Evidence(system=SYSTEM_MEASURED), level=3)
    assert graded.to_json()["final"]["total_score"] == 0.0


def test_guessed_words_beside_a_few_calls_earn_next_to_nothing() -> None:
    numbered = [replace(sent(900.0, 20.0 + number), number=number) for number in range(1, 4)]
    choices = [
        {"cause": cause, "component": component}
        for cause in TASK.spec.words["cause"].choices
        for component in TASK.spec.words["component"].choices
    ]
    evidence = Evidence(system=SYSTEM_MEASURED)
    scores = [
        grade(
            TASK, {"status": "ok", "words": words}, Reference(words=WORDS), numbered, evidence=evidence, level=3
        ).to_json()["final"]["normalized_score"]
        for words in choices
    ]
    assert math.fsum(scores) / len(scores) <= 0.05
