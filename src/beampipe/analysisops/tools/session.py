"""The tools of one assessment over one folder of data; each call is written to the ledger.

Each result has a name, ``"call": "call_7"``, by which later calls and the submission refer to its numbers. The ledger
records on which data files a result depends: those of its handles and of the results that it refers to.

The schemas of the tools' arguments are made from their signatures and docstrings.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Final, get_type_hints

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from beampipe.analysisops.contract import Level, RunningSystem, TimeLimit, ToolRefusedError, require_name
from beampipe.analysisops.ledger import Ledger
from beampipe.analysisops.references import CALL, CONSTANTS, call_name, plain_arguments, referenced
from beampipe.analysisops.tools import counting, events, fits, systems, workspaces
from beampipe.analysisops.tools.data_folder import DataFolder
from beampipe.analysisops.tools.expressions import HELP
from beampipe.analysisops.tools.handles import Content, HandleStore, ToolContext
from beampipe.errors import BeampipeError, UnknownNameError, nearest

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
    modules = (events, fits, counting, workspaces, systems)
    functions = [describe_tool]
    functions += [
        function
        for module in modules
        for name, function in vars(module).items()
        if name.endswith("_tool") and function.__module__ == module.__name__
    ]
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


_LONGEST_ARGUMENTS: Final = 64 * 1024
"""Arguments with more characters than this, as JSON, are refused."""

_SHOWN: Final = 1000
"""Number of characters that the ledger keeps of arguments that were refused for their length."""


@dataclass(frozen=True)
class SessionLimits:
    """Limits of one assessment.

    Attributes:
        calls: number of calls, including refused ones.
        seconds_per_call: limit on processor time of one call [s]; wall time may be longer, see
            `beampipe.analysisops.contract.exceeded_time`.
        bytes_held: memory limit of all handles together [bytes].
    """

    calls: int = 200
    seconds_per_call: float = 60.0
    bytes_held: int = 1 << 30


class Session:
    """The tools of one assessment; several threads may call them, one call runs at a time.

    Args:
        data: folder with a manifest and the files that it lists.
        ledger: where each call is written, refused ones too.
        limits: limits of the calls.
        literals: numbers that calculations may contain, beside `beampipe.analysisops.references.CONSTANTS`.
        level: level of the prompt; tools that do the main step of a task are there at level 1 only.
        system: the system that runs during the assessment; None if there is none.

    Raises:
        FileError: the manifest of the folder is missing or invalid.
    """

    def __init__(
        self,
        data: Path,
        ledger: Ledger,
        limits: SessionLimits | None = None,
        literals: Iterable[float] = (),
        level: Level = 1,
        system: RunningSystem | None = None,
    ) -> None:
        self._limits = limits or SessionLimits()
        self._folder = DataFolder(data)
        self._ledger = ledger
        self._store = HandleStore(self._limits.bytes_held)
        self._literals = frozenset((*CONSTANTS, *map(abs, literals)))
        self._level, self._system = level, system
        self._calls = 0
        self._lock = threading.Lock()

    @property
    def ledger(self) -> Ledger:
        """Where each call is written; the host adds the runs of programs."""
        return self._ledger

    @property
    def tools(self) -> Mapping[str, Tool]:
        """The tools that are of use with the data, by name."""
        return tools_for((file.name for file in self._folder.files()), self._level)

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(self.tools)

    def content(self, handle: str) -> Content:
        """The content of a handle.

        Raises:
            UnknownNameError: no tool has returned that handle.
        """
        try:
            return self._store.get(handle)[0]
        except KeyError as error:
            raise UnknownNameError("handle", handle, self._store.handles) from error

    def keep(self, content: Content, files: Iterable[str]) -> str:
        """Store a content that an agent's program made of data files; returns its handle."""
        return self._store.put(content, frozenset(files))

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool.

        Args:
            tool: its name.
            **arguments: JSON types.

        Returns:
            Its result: JSON types, numbers finite or None.

        Raises:
            ToolRefusedError: there is no such tool, the arguments do not fit, or a limit is reached; the message is for
                the agent.
        """
        with self._lock:
            return self._locked_call(tool, arguments)

    def _locked_call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        if self._calls > self._limits.calls:
            refused = f"calls: got more than {self._limits.calls}, expected no more; answer with what you have"
            if self._calls == self._limits.calls + 1:  # only once, so that the ledger cannot grow without limit
                self._ledger.append(tool[:100], {}, None, error=refused)
            raise ToolRefusedError(refused)
        started = time.monotonic()
        calls = self._ledger.entries
        limit = TimeLimit(self._limits.seconds_per_call)
        context = ToolContext(self._folder, self._store, limit.check, calls, self._literals, self._system)
        result: dict[str, Any] | None = None
        error = ""
        try:
            arguments = _plain_arguments(arguments)
            result = {CALL: call_name(len(calls) + 1), **self._run(context, tool, arguments)}
        except ToolRefusedError as refused_error:
            error = str(refused_error)
            raise
        finally:
            seconds = time.monotonic() - started
            if len(text := str(arguments)) > _LONGEST_ARGUMENTS:
                arguments = {"too_long": text[:_SHOWN]}
            sources = frozenset(context.used) if result is not None else frozenset()
            self._ledger.append(tool[:100], arguments, result, error=error, sources=tuple(sources), seconds=seconds)
        return result

    def _run(self, context: ToolContext, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        available = self.tools
        require_name("tool", name, available)
        tool = available[name]
        try:
            checked = tool.checked(arguments)
            result = tool.run(context, **checked)
            context.check_time()
            return {key: _plain(value) for key, value in result.items()}
        except ToolRefusedError:
            raise
        except BeampipeError as error:
            raise ToolRefusedError(f"{name}: {error}") from error
        except Exception as error:  # a bug in a tool must not end the host or the assessment
            raise ToolRefusedError(
                f"{name}: failed inside ({type(error).__name__}); call it with other arguments, or take another way"
            ) from error


def _plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as JSON types of bounded length."""
    try:
        text = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolRefusedError(f"arguments: got {str(error)[:80]}, expected JSON with finite numbers") from error
    if len(text) > _LONGEST_ARGUMENTS:
        raise ToolRefusedError(
            f"arguments: got {len(text)} characters, expected at most {_LONGEST_ARGUMENTS}; pass handles, not data"
        )
    return dict(json.loads(text))


def _plain(value: Any) -> Any:
    """JSON types; non-finite numbers become None."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class LocalTools:
    """The tools of a session in this process, with the interface of `McpTools`.

    Args:
        session: the session; anything with `names` and `call`.
    """

    def __init__(self, session: Any) -> None:
        self._session = session

    def names(self) -> tuple[str, ...]:
        """Names of the tools."""
        return tuple(self._session.names())

    def schemas(self) -> list[dict[str, Any]]:
        """For each tool its name, description and the JSON schema of its arguments."""
        return [
            {"name": tool.name, "description": tool.description, "parameters": tool.schema}
            for tool in self._session.tools.values()
        ]

    def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool; its numbers are `beampipe.analysisops.references.Referenced`.

        Raises:
            ToolRefusedError: the tool refused.
        """
        return referenced(self._session.call(tool, **plain_arguments(tool, arguments)))
