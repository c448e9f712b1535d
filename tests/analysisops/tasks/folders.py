"""Folders of tasks to load, in the public benchmark's schema and in ours; written here, not taken from anywhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

Files = dict[str, Any]
"""Name of a file -> its text, or the content of a YAML file."""

PUBLIC: Final[Files] = {
    "task_spec.yaml": {
        "id": "t900_jpsi",
        "type": "jpsi",
        "mode": "call_white",
        "needs_data": True,
        "release": "2025e-13tev-beta",
        "dataset": "data",
        "skim": "2muons",
        "protocol": "https",
        "max_files": 2,
        "workers": 1,
        "cache": True,
        "reuse_existing": True,
        "rubric_path": "rubric.yaml",
        "eval_ref_path": "eval_ref.yaml",
        "white_prompt_path": "white_prompt.md",
        "judge_prompt_path": "judge_prompt.md",
        "description": "The mass of a light resonance.",
        "constraints": {"time_limit_sec": 300, "memory_gb": 4, "allow_network": False},
    },
    "rubric.yaml": {
        "version": 1,
        "total": 100,
        "gates": [
            {
                "id": "present",
                "type": "required_fields",
                "description": "there is a trace",
                "required_fields": ["status", "fit_result"],
                "fail_total_score": 0,
            },
            {"id": "sane", "type": "numeric_in_range", "value_path": "fit_result.mu", "lo": 2, "hi": 4},
        ],
        "rule_checks": [
            {
                "id": "near",
                "type": "target_soft",
                "points": 40,
                "value_path": "fit_result.mu",
                "target_path": "fit_expectations.mu",
                "tolerance_path": "fit_expectations.tolerance",
                "soft_factor": 3.0,
            },
            {"id": "cuts", "type": "check_cut_ids", "points": 40, "required_cut_ids": ["two_muons", "charge"]},
            {
                "id": "told",
                "type": "required_keys_in_dict",
                "points": 20,
                "dict_path": "fit_method",
                "required_keys_path": "fit_expectations.method_required_fields",
            },
        ],
        "llm_checks": [
            {
                "id": "words",
                "type": "llm_reasoning",
                "points": 20,
                "output_key": "dimension_scores.words",
                "clamp": [0, 20],
                "confidence_key": "confidence",
            }
        ],
    },
    "eval_ref.yaml": {
        "version": 1,
        "fit_expectations": {"mu": 3.097, "tolerance": 0.05, "method_required_fields": ["model", "window"]},
    },
    "white_prompt.md": "Task {{TASK_ID}}: at most {{MAX_FILES}} files of {{ SKIM }}, release {{RELEASE}}.",
    "judge_prompt.md": "{{RUBRIC}} {{EVAL_REF}} {{WORKFLOW_REF}} {{SUBMISSION_TRACE}} {{RULE_SIGNALS}} {{RULE_ISSUES}}",
}

OURS: Final[Files] = {
    "task_spec.yaml": {
        "version": 2,
        "id": "dark",
        "type": "zmumu",
        "family": "zmumu",
        "description": "The mass of something that nobody knows, if it is there.",
        "levels": [1, 2],
        "time_limit_sec": 120,
        "max_tool_calls": 30,
        "parameters": {"mass": [40.0, 60], "n_events": 5000},
        "answers": {"mass": {"unit": "GeV", "description": "mass of the resonance"}},
        "words": {"signal": {"choices": ["yes", "no"], "description": "whether it is there"}},
        "histograms": {"mass": {"unit": "GeV", "bins": 10, "low": 30, "high": 80.0, "description": "spectrum"}},
        "facts": ["luminosity_fb"],
    },
    "rubric.yaml": {
        "version": 2,
        "total": 100,
        "gates": [
            {"id": "finished", "type": "status_ok"},
            {"id": "worked", "type": "calls_made"},
            {"id": "evidence", "type": "traceable", "answers": ["mass"]},
        ],
        "rule_checks": [
            {"id": "mass", "type": "pull", "points": 60, "answer": "mass"},
            {"id": "error", "type": "uncertainty", "points": 20, "answer": "mass", "scaled_by": "mass"},
            {"id": "spectrum", "type": "histogram_l2", "points": 10, "histogram": "mass", "scaled_by": "mass"},
            {
                "id": "signal",
                "type": "word",
                "points": 10,
                "word": "signal",
                "choices": ["yes", "no"],
                "scaled_by": ["mass", "spectrum"],
            },
        ],
    },
    "eval_ref.yaml": {"version": 2, "method": {"required_fields": ["model"]}},
    "white_prompt.md": "{{ANSWERS}}\nFill {{HISTOGRAM_MASS}} from {{LUMINOSITY_FB}}/fb in {{TIME_LIMIT}} s.",
    "white_prompt_l2.md": "{{ANSWERS}} Level {{LEVEL}}: {{DESCRIPTION}} At most {{MAX_TOOL_CALLS}} calls.",
    "judge_prompt.md": "{{SUBMISSION_TRACE}}",
}


def changed(files: Files, path: str, value: Any) -> Files:
    """The files with one value replaced, at a path such as ``"rubric.yaml/rule_checks/0/type"``; None removes it."""
    files = copy.deepcopy(files)
    *before, last = path.split("/")
    inside: Any = files
    for key in before:
        inside = inside[int(key)] if isinstance(inside, list) else inside[key]
    place = int(last) if isinstance(inside, list) else last
    if value is None:
        del inside[place]
    else:
        inside[place] = value
    return files


def written(folder: Path, files: Mapping[str, Any]) -> Path:
    """The folder, with the files in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
