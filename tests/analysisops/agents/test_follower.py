"""The agent that follows recipes: it does what is written, says where it does not understand, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.agents.analysis import FollowerAgent
from beampipe.analysisops.assessment import ask_here, assess
from beampipe.analysisops.contract import Level, TaskRequest
from beampipe.analysisops.instances import PreparedInstance
from tests.analysisops.redteam.target import SEED

SCHEMA = {"trees": {"mini": {"n_entries": 9, "branches": {"jets_pT": {"median": 61234.5}, "jets_E": {}}}}}
LISTED = {
    "files": [
        {"name": "data.root", "role": "data"},
        {"name": "zz.root", "role": "background_mc", "cross_section_pb": 1.25},
        {"name": "fakes.root", "role": "background_mc", "cross_section_pb": 2.5},
    ],
    "public": {"luminosity_fb": 36.1, "window": [111.5, 119.5]},
}
HISTOGRAM = {"handle": "hist_1", "edges": [0.0, 10.0, 20.0, 30.0], "values": [3.0, 8.0, 5.0]}
FIT = {"mu": 91.5, "mu_error": 0.25, "yields": [{"value": 7.5}, {"value": 8.5}], "valid": True, "width": None}
RESULTS: dict[str, dict[str, Any]] = {
    "list_local_root_files_tool": LISTED,
    "inspect_root_schema_tool": SCHEMA,
    "histogram_tool": HISTOGRAM,
    "fit_peak_tool": FIT,
    "select_tool": {"handle": "events_1"},
}
LOOK = [
    {"tool": "list_local_root_files_tool", "as": "files"},
    {"tool": "inspect_root_schema_tool", "arguments": {"file_path": "@file:data.name"}},
    {"tool": "histogram_tool", "as": "spectrum"},
    {"tool": "fit_peak_tool", "as": "fit"},
]


class Recorded(NoTools):
    """Tools that give what is in `RESULTS`, and remember how they were called."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        self.calls.append((name, arguments))
        return dict(RESULTS[name])


def prompt(steps: Sequence[Any], answer: Any = None) -> str:
    lines = [*steps, {"answer": {"comments": "done"} if answer is None else answer}]
    return "Do this:\n\n```steps\n" + "\n".join(map(json.dumps, lines)) + "\n```\n"


def solve(text: str, tools: NoTools | None = None) -> dict[str, Any]:
    data = {"histograms": {"mass": {"bins": 40, "low": 70.0, "high": 110.0}}}
    return FollowerAgent().solve(TaskRequest("t1", "zmumu", 1, text, data=data), tools or Recorded())


def value_of(reference: Any) -> Any:
    """What a reference in an argument becomes."""
    tools = Recorded()
    result = solve(prompt([*LOOK, {"tool": "select_tool", "arguments": {"it": reference}}]), tools)
    assert result["status"] == "ok", result["comments"]
    return tools.calls[-1][1]["it"]


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ("$spectrum", "hist_1"),
        ("$fit.mu", 91.5),
        ("$fit.yields.1.value", 8.5),
        ("@role:background_mc", ["zz.root", "fakes.root"]),
        ("@file:background_mc.cross_section_pb", 1.25),
        ("@file:background_mc.1.cross_section_pb", 2.5),
        ("@public:luminosity_fb", 36.1),
        ("@public:window.0", 111.5),
        ("@histogram:mass.bins", 40),
        ("@tree", "mini"),
        ("@branch:jet_pt", "jets_pT"),
        ("@GeV", 1e-3),
        ("@fullest:spectrum", 15.0),
        ("jet_pt * @GeV > $fit.mu and jet_e < @public:window.1", "jet_pt * 0.001 > 91.5 and jet_e < 119.5"),
        (["$fit.mu", {"inside": "@tree"}], [91.5, {"inside": "mini"}]),
        ({"largest": [["$fit.mu", "yes"], [0, "no"]]}, "yes"),
        ({"largest": [["$fit.mu_error", "$fit.width.nowhere"], [1, "$spectrum"]]}, "hist_1"),
        ("no reference, at 91.5", "no reference, at 91.5"),
        (None, None),
    ],
)
def test_references_become_values(reference: Any, value: Any) -> None:
    result = value_of(reference)
    assert result == value
    assert type(result) is type(value)


def test_what_was_chosen_can_be_used() -> None:
    tools = Recorded()
    chosen = {"choose": {"largest": [["$fit.mu", "amber"], [3, "dune"]]}, "as": "server"}
    used = {"tool": "select_tool", "arguments": {"labels": {"server": "$server"}}}
    answer = solve(prompt([*LOOK, chosen, used], {"words": {"server": "$server"}}), tools)
    assert tools.calls[-1] == ("select_tool", {"labels": {"server": "amber"}})
    assert answer["words"] == {"server": "amber"}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("$fti.mu", "did you mean"),
        ("$fit", "handle"),
        ("$fit.mu.more", "91.5"),
        ("$fit.yields.2", "below 2"),
        ("$fit.yields.first", "below 2"),
        ("with $fit.yields", "inside a text"),
        ("@role:signal_mc", "background_mc"),
        ("@file:data.2.name", "below 1"),
        ("@public:luminosity", "luminosity_fb"),
        ("@histogram:met.bins", "mass"),
        ("@branch:lep_pt", "jet_pt"),
        ("@TeV", "@GeV"),
        ("@fullest:fit", "values"),
        ({"largest": [["yes", 1]]}, "numbers"),
        ({"largest": []}, "[number, value]"),
        ({"largest": {"yes": 1}}, "[number, value]"),
    ],
)
def test_what_is_not_understood_is_said(reference: Any, said: str) -> None:
    answer = solve(prompt([*LOOK, {"tool": "select_tool", "arguments": {"it": reference}}]))
    assert answer["status"] == "error"
    assert answer["comments"].startswith("steps, line 5")
    assert said in answer["comments"]


@pytest.mark.parametrize(
    "text",
    [
        "What is the mass?",
        "```\n{}\n```\n",
        "```steps\n```\n",
        prompt(LOOK) + prompt(LOOK),
        "```steps\n" + json.dumps(LOOK[0]) + "\n```\n",
        prompt(["not an object"]),
        prompt([{"tool": "select_tool", "argument": {}}]),
        prompt([{"tool": "select_tool", "arguments": []}]),
        prompt([{"choose": 1}]),
        prompt([{"answer": {}}]),
        prompt(LOOK, "all of it"),
        "```steps\n{not JSON\n```\n",
    ],
)
def test_without_steps_that_make_sense_it_does_nothing(text: str) -> None:
    tools = Recorded()
    answer = solve(text, tools)
    assert answer["status"] == "error"
    assert answer["comments"]
    assert tools.calls == []


@given(st.text(max_size=200), st.text(alphabet='$@{}[]".:fit mu01', max_size=80))
def test_whatever_is_written_is_an_answer_or_said_to_be_none(text: str, reference: str) -> None:
    for written in (
        text,
        f"```steps\n{text}\n```",
        prompt([*LOOK, {"tool": "select_tool", "arguments": {"it": reference}}]),
    ):
        assert solve(written)["status"] in ("ok", "error")


@pytest.fixture(scope="module", params=["hyy", "operations"])
def prepared(request: pytest.FixtureRequest, instance: Callable[[str], PreparedInstance]) -> PreparedInstance:
    return instance(request.param)


@pytest.mark.parametrize(("level", "least", "most"), [(1, 0.95, 1.0), (2, 0.0, 0.0), (3, 0.0, 0.0)])
def test_it_needs_the_recipe(
    prepared: PreparedInstance, level: Level, least: float, most: float, tmp_path: Path
) -> None:
    record = assess(prepared, level, SEED, ask_here(FollowerAgent()), tmp_path)
    assert least <= record.grade["final"]["normalized_score"] <= most, (record.error, record.grade["issues"])
    assert len(record.ledger) <= prepared.task.spec.max_tool_calls
