"""Contracts of submissions: both forms, every type, and null that is no value."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from beampipe.analysisops.tasks.submission_contract import Contract, check_contract, load_contract
from beampipe.errors import ConfigError, UnknownNameError
from tests.analysisops.grading.test_submission import anything
from tests.analysisops.tasks.folders import written

NESTED: dict[str, Any] = {
    "version": 1,
    "task_id": "t900",
    "required_artifacts": [
        {
            "name": "summary.json",
            "type": "json",
            "description": "the result",
            "required_keys": {
                "status": {"type": "string", "enum": ["ok", "error"]},
                "fit": {
                    "type": "object",
                    "required_keys": {
                        "mu": {"type": "number", "min": 0},
                        "range": {"type": "array", "items": "number", "length": 2},
                    },
                },
            },
        }
    ],
    "optional_artifacts": [{"name": "plot.png", "type": "image"}],
}

LISTED: dict[str, Any] = {
    "version": 2,
    "level": "l2",
    "required_outputs": [
        {"name": "spectrum", "canonical_filename": "spectrum.json", "type": "json", "machine_readable": True},
        {"name": "words", "canonical_filename": "words.md", "type": "markdown"},
    ],
    "optional_outputs": [{"name": "plot", "canonical_filename": "plot.json", "type": "image_ref"}],
    "schemas": {
        "spectrum.json": {
            "required_fields": ["edges", "counts", "stages"],
            "field_types": {
                "edges": "array_float",
                "counts": "array_int",
                "errors": "array_number",
                "window": "array_float_len_2",
            },
            "nested_required_fields": {"stages": {"required_fields": ["id"], "field_types": {"id": "string"}}},
            "constraints": {
                "array_alignment": [
                    {"fields": ["edges", "counts"], "relation": "edges_equals_counts_plus_one"},
                    {"fields": ["counts", "errors"], "relation": "same_length"},
                ],
                "stages": {"min_length": 1},
            },
        },
        "words.md": {"required_sections": [], "constraints": {"non_empty": True, "min_characters": 10}},
        "plot.json": {"required_fields": ["path"], "field_types": {"path": "string"}},
    },
}

GOOD_NESTED: dict[str, Any] = {"summary.json": {"status": "ok", "fit": {"mu": 3.1, "range": [2.8, 3.4]}}}
GOOD_LISTED: dict[str, Any] = {
    "spectrum.json": {"edges": [0, 1.5, 3], "counts": [4, 5], "errors": [2, 2.2], "stages": [{"id": "fit"}]},
    "words.md": "We fitted the spectrum.",
}


def loaded(folder: Path, table: dict[str, Any]) -> Contract:
    return load_contract(written(folder, {"submission_contract.yaml": table}) / "submission_contract.yaml")


def with_value(good: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(good)
    *before, last = path.split("/")
    inside = found
    for key in before:
        inside = inside[key]
    inside[last] = value
    return found


def test_what_fits(tmp_path: Path) -> None:
    assert check_contract(loaded(tmp_path / "a", NESTED), GOOD_NESTED) == []
    assert check_contract(loaded(tmp_path / "b", LISTED), GOOD_LISTED) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("summary.json", None, "summary.json: missing"),
        ("summary.json", "text", "expected object"),
        ("summary.json/status", "success", "expected one of ok, error"),
        ("summary.json/status", 1, "expected string"),
        ("summary.json/fit", None, "summary.json.fit: missing"),
        ("summary.json/fit", {}, "summary.json.fit.mu: missing"),
        ("summary.json/fit/mu", None, "summary.json.fit.mu: missing"),
        ("summary.json/fit/mu", "3.1", "expected number"),
        ("summary.json/fit/mu", True, "expected number"),
        ("summary.json/fit/mu", math.nan, "expected number"),
        ("summary.json/fit/mu", -1, "breaks min = 0"),
        ("summary.json/fit/range", [1], "breaks min_length = 2"),
        ("summary.json/fit/range", [1, 2, 3], "breaks max_length = 2"),
        ("summary.json/fit/range", [1, "2"], "items of type number"),
        ("sumary.json", {}, "did you mean 'summary.json'"),
    ],
)
def test_what_does_not_fit_the_nested_form(tmp_path: Path, path: str, value: Any, fault: str) -> None:
    faults = check_contract(loaded(tmp_path, NESTED), with_value(GOOD_NESTED, path, value))
    assert any(fault in one for one in faults), faults


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("spectrum.json/edges", None, "edges: missing"),
        ("spectrum.json/edges", [0, None, 2], "expected array_float"),
        ("spectrum.json/edges", [0, 1], "not edges_equals_counts_plus_one"),
        ("spectrum.json/errors", [1], "not same_length"),
        ("spectrum.json/counts", [4, 5.5], "expected array_int"),
        ("spectrum.json/counts", [True, 5], "expected array_int"),
        ("spectrum.json/window", [1, 2, 3], "expected array_float_len_2"),
        ("spectrum.json/stages", [], "breaks min_length = 1"),
        ("spectrum.json/stages", [{}], "stages[0].id: missing"),
        ("spectrum.json/stages", ["fit"], "expected object"),
        ("words.md", "short", "breaks min_characters = 10"),
        ("words.md", " " * 20, "breaks non_empty"),
        ("words.md", {"text": "We fitted the spectrum."}, "expected string"),
        ("plot.json", {"path": None}, "path: missing"),
    ],
)
def test_what_does_not_fit_the_listed_form(tmp_path: Path, path: str, value: Any, fault: str) -> None:
    faults = check_contract(loaded(tmp_path, LISTED), with_value(GOOD_LISTED, path, value))
    assert any(fault in one for one in faults), faults


def test_nulls_are_worth_nothing(tmp_path: Path) -> None:
    contract = loaded(tmp_path, NESTED)
    assert check_contract(contract, {"summary.json": dict.fromkeys(("status", "fit"))})
    odd: tuple[object, ...] = (None, [], "summary.json", {})
    for nothing in odd:
        assert check_contract(contract, nothing)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    return loaded(tmp_path_factory.mktemp("contract"), LISTED)


@given(artifacts=anything, spoilt=anything)
def test_anything_is_checked(listed: Contract, artifacts: object, spoilt: object) -> None:
    check_contract(listed, artifacts)
    check_contract(listed, with_value(GOOD_LISTED, "spectrum.json", spoilt))
    check_contract(listed, with_value(GOOD_LISTED, "spectrum.json/stages", spoilt))


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({**NESTED, "artifacts": []}, ConfigError, "did you mean 'required_artifacts'"),
        ({"required_artifacts": [{"name": "a", "type": "jsn"}]}, UnknownNameError, "did you mean 'json'"),
        ({"required_artifacts": [{"type": "json"}]}, ConfigError, "with a name"),
        (
            {"required_artifacts": [{"name": "a", "required_keys": {"x": "nmber"}}]},
            UnknownNameError,
            "did you mean 'number'",
        ),
        (
            {"required_artifacts": [{"name": "a", "required_keys": {"x": {"typ": "a"}}}]},
            ConfigError,
            "did you mean 'type'",
        ),
        ({**LISTED, "schemas": {"spectra.json": {}}}, UnknownNameError, "did you mean 'spectrum.json'"),
        ({**LISTED, "schemas": {"words.md": {"constraints": {"min_chars": 1}}}}, ConfigError, "min_chars: got '1'"),
    ],
)
def test_contracts_that_are_refused(
    tmp_path: Path, table: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        loaded(tmp_path, table)


def test_text_within_a_text_is_no_member(tmp_path: Path) -> None:
    table = {
        "required_outputs": [{"name": "a", "canonical_filename": "a.json", "type": "json"}],
        "schemas": {"a.json": {"required_fields": ["files"], "constraints": {"files": {"contains_all": ["b.json"]}}}},
    }
    contract = loaded(tmp_path, table)
    assert check_contract(contract, {"a.json": {"files": ["b.json"]}}) == []
    assert check_contract(contract, {"a.json": {"files": "not b.json"}})
    assert check_contract(contract, {"a.json": {"files": ["not b.json"]}})
