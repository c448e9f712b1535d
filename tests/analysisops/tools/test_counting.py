"""Limits, efficiencies, templates and arithmetic against closed forms and published numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.tools.counting import CountingLimit
from beampipe.analysisops.tools.session import LocalTools, Session

LITERALS = (
    *(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.7, 0.8, 1.5, 4.0, 5.0, 11.0, 20.0, 30.0, 80.0, 900.0),
    math.sqrt(1000),
)
"""Numbers that calculations of these tests contain."""


@pytest.fixture
def tools(data: Path, ledger: Ledger) -> LocalTools:
    return LocalTools(Session(data, ledger, literals=LITERALS))


def test_literals_are_refused_unless_the_task_has_them(data: Path, ledger: Ledger) -> None:
    session = LocalTools(Session(data, ledger, literals=(0.25,)))
    for good in ("0.25 * 1000", "2 + 3 - 1", "-0.25"):
        session.call("calculate_tool", expression=good, values={})
    invented: list[tuple[str, dict[str, Any]]] = [
        ("calculate_tool", {"expression": "91.1876", "values": {}}),
        ("calculate_tool", {"expression": "45.5 * 2 + 0 * x", "values": {"x": 1}}),
        ("calculate_tool", {"expression": "x", "values": {"x": 91.1876}}),
        ("calculate_tool", {"expression": "x", "values": {"x": 2}, "errors": {"x": 0.0321}}),
        ("efficiency_tool", {"passed": 57, "total": 100}),
        ("efficiency_tool", {"passed": 10, "total": 100, "passed_error": 3, "total_error": 7}),
        ("limit_tool", {"observed": 55, "background": 10, "background_error": 1, "signal": 1}),
        ("limit_tool", {"observed": 1, "background": 1, "background_error": 1, "signal": 12.5}),
        ("solve_linear_tool", {"matrix": [[0.6]], "matrix_errors": [[0]], "right": [1], "right_errors": [0]}),
    ]
    for tool, arguments in invented:
        with pytest.raises(ToolRefusedError, match="expected a reference to a result"):
            session.call(tool, **arguments)


def test_results_are_named_in_calculations(tools: LocalTools, ledger: Ledger) -> None:
    loaded = tools.call("load_kinematics_tool", file_path="data.root", tree_name="mini", branches={"met": "met"})
    counted = tools.call("count_tool", events=loaded["handle"], expression="met > 20000")
    assert counted["call"] == "call_2"
    share = tools.call("efficiency_tool", passed="call_2.n", total="call_1.n_events")
    assert share["efficiency"] == counted["n"] / loaded["n_events"]
    assert ledger.entries[-1].sources == ("data.root",)
    half = tools.call("calculate_tool", expression="x / 2", values={"x": "call_3.efficiency"})
    assert half["value"] == share["efficiency"] / 2
    assert ledger.entries[-1].sources == ("data.root",)
    for wrong in ("call_2.m", "call_9.n", "call_1.handle", "n", "call_4.depends_on.0"):
        with pytest.raises(ToolRefusedError, match="values: x: "):
            tools.call("calculate_tool", expression="x", values={"x": wrong})


@pytest.mark.parametrize(
    ("observed", "limit"), [(0, 3.00), (1, 4.74), (2, 6.30), (3, 7.75), (4, 9.15), (5, 10.51), (10, 16.96)]
)
def test_limits_without_background_are_those_of_the_tables(observed: int, limit: float) -> None:
    """Upper limits at 95 % on a Poisson mean: Review of Particle Physics, "Statistics", table of Poisson limits."""
    assert CountingLimit(0.0, 0.0, 1.0).limit(observed) == pytest.approx(limit, abs=0.006)


@given(observed=st.integers(0, 30), background=st.floats(0, 30), strength=st.floats(0, 5))
def test_cls_is_a_sum_of_poisson_terms(observed: int, background: float, strength: float) -> None:
    def at_most(rate: float) -> float:
        terms = (
            math.exp(-rate + n * math.log(rate) - math.lgamma(n + 1)) if rate else float(n == 0)
            for n in range(observed + 1)
        )
        return math.fsum(terms)

    counting = CountingLimit(background, 0.0, 3.0)
    truth = at_most(3.0 * strength + background) / at_most(background)
    assert counting.cls(strength, observed) == pytest.approx(truth, rel=1e-9)


def test_uncertainties_as_toys_have_them() -> None:
    rng = np.random.default_rng(3)
    counting = CountingLimit(4.0, 1.5, 2.0, 0.4)
    background = rng.normal(4.0, 1.5, 400_000)
    signal = rng.normal(2.0, 0.4, 400_000)
    good = (background > 0) & (signal > 0)
    for strength in (0.0, 1.5):
        counts = rng.poisson(background[good] + strength * signal[good])
        assert counting.at_most(5, strength) == pytest.approx((counts <= 5).mean(), abs=0.003)


def test_limits_grow_with_counts_and_uncertainties(tools: LocalTools) -> None:
    given = {"background": 10.0, "background_error": 1.0, "signal": 5.0}
    limits = [tools.call("limit_tool", observed=observed, **given) for observed in (5, 10, 20)]
    assert limits[0]["limit"] < limits[1]["limit"] < limits[2]["limit"]
    for limit in limits:
        assert limit["expected_minus_1"] < limit["expected"] < limit["expected_plus_1"]
    assert limits[2]["p_background"] < 0.02 < limits[1]["p_background"]
    loose = tools.call("limit_tool", observed=10, **{**given, "background_error": 4.0})
    assert loose["limit"] > limits[1]["limit"]
    for wrong in ({"observed": -1}, {"signal": 0}, {"level": 1.0}, {"background_error": -1}):
        with pytest.raises(ToolRefusedError, match="limit"):
            tools.call("limit_tool", **{"observed": 1, **given, **wrong})


def test_efficiencies(tools: LocalTools) -> None:
    counted = tools.call("efficiency_tool", passed=900, total=1000)
    assert counted["efficiency"] == 0.9
    assert counted["error"] == pytest.approx(math.sqrt(0.9 * 0.1 / 1000), rel=0.06)
    assert counted["lower"] < 0.9 < counted["upper"]
    # As many failed as are counted: errors of counts give back the binomial error.
    fitted = tools.call("efficiency_tool", passed=900, total=1000, passed_error=30, total_error=math.sqrt(1000))
    assert fitted["error"] == pytest.approx(math.sqrt(0.9 * 0.1 / 1000), rel=1e-9)
    wrong: list[dict[str, Any]] = [
        {"passed": 11, "total": 10},
        {"passed": 1.5, "total": 10},
        {"passed": 0, "total": 0},
        {"passed": 5, "total": 10, "passed_error": 1},
        {"passed": 5, "total": 10, "passed_error": 2, "total_error": 1},
    ]
    for arguments in wrong:
        with pytest.raises(ToolRefusedError, match="efficiency"):
            tools.call("efficiency_tool", **arguments)


def test_arithmetic_with_errors(tools: LocalTools) -> None:
    product = tools.call(
        "calculate_tool", expression="a * b / c", values={"a": 3, "b": 4, "c": 2}, errors={"a": 0.3, "c": 0.1}
    )
    assert product["value"] == 6.0
    assert product["uncertainty"] == pytest.approx(6 * math.hypot(0.1, 0.05), rel=1e-6)
    for wrong in (
        {"expression": "a / b", "values": {"a": 1, "b": 0}},
        {"expression": "a", "values": {}},
        {"expression": "a", "values": {"a": 1}, "errors": {"b": 1}},
        {"expression": "a", "values": {"a": 1}, "errors": {"a": -1}},
        {"expression": "__import__('os')", "values": {}},
    ):
        with pytest.raises(ToolRefusedError, match="got"):
            tools.call("calculate_tool", **wrong)


def test_two_equations_with_errors(tools: LocalTools) -> None:
    matrix, errors = np.array([[0.8, 0.2], [0.3, 0.7]]), np.array([[0.02, 0.01], [0.03, 0.01]])
    right, right_errors = np.array([100.0, 80.0]), np.array([4.0, 3.0])
    given = {"matrix_errors": errors.tolist(), "right": right.tolist(), "right_errors": right_errors.tolist()}
    solved = tools.call("solve_linear_tool", matrix=matrix.tolist(), **given)
    np.testing.assert_allclose(matrix @ solved["solution"], right)
    rng = np.random.default_rng(4)
    toys = np.linalg.solve(
        rng.normal(matrix, errors / 5, (20_000, 2, 2)), rng.normal(right, right_errors / 5, (20_000, 2))[..., None]
    )
    np.testing.assert_allclose(solved["errors"], 5 * toys[..., 0].std(0), rtol=0.03)
    for wrong in ([[1.0, 2.0], [2.0, 4.0]], [[1.0, 2.0]], [[1.0], [2.0]]):
        with pytest.raises(ToolRefusedError, match="matrix"):
            tools.call("solve_linear_tool", matrix=wrong, **given)


def test_the_change_of_a_level(tools: LocalTools) -> None:
    steady, jumping = (tools.call("find_change_tool", name="queue_seconds", labels={"server": name}) for name in "ab")
    assert steady["change_at"] is None
    assert (jumping["change_at"], jumping["mean_before"], jumping["mean_after"]) == (240.0, 1.0, 3.0)
    late = tools.call("find_change_tool", name="queue_seconds", labels={"server": "b"}, start=300)
    assert late["change_at"] is None
    with pytest.raises(ToolRefusedError, match="2 series"):
        tools.call("find_change_tool", name="queue_seconds")


def test_metrics_and_logs(tools: LocalTools) -> None:
    listed = tools.call("query_metrics_tool")
    assert listed == {
        "call": "call_1",
        "metrics": [{"name": "queue_seconds", "labels": [{"server": "a"}, {"server": "b"}]}],
    }
    steady, jumping = tools.call("query_metrics_tool", name="queue_seconds")["series"]
    assert (steady["min"], steady["max"], jumping["max"]) == (1.0, 1.0, 3.0)
    assert len(jumping["times"]) <= 200
    (part,) = tools.call("query_metrics_tool", name="queue_seconds", labels={"server": "b"}, start=300, end=400)[
        "series"
    ]
    assert (part["n"], part["mean"]) == (51, 3.0)
    for wrong in ({"name": "queue"}, {"name": "queue_seconds", "labels": {"server": "c"}}):
        with pytest.raises(ToolRefusedError, match="got"):
            tools.call("query_metrics_tool", **wrong)
    assert tools.call("read_log_tool", file="b.log", pattern="memory|nothing")["lines"] == [
        {"line": 301, "text": "600 ERROR out of memory"}
    ]
    page = tools.call("read_log_tool", file="b.log", start=299, limit=5)
    assert [line["line"] for line in page["lines"]] == [300, 301]
    assert page["n_matching"] == 301
    with pytest.raises(ToolRefusedError, match="log"):
        tools.call("read_log_tool", file="data.root")
