"""A small measurement to grade: a task, its reference, a ledger of honest work, and the submission that follows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beampipe.analysisops.contract import HistogramReference, Level, Quantity, Reference
from beampipe.analysisops.grading.rubric import Rubric, read_rubric
from beampipe.analysisops.ledger import Entry

MASS, ERROR = 90.1234, 0.0321
EDGES = tuple(70.0 + step for step in range(41))
VALUES = tuple(20.0 + round(900.0 * math.exp(-0.5 * ((low + 0.5 - MASS) / 2.5) ** 2)) for low in EDGES[:-1])
PROMPT = "Measure the mass [GeV] of a resonance with two muons above 25 GeV, in 40 bins from 70 to 110 GeV."

RUBRIC: Mapping[str, Any] = {
    "version": 2,
    "total": 100,
    "gates": [
        {"id": "finished", "type": "status_ok"},
        {"id": "worked", "type": "calls_made", "minimum": 2},
        {"id": "evidence", "type": "traceable", "answers": ["mass"]},
    ],
    "rule_checks": [
        {"id": "mass", "type": "pull", "points": 60, "answer": "mass"},
        {"id": "error", "type": "uncertainty", "points": 20, "answer": "mass", "scaled_by": "mass"},
        {"id": "spectrum", "type": "histogram_l2", "points": 20, "histogram": "mass", "scaled_by": "mass"},
    ],
    "llm_checks": [
        {
            "id": "reasoning",
            "type": "llm_reasoning",
            "points": 20,
            "output_key": "dimension_scores.reasoning",
            "clamp": [0, 20],
        }
    ],
}

REFERENCE = Reference(
    quantities={"mass": Quantity(MASS, ERROR, "GeV")},
    truth={"mass": 90.11},
    histograms={"mass": HistogramReference(EDGES, VALUES)},
)

_STATISTICS = 0.02


def _channel(name: str, **events: float) -> dict[str, Any]:
    factors = {
        "signal": [("strength", "normfactor"), ("luminosity", "normsys"), ("muon_efficiency", "normsys")],
        "first": [("scale_of_first", "normfactor")],
        "second": [("scale_of_second", "normfactor")],
    }
    return {
        "name": name,
        "samples": [
            {
                "name": sample,
                "data": [expected],
                "modifiers": [
                    *(
                        {"name": factor, "type": kind, "data": {"hi": 1.03, "lo": 0.97} if kind == "normsys" else None}
                        for factor, kind in factors[sample]
                    ),
                    {"name": f"statistics_{name}", "type": "staterror", "data": [_STATISTICS * expected]},
                ],
            }
            for sample, expected in events.items()
        ],
    }


WORKSPACE: Mapping[str, Any] = {
    "channels": [
        _channel("signal_region", signal=400.0, first=100.0, second=100.0),
        _channel("little_met", first=500.0),
        _channel("muon_electron", second=600.0),
    ],
    "observations": [
        {"name": "signal_region", "data": [500.0]},
        {"name": "little_met", "data": [400.0]},
        {"name": "muon_electron", "data": [700.0]},
    ],
    "measurements": [{"name": "measurement", "config": {"poi": "strength", "parameters": []}}],
    "version": "1.0.0",
}
"""A signal region and a control region for each of two backgrounds, with two constrained parameters on the signal."""


@dataclass(frozen=True)
class ExampleTask:
    """What grading needs of a task."""

    rubric: Rubric
    id: str = "example"
    type: str = "zmumu"
    eval_ref: Mapping[str, Any] = field(
        default_factory=lambda: {
            "method": {"required_fields": ["model", "window"], "terms": [["voigt"], ["exponential"]]}
        }
    )
    judge_prompt: str = "RUBRIC: {{RUBRIC}}\nSUBMISSION: {{SUBMISSION_TRACE}}\n"
    prompts: Mapping[Level, str] = field(default_factory=lambda: {1: PROMPT})


def example_task(**changes: Any) -> ExampleTask:
    """The task with some keys of its rubric replaced."""
    return ExampleTask(read_rubric({**RUBRIC, **changes}, "rubric.yaml"))


def entry(
    number: int,
    tool: str,
    arguments: Mapping[str, Any],
    result: Mapping[str, Any] | None,
    sources: Sequence[str] = ("data_1.root",),
    error: str = "",
) -> Entry:
    """One entry of a ledger, as `read_ledger` gives it."""
    return Entry(number, tool, arguments, result, error, tuple(sources), 0.1, f"{number:064x}")


def honest_entries(mass: float = MASS, error: float = ERROR, values: Sequence[float] = VALUES) -> list[Entry]:
    """What an agent did that measured a mass."""
    return [
        entry(1, "list_local_root_files_tool", {}, {"files": [{"name": "data_1.root", "bytes": 812345}]}),
        entry(2, "load_kinematics_tool", {"file_path": "data_1.root"}, {"handle": "events_1", "n_events": 8123}),
        entry(
            3,
            "histogram_tool",
            {"events": "events_1", "column": "mass", "bins": 40, "low": 70.0, "high": 110.0},
            {
                "handle": "hist_1",
                "edges": list(EDGES),
                "values": list(values),
                "underflow": 3,
                "overflow": 5,
                "n": 8123,
            },
        ),
        entry(
            4,
            "fit_peak_tool",
            {"events": "events_1", "column": "mass", "window": [75.0, 107.0], "model": "voigt_plus_exponential"},
            {"mu": mass, "mu_error": error, "sigma": 1.6543, "window": [75.0, 107.0], "chi2": 71.23, "valid": True},
        ),
    ]


def mass_from(value: Any, uncertainty: Any, call: int = 4) -> dict[str, Any]:
    """An answer that names a fit."""
    references = {"from": f"call_{call}.mu", "uncertainty_from": f"call_{call}.mu_error"}
    return {"value": value, "uncertainty": uncertainty, **references}


def right_submission() -> dict[str, Any]:
    """What follows from honest work."""
    return copy.deepcopy(
        {
            "task_id": "example",
            "status": "ok",
            "answers": {"mass": mass_from(MASS, ERROR)},
            "histograms": {"mass": "hist_1"},
            "method": {
                "model": "A Voigt profile for width and resolution over an exponential background.",
                "window": "From 75 to 107 GeV, where the background has one slope.",
            },
            "comments": "",
        }
    )
