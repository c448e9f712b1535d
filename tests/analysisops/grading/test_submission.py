"""Whatever an agent answers becomes bounded, plain JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.grading.submission import MISSING, look_up, number_of, read_submission

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4)
        | st.tuples(inner)
    ),
    max_leaves=20,
)


@given(anything)
def test_anything_becomes_json(raw: object) -> None:
    submission = read_submission(raw)
    assert json.loads(json.dumps(submission.content, allow_nan=False)) == submission.content
    assert submission.is_object == isinstance(raw, dict)


def test_what_is_no_value_is_none_and_is_named() -> None:
    submission = read_submission({"a": {"nan": math.nan, "inf": math.inf, "huge": 10**400, "object": object()}})
    assert submission.content == {"a": {"nan": None, "inf": None, "huge": None, "object": None}}
    assert "a.nan: no finite number" in submission.notes
    assert len(submission.notes) == 4


def test_a_deep_nesting_is_cut() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "deeper" in read_submission({"answers": deep}).notes[0]


def test_a_large_submission_is_cut() -> None:
    submission = read_submission({"text": "x" * 10_000_000, "list": list(range(10**6)), "after": 1})
    assert len(submission.content["text"]) < 20_000
    assert len(submission.content["list"]) < 30_000
    assert len(submission.notes) >= 2


def test_a_submission_that_holds_itself_is_cut() -> None:
    loop: dict[str, Any] = {"status": "ok"}
    loop["answers"] = loop
    assert read_submission(loop).section("answers")["status"] == "ok"


@pytest.mark.parametrize("value", [True, False, "91.2", None, math.nan, math.inf, -math.inf, 10**400, [91.2], {}])
def test_what_is_no_number(value: object) -> None:
    assert number_of(value) is None
    assert read_submission({"answers": {"mass": {"value": value, "uncertainty": value}}}).answer("mass") == (None, None)


def test_numbers_and_numbers_with_uncertainty() -> None:
    submission = read_submission({"answers": {"a": {"value": 91, "uncertainty": 0.5}, "b": 3.5}})
    assert submission.answer("a") == (91.0, 0.5)
    assert submission.answer("b") == (3.5, None)
    assert submission.answer("c") == (None, None)


def test_dotted_paths_lead_through_objects_only() -> None:
    content = {"a": {"b": {"c": 1}, "list": [1]}}
    assert look_up(content, "a.b.c") == 1
    assert look_up(content, "a.x") is MISSING
    assert look_up(content, "a.list.0") is MISSING


def test_many_texts_are_cut_together() -> None:
    submission = read_submission({"texts": ["x" * 10_000] * 1000})
    assert sum(map(len, submission.content["texts"])) < 300_000
