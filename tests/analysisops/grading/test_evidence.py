"""Contents that a submission names, and their way into a log and back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from beampipe.analysisops.contract import HistogramReference
from beampipe.analysisops.grading.submission import Evidence, histogram_of, read_submission
from tests.analysisops.grading.examples import EDGES, VALUES, entry, honest_entries


def test_evidence_goes_through_json() -> None:
    evidence = Evidence({"mass": HistogramReference(EDGES, VALUES)}, {"labels": (0, 0, -1)}, (5, 5, 6), (5,))
    again = Evidence.from_json(json.loads(json.dumps(evidence.to_json())))
    assert again.to_json() == evidence.to_json()
    assert again.histograms == evidence.histograms
    assert Evidence.from_json({}) == Evidence()


def test_what_the_host_recomputed_comes_first() -> None:
    mine = HistogramReference((0.0, 1.0), (3.0,))
    submission = read_submission({"histograms": {"mass": "hist_1"}})
    result, _ = histogram_of("mass", submission, honest_entries(), Evidence({"mass": mine}))
    assert result == mine
    result, _ = histogram_of("mass", submission, honest_entries(), Evidence())
    assert result == HistogramReference(EDGES, VALUES)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"edges": [0, 1], "values": [None]}, "not finite"),
        ({"edges": [0, 1], "values": [1, 2]}, "2 edges and 2 values"),
        ({"edges": [0, 1]}, "0 values"),
        ({"n": 3}, "no histogram"),
    ],
)
def test_a_result_that_is_no_histogram(result: dict[str, Any], reason: str) -> None:
    entries = [entry(1, "histogram_tool", {}, {"handle": "hist_1", **result})]
    results, output = histogram_of("mass", read_submission({"histograms": {"mass": "hist_1"}}), entries, Evidence())
    assert results is None
    assert reason in output
