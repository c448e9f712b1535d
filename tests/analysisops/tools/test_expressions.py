"""Expressions against numpy and plain loops; and what they refuse."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import ndarray

from beampipe.analysisops.contract import ToolRefusedError
from beampipe.analysisops.tools.expressions import check_name, condition, evaluate, number, object_condition, parse
from beampipe.analysisops.tools.handles import Events, Jagged

LISTS = st.lists(st.lists(st.floats(-100, 100), max_size=4), min_size=1, max_size=6)
FLOATS = st.floats(-1e3, 1e3)


def events_of(lists: list[list[float]], **flat: ndarray) -> Events:
    counts = np.array([len(item) for item in lists], np.int64)
    values = np.array([value for item in lists for value in item], float)
    return Events(len(lists), {"c": Jagged.of(counts, values), "n": counts.astype(float), **flat})


def flat(events: Events, text: str) -> ndarray:
    value = evaluate(events, text)
    assert isinstance(value, np.ndarray)
    return value


_LEAVES = st.sampled_from(["x", "y", "2.5", "3", "pi"])
_NUMBERS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "%"]), inner),
        st.builds("(-{})".format, inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "sin", "cos", "tanh", "exp", "sqrt"]), inner),
        st.builds("min({}, {})".format, inner, inner),
        st.builds("where({} < {}, {}, 1)".format, inner, inner, inner),
    ),
    max_leaves=8,
)


@given(text=_NUMBERS, x=st.lists(FLOATS, min_size=3, max_size=3), y=st.lists(FLOATS, min_size=3, max_size=3))
def test_numbers_as_numpy_has_them(text: str, x: list[float], y: list[float]) -> None:
    arrays = {"x": np.array(x), "y": np.array(y)}
    functions: dict[str, Any] = {
        name: getattr(np, name) for name in ("abs", "sin", "cos", "tanh", "exp", "sqrt", "where")
    }
    names = {**functions, "min": np.minimum, "pi": np.float64(np.pi), "float64": np.float64}
    # Constants become numpy's, too: division by zero is an exception among Python's own.
    in_numpy = re.sub(r"\d+(\.\d+)?", r"float64(\g<0>)", text)
    with np.errstate(all="ignore"):
        truth = eval(in_numpy, {"__builtins__": {}}, {**names, **arrays})
    mine = flat(Events(3, arrays), text)
    np.testing.assert_allclose(mine, np.broadcast_to(truth, 3), rtol=1e-12)


@settings(max_examples=40)
@given(lists=LISTS, cut=st.floats(-100, 100))
def test_objects_as_loops_have_them(lists: list[list[float]], cut: float) -> None:
    events = events_of(lists, cut=np.full(len(lists), cut))
    loops: dict[str, list[float]] = {
        "count(c)": [len(item) for item in lists],
        "count(c > cut)": [sum(value > cut for value in item) for item in lists],
        "sum(c * 2 + cut)": [sum(value * 2 + cut for value in item) for item in lists],
        "any(c > cut)": [any(value > cut for value in item) for item in lists],
        "all(c > cut)": [all(value > cut for value in item) for item in lists],
        "max(c)": [max(item, default=math.nan) for item in lists],
        "min(c)": [min(item, default=math.nan) for item in lists],
        "c[1]": [item[1] if len(item) > 1 else math.nan for item in lists],
        "sum(c[c < cut])": [sum(value for value in item if value < cut) for item in lists],
        "count(c[c < cut]) + n": [sum(value < cut for value in item) + len(item) for item in lists],
    }
    for text, truth in loops.items():
        np.testing.assert_allclose(flat(events, text).astype(float), truth, rtol=1e-9, atol=1e-9, err_msg=text)


def test_what_is_missing_fulfils_no_comparison() -> None:
    events = events_of([[1.0], []])
    for sign in ("<", "<=", ">", ">=", "==", "!="):
        assert not condition(events, f"c[1] {sign} 3").any()
    assert condition(events, "c[0] != 3").tolist() == [True, False]
    assert condition(events, "not c[0] != 3").tolist() == [False, True]


def test_chains_and_words() -> None:
    events = Events(4, {"x": np.array([0.0, 1.0, 2.0, 3.0]), "good": np.array([True, False, True, False])})
    assert condition(events, "0 < x <= 2").tolist() == [False, True, True, False]
    assert condition(events, "x > 2 or good and not x == 0").tolist() == [False, False, True, True]
    assert flat(events, "good + 1").tolist() == [2.0, 1.0, 2.0, 1.0]
    assert condition(events, "True").tolist() == [True] * 4


@given(a=st.floats(-20, 20), b=st.floats(-20, 20))
def test_angles_between_minus_pi_and_pi(a: float, b: float) -> None:
    apart = number(parse("delta_phi(a, b)"), {"a": a, "b": b})
    assert -math.pi <= apart <= math.pi
    assert math.cos(apart) == pytest.approx(math.cos(a - b), abs=1e-9)
    assert math.sin(apart) == pytest.approx(math.sin(a - b), abs=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "x.__class__",
        "().__class__.__bases__",
        "__import__('os')",
        "open('x')",
        "x if y else 3",
        "[x for x in (1, 2)]",
        "lambda: 3",
        "x := 3",
        "f'{x}'",
        "'text'",
        "b'text'",
        "{1: 2}",
        "(1, 2)",
        "x // 2",
        "x @ x",
        "x << 2",
        "x is y",
        "x in y",
        "abs(x, key=3)",
        "abs(*x)",
        "sqrt()",
        "c[1:2]",
        "c[-1]",
        "c[99]",
        "c[True]",
        "c[c]",
        "c[1.0]",
        "x[0]",
        "sum(x)",
        "c & c",
        "~good",
        "x > 1 & y < 2",
        "x and y",
        "not x",
        "any(c)",
        "c + d",
        "1e999",
        "1j",
        "...",
        "None",
        "__builtins__",
        "_x",
        "",
        "x +",
        "x; y",
        "x" * 601,
        "(" * 250 + "x" + ")" * 250,
        "-" * 60 + "x",
        "x" + " + x" * 100,
        "\x00",
        "evil(x)",
        "missing + 1",
    ],
)
def test_what_expressions_may_not_hold(text: str) -> None:
    events = events_of([[1.0, 2.0], [3.0]], x=np.ones(2), y=np.ones(2), good=np.ones(2, bool))
    events = events.with_columns({"d": Jagged.of(np.array([1, 1]), np.ones(2))})
    with pytest.raises(ToolRefusedError, match=r"expected|cannot be read|may not hold|got"):
        evaluate(events, text)


@given(text=st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    events = events_of([[1.0, 2.0], [3.0]], x=np.ones(2))
    with suppress(ToolRefusedError):
        evaluate(events, text)


@pytest.mark.parametrize("text", ["9**9**9**9", "9.0**(9**(9**9))", "exp(exp(exp(99)))", "1 / 0", "log(0) * 0"])
def test_large_powers_end(text: str) -> None:
    assert not math.isfinite(number(parse(text), {}))


@pytest.mark.parametrize("name", ["", "2x", "a b", "a.b", "sum", "and", "pi", "_x", "x" * 61, "a\n"])
def test_names_that_could_not_be_written(name: str) -> None:
    with pytest.raises(ToolRefusedError, match="name"):
        check_name(name)


def test_conditions_on_the_wrong_things() -> None:
    events = events_of([[1.0, 2.0], [3.0]])
    with pytest.raises(ToolRefusedError, match="select_objects_tool"):
        condition(events, "c > 1")
    with pytest.raises(ToolRefusedError, match="select_tool"):
        object_condition(events, "n > 1")
    with pytest.raises(ToolRefusedError, match="condition such as"):
        condition(events, "n + 1")
