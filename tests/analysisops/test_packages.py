"""The shipped tasks: read without a warning, tell nothing that is hidden, and give points for right answers alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from beampipe.analysisops.contract import HistogramReference, Level, Quantity, Reference
from beampipe.analysisops.grading.grade import grade
from beampipe.analysisops.grading.result import Result
from beampipe.analysisops.grading.submission import Evidence
from beampipe.analysisops.ledger import Entry
from beampipe.analysisops.tasks.load import PROGRAM, Task, load_task, render_prompt, shipped_tasks
from beampipe.analysisops.tools.session import tools
from beampipe.analysisops.tools.workspaces import fit_workspace
from tests.analysisops.grading.examples import WORKSPACE, entry

FILES = {
    "task_spec.yaml",
    "rubric.yaml",
    "eval_ref.yaml",
    "judge_prompt.md",
    "white_prompt.md",
    "white_prompt_l2.md",
    "white_prompt_l3.md",
    PROGRAM,
}
LEVELS: tuple[Level, ...] = (1, 2, 3)
COLLISIONS = Path(str(files("beampipe.analysisops.samples") / "collisions.py"))
TASKS = {name: load_task(folder) for name, folder in shipped_tasks().items()}
LABELS = tuple(track for track in range(12) for _ in range(8))
MILESTONES = {"zz2mu2nu": 0.3, "gluon_fraction": 0.45}
"""Tasks whose later answers earn points of their own -> largest score with a wrong first answer."""
PEAK = [10.0, 30.0, 80.0, 30.0, 10.0]


@pytest.fixture(params=sorted(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


def prompts(task: Task) -> dict[Level, str]:
    """The prompts as an agent gets them, with facts of some instance."""
    return {level: render_prompt(task, level, dict.fromkeys(task.spec.facts, "17")) for level in LEVELS}


def test_it_is_whole(task: Task) -> None:
    assert {path.name for path in task.folder.iterdir()} - {"__pycache__"} == FILES
    assert task.warnings == ()
    assert (task.id, task.type, task.spec.family) == (task.folder.name,) * 3
    assert task.levels == LEVELS
    assert task.rubric.total == task.rubric.max_points == 100
    assert task.rubric.max_judged == 20


def test_everything_but_the_first_rule_hangs_on_another(task: Task) -> None:
    assert all(check.scaled_by for check in task.rubric.rules[1:])


def test_prompts_are_filled_and_tell_less_from_level_to_level(task: Task) -> None:
    output = prompts(task)
    assert all("{{" not in text and "%%" not in text for text in output.values())
    assert len(output[1]) > len(output[2]) > len(output[3])
    named = {level: {tool for tool in tools() if tool in text} for level, text in output.items()}
    assert len(named[1]) >= 4
    assert named[2] == named[3] == set()
    assert [text.count("```steps\n") for text in output.values()] == [1, 0, 0]


def test_prompts_say_what_is_asked_and_the_limits(task: Task) -> None:
    for text in prompts(task).values():
        assert f"{task.spec.time_limit:g} seconds" in text or f"{task.spec.time_limit:g}\nseconds" in text
        assert str(task.spec.max_tool_calls) in text
        assert '"error"' in text
        for item in (*task.spec.answers, *task.spec.words, *task.spec.histograms, *task.spec.artifacts):
            assert f'"{item}"' in text
        for field in task.eval_ref["method"]["required_fields"]:
            assert f"`{field}`" in text


def test_what_prompts_state_as_facts_is_public(task: Task) -> None:
    source = source_of(task.id)
    for fact in task.spec.facts:
        assert f'"{fact}"' in source


def test_steps_call_tools_that_exist_with_arguments_that_they_have(task: Task) -> None:
    for line in prompts(task)[1].partition("```steps\n")[2].partition("\n```")[0].splitlines():
        step = json.loads(line)
        if "tool" in step:
            known = tools()[step["tool"]].arguments.model_fields
            assert set(step["arguments"]) <= set(known)
            assert {name for name, item in known.items() if item.is_required()} <= set(step["arguments"])


def source_of(family: str) -> str:
    shared = [COLLISIONS] if family in ("hyy", "search", "hmumu") else []
    return "\n".join(path.read_text(encoding="utf-8") for path in (TASKS[family].folder / PROGRAM, *shared))


def hidden_ranges(family: str) -> Iterator[tuple[float, float]]:
    """Both ends of what the source of a family draws from; of `away`, how far, and where that is."""
    for call in ast.walk(ast.parse(source_of(family))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        numbers = [item.value for item in call.args if isinstance(item, ast.Constant) and type(item.value) is float]
        if call.func.attr == "uniform" and len(numbers) == 2:
            yield numbers[0], numbers[1]
        elif call.func.attr == "away" and len(numbers) >= 2:
            yield numbers[-2], numbers[-1]


def test_sources_of_families_have_ranges() -> None:
    """The premise of the next test."""
    assert sum(len(list(hidden_ranges(family))) for family in TASKS) > 40
    assert (6.0, 13.0) in hidden_ranges("hyy")
    assert (6.0, 16.0) in hidden_ranges("width")


def test_no_prompt_names_a_hidden_range(task: Task) -> None:
    for low, high in hidden_ranges(task.id):
        ends = re.compile(rf"(?<![\d.]){low:g}\s*\S{{0,3}}\s*(to|and|-|–|,)\s*{high:g}(?![\d.])")
        for text in prompts(task).values():
            assert not ends.search(text), f"{low:g} to {high:g}"


def reference(task: Task) -> Reference:
    quantities = {
        name: Quantity(37.2841 * (place + 1), 1.3579 * (place + 1)) for place, name in enumerate(task.spec.answers)
    }
    if task.id == "tracks":
        quantities["n_tracks"] = Quantity(12.0, 1.2)  # of the labels that are handed in
    if "workspace" in task.spec.artifacts:
        fit = fit_workspace(WORKSPACE)
        quantities["cross_section"] = Quantity(20 * fit.values["strength"], 20 * fit.errors["strength"])
    words = {name: "no" if task.id == "search" else item.choices[0] for name, item in task.spec.words.items()}
    histograms = {}
    for name, one in task.spec.histograms.items():
        values = tuple(PEAK[place % len(PEAK)] for place in range(one.bins))
        histograms[name] = HistogramReference(one.edges, values)
    return Reference(quantities, {}, histograms, words)


FIT = "call_10.found"
"""The fit among the calls of `work`."""


def work(known: Reference, answers: dict[str, dict[str, float]]) -> list[Entry]:
    """A ledger in which these answers stand, with the histograms of the reference."""
    calls: list[tuple[str, dict[str, Any]]] = [("load_kinematics_tool", {"handle": "events_1", "n_events": 8123})]
    calls += [("derive_tool", {"handle": "events_1"})] * 8
    calls += [("fit_peak_tool", {"found": answers}), ("label_tracks_tool", {"handle": "labels_1"})]
    calls += [("build_workspace_tool", {"handle": "workspace_1", "workspace": WORKSPACE})] * 6
    for name, one in known.histograms.items():
        filled = {"handle": f"hist_{name}", "edges": list(one.edges), "values": list(one.values)}
        calls.append(("histogram_tool", filled))
    return [entry(number, tool, {"events": "events_1"}, result) for number, (tool, result) in enumerate(calls, 1)]


def full_answer(task: Task, known: Reference) -> dict[str, Any]:
    return {
        "task_id": task.id,
        "status": "ok",
        "answers": {
            name: {
                "value": item.value,
                "from": f"{FIT}.{name}.value",
                "uncertainty": item.uncertainty,
                "uncertainty_from": f"{FIT}.{name}.uncertainty",
            }
            for name, item in known.quantities.items()
        },
        "words": dict(known.words),
        "histograms": {name: f"hist_{name}" for name in known.histograms},
        "artifacts": {name: "workspace_1" if name == "workspace" else "labels_1" for name in task.spec.artifacts},
    }


def graded(task: Task, submission: Any, entries: list[Entry], labels: tuple[int, ...] = LABELS) -> Result:
    evidence = Evidence(
        labels=dict.fromkeys(task.spec.artifacts, labels), particle_id=LABELS, reconstructable=tuple(range(12))
    )
    text = prompts(task)[1]
    return grade(task, submission, reference(task), entries, evidence=evidence, level=1, prompt=text)


def test_a_right_answer_gets_all(task: Task) -> None:
    """The premise of all that follows."""
    submission = full_answer(task, reference(task))
    assert graded(task, submission, work(reference(task), submission["answers"])).normalized == 1.0


def test_a_wrong_main_answer_earns_next_to_nothing(task: Task) -> None:
    submission = full_answer(task, reference(task))
    first = next(iter(submission["answers"].values()))
    first["value"] += 8 * first["uncertainty"]
    entries = work(reference(task), submission["answers"])
    result = graded(task, submission, entries, labels=(0,) * len(LABELS))
    assert result.status == "ok"
    assert result.normalized <= MILESTONES.get(task.id, 0.05)


def test_without_work_there_is_nothing(task: Task) -> None:
    assert graded(task, full_answer(task, reference(task)), []).normalized == 0.0


def test_the_template_sent_back_is_worth_nothing(task: Task) -> None:
    text = prompts(task)[1]
    form = text.partition("## Answer")[2].partition("```\n")[2].partition("\n```")[0]
    template = json.loads(re.sub(r"\b(RESULT|TEXT|WORD|HANDLE)\b", r'"\1"', form))
    last = text.partition("```steps\n")[2].partition("\n```")[0].splitlines()[-1]
    steps = {"task_id": task.id, "status": "ok", **json.loads(last)["answer"]}
    right = full_answer(task, reference(task))
    for echo in (template, steps):
        assert set(echo["answers"]) == set(task.spec.answers)
        assert graded(task, echo, work(reference(task), right["answers"])).normalized == 0.0


def test_whoever_claims_a_peak_where_there_is_none_loses_all() -> None:
    search = TASKS["search"]
    submission = {**full_answer(search, reference(search)), "words": {"signal": "yes"}}
    assert graded(search, submission, work(reference(search), submission["answers"])).normalized == 0.0


@pytest.mark.parametrize(("wrong", "most"), [("cause", 0.02), ("server", 0.0)])
def test_a_post_mortem_must_have_all_of_it(wrong: str, most: float) -> None:
    operations = TASKS["operations"]
    submission = full_answer(operations, reference(operations))
    submission["words"][wrong] = operations.spec.words[wrong].choices[1]
    assert graded(operations, submission, work(reference(operations), submission["answers"])).normalized <= most


def test_the_fits_of_the_steps_are_those_of_their_words() -> None:
    """A window or model that stands in the steps stands in the list above them, too."""
    looked = 0
    for task in TASKS.values():
        words, _, block = prompts(task)[1].partition("## The steps as calls")
        words = " ".join(words.split())
        for model in set(re.findall(r'"model": "(\w+)"', block)) & set(re.findall(r"\w*gauss\w*|voigt\w*", block)):
            assert f"`{model}`" in words
            looked += 1
        for low, high in re.findall(r'"window": \[(\d+), (\d+)\]', block):
            assert f"{low} to {high} GeV" in words or f"{low} and {high} GeV" in words
            looked += 1
    assert looked > 12


@pytest.mark.parametrize("name", TASKS)
def test_bins_are_stated_in_the_specification_alone(name: str) -> None:
    """Steps refer to it, so that nothing can state others."""
    task = TASKS[name]
    for histogram in task.spec.histograms:
        for part in ("bins", "low", "high"):
            assert f'"@histogram:{histogram}.{part}"' in task.prompts[1]
    assert '"bins":' not in (task.folder / PROGRAM).read_text(encoding="utf-8")
