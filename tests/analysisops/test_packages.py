"""The shipped tasks: they are complete, and their prompts ask for all answers without anything that is hidden."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from beampipe.analysisops.contract import Level
from beampipe.analysisops.tasks.load import PROGRAM, Task, load_task, render_prompt, shipped_tasks
from beampipe.analysisops.tools.session import tools

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


def test_no_prompt_names_a_hidden_range(task: Task) -> None:
    for low, high in hidden_ranges(task.id):
        ends = re.compile(rf"(?<![\d.]){low:g}\s*\S{{0,3}}\s*(to|and|-|–|,)\s*{high:g}(?![\d.])")
        for text in prompts(task).values():
            assert not ends.search(text), f"{low:g} to {high:g}"


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
