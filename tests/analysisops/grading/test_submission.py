"""Whatever an agent answers becomes bounded, plain JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beampipe.analysisops.grading.submission import number_of, read_submission

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


def test_a_large_submission_is_cut() -> None:
    submission = read_submission({"text": "x" * 10_000_000, "list": list(range(10**6)), "after": 1})
    assert len(submission.content["text"]) < 20_000
    assert len(submission.content["list"]) < 30_000
    assert len(submission.notes) >= 2


@pytest.mark.parametrize("value", [True, False, "91.2", None, math.nan, math.inf, -math.inf, 10**400, [91.2], {}])
def test_what_is_no_number(value: object) -> None:
    assert number_of(value) is None
    assert read_submission({"answers": {"mass": {"value": value, "uncertainty": value}}}).answer("mass") == (None, None)
