from __future__ import annotations

import jsonschema

from beampipe.analysisops.agents.agent import NoTools
from beampipe.analysisops.agents.llm import SUBMIT, offered, step_format
from beampipe.analysisops.tools.catalogue import tools as all_tools


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
    offer = [{"name": one.name, "parameters": one.schema} for one in all_tools().values()]
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
