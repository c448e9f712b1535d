"""Folders of tasks: those that load, and those that are refused with the nearest valid name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.grading.grade import Gradable, grade
from beampipe.analysisops.grading.judge import OfflineJudge
from beampipe.analysisops.tasks.load import load_task, render_prompt
from beampipe.errors import BeampipeError, ConfigError, FileError, UnknownNameError
from tests.analysisops.tasks.folders import OURS, PUBLIC, Files, changed, written

TRACE: dict[str, Any] = {
    "status": "ok",
    "fit_result": {"mu": 3.1, "sigma": 0.05},
    "cuts": [{"cut_id": "two_muons"}, {"cut_id": "charge"}],
    "fit_method": {"model": "a gauss over a line", "window": [2.8, 3.4]},
}


def test_a_public_task_loads_unchanged(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, PUBLIC))
    assert (task.id, task.type, task.levels) == ("t900_jpsi", "jpsi", (1,))
    (unused,) = task.warnings
    assert unused.endswith("no effect here: workers, cache, constraints.allow_network")
    assert (task.spec.mode, task.spec.max_files, task.spec.time_limit) == ("call_white", 2, 300.0)
    assert (task.rubric.max_points, task.rubric.max_judged) == (100.0, 20.0)
    assert render_prompt(task, 1) == "Task t900_jpsi: at most 2 files of 2muons, release 2025e-13tev-beta."
    assert isinstance(task, Gradable)


def test_a_public_trace_is_graded(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, PUBLIC))
    result = grade(task, TRACE, judge=OfflineJudge())
    assert (result.status, result.score, result.judge.status) == ("ok", 100.0, "scored")
    assert grade(task, {**TRACE, "status": "error"}).to_json()["final"]["total_score"] == 0.0
    assert grade(task, {**TRACE, "fit_result": {"mu": 3.2}}).score == pytest.approx(60 + 40 * (0.15 - 0.103) / 0.1)
    assert grade(task, {**TRACE, "fit_result": {"mu": 5.0}}).to_json()["hard_failures"] == ["sane"]
    assert grade(task, {**TRACE, "cuts": []}).score == 60.0


def test_a_solver_prompt_comes_first(tmp_path: Path) -> None:
    folder = written(tmp_path, {**PUBLIC, "solver_prompt.md": "Solve {{TASK_ID}}."})
    assert render_prompt(load_task(folder), 1) == "Solve t900_jpsi."


def test_our_task_loads(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, OURS))
    assert (task.levels, task.spec.family, task.warnings) == ((1, 2), "zmumu", ())
    assert task.parameters == {"mass": (40.0, 60.0), "n_events": (5000.0, 5000.0)}
    assert task.spec.histograms["mass"].words == "10 equal bins from 30 to 80 GeV"
    assert task.rubric.rules[3].scaled_by == ("mass", "spectrum")
    assert "Level 2: The mass of something" in render_prompt(task, 2)


LATER = {
    "level": "l2",
    "requires_large_input_data": True,
    "supports_scenario_shared_input": True,
    "input_strategy": "shared_manifest",
    "solver_response_mode": "submission_bundle_v1",
    "evaluation_mode": "directory_contract_and_private_rubric_v1",
    "submission_contract_path": "submission_contract.yaml",
    "input_requirements": {"samples": [{"name": "Data", "role": "data", "dids": ["data"]}]},
    "constraints": {"response_format": "submission_bundle_v1", "allow_purple_network": False},
}


def test_fields_of_a_later_generation_are_named(tmp_path: Path) -> None:
    files = {**PUBLIC, "task_spec.yaml": {**PUBLIC["task_spec.yaml"], **LATER}}
    task = load_task(written(tmp_path, files))
    (warning,) = task.warnings
    assert all(name in warning for name in ("evaluation_mode", "input_requirements", "level"))


def test_a_task_without_a_rubric_is_refused(tmp_path: Path) -> None:
    files = {name: PUBLIC[name] for name in ("task_spec.yaml", "white_prompt.md")}
    with pytest.raises(FileError, match=r"rubric\.yaml.*expected a rubric; there are task_spec\.yaml"):
        load_task(written(tmp_path, files))


@pytest.mark.parametrize(
    ("files", "path", "value", "message"),
    [
        (PUBLIC, "task_spec.yaml/max_file", 1, "did you mean 'max_files'"),
        (PUBLIC, "task_spec.yaml/id", None, "missing id"),
        (PUBLIC, "task_spec.yaml/mode", "call_wite", "did you mean 'call_white'"),
        (PUBLIC, "task_spec.yaml/max_files", "many", "expected int"),
        (PUBLIC, "task_spec.yaml/constraints/memory", 4, "did you mean 'memory_gb'"),
        (PUBLIC, "task_spec.yaml/version", 5, "expected 1 or 2"),
        (PUBLIC, "task_spec.yaml/answers", {}, "only `version: 2` has"),
        (PUBLIC, "task_spec.yaml/rubric_path", "rubrics.yaml", "expected a rubric; there are"),
        (PUBLIC, "white_prompt.md", "{{TASKID}}", "did you mean 'TASK_ID'"),
        (PUBLIC, "judge_prompt.md", "{{SUBMISSION}}", "did you mean 'SUBMISSION_TRACE'"),
        (PUBLIC, "rubric.yaml/rule_checks/0/type", "target_sotf", "did you mean 'target_soft'"),
        (PUBLIC, "rubric.yaml/rule_checks/0/target_path", "fit_expectations.mju", "did you mean 'fit_expectations.mu'"),
        (PUBLIC, "rubric.yaml/rule_checks/2/required_keys_path", "fit.keys", "leads nowhere in eval_ref.yaml"),
        (PUBLIC, "rubric.yaml/version", 2, "no status_ok"),
        (PUBLIC, "eval_ref.yaml/instance", {}, "from the analysis"),
        (PUBLIC, "eval_ref.yaml", "- a list\n", "expected a mapping"),
        (PUBLIC, "eval_ref.yaml", "a: 1\na: 2\n", "got the key 'a' twice"),
        (PUBLIC, "eval_ref.yaml", "a: !!python/object/apply:os.getcwd []\n", "got no YAML"),
        (PUBLIC, "eval_ref.yaml", "a: [1\n", "got no YAML"),
        (OURS, "task_spec.yaml/version", 1, "only `version: 2` has"),
        (OURS, "task_spec.yaml/version", None, "only `version: 2` has"),
        (OURS, "task_spec.yaml/family", None, "got no family"),
        (OURS, "task_spec.yaml/family", "zmumuu", "did you mean 'zmumu'"),
        (OURS, "task_spec.yaml/type", "zmumo", "did you mean 'zmumu'"),
        (OURS, "task_spec.yaml/level", "l1", "did you mean 'levels'"),
        (OURS, "task_spec.yaml/levels", [2, 1], "in order"),
        (OURS, "task_spec.yaml/levels", [1, 4], "some of 1, 2, 3"),
        (OURS, "task_spec.yaml/levels", [1, 2, 3], "prompt of level 3"),
        (OURS, "task_spec.yaml/constraints", {"time_limit_sec": 60}, "two time limits"),
        (OURS, "task_spec.yaml/max_tool_calls", 0, "at least one call"),
        (OURS, "task_spec.yaml/parameters/mass", [60.0, 40.0], "two in order"),
        (OURS, "task_spec.yaml/parameters/mass", [float("nan")], "one number"),
        (OURS, "task_spec.yaml/parameters/mass", ["MeV", "GeV"], "one number"),
        (OURS, "task_spec.yaml/answers/mass/units", "GeV", "did you mean 'unit'"),
        (OURS, "task_spec.yaml/words/signal/choices", [True, False], "expected str"),
        (OURS, "task_spec.yaml/words/signal/choices", ["yes", "no", "maybe"], "as in task_spec.yaml"),
        (OURS, "task_spec.yaml/histograms/mass/bins", 0, "expected some bins"),
        (OURS, "rubric.yaml/total", 70, "the rules sum to 100"),
        (OURS, "rubric.yaml/rule_checks/0/answer", "mas", "did you mean 'mass'"),
        (OURS, "rubric.yaml/rule_checks/2/histogram", "masses", "did you mean 'mass'"),
        (OURS, "rubric.yaml/rule_checks/3/word", "signals", "did you mean 'signal'"),
        (OURS, "rubric.yaml/gates/2/answers", ["mess"], "did you mean 'mass'"),
        (OURS, "rubric.yaml/gates/1/tools", ["fit_peek_tool"], "did you mean 'fit_peak_tool'"),
        (OURS, "rubric.yaml/gates/1/minimum", 500, "at most max_tool_calls"),
        (OURS, "rubric.yaml/version", 1, "expected 2 as in task_spec.yaml"),
        (OURS, "white_prompt.md", "{{LUMINOSITY}}", "did you mean 'LUMINOSITY_FB'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, files: Files, path: str, value: Any, message: str) -> None:
    folder = written(tmp_path, changed(files, path, value))
    with pytest.raises(BeampipeError, match=message):
        load_task(folder)


@pytest.mark.parametrize(
    ("path", "value", "warning"),
    [
        ("task_spec.yaml/id", "zmumu", "id zmumu is that of a shipped task"),
        ("white_prompt.md", "Measure the mass.", "do not learn the form of the answer"),
    ],
)
def test_what_makes_scores_useless_is_a_warning(tmp_path: Path, path: str, value: str, warning: str) -> None:
    (found,) = load_task(written(tmp_path, changed(OURS, path, value))).warnings
    assert warning in found


@pytest.mark.parametrize("name", ["task_spec.yaml", "rubric.yaml", "eval_ref.yaml", "white_prompt.md"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, changed(PUBLIC, name, None))
    with pytest.raises(FileError, match=name):
        load_task(folder)


def test_a_judge_without_a_prompt(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, changed(PUBLIC, "judge_prompt.md", None)))
    assert "plain words" in task.warnings[-1]
    assert task.judge_prompt == ""


def test_a_path_into_an_instance_leads_to_what_is_asked_for(tmp_path: Path) -> None:
    rule = {
        "id": "near",
        "type": "target_soft",
        "points": 10,
        "value_path": "answers.mass.value",
        "target_path": "instance.quantities.mass.value",
        "tolerance": 1.0,
    }
    files = changed(OURS, "rubric.yaml/rule_checks/3", rule)
    task = load_task(written(tmp_path / "good", files))
    assert task.warnings == ("dark: words.signal is asked for, and no rule grades it",)
    bad = changed(files, "rubric.yaml/rule_checks/3/target_path", "instance.quantities.mas.value")
    with pytest.raises(ConfigError, match=r"did you mean 'instance\.quantities\.mass\.value'"):
        load_task(written(tmp_path / "bad", bad))


def test_facts_of_an_instance_fill_a_prompt(tmp_path: Path) -> None:
    task = load_task(written(tmp_path, OURS))
    text = render_prompt(task, 1, {"luminosity_fb": "36.1 {{TASK_ID}}", "other": 1})
    assert "Fill 10 equal bins from 30 to 80 GeV from 36.1 {{TASK_ID}}/fb in 120 s." in text
    with pytest.raises(ConfigError, match=r"no value for \{\{LUMINOSITY_FB\}\}"):
        render_prompt(task, 1)
    with pytest.raises(UnknownNameError, match="level of dark"):
        render_prompt(task, 3)


def test_the_form_of_the_answer_holds_no_number(tmp_path: Path) -> None:
    form, meaning = render_prompt(load_task(written(tmp_path, OURS)), 1, {"luminosity_fb": ""}).split("```")[1:3]
    assert '": RESULT' in form
    assert 'RESULT is {"value": NUMBER, "from": CALL' in meaning
    assert not any(letter.isdigit() for letter in form)
