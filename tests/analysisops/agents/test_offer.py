from __future__ import annotations

import json

import jsonschema
import pytest

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.agents.llm import SUBMIT, functions, offered, step_format, system_prompt, task_prompt
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.tasks.load import render_prompt, shipped_task, shipped_tasks
from beampipe.analysisops.tools.session import tools as all_tools
from beampipe.analysisops.tools.session import tools_for


class Named(NoTools):
    """Tools that do not describe themselves."""

    def names(self) -> tuple[str, ...]:
        return ("fit_peak_tool", "unheard_tool")


def test_known_tools_that_do_not_describe_themselves_are_described() -> None:
    fit, unheard, submit = offered(Named())
    assert "window" in fit["parameters"]["properties"]
    assert unheard["parameters"] == {"type": "object"}
    assert submit["name"] == SUBMIT


def test_each_tool_of_this_package_can_be_a_step() -> None:
    offer = [{"name": all_tool.name, "parameters": all_tool.schema} for all_tool in all_tools().values()]
    schema = step_format(offer)["json_schema"]["schema"]
    assert len(schema["properties"]["arguments"]["anyOf"]) == len(offer), "none needs more than a plain grammar"
    jsonschema.validate({"tool": "list_local_root_files_tool", "arguments": {}}, schema)
    jsonschema.validate({"tool": "fit_peak_tool", "arguments": {"events": "events_1", "window": [80, 100]}}, schema)


def test_what_a_grammar_may_not_know_is_left_open() -> None:
    offer = [{"name": "odd", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}}}]
    assert step_format(offer)["json_schema"]["schema"]["properties"]["arguments"] == {"type": "object"}


def test_an_argument_called_description_stays() -> None:
    offer = [{"name": "odd", "parameters": {"type": "object", "properties": {"description": {"type": "string"}}}}]
    arguments = step_format(offer)["json_schema"]["schema"]["properties"]["arguments"]
    assert arguments == {"anyOf": [offer[0]["parameters"]]}


class ToolsOfTask(NoTools):
    """The tools for the files of a task."""

    def __init__(self, task: str) -> None:
        self._files = ("metrics.json", "amber.log") if task == "operations" else ("data.root",)

    def names(self) -> tuple[str, ...]:
        return tuple(tools_for(self._files))


@pytest.mark.parametrize("name", shipped_tasks())
def test_rules_task_and_tools_take_at_most_2000_tokens(name: str) -> None:
    task, offer = shipped_task(name), offered(ToolsOfTask(name))
    facts = dict.fromkeys(task.spec.facts, "123.456")
    for level in (2, 3):
        prompt = render_prompt(task, level, facts)
        files = ("background.root", "data.root", "signal.root")
        request = TaskRequest(name, task.type, level, prompt, files=files, data=facts)
        task_text = task_prompt(request)
        native = system_prompt(offer, "native") + json.dumps(functions(offer)) + task_text
        written = system_prompt(offer, "json") + task_text
        assert len(native) / 4 <= 2000, "a token has about four characters"
        assert len(written) / 4 <= 1700


def test_tools_are_offered_for_the_files_that_are_there() -> None:
    services = {"query_metrics_tool", "find_change_tool", "read_log_tool"}
    of_a_service = {"list_members_tool", "show_specification_tool", "change_specification_tool", "command_server_tool",
                    "send_requests_tool"}  # fmt: skip
    of_files = set(all_tools()) - of_a_service
    assert of_files - set(tools_for(["data.root"])) == services
    assert services - set(tools_for(["metrics.json", "amber.log"], 3)) == {"find_change_tool"}
    without_events = set(tools_for(["metrics.json", "amber.log"]))
    assert services < without_events
    assert "load_kinematics_tool" not in without_events
    assert set(tools_for(["metrics.json", "amber.log", "data.root"])) == of_files
