"""All tools, with the schemas of their arguments, made from their signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from beampipe.analysisops.contract import Level, ToolRefusedError, require_name
from beampipe.analysisops.tools import counting, events, fits, masses, services, systems, workspaces
from beampipe.analysisops.tools.expressions import HELP
from beampipe.analysisops.tools.handles import ToolContext
from beampipe.errors import nearest

INSTRUCTIONS: Final = (
    "Tools for one analysis of the data files of this session. Data stay here: tools give handles, short names such as"
    " events_1, that other tools take. A handle never changes; each step makes a new one. Start with"
    " list_local_root_files_tool; describe_tool explains a tool and its arguments. Each result has a name, such as"
    " call_7; call_7.mu is a reference to its number mu. Calculations take references, and each number that you answer"
    " names one in `from`."
)
"""Explains the tools to agents."""


@dataclass(frozen=True)
class Tool:
    """One tool.

    Attributes:
        name: name under which agents call it.
        description: what it does, the first clause of `details`.
        details: the whole explanation; agents get it, and those of the arguments, by `describe_tool`.
        run: the function; its first argument is a `ToolContext`.
        arguments: model of its other arguments.
    """

    name: str
    description: str
    details: str
    run: Callable[..., Mapping[str, Any]]
    arguments: type[BaseModel]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the arguments, without words: prompts with all tools stay short."""
        short: dict[str, Any] = _short(self.arguments.model_json_schema())
        return {**short, "additionalProperties": False}

    def checked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments converted to their types, with defaults for those that are missing.

        Raises:
            ToolRefusedError: one is unknown, missing, or of another type.
        """
        try:
            model = self.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise ToolRefusedError("; ".join(self._fault(fault) for fault in error.errors()[:3])) from error
        return {name: getattr(model, name) for name in self.arguments.model_fields}

    def _fault(self, fault: Mapping[str, Any]) -> str:
        fields = self.arguments.model_fields
        name = str(fault["loc"][0]) if fault["loc"] else "arguments"
        if fault["type"] == "extra_forbidden":
            listed = ", ".join(fields) or "none"
            return f"{self.name}: got an argument {name[:60]!r}, expected {listed}{nearest(name, fields)}"
        if fault["type"] == "missing" and len(fault["loc"]) == 1:
            return f"{self.name}: got no {name}, expected it: {fields[name].description or name}"
        message = str(fault["msg"])
        return f"{self.name}: {name}: got {str(fault.get('input'))[:60]!r}: {message[0].lower()}{message[1:]}"


def _short(schema: Any) -> Any:
    """A schema without titles, descriptions and alternatives of no value."""
    if isinstance(schema, Mapping):
        values = [value for value in schema.get("anyOf", ()) if value.get("type") != "null"]
        if len(values) == 1:
            return _short(values[0])
        return {
            key: {name: _short(inner) for name, inner in value.items()} if key == "properties" else _short(value)
            for key, value in ({**schema, "anyOf": values} if values else schema).items()
            if key not in ("title", "description", "default", "additionalProperties")
        }
    return [_short(inner) for inner in schema] if isinstance(schema, list) else schema


def describe_tool(context: ToolContext, tool: str) -> Mapping[str, Any]:
    """Explain a tool, its arguments, and expressions.

    Args:
        tool: its name.
    """
    available = tools()
    require_name("tool", tool, available)
    fields = available[tool].arguments.model_fields
    arguments = {
        name: f"{field.description}{'' if field.is_required() else f' Default: {json.dumps(field.default)}.'}"
        for name, field in fields.items()
    }
    help_text = {"expressions": HELP} if "expression" in fields else {}
    return {"explanation": available[tool].details, "arguments": arguments, **help_text}


@cache
def tools() -> Mapping[str, Tool]:
    """All tools by name, in the order in which agents see them."""
    functions: tuple[Callable[..., Mapping[str, Any]], ...] = (
        describe_tool,
        events.download_atlas_data_tool,
        events.list_local_root_files_tool,
        events.inspect_root_schema_tool,
        events.load_kinematics_tool,
        events.combine_tool,
        events.derive_tool,
        events.select_tool,
        events.select_objects_tool,
        events.count_tool,
        masses.calc_dilepton_mass_tool,
        masses.calc_system_invariant_mass_tool,
        masses.calc_combination_mass_tool,
        events.histogram_tool,
        fits.fit_peak_tool,
        fits.fit_background_tool,
        fits.fit_templates_tool,
        counting.limit_tool,
        counting.efficiency_tool,
        counting.calculate_tool,
        counting.solve_linear_tool,
        workspaces.build_workspace_tool,
        workspaces.fit_workspace_tool,
        events.export_tool,
        systems.query_metrics_tool,
        systems.find_change_tool,
        systems.read_log_tool,
        systems.connect_hits_tool,
        systems.label_tracks_tool,
        services.list_members_tool,
        services.show_specification_tool,
        services.change_specification_tool,
        services.command_server_tool,
        services.send_requests_tool,
    )
    return {function.__name__: _tool(function) for function in functions}


_READ: Final = {
    "query_metrics_tool": ".json",
    "find_change_tool": ".json",
    "read_log_tool": ".log",
    "inspect_root_schema_tool": ".root",
    "load_kinematics_tool": ".root",
    "calc_dilepton_mass_tool": ".root",
    "calc_system_invariant_mass_tool": ".root",
    "calc_combination_mass_tool": ".root",
    "connect_hits_tool": ".root",
    "label_tracks_tool": ".root",
    "list_members_tool": ".toml",
    "show_specification_tool": ".toml",
    "change_specification_tool": ".toml",
    "command_server_tool": ".toml",
    "send_requests_tool": ".toml",
}
"""Tools for the content of files of one type -> the end of their names."""


_OF_RECIPES: Final = ("find_change_tool",)
"""Tools that do the main step of a task; only prompts of level 1, which contain the recipe, have them."""


_BESIDE_SERVICES: Final = ("describe_tool", "list_local_root_files_tool", "calculate_tool")
"""The tools that are of use with a running service, beside those in `_READ`."""


def tools_for(files: Iterable[str], level: Level = 1) -> Mapping[str, Tool]:
    """The tools that are of use with files of these names, at a level of the prompt."""
    suffixes = {PurePath(name).suffix for name in files}
    runs = _READ["list_members_tool"] in suffixes
    return {
        name: tool
        for name, tool in tools().items()
        if (_READ[name] in suffixes if name in _READ else not runs or name in _BESIDE_SERVICES)
        and (level == 1 or name not in _OF_RECIPES)
    }


def _tool(function: Callable[..., Mapping[str, Any]]) -> Tool:
    name = function.__name__
    summary, texts = _read_docstring(inspect.getdoc(function) or "")
    parameters = list(inspect.signature(function).parameters.values())[1:]
    types = get_type_hints(function)
    fields: dict[str, Any] = {
        parameter.name: (
            types[parameter.name],
            Field(
                ... if parameter.default is parameter.empty else parameter.default, description=texts[parameter.name]
            ),
        )
        for parameter in parameters
    }
    config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())
    short = re.split(r"[.;](?: |$)", summary)[0]
    return Tool(name, short, summary, function, create_model(name, __config__=config, **fields))


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The description of a function, and of each of its arguments, from its docstring."""
    summary, _, rest = text.partition("\nArgs:\n")
    texts = {}
    for entry in re.split(r"\n    (?=\w+:)", "\n" + rest.split("\n\n")[0]):
        name, _, words = entry.strip().partition(":")
        texts[name] = " ".join(words.split())
    return " ".join(summary.split()), texts
