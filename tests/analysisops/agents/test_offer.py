from __future__ import annotations

import json

import pytest

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.agents.llm import functions, offered, system_prompt, task_prompt
from beampipe.analysisops.contract import TaskRequest
from beampipe.analysisops.tasks.load import render_prompt, shipped_task, shipped_tasks
from beampipe.analysisops.tools.session import tools as all_tools
from beampipe.analysisops.tools.session import tools_for


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
