from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beampipe.analysisops.a2a.documents import dump_object, parse_object
from beampipe.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(max_examples=40)
@given(st.dictionaries(st.text(), JSON, max_size=3), st.sampled_from(["", "```\n", "```json\n"]))
def test_what_was_written_is_read(document: dict[str, Any], fence: str) -> None:
    text = dump_object(document)
    end = "\n```" if fence else ""
    assert parse_object(f" {fence}{text}{end}\n", "answer") == document


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e400}', "1e400 is no finite"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": "\\ud800"}', "no JSON"),
        ('{"a": 1} {"b": 2}', "no JSON"),
        ("7", "no object"),
        ("", "no JSON"),
        (f'{{"a": "{"x" * 100}"}}', "at most 99"),
    ],
)
def test_why_a_text_is_refused(text: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_object(text, "answer", largest=99)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"x", {1, 2}])
def test_what_json_has_not_is_not_written(value: object) -> None:
    with pytest.raises(InputError):
        dump_object({"a": value})


def test_integers_stay_exact() -> None:
    assert parse_object(json.dumps({"seed": 2**53 + 1}), "answer") == {"seed": 2**53 + 1}
